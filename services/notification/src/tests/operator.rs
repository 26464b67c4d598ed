//! What staff do, over a real socket.

use countersign_proto::v1;
use tonic::transport::Channel as Connection;

use super::*;

type Client = NotificationServiceClient<Connection>;

async fn client(stage: &Stage) -> Client {
    NotificationServiceClient::connect(format!("http://{}", stage.grpc))
        .await
        .unwrap()
}

/// An order whose acknowledgement was given up and whose request by letter is in doubt.
async fn troubled(stage: &mut Stage) -> (OrderId, String, String) {
    use DeliveryState::{Ready, Sent};
    let order = stage.shop.order(MAIL, PHONE).await;
    let sent = [
        (1, Channel::Email, Sent),
        (2, Channel::Email, Sent),
        (2, Channel::Sms, Ready),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order.id, &sent).await;
    for (state, seq) in [("DEAD", 1), ("IN_DOUBT", 2)] {
        let change = format!(
            "UPDATE deliveries SET state = '{state}', last_error = 'CONNECT: nobody answers' \
             WHERE state = 'SENT' AND seq = {seq}"
        );
        stage.database.execute(&change).await;
    }
    let all = stage.store().list_deliveries(order.id).await.unwrap();
    let name = |place: usize| all[place].delivery.id.resource_name();
    (order.id, name(0), name(1))
}

fn requeue(name: &str, request_id: &str, actor: &str) -> v1::RequeueDeliveryRequest {
    v1::RequeueDeliveryRequest {
        name: name.to_owned(),
        request_id: request_id.to_owned(),
        actor: actor.to_owned(),
        reason: "the relay is up again".to_owned(),
    }
}

#[tokio::test]
async fn h_05_a_dead_letter_is_found_requeued_and_sent_and_the_second_is_told_of_it() {
    for database in TestDatabase::all().await {
        let mut stage = Stage::on(database, |_| {}).await;
        let (_, dead, _) = troubled(&mut stage).await;
        let mut client = client(&stage).await;
        let request = v1::ListDeadLettersRequest {
            page_size: 1,
            ..v1::ListDeadLettersRequest::default()
        };
        let first = client.list_dead_letters(request.clone()).await.unwrap();
        let first = first.into_inner();
        let rest = v1::ListDeadLettersRequest {
            page_token: first.next_page_token,
            ..request.clone()
        };
        let second = client.list_dead_letters(rest).await.unwrap().into_inner();
        let mut found = [first.deliveries, second.deliveries].concat();
        found.sort_by(|one, two| one.state.cmp(&two.state));
        let states: Vec<&str> = found.iter().map(|it| it.state.as_str()).collect();
        assert_eq!(states, ["DEAD", "IN_DOUBT"]);
        assert_eq!(found[0].name, dead);
        assert_eq!(found[0].recipient, "c***@example.com");
        assert_eq!(found[0].attempts[0].gateway, "email-mailbox");

        let mut answers = Vec::new();
        for (request_id, actor) in [("r-1", "wang"), ("r-1", "wang"), ("r-2", "li")] {
            let answer = client.requeue_delivery(requeue(&dead, request_id, actor));
            let answer = answer.await.unwrap().into_inner();
            answers.push((answer.outcome, answer.delivery.unwrap()));
        }
        let outcomes: Vec<&str> = answers.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(outcomes, ["DONE", "DONE", "ALREADY"]);
        assert!(answers.iter().all(|it| it.1.name == answers[0].1.name));
        assert_eq!(answers[0].1.generation, 2);
        let other = client.requeue_delivery(requeue(&dead, "r-1", "li")).await;
        assert_eq!(other.unwrap_err().code(), Code::FailedPrecondition);
        let name = answers[0].1.name.clone();
        eventually(async || {
            let get = v1::GetDeliveryRequest { name: name.clone() };
            let now = client.clone().get_delivery(get).await.unwrap().into_inner();
            (now.state == "SENT").then_some(()).ok_or(now.state)
        })
        .await;
        let get = v1::GetDeliveryRequest { name: dead.clone() };
        let old = client.get_delivery(get).await.unwrap().into_inner();
        assert_eq!(old.state, "REQUEUED");
        let acts: Vec<_> = old
            .acts
            .iter()
            .map(|act| (act.actor.as_str(), act.outcome.as_str()))
            .collect();
        assert_eq!(acts, [("wang", "DONE"), ("li", "ALREADY")]);
        stage.end().await;
    }
}

