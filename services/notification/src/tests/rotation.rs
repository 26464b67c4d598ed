//! Secrets that are shared with others are changed without a message lost.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_domain::{message::DeliveryState, order::Channel, secrets::LinkKey};
use countersign_runtime::config::{Gateway, GatewayTransport, Twilio};
use countersign_store::{MailboxContent, testing::TestDatabase};
use futures::future::join_all;
use secrecy::SecretString;
use serde_json::json;

use super::{MAIL, PHONE, SECRET, Stage, eventually, with_gateway};
use crate::testkit::{GatewayStub, TwilioStub};

const NEW_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
async fn j_11_while_a_gateways_secret_is_changed_both_are_taken_and_both_sign() {
    use DeliveryState::{Ready, Sent};
    let sent = [
        (1, Channel::Sms, Sent),
        (2, Channel::Sms, Sent),
        (2, Channel::Phone, Ready),
    ];
    // The other side changes first, or later than we do; in between both secrets are with us.
    for known_there in [SECRET, NEW_SECRET] {
        let gateway = GatewayStub::start(known_there).await;
        let mut stage = Stage::new(|config| {
            with_gateway(config, &gateway);
            config.sms.secret = Some(SecretString::from(NEW_SECRET));
            config.sms.previous_secret = Some(SecretString::from(SECRET));
        })
        .await;
        let order = stage.shop.order(None, PHONE).await;
        stage.until_states(order.id, &sent).await;
        let accepted = gateway.accepted();
        assert_eq!(accepted.len(), 2, "signed so that it knows us");
        let now = stage.store().now().await.unwrap();
        let arrived = json!({"type": "message.status", "data": {
            "id": accepted[0].id, "idempotency_key": accepted[0].key, "status": "delivered",
            "at": now.to_rfc3339()}});
        let status = format!("http://{}/callbacks/sms/status", stage.http);
        let code = gateway.send_callback(&status, "cb-1", now.timestamp(), &arrived);
        assert_eq!(code.await, 204);
        stage.end().await;
    }
    // The change is over: the old one is no longer known.
    let gateway = GatewayStub::start(SECRET).await;
    let stage = Stage::new(|config| {
        with_gateway(config, &gateway);
        config.sms.secret = Some(SecretString::from(NEW_SECRET));
    })
    .await;
    let now = stage.store().now().await.unwrap();
    let status = format!("http://{}/callbacks/sms/status", stage.http);
    let report = json!({"type": "message.status", "data": {}});
    let code = gateway.send_callback(&status, "cb-1", now.timestamp(), &report);
    assert_eq!(code.await, 401);
    stage.end().await;
}

/// Secrets that take over from one another.
const ROTATIONS: u8 = 10;
/// Orders that are told of while a secret is changed.
const ORDERS: usize = 4;

fn gateway_secret(number: u8) -> String {
    format!("whsec_{}", STANDARD.encode([number + 1; 32]))
}

fn twilio_token(number: u8) -> String {
    format!("{number:02x}").repeat(16)
}

/// Every try was a success at once. A gateway's report may come before the worker has written down what the
/// gateway answered, so this waits until all tries are finished.
async fn no_try_failed(stage: &Stage) {
    let open = "SELECT COUNT(*) AS n FROM attempts WHERE finish_time IS NULL";
    eventually(async || match stage.database.number(open).await {
        0 => Ok(()),
        count => Err(format!("{count} tries are not finished")),
    })
    .await;
    let failed = "SELECT COUNT(*) AS n FROM attempts WHERE outcome <> 'SENT'";
    assert_eq!(stage.database.number(failed).await, 0);
    let all = "SELECT COUNT(*) AS n FROM attempts";
    assert_eq!(
        usize::try_from(stage.database.number(all).await),
        Ok(2 * ORDERS)
    );
}

/// Waits until the texts of all orders are there.
async fn all_told<T>(accepted: impl Fn() -> Vec<T>) -> Vec<T> {
    eventually(async || {
        let found = accepted();
        let all = found.len() == 2 * ORDERS;
        let count = found.len();
        all.then_some(found).ok_or_else(|| format!("{count}"))
    })
    .await
}

