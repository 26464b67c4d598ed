//! Partners that listen on real sockets, well and badly.

use countersign_domain::ids::WebhookEndpointId;
use countersign_proto::v1::{self, webhook_service_client::WebhookServiceClient};
use tonic::transport::Channel as Connection;

use super::*;
use crate::{
    channel::signature::SigningKeys,
    testkit::{Answer, SeenRequest},
};

type Client = WebhookServiceClient<Connection>;

/// A worker that may tell partners on this machine, and one partner.
struct Trade {
    stage: Stage,
    client: Client,
    partner: GatewayStub,
}

fn answer(status: u16) -> Answer {
    Answer::Status(status, String::new(), "{}".to_owned())
}

impl Trade {
    async fn new() -> Self {
        Self::on(TestDatabase::sqlite().await).await
    }

    async fn on(database: TestDatabase) -> Self {
        let stage = Stage::on(database, |config| {
            config.webhooks.allow_http = true;
            config.webhooks.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
        })
        .await;
        let client = WebhookServiceClient::connect(format!("http://{}", stage.grpc))
            .await
            .unwrap();
        let partner = GatewayStub::start(SECRET).await;
        partner.always(answer(200));
        Self {
            stage,
            client,
            partner,
        }
    }

    fn url(&self) -> String {
        self.partner.base().replace("/v1", "/hooks")
    }

    async fn endpoint(&mut self, types: &[&str]) -> (String, String) {
        let request = create(&self.url(), types);
        let made = self.client.create_webhook_endpoint(request).await.unwrap();
        let made = made.into_inner();
        (made.endpoint.unwrap().name, made.secret)
    }

    async fn get(&self, name: &str) -> v1::WebhookEndpoint {
        let request = v1::GetWebhookEndpointRequest {
            name: name.to_owned(),
        };
        let found = self.client.clone().get_webhook_endpoint(request).await;
        found.unwrap().into_inner()
    }

    async fn list(&self, name: &str, states: &[&str]) -> Vec<v1::WebhookDelivery> {
        let request = v1::ListWebhookDeliveriesRequest {
            parent: name.to_owned(),
            states: states.iter().map(|&it| it.to_owned()).collect(),
            ..v1::ListWebhookDeliveriesRequest::default()
        };
        let found = self.client.clone().list_webhook_deliveries(request).await;
        found.unwrap().into_inner().deliveries
    }

    async fn until_posts(&self, count: usize) -> Vec<SeenRequest> {
        eventually(async || {
            let seen = self.partner.seen();
            (seen.len() >= count)
                .then(|| seen.clone())
                .ok_or_else(|| format!("{} posts", seen.len()))
        })
        .await
    }

    async fn until_listed(&self, name: &str, state: &str, count: usize) {
        eventually(async || {
            let found = self.list(name, &[]).await;
            let fitting = found.iter().filter(|it| it.state == state).count();
            (fitting == count)
                .then_some(())
                .ok_or_else(|| format!("{found:#?}"))
        })
        .await;
    }

    /// Lets time pass for everybody.
    fn pass(&self, time: chrono::TimeDelta) {
        self.stage.store().shift_clock(time);
    }
}

fn create(url: &str, types: &[&str]) -> v1::CreateWebhookEndpointRequest {
    v1::CreateWebhookEndpointRequest {
        endpoint: Some(v1::WebhookEndpoint {
            url: url.to_owned(),
            description: "the shop".to_owned(),
            event_types: types.iter().map(|&it| it.to_owned()).collect(),
            ..v1::WebhookEndpoint::default()
        }),
        request_id: "make-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "the shop wants to know".to_owned(),
    }
}

fn update(name: &str, request_id: &str, paths: &[&str]) -> v1::UpdateWebhookEndpointRequest {
    v1::UpdateWebhookEndpointRequest {
        endpoint: Some(v1::WebhookEndpoint {
            name: name.to_owned(),
            state: "ENABLED".to_owned(),
            ..v1::WebhookEndpoint::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|&it| it.to_owned()).collect(),
        }),
        request_id: request_id.to_owned(),
        actor: "wang".to_owned(),
        reason: "it works again".to_owned(),
    }
}

fn keys(secrets: &[&str]) -> SigningKeys {
    let secrets: Vec<SecretString> = secrets.iter().map(|it| SecretString::from(*it)).collect();
    SigningKeys::parse(&secrets).unwrap()
}

