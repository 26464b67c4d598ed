//! The company's own words in versions: kept, looked at, put in force, gone back from.

use countersign_domain::{message::Delivery, operator::ActOutcome};
use countersign_proto::v1;
use countersign_store::{ActCall, Acted, TemplateKey};
use tonic::{Status, transport::Channel as Connection};
use tonic_types::StatusExt as _;

use super::*;
use crate::testkit::Answer;

type Client = NotificationServiceClient<Connection>;

const PAGE: &str = include_str!("../../templates/en/acknowledgement.jinja");

async fn client(stage: &Stage) -> Client {
    NotificationServiceClient::connect(format!("http://{}", stage.grpc))
        .await
        .unwrap()
}

fn create(channel: &str, source: &str, request_id: &str) -> v1::CreateTemplateVersionRequest {
    v1::CreateTemplateVersionRequest {
        kind: "ACKNOWLEDGEMENT".to_owned(),
        channel: channel.to_owned(),
        locale: "en".to_owned(),
        source: source.to_owned(),
        request_id: request_id.to_owned(),
        actor: "wang".to_owned(),
        reason: "a friendlier tone".to_owned(),
    }
}

fn activate(channel: &str, version: i32, request_id: &str) -> v1::ActivateTemplateVersionRequest {
    v1::ActivateTemplateVersionRequest {
        kind: "ACKNOWLEDGEMENT".to_owned(),
        channel: channel.to_owned(),
        locale: "en".to_owned(),
        version,
        expected_active_version: None,
        request_id: request_id.to_owned(),
        actor: "li".to_owned(),
        reason: "read by two".to_owned(),
    }
}

fn preview(channel: &str) -> v1::PreviewTemplateRequest {
    v1::PreviewTemplateRequest {
        kind: "ACKNOWLEDGEMENT".to_owned(),
        channel: channel.to_owned(),
        locale: "en".to_owned(),
        ..v1::PreviewTemplateRequest::default()
    }
}

/// What is wrong with the words, by the answer.
fn problems(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let request = details.bad_request().unwrap();
    request
        .field_violations
        .iter()
        .map(|it| format!("{}: {}", it.field, it.description))
        .collect()
}

fn sms(words: &str) -> String {
    let begin = PAGE.find("{% macro sms() %}").unwrap();
    let end = PAGE[begin..].find("{% endmacro %}").unwrap() + begin;
    format!(
        "{}{{% macro sms() %}}\n{words}\n{}",
        &PAGE[..begin],
        &PAGE[end..]
    )
}

