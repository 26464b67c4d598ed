//! The whole worker between a database, an order service and gateways that are stubs on real sockets.

mod alarms;
mod alibaba;
mod gateways;
mod gather;
mod guard;
mod hours;
mod letters;
mod operator;
mod proxy;
mod quiet;
mod retention;
mod rotation;
mod safe_mode;
mod sequence;
mod stub;
mod templates;
mod twilio;
mod webhooks;

use std::{future::Future, net::SocketAddr, time::Duration};

use countersign_domain::{
    confirmation::AnswerChannel,
    ids::OrderId,
    message::DeliveryState,
    order::Channel,
    policy::OrderPolicy,
    reply::{ReplyContent, ReplyState},
    secrets::LinkKey,
};
use countersign_proto::v1::{
    ListDeliveriesRequest, notification_service_client::NotificationServiceClient,
};
use countersign_runtime::{
    callers::Gate,
    client,
    config::{self, Config, GatewayTransport},
    lifecycle::Lifecycle,
};
use countersign_store::{
    MailboxContent, Store,
    testing::{TestDatabase, shop::Shop},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::Code;

use crate::{
    Deps,
    ids::Ids,
    inbox::{Inbox, ReplyInput},
    run,
    testkit::GatewayStub,
};
use stub::OrderStub;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const MAIL: Option<&str> = Some("canary@example.com");
const PHONE: Option<&str> = Some("+8613912345678");

/// A recipient whose messages make the renderer panic.
const POISON: &str = "poison@example.com";

/// Where the worker breaks when a test wants it to.
pub(crate) fn break_here(recipient: &str) {
    assert_ne!(recipient, POISON, "as asked");
}

struct Stage {
    database: TestDatabase,
    shop: Shop,
    orders: OrderStub,
    lifecycle: Lifecycle,
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Stage {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(TestDatabase::sqlite().await, change).await
    }

    async fn on(database: TestDatabase, change: impl FnOnce(&mut Config)) -> Self {
        Self::with_policy(database, change, |_| {}).await
    }

    async fn with_policy(
        database: TestDatabase,
        change: impl FnOnce(&mut Config),
        policy: impl FnOnce(&mut OrderPolicy),
    ) -> Self {
        let orders = OrderStub::default();
        let order_service = client::connect_lazily(
            &orders.serve().await,
            "notification-worker",
            &config::Client::default(),
        )
        .unwrap();
        let http_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = http_listener.local_addr().unwrap();
        let grpc = grpc_listener.local_addr().unwrap();
        let mut config = Config::default();
        config.notification.public_url = format!("http://{http}");
        config.notification.poll_interval_ms = 20;
        // Nearly all tests write to one number; those of the guard set limits of their own.
        config.sending.number_per_10_minutes = 0;
        config.sending.number_per_day = 0;
        change(&mut config);
        let mut shop = Shop::new(database.store.clone());
        policy(&mut shop.policy);
        shop.publish_policy().await;
        let link_key = match &config.links.key {
            Some(keys) => LinkKey::read(keys.expose_secret()).unwrap(),
            None => shop.key.clone(),
        };
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let deps = Deps {
            config,
            store: database.store.clone(),
            link_key,
            http_listener,
            gate: Gate::open(),
            grpc_listener,
            order_service,
        };
        run(deps, &lifecycle).await.unwrap();
        Self {
            database,
            shop,
            orders,
            lifecycle,
            http,
            grpc,
        }
    }

    const fn store(&self) -> &Store {
        &self.database.store
    }

    async fn states(&self, order: OrderId) -> Vec<(u32, Channel, DeliveryState)> {
        let all = self.store().list_deliveries(order).await.unwrap();
        all.iter()
            .map(|it| (it.delivery.seq, it.delivery.channel, it.delivery.state))
            .collect()
    }

    async fn until_states(&self, order: OrderId, wanted: &[(u32, Channel, DeliveryState)]) {
        eventually(async || {
            let found = self.states(order).await;
            (found == wanted)
                .then_some(())
                .ok_or_else(|| format!("{found:?}"))
        })
        .await;
    }

    /// Ends the worker and sees that nothing was cut off.
    async fn end(self) {
        self.lifecycle.shutdown();
        let ended = self.lifecycle.run().await.unwrap();
        assert_eq!(ended, countersign_runtime::lifecycle::Ended::Clean);
    }
}

/// Asks until the answer is right, for a minute: a claim that came to nothing ends with its lease.
async fn eventually<F: Future<Output = Result<T, String>>, T>(ask: impl Fn() -> F) -> T {
    let mut last = String::new();
    for _ in 0..1_200 {
        match ask().await {
            Ok(found) => return found,
            Err(found) => last = found,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not in time; last seen: {last}");
}

fn with_gateway(config: &mut Config, stub: &GatewayStub) {
    config.sms.transport = GatewayTransport::Gateway;
    config.sms.base_url = Some(stub.base());
    config.sms.secret = Some(SecretString::from(SECRET));
}

#[tokio::test]
async fn an_order_is_told_about_by_letter_with_link_and_code() {
    use DeliveryState::{Ready, Sent};
    for database in TestDatabase::all().await {
        let mut stage = Stage::on(database, |_| {}).await;
        let order = stage.shop.order(MAIL, PHONE).await;
        let wanted = [
            (1, Channel::Email, Sent),
            (2, Channel::Email, Sent),
            (2, Channel::Sms, Ready),
            (2, Channel::Phone, Ready),
        ];
        stage.until_states(order.id, &wanted).await;
        let items = stage.store().list_mailbox(None, 10).await.unwrap().items;
        assert_eq!(items.len(), 2);
        let letter = items
            .iter()
            .find_map(|item| match &item.content {
                MailboxContent::Email { subject, text, .. } if subject.contains("confirm") => {
                    Some(text.clone())
                }
                _ => None,
            })
            .unwrap();
        let token = stage.shop.key.link_token(order.id, 1);
        assert!(
            letter.contains(&format!("http://{}/o/{token}", stage.http)),
            "{letter}"
        );
        assert!(letter.contains(&stage.shop.key.confirmation_code(order.id, 1)));
        assert!(letter.contains("207.00 CNY"), "{letter}");

        let mut client = NotificationServiceClient::connect(format!("http://{}", stage.grpc))
            .await
            .unwrap();
        let request = ListDeliveriesRequest {
            parent: order.id.resource_name(),
        };
        let listed = client.list_deliveries(request).await.unwrap().into_inner();
        assert_eq!(listed.deliveries.len(), 4);
        assert_eq!(listed.deliveries[0].recipient, "c***@example.com");
        assert_eq!(listed.deliveries[0].attempts[0].outcome, "SENT");
        let wrong = ListDeliveriesRequest {
            parent: "orders/1".to_owned(),
        };
        let refused = client.list_deliveries(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        stage.end().await;
    }
}

#[tokio::test]
async fn a_reply_is_told_until_it_is_answered_under_the_same_request_id() {
    let mut stage = Stage::new(|_| {}).await;
    let order = stage.shop.order(MAIL, None).await;
    stage.orders.refuse(&[Code::Unavailable, Code::Aborted]);
    let inbox = Inbox::new(stage.store().clone(), std::sync::Arc::new(Ids::seeded(1)));
    let yes = |event: &str| ReplyInput {
        source: "PAGE",
        source_event_id: event.to_owned(),
        order: Some(order.id),
        content: ReplyContent::Accept {
            round: Some(1),
            answer_channel: AnswerChannel::Link,
            amount: None,
        },
    };
    let id = inbox.receive(yes("e-1")).await.unwrap();
    assert_eq!(inbox.receive(yes("e-1")).await.unwrap(), id);
    let settled = async |id, state: ReplyState| {
        eventually(async || {
            let reply = stage.store().find_reply(id).await.unwrap().unwrap();
            let found = format!("{} {}", reply.state, reply.result);
            (reply.state == state).then_some(reply.result).ok_or(found)
        })
        .await
    };
    assert_eq!(settled(id, ReplyState::Applied).await, "OK");
    let told = stage.orders.told();
    assert_eq!(told.len(), 3);
    for call in &told {
        assert_eq!(call.method, "AcceptConfirmation");
        assert_eq!(
            call.name,
            format!("{}/confirmations/1", order.id.resource_name())
        );
        assert_eq!(call.request_id, id.to_string());
        assert_eq!(call.caller, "notification-worker");
    }
    stage.orders.refuse(&[Code::FailedPrecondition]);
    let late = inbox.receive(yes("e-2")).await.unwrap();
    assert_eq!(
        settled(late, ReplyState::Refused).await,
        "FailedPrecondition"
    );
    assert_eq!(stage.orders.told().len(), 4);
    stage.end().await;
}

#[tokio::test]
async fn a_text_goes_out_by_the_gateway_and_its_answer_comes_back() {
    use DeliveryState::{Delivered, Ready, Sent, Suppressed};
    let gateway = GatewayStub::start(SECRET).await;
    let mut stage = Stage::new(|config| with_gateway(config, &gateway)).await;
    let order = stage.shop.order(None, PHONE).await;
    let sent = [
        (1, Channel::Sms, Sent),
        (2, Channel::Sms, Sent),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order.id, &sent).await;
    let accepted = gateway.accepted();
    assert_eq!(accepted.len(), 2);
    assert!(gateway.seen().iter().all(|request| {
        let trace = request.headers["traceparent"].to_str().unwrap();
        trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    }));

    let now = stage.store().now().await.unwrap();
    let at = now.to_rfc3339();
    let callbacks = format!("http://{}/callbacks/sms", stage.http);
    let arrived = json!({"type": "message.status", "data": {
        "id": accepted[1].id, "idempotency_key": accepted[1].key, "status": "delivered", "at": at}});
    let yes = json!({"type": "sms.received", "data": {
        "id": "in-1", "from": "+8613912345678", "to": "+8610", "text": "好的。",
        "in_reply_to": accepted[1].id, "at": at}});
    let status = format!("{callbacks}/status");
    let reply = format!("{callbacks}/reply");
    for _ in 0..3 {
        let code = gateway
            .send_callback(&status, "cb-1", now.timestamp(), &arrived)
            .await;
        assert_eq!(code, 204);
        let code = gateway
            .send_callback(&reply, "cb-2", now.timestamp(), &yes)
            .await;
        assert_eq!(code, 204);
    }
    let old = gateway
        .send_callback(&reply, "cb-3", now.timestamp() - 301, &yes)
        .await;
    assert_eq!(old, 401);
    let told = [
        (1, Channel::Sms, Sent),
        (2, Channel::Sms, Delivered),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order.id, &told).await;
    let call = eventually(async || stage.orders.told().pop().ok_or(String::new())).await;
    assert_eq!(call.method, "AcceptConfirmation");

    let stop = json!({"type": "sms.received", "data": {
        "id": "in-2", "from": "+8613912345678", "to": "+8610", "text": "退订", "at": at}});
    gateway
        .send_callback(&reply, "cb-4", now.timestamp(), &stop)
        .await;
    let hash = countersign_store::testing::recipient_hash("+8613912345678");
    eventually(async || {
        let out = stage
            .store()
            .is_opted_out(&hash, Channel::Sms)
            .await
            .unwrap();
        out.then_some(()).ok_or(String::new())
    })
    .await;
    let second = stage.shop.order(None, PHONE).await;
    let silent = [
        (1, Channel::Sms, Suppressed),
        (2, Channel::Sms, Suppressed),
        // Asked by the next channel at once.
        (2, Channel::Phone, Sent),
    ];
    stage.until_states(second.id, &silent).await;
    assert_eq!(gateway.accepted().len(), 2);
    assert_eq!(stage.orders.told().len(), 1, "replays said nothing new");
    stage.end().await;
}
