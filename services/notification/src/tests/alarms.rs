//! Figures move when staff have to be called, and a rule of the chart looks at them (RELIABILITY, D-15, E-10, E-11). What the rules
//! make of figures is tested with Prometheus: by `scripts/check-chart`, and from end to end.

use countersign_domain::message::{AttemptOutcome, GatewayState};

use super::{letters::with_relay, *};
use crate::testkit::{Act, Figures, MailSink, MailSinkConfig, Stage as At};

const RULES: &str = include_str!("../../../../helm/countersign/files/alerts.yaml");

/// The rule of an alarm as the chart ships it.
pub(super) fn rule(alert: &str) -> &'static str {
    let begin = format!("- alert: {alert}\n");
    let (_, rest) = RULES.split_once(&begin).unwrap();
    rest.split("- alert: ").next().unwrap()
}

/// The account that was taken out of use because it refuses us, and what is told of its breaker.
async fn held(stage: &Stage, figures: &Figures) -> String {
    let name = eventually(async || {
        let all = stage.store().list_gateways().await.unwrap();
        let held = all.iter().find(|it| it.state == GatewayState::Held);
        let name = held.map(|it| {
            assert!(it.reason.starts_with("AUTH_REFUSED"), "{}", it.reason);
            assert_eq!(it.changed_by, "system");
            it.name.clone()
        });
        name.ok_or_else(|| format!("{all:?}"))
    })
    .await;
    let series = format!("gateway_breaker_state{{gateway={name}}}");
    eventually(async || {
        let level = figures.of(&series);
        (level == 2).then_some(()).ok_or_else(|| level.to_string())
    })
    .await;
    name
}

/// Staff are called when nothing goes to an account.
fn a_breaker_pages() {
    let rule = rule("CountersignGatewayLeftAlone");
    let looks = r#"gateway_breaker_state{job="countersign/notification-worker"}"#;
    assert!(rule.contains(looks), "{rule}");
    assert!(rule.contains("severity: critical"), "{rule}");
}

#[tokio::test]
async fn d_15_an_account_that_refuses_us_is_left_alone_and_staff_are_called() {
    let figures = Figures::start();
    let gateway = GatewayStub::start("whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg==").await;
    let mut stage = Stage::new(|config| with_gateway(config, &gateway)).await;
    assert_eq!(figures.of("gateway_breaker_state{gateway=sms-gateway}"), 0);
    stage.shop.order(None, PHONE).await;
    assert_eq!(held(&stage, &figures).await, "sms-gateway");
    a_breaker_pages();
    stage.end().await;
}

#[tokio::test]
async fn e_11_a_relay_that_refuses_our_login_is_left_alone_messages_keep_their_tries_and_staff_are_called()
 {
    let figures = Figures::start();
    let sink = MailSink::start_with(MailSinkConfig {
        login: Some(("u".to_owned(), "p".to_owned())),
        login_methods: "PLAIN",
        ..MailSinkConfig::default()
    });
    let mut stage = Stage::new(|config| {
        with_relay(config, &sink);
        let url = format!("smtp://u:wrong@{}?tls=none", sink.address());
        config.email.url = Some(SecretString::from(url));
    })
    .await;
    let mut orders = Vec::new();
    for number in 0..3 {
        let mail = format!("customer-{number}@example.com");
        orders.push(stage.shop.order(Some(&mail), None).await.id);
    }
    held(&stage, &figures).await;
    let connections = sink.connections();
    // By the usual schedule each of them would be tried again and again.
    stage.store().shift_clock(chrono::Duration::seconds(40));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sink.connections(), connections);
    assert_eq!(sink.accepted(), 0);
    for order in orders {
        let all = stage.store().list_deliveries(order).await.unwrap();
        assert_eq!(all[0].delivery.state, DeliveryState::Ready);
        // A refusal of our set-up is no failure of the message: none of the tries that it has is used up.
        let outcomes = all[0].history.iter().map(|it| it.outcome);
        assert!(outcomes.clone().count() <= 1);
        assert!(outcomes.clone().all(|it| it == AttemptOutcome::Config));
    }
    a_breaker_pages();
    stage.end().await;
}