#[tokio::test]
async fn words_are_checked_kept_previewed_put_in_force_and_gone_back_from() {
    for database in TestDatabase::all().await {
        let stage = Stage::on(database, |_| {}).await;
        let mut client = client(&stage).await;
        let wrong = client.create_template_version(create("SMS", &sms("Hello {{ nmae }}"), "c-0"));
        let found = problems(&wrong.await.unwrap_err());
        assert!(
            found
                .iter()
                .any(|it| it.starts_with("source: line ") && it.ends_with("nothing is called nmae")),
            "{found:?}"
        );
        let long = sms(&"very ".repeat(100));
        let wrong = client
            .create_template_version(create("SMS", &long, "c-0"))
            .await;
        let found = problems(&wrong.unwrap_err());
        assert!(found[0].contains("segments"), "{found:?}");
        let unsaved = v1::PreviewTemplateRequest {
            source: sms("Hello {{ customer_name }} from {{ company.name }}"),
            ..preview("SMS")
        };
        let shown = client.preview_template(unsaved).await.unwrap().into_inner();
        assert!(shown.text.starts_with("Hello Li Wei from "), "{shown:?}");
        let none = stage
            .database
            .number("SELECT COUNT(*) AS n FROM template_versions");
        assert_eq!(none.await, 0, "nothing wrong and nothing looked at is kept");

        let first = create("SMS", &sms("One {{ order }}"), "c-1");
        let made = client.create_template_version(first.clone()).await.unwrap();
        let made = made.into_inner().version.unwrap();
        assert_eq!((made.version, made.active), (1, false));
        let again = client.create_template_version(first.clone()).await.unwrap();
        assert_eq!(again.into_inner().version.unwrap(), made);
        let other = v1::CreateTemplateVersionRequest {
            source: sms("Uno {{ order }}"),
            ..first
        };
        let refused = client.create_template_version(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let second = create("SMS", &sms("Two {{ order }}"), "c-2");
        let made = client.create_template_version(second).await.unwrap();
        assert_eq!(made.into_inner().version.unwrap().version, 2);

        let reader = client.clone();
        let text = async |version: Option<i32>| {
            let request = v1::PreviewTemplateRequest {
                version,
                ..preview("SMS")
            };
            let shown = reader.clone().preview_template(request).await;
            shown.unwrap().into_inner().text
        };
        assert!(text(Some(1)).await.starts_with("One "));
        assert!(text(Some(2)).await.starts_with("Two "));
        let shipped = text(Some(0)).await;
        assert_eq!(text(None).await, shipped);

        let missing = client
            .activate_template_version(activate("SMS", 3, "a-0"))
            .await;
        assert_eq!(missing.unwrap_err().code(), Code::NotFound);
        let overtaken = v1::ActivateTemplateVersionRequest {
            expected_active_version: Some(1),
            ..activate("SMS", 2, "a-1")
        };
        let refused = client
            .activate_template_version(overtaken)
            .await
            .unwrap_err();
        assert!(
            refused.message().starts_with("ACTIVE_CHANGED"),
            "{refused:?}"
        );
        let right = v1::ActivateTemplateVersionRequest {
            expected_active_version: Some(0),
            ..activate("SMS", 2, "a-2")
        };
        for (request, outcome) in [
            (right.clone(), "DONE"),
            (right, "DONE"),
            (activate("SMS", 2, "a-3"), "ALREADY"),
        ] {
            let done = client.activate_template_version(request).await.unwrap();
            let done = done.into_inner();
            assert_eq!(done.outcome, outcome);
            let template = done.template.unwrap();
            assert_eq!((template.active_version, template.latest_version), (2, 2));
            assert_eq!(template.origin, "DATABASE");
        }
        assert!(text(None).await.starts_with("Two "));
        let got = client.get_template(v1::GetTemplateRequest {
            kind: "ACKNOWLEDGEMENT".to_owned(),
            channel: "SMS".to_owned(),
            locale: "en".to_owned(),
            version: None,
        });
        let got = got.await.unwrap().into_inner();
        assert!(
            got.active && got.source.contains("Two {{ order }}"),
            "{got:?}"
        );
        assert_eq!(
            (got.actor.as_str(), got.reason.as_str()),
            ("wang", "a friendlier tone")
        );
        let page = |token: &str| v1::ListTemplateVersionsRequest {
            kind: "ACKNOWLEDGEMENT".to_owned(),
            channel: "SMS".to_owned(),
            locale: "en".to_owned(),
            page_size: 1,
            page_token: token.to_owned(),
        };
        let newest = client
            .list_template_versions(page(""))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (newest.versions[0].version, newest.versions[0].active),
            (2, true)
        );
        let rest = client
            .list_template_versions(page(&newest.next_page_token))
            .await;
        let rest = rest.unwrap().into_inner();
        assert_eq!(
            (rest.versions[0].version, rest.next_page_token.as_str()),
            (1, "")
        );

        let back = v1::DeactivateTemplateRequest {
            kind: "ACKNOWLEDGEMENT".to_owned(),
            channel: "SMS".to_owned(),
            locale: "en".to_owned(),
            expected_active_version: Some(2),
            request_id: "d-1".to_owned(),
            actor: "li".to_owned(),
            reason: "a typing error".to_owned(),
        };
        let done = client.deactivate_template(back).await.unwrap().into_inner();
        assert_eq!(done.template.unwrap().origin, "PROGRAM");
        assert_eq!(text(None).await, shipped);
        let acts = "SELECT COUNT(*) AS n FROM operator_acts WHERE subject = 'templates/ACKNOWLEDGEMENT/SMS/en' AND actor IN ('wang', 'li')";
        assert_eq!(
            stage.database.number(acts).await,
            5,
            "two made, one activated twice, one gone back"
        );
        stage.end().await;
    }
}

/// Puts words in force past the worker, as another one does.
async fn put_in_force(stage: &Stage, version: u32) {
    let key = TemplateKey {
        kind: "ACKNOWLEDGEMENT".to_owned(),
        channel: Channel::Sms,
        locale: "en".to_owned(),
    };
    let now = stage.store().now().await.unwrap();
    let call = ActCall {
        id: uuid::Uuid::from_u128(1_000 + u128::from(version)),
        request_hash: [version.to_be_bytes()[3]; 32],
        fingerprint: [0; 32],
        actor: "li".to_owned(),
        approver: String::new(),
        reason: "as tested".to_owned(),
    };
    let done = stage
        .store()
        .activate_template_version(&key, version, None, &call, now)
        .await
        .unwrap();
    assert!(
        matches!(done, Acted::Answered(_, ActOutcome::Done)),
        "{done:?}"
    );
}

