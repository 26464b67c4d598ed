//! Letters and what comes back for them, through the whole worker (RELIABILITY 2.E).

use std::{path::Path, time::Instant};

use countersign_domain::{
    message::{AttemptOutcome, Delivery},
    order::Order,
    secrets::LinkKey,
};
use countersign_runtime::config::EmailTransport;
use tempfile::TempDir;

use super::*;
use crate::testkit::{Act, Figures, MailSink, Stage as At, bounce_report};

pub(super) fn with_relay(config: &mut Config, sink: &MailSink) {
    config.email.transport = EmailTransport::Smtp;
    config.email.url = Some(SecretString::from(format!(
        "smtp://{}?tls=none",
        sink.address()
    )));
    config.email.from = "Hua Trading <orders@hua.example>".to_owned();
    config.email.bounces.address = Some("bounce@hua.example".to_owned());
    config.email.bounces.secret = Some(SecretString::from(SECRET));
}

/// The confirmation request by e-mail, once the relay has it.
async fn asked_by_letter(stage: &Stage, order: &Order) -> Delivery {
    use DeliveryState::{Ready, Sent};
    let wanted = [
        (1, Channel::Email, Sent),
        (2, Channel::Email, Sent),
        (2, Channel::Sms, Ready),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order.id, &wanted).await;
    let all = stage.store().list_deliveries(order.id).await.unwrap();
    all[1].delivery.clone()
}

fn verp(stage: &Stage, letter: &Delivery) -> String {
    let token = stage.shop.key.bounce_token(letter.id, letter.generation);
    format!("bounce+{token}@hua.example")
}

async fn replies(stage: &Stage) -> i64 {
    stage
        .database
        .number("SELECT COUNT(*) AS n FROM replies")
        .await
}

/// Puts a message into the folder as a mail server does, and waits until it has been seen.
async fn deliver(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join("tmp").join(name), text).unwrap();
    std::fs::rename(folder.join("tmp").join(name), folder.join("new").join(name)).unwrap();
    eventually(async || {
        let seen = folder.join("cur").join(format!("{name}:2,S"));
        seen.exists().then_some(()).ok_or_else(String::new)
    })
    .await;
}

fn maildir() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["tmp", "new", "cur"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    folder
}

#[tokio::test]
async fn e_16_m_01_a_hard_bounce_starts_the_text_message_within_five_seconds_and_only_once() {
    use DeliveryState::{Failed, Ready, Sent, Suppressed};
    for database in TestDatabase::all().await {
        let (sink, folder) = (MailSink::start(), maildir());
        let mut stage = Stage::on(database, |config| {
            with_relay(config, &sink);
            config.email.bounces.maildir = Some(folder.path().to_owned());
        })
        .await;
        let order = stage.shop.order(MAIL, PHONE).await;
        let letter = asked_by_letter(&stage, &order).await;
        assert!(
            sink.mails()
                .iter()
                .any(|mail| mail.from.contains(&verp(&stage, &letter)))
        );
        let still = stage.states(order.id).await;

        // Forged, late only, and answers by machine and man: nothing comes of them.
        let other = LinkKey::new(&[8; 32]).unwrap().bounce_token(letter.id, 1);
        let forged = bounce_report(
            &format!("bounce+{other}@hua.example"),
            &[("failed", "5.1.1")],
        );
        deliver(folder.path(), "1.forged", &forged).await;
        let reply = format!(
            "Delivered-To: {}\r\nSubject: Out of office: yes, I confirm\r\nAuto-Submitted: auto-replied\r\n\r\nYES\r\n",
            verp(&stage, &letter)
        );
        deliver(folder.path(), "2.vacation", &reply).await;
        assert_eq!(replies(&stage).await, 0);
        let late = bounce_report(&verp(&stage, &letter), &[("delayed", "4.4.1")]);
        deliver(folder.path(), "3.late", &late).await;
        eventually(async || {
            let open = stage
                .database
                .number("SELECT COUNT(*) AS n FROM replies WHERE state = 'APPLIED'")
                .await;
            (open == 1).then_some(()).ok_or(String::new())
        })
        .await;
        assert_eq!(stage.states(order.id).await, still);

        let bounced = bounce_report(&verp(&stage, &letter), &[("failed", "5.1.1")]);
        let start = Instant::now();
        deliver(folder.path(), "4.bounce", &bounced).await;
        let after = [
            (1, Channel::Email, Sent),
            (2, Channel::Email, Failed),
            (2, Channel::Sms, Sent),
            (2, Channel::Phone, Ready),
        ];
        stage.until_states(order.id, &after).await;
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        // The same report again, and another server's about the same letter.
        deliver(folder.path(), "5.again", &bounced).await;
        let other = bounced.replace("mx.customer", "mx2.customer");
        deliver(folder.path(), "6.other", &other).await;
        eventually(async || {
            let open = stage
                .database
                .number("SELECT COUNT(*) AS n FROM replies WHERE state = 'APPLIED'")
                .await;
            (open == 3).then_some(()).ok_or(String::new())
        })
        .await;
        stage.until_states(order.id, &after).await;
        let all = stage.store().list_deliveries(order.id).await.unwrap();
        assert_eq!(
            all[1].delivery.last_error,
            "BOUNCED: BAD_ADDRESS: status 5.1.1"
        );
        assert_eq!(
            stage.orders.told().len(),
            0,
            "nobody has confirmed anything"
        );

        let next = stage.shop.order(MAIL, PHONE).await;
        let silent = [
            (1, Channel::Email, Suppressed),
            (2, Channel::Email, Suppressed),
            (2, Channel::Sms, Sent),
            (2, Channel::Phone, Ready),
        ];
        stage.until_states(next.id, &silent).await;
        stage.end().await;
    }
}