#[tokio::test]
async fn e_10_letters_that_are_refused_as_spam_ring_an_alarm_at_two_in_a_hundred() {
    const REFUSED: &str = "attempts_total{channel=EMAIL,outcome=PERMANENT,reason=MESSAGE_REFUSED}";
    const SENT: &str = "attempts_total{channel=EMAIL,outcome=SENT,reason=}";
    let figures = Figures::start();
    let sink = MailSink::start();
    for text in ["550 5.7.1 policy\r\n", "554 5.7.1 spam\r\n"] {
        sink.once(At::Dot, Act::Reply(text.to_owned()));
    }
    let mut stage = Stage::new(|config| with_relay(config, &sink)).await;
    for number in 0..2 {
        let mail = format!("customer-{number}@example.com");
        stage.shop.order(Some(&mail), None).await;
    }
    eventually(async || {
        let found = (figures.of(REFUSED), figures.of(SENT));
        (found == (2, 2))
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    })
    .await;
    let rule = rule("CountersignLettersRefused");
    let job = r#"job="countersign/notification-worker", channel="EMAIL""#;
    let refused = format!(r#"attempts_total{{{job}, reason="MESSAGE_REFUSED"}}"#);
    let all = format!("attempts_total{{{job}}}");
    for part in [refused.as_str(), all.as_str(), "> 0.02"] {
        assert!(rule.contains(part), "{part}: {rule}");
    }
    stage.end().await;
}

#[tokio::test]
async fn an_anchor_that_cannot_be_made_is_overdue_even_if_there_has_never_been_one() {
    const OVERDUE: &str = "audit_anchor_overdue_seconds";
    let figures = Figures::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("volume/anchors");
    let mut stage = Stage::new(|config| {
        config.audit.anchor_file = Some(file.clone());
        config.audit.anchor_interval_seconds = 1;
    })
    .await;
    stage.shop.order(MAIL, None).await;
    let moves = async |from: u64, to: u64| {
        eventually(async || {
            let found = figures.of(OVERDUE);
            let is_there = (from..=to).contains(&found);
            is_there.then_some(()).ok_or_else(|| found.to_string())
        })
        .await;
    };
    // It has looked.
    moves(1, 600).await;
    stage.store().shift_clock(chrono::Duration::hours(2));
    moves(7_200, 7_800).await;
    let rule = rule("CountersignAnchorLate");
    assert!(rule.contains(OVERDUE) && rule.contains("> 3600"), "{rule}");

    std::fs::create_dir(folder.path().join("volume")).unwrap();
    moves(0, 600).await;
    assert!(std::fs::read_to_string(&file).unwrap().contains("anchor"));
    stage.end().await;
}

#[tokio::test]
async fn answers_that_the_order_service_does_not_take_ring_an_alarm() {
    const WAITS: &str = "oldest_answer_age_seconds";
    let figures = Figures::start();
    let mut stage = Stage::new(|_| {}).await;
    // As with a certificate whose caller lacks the role.
    stage.orders.refuse(&[Code::PermissionDenied; 1_000]);
    let order = stage.shop.order(MAIL, None).await;
    let inbox = Inbox::new(stage.store().clone(), std::sync::Arc::new(Ids::seeded(1)));
    let said = ReplyInput {
        source: "PAGE",
        source_event_id: "form-1".to_owned(),
        order: Some(order.id),
        content: ReplyContent::Accept {
            round: Some(1),
            answer_channel: AnswerChannel::Link,
            amount: None,
        },
    };
    inbox.receive(said).await.unwrap();
    stage.store().shift_clock(chrono::Duration::minutes(10));
    eventually(async || {
        let age = figures.of(WAITS);
        (600..900)
            .contains(&age)
            .then_some(())
            .ok_or_else(|| age.to_string())
    })
    .await;
    let rule = rule("CountersignAnswersWait");
    assert!(rule.contains(WAITS) && rule.contains("> 300"), "{rule}");
    assert!(rule.contains("severity: critical"), "{rule}");
    stage.end().await;
}