/// The order's first message, once so many tries have ended.
async fn tried(stage: &Stage, order: OrderId, tries: usize) -> Delivery {
    eventually(async || {
        let all = stage.store().list_deliveries(order).await.unwrap();
        let first = all.into_iter().next().ok_or_else(String::new)?;
        let ended = first.history.iter().filter(|it| it.finish_time.is_some());
        (ended.count() == tries)
            .then_some(first.delivery.clone())
            .ok_or_else(|| format!("{first:?}"))
    })
    .await
}

#[tokio::test]
async fn a_version_is_taken_within_seconds_and_every_try_of_a_message_says_the_same() {
    for database in TestDatabase::all().await {
        let gateway = GatewayStub::start(SECRET).await;
        let busy = Answer::Status(429, "Retry-After: 30\r\n".to_owned(), String::new());
        gateway.always(busy);
        let mut stage = Stage::on(database, |config| with_gateway(config, &gateway)).await;
        let mut client = client(&stage).await;
        for (number, words) in [("c-1", "One"), ("c-2", "Two")] {
            let source = sms(&format!("{words} {{{{ order }}}}"));
            let made = client.create_template_version(create("SMS", &source, number));
            made.await.unwrap();
        }
        put_in_force(&stage, 1).await;
        // By its own look, without a restart.
        eventually(async || {
            let shown = client
                .clone()
                .preview_template(preview("SMS"))
                .await
                .unwrap();
            let text = shown.into_inner().text;
            text.starts_with("One ").then_some(()).ok_or(text)
        })
        .await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let order = stage.shop.order(None, PHONE).await.id;
        assert_eq!(tried(&stage, order, 1).await.template_version, Some(1));
        put_in_force(&stage, 2).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        gateway.behave();
        stage.store().shift_clock(chrono::Duration::minutes(2));
        assert_eq!(tried(&stage, order, 2).await.template_version, Some(1));
        eventually(async || {
            let found = gateway.accepted().len();
            (found >= 1).then_some(()).ok_or_else(|| found.to_string())
        })
        .await;
        let said = |place: usize| gateway.accepted()[place].request.to_string();
        assert!(said(0).contains("One "), "{}", said(0));
        let before = gateway.accepted().len();
        let next = stage.shop.order(None, PHONE).await.id;
        eventually(async || {
            let all = stage.store().list_deliveries(next).await.unwrap();
            let version = all.first().and_then(|it| it.delivery.template_version);
            (version == Some(2))
                .then_some(())
                .ok_or_else(|| format!("{version:?}"))
        })
        .await;
        eventually(async || {
            let all = gateway.accepted();
            let new = all
                .iter()
                .skip(before)
                .any(|it| it.request.to_string().contains("Two "));
            new.then_some(()).ok_or_else(|| format!("{all:?}"))
        })
        .await;
        stage.end().await;
    }
}

#[tokio::test]
async fn h_03_words_that_only_a_newer_program_knows_are_left_to_it_and_dead_after_a_while() {
    let gateway = GatewayStub::start(SECRET).await;
    let mut stage = Stage::new(|config| with_gateway(config, &gateway)).await;
    let mut client = client(&stage).await;
    let made = client.create_template_version(create("SMS", &sms("One {{ order }}"), "c-1"));
    made.await.unwrap();
    stage
        .database
        .execute("UPDATE template_versions SET source = REPLACE(source, '{{ order }}', '{{ order | sparkle }}')")
        .await;
    put_in_force(&stage, 1).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let order = stage.shop.order(None, PHONE).await.id;
    let left = tried(&stage, order, 1).await;
    assert_eq!(left.state, DeliveryState::Ready);
    assert!(left.last_error.starts_with("UNKNOWN_TEMPLATE"), "{left:?}");
    // What does not need those words goes on.
    let other = stage.shop.order(MAIL, None).await;
    eventually(async || {
        let found = stage.states(other.id).await;
        let sent = found.first().is_some_and(|it| it.2 == DeliveryState::Sent);
        sent.then_some(()).ok_or_else(|| format!("{found:?}"))
    })
    .await;
    stage.store().shift_clock(chrono::Duration::minutes(2));
    let left = tried(&stage, order, 2).await;
    assert_eq!(left.state, DeliveryState::Ready, "{left:?}");
    stage.store().shift_clock(chrono::Duration::minutes(16));
    let dead = tried(&stage, order, 3).await;
    assert_eq!(dead.state, DeliveryState::Dead);
    assert!(
        gateway
            .accepted()
            .iter()
            .all(|it| !it.request.to_string().contains("One "))
    );
    stage.end().await;
}