#[tokio::test]
async fn h_05_a_requeue_without_reason_or_actor_names_the_fields() {
    let stage = Stage::new(|_| {}).await;
    let mut client = client(&stage).await;
    let name = "deliveries/01932e4f-7a3c-7cc1-9b5a-3f0e8c2d4b6a";
    for (request, field) in [
        (requeue("deliveries/1", "r", "wang"), "name"),
        (requeue(name, "", "wang"), "request_id"),
        (requeue(name, "r", " "), "actor"),
        (
            v1::RequeueDeliveryRequest {
                reason: String::new(),
                ..requeue(name, "r", "wang")
            },
            "reason",
        ),
    ] {
        let refused = client.requeue_delivery(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused}");
    }
    let nothing = client.requeue_delivery(requeue(name, "r", "wang")).await;
    assert_eq!(nothing.unwrap_err().code(), Code::NotFound);
    stage.end().await;
}

#[tokio::test]
async fn h_06_a_bulk_above_a_hundred_needs_a_second_person() {
    let mut stage = Stage::new(|_| {}).await;
    troubled(&mut stage).await;
    let mut client = client(&stage).await;
    let bulk = |limit: i32, approver: &str| v1::RequeueDeliveriesRequest {
        channel: "EMAIL".to_owned(),
        error_code: "CONNECT".to_owned(),
        limit,
        request_id: "bulk-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "the relay is up again".to_owned(),
        approver: approver.to_owned(),
        ..v1::RequeueDeliveriesRequest::default()
    };
    for (limit, approver, field) in [
        (101, "", "approver"),
        (101, "wang", "approver"),
        (501, "li", "limit"),
        (0, "", "limit"),
    ] {
        let refused = client.requeue_deliveries(bulk(limit, approver)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused}");
    }
    for _ in 0..2 {
        let done = client.requeue_deliveries(bulk(500, "li")).await.unwrap();
        let done = done.into_inner();
        assert_eq!(
            (done.requeued_count, done.next_page_token.as_str()),
            (1, "")
        );
        assert!(done.refused_counts.is_empty());
    }
    stage.end().await;
}

#[tokio::test]
async fn h_07_a_requeue_after_an_opt_out_is_refused_with_its_reason() {
    let mut stage = Stage::new(|_| {}).await;
    let (_, dead, doubtful) = troubled(&mut stage).await;
    let mut client = client(&stage).await;
    let refused = client.requeue_delivery(requeue(&doubtful, "r-1", "wang"));
    let refused = refused.await.unwrap_err();
    assert!(refused.message().starts_with("IN_DOUBT: "), "{refused}");
    let set = |channel: &str, allowed: bool, request_id: &str| v1::SetContactPreferencesRequest {
        address: " Canary@example.com".trim().to_lowercase(),
        channel: channel.to_owned(),
        allowed,
        request_id: request_id.to_owned(),
        actor: "wang".to_owned(),
        reason: "said so on the telephone".to_owned(),
    };
    let wrong = client
        .set_contact_preferences(set("SMS", false, "p-0"))
        .await;
    assert!(wrong.unwrap_err().message().starts_with("channel"));
    let denied = client.set_contact_preferences(set("EMAIL", false, "p-1"));
    let denied = denied.await.unwrap().into_inner();
    assert_eq!(denied.recipient, "c***@example.com");
    assert_eq!(
        (
            denied.channels[0].allowed,
            denied.channels[0].reason.as_str()
        ),
        (false, "STAFF")
    );
    let refused = client.requeue_delivery(requeue(&dead, "r-2", "wang")).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("OPTED_OUT: "), "{refused}");
    let allowed = client
        .set_contact_preferences(set("EMAIL", true, "p-2"))
        .await;
    assert!(allowed.unwrap().into_inner().channels[0].allowed);
    let requeued = client.requeue_delivery(requeue(&dead, "r-3", "wang")).await;
    assert_eq!(requeued.unwrap().into_inner().outcome, "DONE");
    let number = v1::GetContactPreferencesRequest {
        address: "+8613912345678".to_owned(),
    };
    let number = client.get_contact_preferences(number).await.unwrap();
    let channels: Vec<_> = number
        .into_inner()
        .channels
        .into_iter()
        .map(|it| (it.channel, it.allowed))
        .collect();
    assert_eq!(
        channels,
        [("SMS".to_owned(), true), ("PHONE".to_owned(), true)]
    );
    stage.end().await;
}

