//! The order service and the worker on one database, as a shop runs them; letters land in the local mailbox.

use std::{net::SocketAddr, time::Duration};

use countersign_domain::ids::OrderId;
use countersign_e2e::{System, fresh_id, link_key, order_builder, timestamp};
use countersign_notification::{Deps, run};
use countersign_proto::v1;
use countersign_runtime::{
    callers::Gate,
    client,
    config::{Client, Config},
    lifecycle::Lifecycle,
};
use countersign_store::FIRST_GENERATION;
use tokio::net::TcpListener;

pub(crate) const LANGUAGES: [&str; 2] = ["zh-CN", "en"];

pub(crate) struct Stand {
    pub(crate) system: System,
    pub(crate) pages: SocketAddr,
    /// Where the worker answers calls.
    pub(crate) worker: SocketAddr,
    lifecycle: Lifecycle,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.lifecycle.shutdown();
    }
}

impl Stand {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Set up otherwise.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(System::sqlite().await, change).await
    }

    /// Beside an order service that runs already.
    pub(crate) async fn on(system: System, change: impl FnOnce(&mut Config)) -> Self {
        let http_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pages = http_listener.local_addr().unwrap();
        let worker = grpc_listener.local_addr().unwrap();
        let orders = format!("http://{}", system.replicas[0].address);
        let mut config = Config::default();
        config.notification.public_url = format!("http://{pages}");
        config.notification.poll_interval_ms = 20;
        config.company.phone = Some("400-800-1234".to_owned());
        // All customers of the tests have one number.
        config.sending.number_per_10_minutes = 0;
        config.sending.number_per_day = 0;
        change(&mut config);
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let deps = Deps {
            config,
            store: system.store.clone(),
            link_key: link_key(),
            http_listener,
            grpc_listener,
            gate: Gate::open(),
            order_service: client::connect_lazily(
                &orders,
                "notification-worker",
                &Client::default(),
            )
            .unwrap(),
        };
        run(deps, &lifecycle).await.unwrap();
        Self {
            system,
            pages,
            worker,
            lifecycle,
        }
    }

    /// An order that waits for its customer's answer.
    pub(crate) async fn order(&self, language: &str) -> v1::Order {
        let request = order_builder()
            .with(|order| order.locale = language.to_owned())
            .request();
        let mut orders = self.system.orders().await;
        orders.create_order(request).await.unwrap().into_inner()
    }

    /// One whose goods have arrived.
    pub(crate) async fn delivered(&self, language: &str) -> v1::Order {
        let order = self.order(language).await;
        self.system.accept(&order.name).await;
        let now = self.system.store.now().await.unwrap();
        let request = v1::RecordTrackingEventRequest {
            parent: order.name.clone(),
            request_id: fresh_id("track"),
            event: Some(v1::TrackingEvent {
                source: "carrier".to_owned(),
                source_event_id: fresh_id("event"),
                status: v1::TrackingStatus::Delivered.into(),
                report_time: Some(timestamp(now)),
                ..v1::TrackingEvent::default()
            }),
        };
        let mut orders = self.system.orders().await;
        orders.record_tracking_event(request).await.unwrap();
        self.system.order(&order.name).await
    }

    /// The link that the customer was sent.
    pub(crate) fn link(&self, order: &v1::Order) -> String {
        let id = OrderId::in_name(&order.name).unwrap();
        let token = link_key().link_token(id, FIRST_GENERATION);
        format!("http://{}/o/{}", self.pages, token)
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) AS n FROM {table}");
        self.system.database.number(&sql).await
    }
}
