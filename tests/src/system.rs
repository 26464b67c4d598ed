//! The running system.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use countersign_domain::{
    audit::default_rules,
    catalog::{DEFAULT_PRICE_LIST, Price, Product, ProductProfile},
    contact_hours::DailyWindow,
    money::{Currency, Money},
    policy::default_policies,
    secrets::LinkKey,
};
use countersign_order::Deps;
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use countersign_runtime::{callers::Gate, config, lifecycle::Lifecycle};
use countersign_store::{
    Settings, Store,
    testing::{TestDatabase, data_keys},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::order::{CATALOG, WAREHOUSE, fresh_id};

/// Makes the links and codes of every test.
pub const LINK_SECRET: &str = "end-to-end tests share one secret";

/// The order service as a caller has it.
pub type Orders = OrderServiceClient<InterceptedService<Channel, Caller>>;

/// Puts the caller's name on every call.
#[derive(Clone, Debug)]
pub struct Caller(MetadataValue<Ascii>);

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("x-countersign-caller", self.0.clone());
        Ok(request)
    }
}

/// One process of the order service, as far as anyone outside can tell.
#[derive(Debug)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    lifecycle: Lifecycle,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.lifecycle.shutdown();
    }
}

impl Replica {
    /// Starts one on a store, where nobody is asked who calls.
    pub async fn start(store: Store) -> Self {
        Self::start_as(store, link_key(), Gate::open(), config::Limits::default()).await
    }

    /// Starts one that makes links and codes with keys of its own.
    pub async fn start_keyed(store: Store, key: LinkKey) -> Self {
        Self::start_as(store, key, Gate::open(), config::Limits::default()).await
    }

    /// Starts one on a store, behind a gate.
    pub async fn start_behind(store: Store, gate: Gate) -> Self {
        Self::start_as(store, link_key(), gate, config::Limits::default()).await
    }

    /// Starts one that bears more or less than usual.
    pub async fn start_with(store: Store, change: impl FnOnce(&mut config::Limits)) -> Self {
        let mut limits = config::Limits::default();
        change(&mut limits);
        Self::start_as(store, link_key(), Gate::open(), limits).await
    }

    async fn start_as(store: Store, link_key: LinkKey, gate: Gate, limits: config::Limits) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let deps = Deps {
            config: config::Order {
                backups_kept_days: Some(30),
                ..config::Order::default()
            },
            limits,
            company: company(),
            store,
            link_key,
            gate,
            silence_minutes_max: config::Notification::default().silence_minutes_max,
            listener,
        };
        let address = countersign_order::run(deps, &lifecycle)
            .await
            .expect("the order service starts");
        Self { address, lifecycle }
    }

    /// A connection of its own.
    pub async fn orders(&self, caller: &str) -> Orders {
        connect(self.address, caller).await
    }
}

/// Connects to an order service.
pub(crate) async fn connect(address: SocketAddr, caller: &str) -> Orders {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .tcp_nodelay(true)
        .connect()
        .await
        .expect("the order service listens");
    OrderServiceClient::with_interceptor(channel, Caller(caller.parse().expect("ASCII")))
        .max_decoding_message_size(16 * 1024 * 1024)
}

/// Who sells in every test.
fn company() -> config::Company {
    config::Company {
        name: "Tea & Kettles".to_owned(),
        phone: Some("+862160000000".to_owned()),
        email: Some("help@shop.example".to_owned()),
        return_address: Some("Returns, 1 Dock Road, Shanghai".to_owned()),
    }
}

/// The key that every test's services make links and codes with.
pub fn link_key() -> LinkKey {
    LinkKey::new(LINK_SECRET.as_bytes()).expect("long enough")
}

/// A database with goods, policies and rules in it, and services on it.
#[derive(Debug)]
pub struct System {
    /// The first replica's store: its clock is that replica's.
    pub store: Store,
    /// Order services.
    pub replicas: Vec<Replica>,
    /// Which database.
    pub database: TestDatabase,
}

impl System {
    /// One order service on a database.
    pub async fn start(database: TestDatabase) -> Self {
        let store = database.store.clone();
        seed(&store).await;
        let first = Replica::start(store.clone()).await;
        Self {
            store,
            replicas: vec![first],
            database,
        }
    }

    /// On SQLite.
    pub async fn sqlite() -> Self {
        Self::start(TestDatabase::sqlite().await).await
    }

    /// Another order service on the same database, with connections of its own.
    pub async fn add_replica(&mut self) {
        let store = Store::connect(&Settings::new(self.database.url.clone(), data_keys()))
            .await
            .expect("the database answers");
        self.replicas.push(Replica::start(store).await);
    }

    /// A client of the first replica, calling as the shop.
    pub async fn orders(&self) -> Orders {
        self.orders_as("shop").await
    }

    /// A client of the first replica, calling as somebody.
    pub async fn orders_as(&self, caller: &str) -> Orders {
        self.replicas[0].orders(caller).await
    }

    /// Sets what is on the shelf; the shelf is made when it is new.
    pub async fn restock(&self, sku: &str, on_hand: i64) {
        self.store
            .put_stock(WAREHOUSE, sku, on_hand)
            .await
            .expect("stock is set")
            .expect("the count covers what is reserved");
    }