#[tokio::test]
async fn h_08_a_letter_that_was_not_sent_is_followed_by_the_text_message() {
    use DeliveryState::{Dead, Failed, Ready, Sent};
    for database in TestDatabase::all().await {
        let mut stage = Stage::on(database, |_| {}).await;
        let (order, _, doubtful) = troubled(&mut stage).await;
        let mut client = client(&stage).await;
        let resolve = |resolution: &str, request_id: &str| v1::ResolveDeliveryRequest {
            name: doubtful.clone(),
            request_id: request_id.to_owned(),
            actor: "wang".to_owned(),
            reason: "not in the relay's log".to_owned(),
            resolution: resolution.to_owned(),
        };
        let wrong = client.resolve_delivery(resolve("PERHAPS", "s-0")).await;
        assert!(wrong.unwrap_err().message().starts_with("resolution"));
        // Nobody resolves a doubt without saying why and who they are.
        for (field, text) in [("reason", ""), ("reason", " \n\t "), ("actor", "")] {
            let mut wordless = resolve("NOT_SENT", "s-1");
            match field {
                "reason" => text.clone_into(&mut wordless.reason),
                _ => text.clone_into(&mut wordless.actor),
            }
            let wrong = client.resolve_delivery(wordless).await.unwrap_err();
            assert_eq!(wrong.code(), Code::InvalidArgument);
            assert!(wrong.message().starts_with(field), "{wrong}");
        }
        let states = stage.states(order).await;
        assert_eq!(states[1].2, DeliveryState::InDoubt);
        let acts = "SELECT COUNT(*) AS n FROM operator_acts";
        assert_eq!(stage.database.number(acts).await, 0);
        for (request_id, wanted) in [("s-1", "DONE"), ("s-1", "DONE"), ("s-2", "ALREADY")] {
            let resolved = client.resolve_delivery(resolve("NOT_SENT", request_id));
            assert_eq!(resolved.await.unwrap().into_inner().outcome, wanted);
        }
        let overturned = client.resolve_delivery(resolve("SENT", "s-3")).await;
        let overturned = overturned.unwrap_err();
        assert!(overturned.message().starts_with("NOT_IN_DOUBT"));
        let followed = [
            (1, Channel::Email, Dead),
            (2, Channel::Email, Failed),
            (2, Channel::Sms, Sent),
            (2, Channel::Phone, Ready),
        ];
        stage.until_states(order, &followed).await;
        stage.end().await;
    }
}

#[tokio::test]
async fn gateways_are_listed_held_and_released() {
    let stage = Stage::new(|_| {}).await;
    let mut client = client(&stage).await;
    let names = eventually(async || {
        let mut client = client.clone();
        let listed = client.list_gateways(v1::ListGatewaysRequest {}).await;
        let listed = listed.unwrap().into_inner().gateways;
        let names: Vec<String> = listed.into_iter().map(|it| it.name).collect();
        (names.len() == 6).then_some(names).ok_or(String::new())
    })
    .await;
    assert_eq!(names[5], "gateways/sms-mailbox");
    let hold = |name: &str| v1::HoldGatewayRequest {
        name: name.to_owned(),
        request_id: "g-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "costs".to_owned(),
        until_time: None,
    };
    let gateway = client.hold_gateway(hold(&names[5])).await.unwrap();
    let gateway = gateway.into_inner();
    assert_eq!(
        (
            gateway.state.as_str(),
            gateway.reason.as_str(),
            gateway.changed_by.as_str()
        ),
        ("HELD", "costs", "wang")
    );
    let nowhere = client.hold_gateway(v1::HoldGatewayRequest {
        request_id: "g-2".to_owned(),
        ..hold("gateways/pigeon")
    });
    assert_eq!(nowhere.await.unwrap_err().code(), Code::NotFound);
    let release = v1::ReleaseGatewayRequest {
        name: names[5].clone(),
        request_id: "g-3".to_owned(),
        actor: "li".to_owned(),
        reason: "paid".to_owned(),
    };
    let open = client.release_gateway(release).await.unwrap().into_inner();
    assert_eq!(
        (open.state.as_str(), open.changed_by.as_str()),
        ("OPEN", "li")
    );
    stage.end().await;
}