#[tokio::test]
async fn e_17_e_18_what_a_relay_tells_by_webhook_in_any_sequence() {
    use DeliveryState::{Delivered, Failed, Ready, Sent};
    let (sink, signer) = (MailSink::start(), GatewayStub::start(SECRET).await);
    let mut stage = Stage::new(|config| with_relay(config, &sink)).await;
    let order = stage.shop.order(MAIL, PHONE).await;
    let letter = asked_by_letter(&stage, &order).await;
    let source = verp(&stage, &letter);
    let now = stage.store().now().await.unwrap();
    let url = format!("http://{}/callbacks/bounces", stage.http);
    let post = async |id: &str, body: &serde_json::Value| {
        signer.send_callback(&url, id, now.timestamp(), body).await
    };

    let delivered =
        json!({"notificationType": "Delivery", "mail": {"source": source}, "delivery": {}});
    let transient = json!({"notificationType": "Bounce", "mail": {"source": source},
        "bounce": {"bounceType": "Transient", "bouncedRecipients": [{"emailAddress": "x@y.example"}]}});
    let bounced = json!({"notificationType": "Bounce", "unknown": {"field": 1},
        "mail": {"source": source, "messageId": "ses-1", "destination": ["a@b.example"]},
        "bounce": {"bounceType": "Permanent", "bounceSubType": "General", "feedbackId": "f-1",
            "timestamp": "2026-11-18T11:03:40Z", "reportingMTA": "dns; mx.example",
            "bouncedRecipients": [
                {"emailAddress": "canary@example.com", "status": "5.7.1", "action": "failed"},
                {"emailAddress": "canary@example.com", "status": "5.1.1", "action": "failed",
                    "diagnosticCode": "smtp; 550 5.1.1"}]}});
    assert_eq!(post("m-1", &delivered).await, 204);
    let arrived = |sms, email| {
        [
            (1, Channel::Email, Sent),
            (2, Channel::Email, email),
            (2, Channel::Sms, sms),
            (2, Channel::Phone, Ready),
        ]
    };
    stage
        .until_states(order.id, &arrived(Ready, Delivered))
        .await;
    assert_eq!(post("m-2", &transient).await, 204);
    for _ in 0..3 {
        assert_eq!(post("m-3", &bounced).await, 204);
    }
    stage.until_states(order.id, &arrived(Sent, Failed)).await;
    let hash = countersign_store::testing::recipient_hash(MAIL.unwrap());
    assert!(
        stage
            .store()
            .is_opted_out(&hash, Channel::Email)
            .await
            .unwrap()
    );
    // Unordered: the delivery is told again, after the bounce.
    let again =
        json!({"notificationType": "Delivery", "mail": {"source": source}, "delivery": {"x": 1}});
    assert_eq!(post("m-4", &again).await, 204);
    let before = replies(&stage).await;
    assert_eq!(before, 4, "three bounces are one");

    // Somebody else's letter, a wrong shape, a wrong signature.
    let foreign = json!({"notificationType": "Bounce", "mail": {"source": "bounce+x@hua.example"},
        "bounce": {"bounceType": "Permanent", "bouncedRecipients": []}});
    assert_eq!(post("m-5", &foreign).await, 204);
    assert_eq!(post("m-6", &json!({"mail": 1})).await, 400);
    let old = signer
        .send_callback(&url, "m-7", now.timestamp() - 301, &bounced)
        .await;
    assert_eq!(old, 401);
    assert_eq!(replies(&stage).await, before);

    // A complaint: no more letters, and no other channel because of it.
    let second = stage.shop.order(Some("other@example.com"), PHONE).await;
    let letter = asked_by_letter(&stage, &second).await;
    let complaint = json!({"notificationType": "Complaint", "mail": {"source": verp(&stage, &letter)},
        "complaint": {"feedbackId": "f-2", "complainedRecipients": [{"emailAddress": "other@example.com"}]}});
    assert_eq!(post("m-8", &complaint).await, 204);
    let hash = countersign_store::testing::recipient_hash("other@example.com");
    eventually(async || {
        let out = stage
            .store()
            .is_opted_out(&hash, Channel::Email)
            .await
            .unwrap();
        out.then_some(()).ok_or(String::new())
    })
    .await;
    asked_by_letter(&stage, &second).await;
    stage.until_states(order.id, &arrived(Sent, Failed)).await;
    stage.end().await;
}