    /// Units on hand and reserved.
    pub async fn stock(&self, sku: &str) -> (i64, i64) {
        let levels = self.store.find_stock(&[sku]).await.expect("stock is read");
        assert_eq!(levels.len(), 1, "{sku} is in one warehouse");
        (levels[0].on_hand, levels[0].reserved)
    }

    /// Every order, by the list call, page after page.
    pub async fn all_orders(&self) -> Vec<v1::Order> {
        let mut client = self.orders().await;
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = client
                .list_orders(v1::ListOrdersRequest {
                    page_size: 500,
                    page_token,
                    order_by: "create_time".to_owned(),
                    ..v1::ListOrdersRequest::default()
                })
                .await
                .expect("the list is read")
                .into_inner();
            all.extend(page.orders);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    /// What lines have reserved and what the shelf says is reserved are the same, and nothing is below zero or beyond
    /// what there is. Answers the number of orders.
    pub async fn stock_agrees_with_orders(&self) -> usize {
        let orders = self.all_orders().await;
        let mut reserved = std::collections::BTreeMap::<String, i64>::new();
        for line in orders.iter().flat_map(|order| &order.lines) {
            let counters = line.counters.expect("every line has counters");
            *reserved.entry(line.sku.clone()).or_default() += counters.reserved;
        }
        let shelves = self
            .store
            .list_stock(None, None, 10_000)
            .await
            .expect("stock is read")
            .items;
        for level in shelves {
            assert!(
                0 <= level.reserved && level.reserved <= level.on_hand,
                "{level:?}"
            );
            let by_orders = reserved.remove(&level.sku).unwrap_or(0);
            assert_eq!(level.reserved, by_orders, "{} drifted", level.sku);
        }
        assert!(
            reserved.values().all(|units| *units == 0),
            "reserved without a shelf: {reserved:?}"
        );
        orders.len()
    }

    /// An order as it is now.
    pub async fn order(&self, name: &str) -> v1::Order {
        self.orders()
            .await
            .get_order(v1::GetOrderRequest {
                name: name.to_owned(),
            })
            .await
            .expect("the order is there")
            .into_inner()
    }

    /// Looks at an order until it is in a state.
    pub async fn until(&self, name: &str, state: v1::OrderState) -> v1::Order {
        let began = Instant::now();
        loop {
            let order = self.order(name).await;
            if order.state() == state {
                return order;
            }
            assert!(
                began.elapsed() < Duration::from_secs(15),
                "{name} is still {:?}, not {state:?}",
                order.state()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The customer says yes.
    pub async fn accept(&self, name: &str) -> v1::Order {
        self.orders()
            .await
            .accept_confirmation(v1::AcceptConfirmationRequest {
                name: name.to_owned(),
                request_id: fresh_id("accept"),
                answer_channel: v1::AnswerChannel::Link.into(),
                answered_by: "customer".to_owned(),
                ..v1::AcceptConfirmationRequest::default()
            })
            .await
            .expect("the yes counts")
            .into_inner()
    }

    /// Everything about an order.
    pub async fn trace(&self, name: &str) -> v1::OrderTrace {
        self.orders()
            .await
            .get_order_trace(v1::GetOrderTraceRequest {
                name: name.to_owned(),
            })
            .await
            .expect("the order is there")
            .into_inner()
    }
}

/// Texts go at any hour, as far as the policy of the tests' orders says. Who lets hours pass and counts messages must not depend
/// on when the test is run.
pub async fn texts_at_any_hour(store: &Store) {
    let now = store.now().await.expect("the database tells the time");
    let mut policy = default_policies()
        .into_iter()
        .find(|it| it.order_type == "ECOMMERCE")
        .expect("the type ships");
    policy.version += 1;
    policy.contact_hours.sms = DailyWindow::ALWAYS;
    let is_new = store.insert_policy(&policy, now).await;
    assert!(is_new.expect("a policy is stored"));
}

/// Policies and rules as they ship, products with prices and stock.
pub async fn seed(store: &Store) {
    let now = store.now().await.expect("the database tells the time");
    for policy in default_policies() {
        store
            .insert_policy(&policy, now)
            .await
            .expect("a policy is stored");
    }
    for rule in default_rules() {
        store
            .insert_rule(&rule, now)
            .await
            .expect("a rule is stored");
    }
    for goods in CATALOG {
        let product = Product {
            sku: goods.sku.to_owned(),
            version: 0,
            profile: ProductProfile {
                display_name: goods.name.to_owned(),
                specification: goods.specification.to_owned(),
                usual_quantity_max: 500,
                warranty_months: goods.warranty_months,
                ..ProductProfile::default()
            },
        };
        store
            .put_product(&product, None, now)
            .await
            .expect("a product is stored");
        let price = Price {
            price_list: DEFAULT_PRICE_LIST.to_owned(),
            sku: goods.sku.to_owned(),
            quantity_min: 1,
            unit_price: Money::new(
                goods.price_minor,
                Currency::parse("CNY").expect("a currency"),
            ),
            start_time: None,
            end_time: None,
        };
        store.put_price(&price).await.expect("a price is stored");
        store
            .put_stock(WAREHOUSE, goods.sku, goods.on_hand)
            .await
            .expect("stock is stored");
    }
}