#[tokio::test]
async fn every_message_is_previewed_in_both_languages_and_overrides_are_linted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("en")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let page = include_str!("../../templates/en/delivered.jinja");
    write("en/delivered.jinja", page);
    let path = folder.path().to_owned();
    let stage = Stage::new(|config| config.templates.folder = Some(path)).await;
    let mut client = client(&stage).await;
    let listed = client.list_templates(v1::ListTemplatesRequest {}).await;
    let templates = listed.unwrap().into_inner().templates;
    let own: Vec<_> = templates
        .iter()
        .filter(|it| it.origin == "FOLDER")
        .collect();
    assert_eq!(own.len(), 3);
    assert!(
        own.iter()
            .all(|it| it.kind == "DELIVERED" && it.locale == "en")
    );
    for template in &templates {
        let preview = client.preview_template(v1::PreviewTemplateRequest {
            kind: template.kind.clone(),
            channel: template.channel.clone(),
            locale: template.locale.clone(),
            ..v1::PreviewTemplateRequest::default()
        });
        let preview = preview.await.unwrap().into_inner();
        assert!(!preview.text.is_empty(), "{template:?}");
        match template.channel.as_str() {
            "EMAIL" => {
                assert!(!preview.subject.is_empty() && preview.html.contains("<html"));
                assert_eq!(preview.text.contains("绿茶"), preview.html.contains("绿茶"));
            }
            "SMS" => assert!((1..=3).contains(&preview.segments), "{preview:?}"),
            _ => assert!(!preview.keys.is_empty() || preview.segments == 0),
        }
        if template.locale == "zh-CN" && template.channel == "SMS" {
            assert_eq!(preview.alphabet, "UCS2");
        }
    }
    let wrong = client.preview_template(v1::PreviewTemplateRequest {
        kind: "SPAM".to_owned(),
        channel: "EMAIL".to_owned(),
        locale: "en".to_owned(),
        ..v1::PreviewTemplateRequest::default()
    });
    assert_eq!(wrong.await.unwrap_err().code(), Code::InvalidArgument);

    let lint = client.lint_templates(v1::LintTemplatesRequest {}).await;
    assert_eq!(lint.unwrap().into_inner().findings, []);
    write("en/welcome.jinja", "hello");
    write("en/delayed.jinja", "{% extends");
    write(
        "en/delivered.jinja",
        &page.replace("was delivered", "was delivered {{ oder }}"),
    );
    let sms = include_str!("../../templates/en/dispatched.jinja");
    write(
        "en/dispatched.jinja",
        &sms.replace(
            "{% macro sms() %}",
            &format!("{{% macro sms() %}}{} ", "very ".repeat(100)),
        ),
    );
    let lint = client.lint_templates(v1::LintTemplatesRequest {}).await;
    let findings = lint.unwrap().into_inner().findings;
    let about = |file: &str| {
        let found = findings.iter().find(|it| it.file == file);
        found.unwrap_or_else(|| panic!("{file} not in {findings:?}"))
    };
    assert_eq!(about("en/welcome.jinja").severity, "WARNING");
    assert_eq!(about("en/delayed.jinja").severity, "ERROR");
    assert!(about("en/delivered.jinja").problem.contains("undefined"));
    let long = about("en/dispatched.jinja");
    assert_eq!(
        (long.severity.as_str(), long.channel.as_str()),
        ("ERROR", "SMS")
    );
    assert!(long.problem.contains("segments"), "{long:?}");
    stage.end().await;
}
