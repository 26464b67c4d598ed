//! Secrets that are shared with others are changed without a message lost.

use countersign_domain::{message::DeliveryState, order::Channel};
use secrecy::SecretString;
use serde_json::json;

use super::{PHONE, SECRET, Stage, with_gateway};
use crate::testkit::GatewayStub;

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