#[tokio::test]
async fn j_11_ten_changes_of_a_gateways_secret_lose_no_text_and_no_report() {
    for number in 1..=ROTATIONS {
        let (old, new) = (gateway_secret(number - 1), gateway_secret(number));
        // The other side knows the old one, and then the new one.
        for known_there in [&old, &new] {
            let gateway = GatewayStub::start(known_there).await;
            let mut stage = Stage::new(|config| {
                with_gateway(config, &gateway);
                config.sms.secret = Some(SecretString::from(new.as_str()));
                config.sms.previous_secret = Some(SecretString::from(old.as_str()));
            })
            .await;
            for _ in 0..ORDERS {
                stage.shop.order(None, PHONE).await;
            }
            let accepted = all_told(|| gateway.accepted()).await;
            let now = stage.store().now().await.unwrap();
            let status = format!("http://{}/callbacks/sms/status", stage.http);
            let reports = accepted.iter().map(async |text| {
                let told = json!({"type": "message.status", "data": {
                    "id": text.id, "idempotency_key": text.key, "status": "delivered",
                    "at": now.to_rfc3339()}});
                gateway
                    .send_callback(&status, &text.id, now.timestamp(), &told)
                    .await
            });
            assert_eq!(join_all(reports).await, [204; 2 * ORDERS]);
            no_try_failed(&stage).await;
            stage.end().await;
        }
    }
}

#[tokio::test]
async fn j_11_ten_changes_of_the_token_at_twilio_lose_no_text_and_no_report() {
    const DATE: &str = "Mon, 23 Nov 2026 00:00:00 +0000";
    for number in 1..=ROTATIONS {
        let (old, new) = (twilio_token(number - 1), twilio_token(number));
        // Twilio signs with the old token until the new one is promoted; it takes either from us meanwhile.
        for signs_there in [&old, &new] {
            let api = TwilioStub::start_as(DATE, &new).await;
            let reporter = TwilioStub::start_as(DATE, signs_there).await;
            let mut stage = Stage::new(|config| {
                config.sms = Gateway {
                    transport: GatewayTransport::Twilio,
                    twilio: Twilio {
                        base_url: api.base(),
                        account_sid: Some(TwilioStub::ACCOUNT.to_owned()),
                        auth_token: Some(SecretString::from(new.as_str())),
                        previous_auth_token: Some(SecretString::from(old.as_str())),
                        from: Some("+14155552345".to_owned()),
                        ..Twilio::default()
                    },
                    ..Gateway::default()
                };
            })
            .await;
            for _ in 0..ORDERS {
                stage.shop.order(None, PHONE).await;
            }
            let accepted = all_told(|| api.accepted()).await;
            let reports = accepted
                .iter()
                .map(async |text| reporter.tell_status(text, "delivered", &[]).await);
            assert_eq!(join_all(reports).await, [204; 2 * ORDERS]);
            no_try_failed(&stage).await;
            stage.end().await;
        }
    }
}

#[tokio::test]
async fn j_11_what_is_written_after_the_link_key_was_changed_holds_the_orders_own_link_and_code() {
    // The shop's orders are made with this one.
    let old = "\u{7}".repeat(32);
    let new = "a new key of thirty-two bytes or more";
    for database in TestDatabase::all().await {
        let mut stage = Stage::on(database, |config| {
            config.links.key = Some(SecretString::from(format!("{new}\n{old}")));
        })
        .await;
        let order = stage.shop.order(MAIL, None).await;
        let sent = [
            (1, Channel::Email, DeliveryState::Sent),
            (2, Channel::Email, DeliveryState::Sent),
        ];
        stage.until_states(order.id, &sent).await;
        let token = stage.shop.key.link_token(order.id, 1);
        let code = stage.shop.key.confirmation_code(order.id, 1);
        let items = stage.store().list_mailbox(None, 10).await.unwrap().items;
        let letters: Vec<&str> = items
            .iter()
            .filter_map(|item| match &item.content {
                MailboxContent::Email { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(letters.len(), 2);
        assert!(
            letters
                .iter()
                .any(|it| it.contains(&token) && it.contains(&code)),
            "{letters:#?}"
        );
        let using = LinkKey::new(new.as_bytes()).unwrap();
        let other = using.link_token(order.id, 1);
        assert!(letters.iter().all(|it| !it.contains(&other)));
        let page = reqwest::get(format!("http://{}/o/{token}", stage.http)).await;
        assert_eq!(page.unwrap().status().as_u16(), 200);
        stage.end().await;
    }
}