#[tokio::test]
async fn e_09_an_address_that_the_relay_does_not_know_is_suppressed_and_the_next_channel_starts() {
    use DeliveryState::{Failed, Ready, Sent, Suppressed};
    let sink = MailSink::start();
    sink.always(At::Rcpt, Act::Reply("550 5.1.1 unknown\r\n".to_owned()));
    let mut stage = Stage::new(|config| with_relay(config, &sink)).await;
    let order = stage.shop.order(MAIL, PHONE).await;
    let wanted = [
        (1, Channel::Email, Failed),
        // The first letter has told that the address is bad.
        (2, Channel::Email, Suppressed),
        (2, Channel::Sms, Sent),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order.id, &wanted).await;
    let hash = countersign_store::testing::recipient_hash(MAIL.unwrap());
    assert!(
        stage
            .store()
            .is_opted_out(&hash, Channel::Email)
            .await
            .unwrap()
    );
    stage.end().await;
}

#[tokio::test]
async fn e_10_a_refused_letter_does_not_condemn_the_address() {
    use DeliveryState::{Failed, Ready, Sent};
    let sink = MailSink::start();
    sink.always(At::Dot, Act::Reply("554 5.7.1 spam\r\n".to_owned()));
    let mut stage = Stage::new(|config| with_relay(config, &sink)).await;
    let order = stage.shop.order(MAIL, PHONE).await;
    let wanted = [
        (1, Channel::Email, Failed),
        (2, Channel::Email, Failed),
        (2, Channel::Sms, Sent),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order.id, &wanted).await;
    let hash = countersign_store::testing::recipient_hash(MAIL.unwrap());
    assert!(
        !stage
            .store()
            .is_opted_out(&hash, Channel::Email)
            .await
            .unwrap()
    );
    stage.end().await;
}

#[tokio::test]
async fn c_04_e_04_a_letter_that_may_have_arrived_goes_once_more_as_the_same_and_is_counted() {
    use DeliveryState::Sent;
    const COUNTED: &str = "possible_duplicate_total{channel=EMAIL}";
    let figures = Figures::start();
    let sink = MailSink::start();
    sink.once(At::Dot, Act::AcceptAndDrop);
    let mut stage = Stage::new(|config| with_relay(config, &sink)).await;
    let order = stage.shop.order(MAIL, None).await;
    eventually(async || {
        let all = stage.store().list_deliveries(order.id).await.unwrap();
        let tries = all.iter().flat_map(|it| &it.history);
        let outcomes: Vec<AttemptOutcome> = tries.map(|it| it.outcome).collect();
        outcomes
            .contains(&AttemptOutcome::InDoubt)
            .then_some(())
            .ok_or_else(|| format!("{outcomes:?}"))
    })
    .await;
    assert_eq!(figures.of(COUNTED), 0);
    stage.store().shift_clock(chrono::Duration::seconds(75));
    let wanted = [(1, Channel::Email, Sent), (2, Channel::Email, Sent)];
    stage.until_states(order.id, &wanted).await;
    assert_eq!(figures.of(COUNTED), 1);
    let mut ids: Vec<String> = sink
        .mails()
        .iter()
        .map(|mail| mail.header("message-id").unwrap())
        .collect();
    assert_eq!(ids.len(), 3);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "one of the two letters twice");
    stage.end().await;
}

#[tokio::test]
async fn e_05_a_relay_that_thinks_longer_than_the_lease_gets_the_letter_once() {
    let sink = MailSink::start();
    sink.always(At::Dot, Act::Delay(Duration::from_secs(4)));
    let mut stage = Stage::new(|config| {
        with_relay(config, &sink);
        config.notification.lease_seconds = 1;
    })
    .await;
    let order = stage.shop.order(MAIL, None).await;
    let sent = DeliveryState::Sent;
    stage
        .until_states(
            order.id,
            &[(1, Channel::Email, sent), (2, Channel::Email, sent)],
        )
        .await;
    assert_eq!(sink.accepted(), 2, "each of the two letters once");
    stage.end().await;
}
