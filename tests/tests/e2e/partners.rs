//! Partners' systems hear what becomes of an order, from the real services.

use std::time::Duration;

use countersign_domain::message::OptOutReason;
use countersign_domain::order::Channel;
use countersign_e2e::{EMAIL, PHONE, fresh_id};
use countersign_notification::testkit::{Answer, GatewayStub};
use countersign_proto::v1::{self, webhook_service_client::WebhookServiceClient};
use serde_json::Value;

use crate::stand::Stand;

async fn listening(stand: &Stand, types: &[&str]) -> GatewayStub {
    let partner = GatewayStub::start("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").await;
    partner.always(Answer::Status(200, String::new(), String::new()));
    let mut client = WebhookServiceClient::connect(format!("http://{}", stand.worker))
        .await
        .unwrap();
    let request = v1::CreateWebhookEndpointRequest {
        endpoint: Some(v1::WebhookEndpoint {
            url: partner.base(),
            event_types: types.iter().map(|&it| it.to_owned()).collect(),
            ..v1::WebhookEndpoint::default()
        }),
        request_id: fresh_id("endpoint"),
        actor: "wang".to_owned(),
        reason: "the shop wants to know".to_owned(),
    };
    client.create_webhook_endpoint(request).await.unwrap();
    partner
}

/// The events that a partner has heard, when there are so many.
async fn heard(partner: &GatewayStub, count: usize) -> Vec<Value> {
    for _ in 0..300 {
        let seen = partner.seen();
        if seen.len() >= count {
            let bodies = seen.iter().map(|it| serde_json::from_slice(&it.body));
            return bodies.collect::<Result<_, _>>().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} events came, not {count}", partner.seen().len());
}

async fn stand() -> Stand {
    Stand::with(|config| {
        config.webhooks.allow_http = true;
        config.webhooks.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await
}

#[tokio::test]
async fn m_04_the_shop_is_told_once_that_no_channel_leads_to_its_customer() {
    let stand = stand().await;
    let partner = listening(&stand, &["order.unreachable"]).await;
    let store = &stand.system.store;
    let now = store.now().await.unwrap();
    for (address, channel) in [
        (EMAIL, Channel::Email),
        (PHONE, Channel::Sms),
        (PHONE, Channel::Phone),
    ] {
        let hash = countersign_store::testing::recipient_hash(address);
        store
            .insert_opt_out(&hash, channel, OptOutReason::BadAddress, now)
            .await
            .unwrap();
    }
    let order = stand.order("en").await;
    let events = heard(&partner, 1).await;
    assert_eq!(events[0]["type"], "order.unreachable");
    assert_eq!(events[0]["data"]["order"], order.name.as_str());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(partner.seen().len(), 1, "once");
    let order = stand.system.order(&order.name).await;
    assert_eq!(order.holds.len(), 1);
}

#[tokio::test]
async fn the_shop_hears_of_every_stage_of_an_order_once() {
    let stand = stand().await;
    let partner = listening(&stand, &[]).await;
    let order = stand.delivered("zh-CN").await;
    let events = stand.system.trace(&order.name).await.events;
    let mut heard = heard(&partner, events.len()).await;
    heard.sort_by_key(|event| event["data"]["version"].as_i64());
    let types: Vec<&str> = heard.iter().filter_map(|it| it["type"].as_str()).collect();
    let kinds: Vec<&str> = events.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(types, kinds);
    let last = heard.last().unwrap();
    assert_eq!(last["data"]["stage"], "DELIVERED");
    assert_eq!(last["data"]["order_number"], order.order_number.as_str());
}