fn header<'a>(request: &'a SeenRequest, name: &str) -> &'a str {
    request.headers.get(name).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn partners_are_told_of_orders_from_now_on_and_can_prove_who_told_them() {
    for database in TestDatabase::all().await {
        let mut trade = Trade::on(database).await;
        trade.stage.shop.order(MAIL, PHONE).await;
        let (all, secret) = trade.endpoint(&[]).await;
        let order = trade.stage.shop.order(MAIL, PHONE).await;
        trade.stage.shop.accept(order.id).await;
        let events = trade.stage.store().list_order_events(order.id, 0, 50).await;
        let events = events.unwrap().items;
        let posts = trade.until_posts(events.len()).await;
        let now = trade.stage.store().now().await.unwrap();
        let mut told: Vec<(i64, String)> = posts
            .iter()
            .map(|post| {
                let id = keys(&[&secret])
                    .verify(&post.headers, &post.body, now)
                    .unwrap();
                let body: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
                assert_eq!(body["id"], id);
                assert_eq!(body["data"]["order"], order.id.resource_name());
                let text = String::from_utf8(post.body.clone()).unwrap();
                assert!(!text.to_lowercase().contains("canary"), "{text}");
                assert_eq!(header(post, "content-type"), "application/json");
                (
                    body["data"]["version"].as_i64().unwrap(),
                    body["type"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        told.sort();
        let happened: Vec<(i64, String)> = events
            .iter()
            .map(|event| (event.version, event.kind.to_string()))
            .collect();
        assert_eq!(told, happened);
        assert!(told.iter().any(|it| it.1 == "order.confirmed"));
        trade.until_listed(&all, "DELIVERED", events.len()).await;
        let endpoint = trade.get(&all).await;
        assert_eq!(
            (endpoint.state.as_str(), endpoint.failure_count),
            ("ENABLED", 0)
        );
        trade.stage.end().await;
    }
}

#[tokio::test]
async fn a_partner_hears_only_of_what_it_asked_for() {
    let mut trade = Trade::new().await;
    let (name, _) = trade.endpoint(&["order.confirmed"]).await;
    let order = trade.stage.shop.order(MAIL, PHONE).await;
    trade.stage.shop.accept(order.id).await;
    let posts = trade.until_posts(1).await;
    let body: serde_json::Value = serde_json::from_slice(&posts[0].body).unwrap();
    assert_eq!(body["type"], "order.confirmed");
    assert!(body["data"]["order_number"].is_string(), "{body}");
    trade.until_listed(&name, "DELIVERED", 1).await;
    assert_eq!(trade.list(&name, &[]).await.len(), 1);
    trade.stage.end().await;
}

#[tokio::test]
async fn a_partner_that_fails_is_told_again_under_the_same_id_and_by_schedule() {
    let mut trade = Trade::new().await;
    let (name, secret) = trade.endpoint(&["order.received"]).await;
    for bad in [
        answer(500),
        Answer::Status(
            307,
            "location: http://127.0.0.1:9/\r\n".to_owned(),
            String::new(),
        ),
        Answer::Drop,
    ] {
        trade.partner.once(bad);
    }
    trade.stage.shop.order(MAIL, PHONE).await;
    for (posts, wait, failure, status) in [
        (1, 7, "REFUSED", 500),
        (2, 400, "REDIRECTED", 307),
        (3, 2_400, "NO_ANSWER", 0),
    ] {
        trade.until_posts(posts).await;
        eventually(async || {
            let found = trade.list(&name, &["PENDING"]).await;
            let last = found.first().ok_or("nothing is pending")?;
            (last.failure == failure && last.http_status == status)
                .then_some(())
                .ok_or_else(|| format!("{last:?}"))
        })
        .await;
        trade.pass(chrono::TimeDelta::seconds(wait));
    }
    let posts = trade.until_posts(4).await;
    let ids: Vec<&str> = posts.iter().map(|it| header(it, "webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // Each try is signed at its own time.
    let now = trade.stage.store().now().await.unwrap();
    let last = keys(&[&secret]).verify(&posts[3].headers, &posts[3].body, now);
    assert!(last.is_ok());
    assert!(
        keys(&[&secret])
            .verify(&posts[0].headers, &posts[0].body, now)
            .is_err()
    );
    trade.until_listed(&name, "DELIVERED", 1).await;
    assert_eq!(trade.list(&name, &[]).await[0].try_count, 4);
    trade.stage.end().await;
}

#[tokio::test]
async fn a_partner_that_says_gone_is_told_no_more_until_staff_want_it() {
    let mut trade = Trade::new().await;
    let (name, _) = trade.endpoint(&["order.received"]).await;
    trade.partner.once(answer(410));
    trade.stage.shop.order(MAIL, PHONE).await;
    trade.until_listed(&name, "FAILED", 1).await;
    let endpoint = trade.get(&name).await;
    assert_eq!(
        (endpoint.state.as_str(), endpoint.disabled_reason.as_str()),
        ("DISABLED", "GONE")
    );
    // What happens meanwhile is kept.
    trade.stage.shop.order(MAIL, PHONE).await;
    trade.until_listed(&name, "PENDING", 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(trade.partner.seen().len(), 1);
    let enabled = trade
        .client
        .update_webhook_endpoint(update(&name, "again-1", &["state"]))
        .await
        .unwrap();
    assert_eq!(enabled.into_inner().state, "ENABLED");
    trade.until_listed(&name, "DELIVERED", 1).await;

    let start = trade.get(&name).await.create_time;
    let replay = v1::ReplayWebhookDeliveriesRequest {
        parent: name.clone(),
        start_time: start,
        request_id: "replay-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "they missed it".to_owned(),
        ..v1::ReplayWebhookDeliveriesRequest::default()
    };
    for _ in 0..2 {
        let replayed = trade.client.replay_webhook_deliveries(replay.clone()).await;
        assert_eq!(replayed.unwrap().into_inner().replayed_count, 1);
    }
    trade.until_listed(&name, "DELIVERED", 2).await;
    assert_eq!(trade.partner.seen().len(), 3);
    let named = v1::ReplayWebhookDeliveriesRequest {
        deliveries: vec![trade.list(&name, &[]).await[0].name.clone()],
        start_time: None,
        request_id: "replay-2".to_owned(),
        ..replay
    };
    let replayed = trade.client.replay_webhook_deliveries(named).await;
    assert_eq!(replayed.unwrap().into_inner().replayed_count, 1);
    trade.until_posts(4).await;
    trade.stage.end().await;
}

#[tokio::test]
async fn j_11_a_new_secret_signs_beside_the_old_one_for_a_day() {
    let mut trade = Trade::new().await;
    let (name, old) = trade.endpoint(&["order.received"]).await;
    let rotate = v1::RotateWebhookSecretRequest {
        name: name.clone(),
        request_id: "rotate-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "somebody left".to_owned(),
    };
    let made = trade.client.rotate_webhook_secret(rotate.clone()).await;
    let new = made.unwrap().into_inner().secret;
    assert_ne!(new, old);
    let again = trade.client.rotate_webhook_secret(rotate).await;
    assert_eq!(again.unwrap().into_inner().secret, new);
    trade.stage.shop.order(MAIL, PHONE).await;
    let posts = trade.until_posts(1).await;
    let now = trade.stage.store().now().await.unwrap();
    for secret in [&old, &new] {
        let verdict = keys(&[secret]).verify(&posts[0].headers, &posts[0].body, now);
        assert!(verdict.is_ok());
    }
    trade.pass(chrono::TimeDelta::hours(25));
    trade.stage.shop.order(MAIL, PHONE).await;
    let posts = trade.until_posts(2).await;
    let now = trade.stage.store().now().await.unwrap();
    let last = |secret: &str| {
        keys(&[secret])
            .verify(&posts[1].headers, &posts[1].body, now)
            .is_ok()
    };
    assert_eq!((last(&old), last(&new)), (false, true));
    trade.stage.end().await;
}

#[tokio::test]
async fn an_endpoint_that_staff_disable_is_told_nothing_more_of_what_was_waiting() {
    let mut trade = Trade::new().await;
    let (name, _) = trade.endpoint(&["order.received"]).await;
    let mut disable = update(&name, "off", &["state"]);
    disable.endpoint.as_mut().unwrap().state = "DISABLED".to_owned();
    trade
        .partner
        .always(Answer::Delay(Duration::from_millis(400)));
    for _ in 0..40 {
        trade.stage.shop.order(MAIL, PHONE).await;
    }
    // The first sixteen are under way.
    trade.until_posts(1).await;
    let disabled = trade.client.update_webhook_endpoint(disable).await.unwrap();
    assert_eq!(disabled.into_inner().disabled_reason, "STAFF");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let seen = trade.partner.seen().len();
    assert!(seen < 40, "{seen}");
    trade.partner.always(answer(200));
    let enabled = update(&name, "on", &["state"]);
    trade.client.update_webhook_endpoint(enabled).await.unwrap();
    eventually(async || {
        let pending = trade.list(&name, &["PENDING"]).await.len();
        (pending == 0)
            .then_some(())
            .ok_or_else(|| format!("{pending} are pending"))
    })
    .await;
    trade.stage.end().await;
}

#[tokio::test]
async fn a_slow_partner_keeps_no_other_waiting() {
    let mut trade = Trade::new().await;
    let slow = GatewayStub::start(SECRET).await;
    slow.always(Answer::Stall);
    let mut request = create(&slow.base(), &["order.received"]);
    request.request_id = "make-2".to_owned();
    trade.client.create_webhook_endpoint(request).await.unwrap();
    let (name, _) = trade.endpoint(&["order.received"]).await;
    for _ in 0..3 {
        trade.stage.shop.order(MAIL, PHONE).await;
    }
    trade.until_listed(&name, "DELIVERED", 3).await;
    // The slow partner was asked, too: its post may come after the other's three.
    eventually(async || {
        let asked = !slow.seen().is_empty();
        asked.then_some(()).ok_or_else(|| "never asked".to_owned())
    })
    .await;
    drop(slow);
    trade.stage.end().await;
}

#[tokio::test]
async fn an_endpoint_can_be_tried_out_changed_and_removed() {
    let mut trade = Trade::new().await;
    let (name, _) = trade.endpoint(&["order.cancelled"]).await;
    let test = v1::SendTestWebhookRequest {
        name: name.clone(),
        request_id: "test-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "does it work?".to_owned(),
    };
    let first = trade.client.send_test_webhook(test.clone()).await.unwrap();
    let second = trade.client.send_test_webhook(test).await.unwrap();
    assert_eq!(first.into_inner().name, second.into_inner().name);
    let posts = trade.until_posts(1).await;
    let body: serde_json::Value = serde_json::from_slice(&posts[0].body).unwrap();
    assert_eq!(body["type"], "webhook.test");
    assert_eq!(body["data"]["endpoint"], name.as_str());

    let mut change = update(&name, "change-1", &["description", "event_types"]);
    let wanted = change.endpoint.as_mut().unwrap();
    wanted.description = "the ERP".to_owned();
    wanted.event_types = vec!["order.received".to_owned()];
    let changed = trade.client.update_webhook_endpoint(change).await.unwrap();
    let changed = changed.into_inner();
    assert_eq!(changed.description, "the ERP");
    assert_eq!(changed.event_types, ["order.received"]);
    assert_eq!(changed.url, trade.url());

    let delete = v1::DeleteWebhookEndpointRequest {
        name: name.clone(),
        request_id: "delete-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "no longer wanted".to_owned(),
    };
    for _ in 0..2 {
        let gone = trade.client.delete_webhook_endpoint(delete.clone()).await;
        assert!(gone.is_ok(), "{gone:?}");
    }
    let get = v1::GetWebhookEndpointRequest { name: name.clone() };
    let found = trade.client.get_webhook_endpoint(get).await;
    assert_eq!(found.unwrap_err().code(), Code::NotFound);
    trade.stage.shop.order(MAIL, PHONE).await;
    let id = WebhookEndpointId::from_resource_name(&name).unwrap();
    let now = trade.stage.store().now().await.unwrap();
    let left = trade
        .stage
        .store()
        .tidy_webhooks(now - chrono::TimeDelta::days(30))
        .await;
    assert_eq!(left.unwrap(), 1);
    let rest = trade
        .stage
        .store()
        .list_webhook_deliveries(id, &[], None, 9)
        .await;
    assert!(rest.unwrap().items.is_empty());
    assert_eq!(trade.partner.seen().len(), 1);
    trade.stage.end().await;
}

#[tokio::test]
async fn j_05_an_endpoint_at_a_private_address_is_refused_and_every_wrong_field_named() {
    let stage = Stage::new(|_| {}).await;
    let mut client = WebhookServiceClient::connect(format!("http://{}", stage.grpc))
        .await
        .unwrap();
    for (url, types, field) in [
        ("https://127.0.0.1/hooks", &[][..], "endpoint.url"),
        ("https://localhost/hooks", &[], "endpoint.url"),
        ("https://[::ffff:127.0.0.1]/", &[], "endpoint.url"),
        ("https://169.254.169.254/", &[], "endpoint.url"),
        ("http://93.184.216.34/", &[], "endpoint.url"),
        (
            "https://93.184.216.34/",
            &["order.gone"],
            "endpoint.event_types",
        ),
    ] {
        let refused = client.create_webhook_endpoint(create(url, types)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{url}");
        assert!(refused.message().starts_with(field), "{refused}");
    }
    let name = "webhookEndpoints/01932e4f-7a3c-7cc1-9b5a-3f0e8c2d4b6a";
    for (paths, field) in [(&[][..], "update_mask"), (&["name"], "update_mask")] {
        let refused = client
            .update_webhook_endpoint(update(name, "u", paths))
            .await;
        assert!(refused.unwrap_err().message().starts_with(field));
    }
    let nobody = client
        .update_webhook_endpoint(update(name, "u", &["state"]))
        .await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound);
    let list = v1::ListWebhookEndpointsRequest {};
    let none = client.list_webhook_endpoints(list).await.unwrap();
    assert!(none.into_inner().endpoints.is_empty());
    stage.end().await;
}
