//! A shop with one order, its pages served over a socket, and an inbox that keeps what it is handed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use chrono::{DateTime, Utc};
use countersign_domain::{
    audit::RuleSet,
    confirmation::{AnswerChannel, Objection},
    decide::{
        Answer, CancelReason, Cancellation, Change, Context, Decision, Facts, Formality, Given,
        Initiator, NewLine, NewOrder, TrackingFacts, accept, allocate, cancel, judge, object,
        track,
    },
    email::EmailAddress,
    ids::{CommitId, HoldId, OrderId, TrackingEventId},
    line::LineExtras,
    locale::{Locale, TimeZone},
    money::{Currency, Money},
    number::OrderNumber,
    order::{Contact, Delivery, Order, PaymentMethod, ShortagePolicy, Terms, TransactionType},
    place::PostalAddress,
    policy::OrderPolicy,
    secrets::{LinkKey, token_hash},
    stock_book::StockBook,
    tracking::{TrackingDetails, TrackingEvent, TrackingStatus},
};
use countersign_runtime::config::Company;
use countersign_store::{
    FIRST_GENERATION, IntakeRow, MailboxItem, RequestRecord, SaveExtras, Saved, Store,
    testing::TestDatabase,
};
use futures::future::BoxFuture;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use crate::pages::{AnswerSink, CustomerAnswer, PagesSettings, PagesState, SinkError, router};

/// Keeps what it is handed, the same event once.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) answers: Mutex<Vec<(OrderId, String, CustomerAnswer)>>,
    pub(super) keys: Mutex<Vec<(Uuid, char)>>,
    pub(super) texts: Mutex<Vec<(Uuid, String, String)>>,
    pub(super) broken: Mutex<bool>,
}

impl Inbox {
    pub(super) fn answers(&self) -> Vec<CustomerAnswer> {
        let answers = self.answers.lock().unwrap();
        answers.iter().map(|(_, _, it)| it.clone()).collect()
    }

    fn check(&self) -> Result<(), SinkError> {
        if *self.broken.lock().unwrap() {
            return Err(SinkError("the database is away".into()));
        }
        Ok(())
    }
}

impl AnswerSink for Inbox {
    fn receive<'a>(
        &'a self,
        order: OrderId,
        event_id: &'a str,
        answer: CustomerAnswer,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.check()?;
            let mut answers = self.answers.lock().unwrap();
            if !answers.iter().any(|(_, known, _)| known == event_id) {
                answers.push((order, event_id.to_owned(), answer));
            }
            Ok(())
        })
    }

    fn pending(&self, order: OrderId) -> BoxFuture<'_, Result<Vec<CustomerAnswer>, SinkError>> {
        Box::pin(async move {
            let answers = self.answers.lock().unwrap();
            Ok(answers
                .iter()
                .filter(|(of, _, _)| *of == order)
                .map(|(_, _, it)| it.clone())
                .collect())
        })
    }

    fn key_pressed<'a>(
        &'a self,
        call: &'a MailboxItem,
        digit: char,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.check()?;
            self.keys.lock().unwrap().push((call.id, digit));
            Ok(())
        })
    }

    fn text_received<'a>(
        &'a self,
        answered: &'a MailboxItem,
        event_id: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.check()?;
            let mut texts = self.texts.lock().unwrap();
            texts.push((answered.id, event_id.to_owned(), text.to_owned()));
            Ok(())
        })
    }
}

pub(super) struct Stage {
    pub(super) database: TestDatabase,
    pub(super) inbox: Arc<Inbox>,
    pub(super) url: String,
    pub(super) key: LinkKey,
    rng: StdRng,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    #[expect(clippy::disallowed_methods, reason = "a server for one test")]
    pub(super) async fn with(change: impl FnOnce(&mut PagesSettings)) -> Self {
        let database = TestDatabase::sqlite().await;
        let key = LinkKey::new(&[7; 32]).unwrap();
        let inbox = Arc::new(Inbox::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let company = Company {
            name: "晨光贸易 Dawn Trading".into(),
            phone: Some("400-800-1234".into()),
            ..Company::default()
        };
        let mut settings = PagesSettings::new(&url, company);
        change(&mut settings);
        let state =
            PagesState::try_new(database.store.clone(), key.clone(), inbox.clone(), settings)
                .unwrap();
        let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move {
            axum::serve(listener, service).await.unwrap();
        });
        Self {
            database,
            inbox,
            url,
            key,
            rng: StdRng::seed_from_u64(1),
            server,
        }
    }

    pub(super) const fn store(&self) -> &Store {
        &self.database.store
    }

    pub(super) fn token(&self, order: OrderId) -> String {
        self.key.link_token(order, FIRST_GENERATION)
    }

    /// Takes an order in; it waits for the customer's answer.
    pub(super) async fn order(&mut self, new: &NewOrder) -> Order {
        let now = self.store().now().await.unwrap();
        let id = OrderId::new_v7(now, &mut self.rng);
        let store = self.store();
        store.put_stock("W1", "SKU-1", 1_000).await.unwrap();
        let stock = store.find_stock(&["SKU-1"]).await.unwrap();
        let mut ids = StdRng::seed_from_u64(2);
        let change = judge(
            id,
            new,
            &mut Facts {
                policy: &policy(),
                rules: &RuleSet::compile(&[]).unwrap(),
                customer: None,
                product: &|_| None,
                prices: &|_| None,
                stock: &mut StockBook::new(stock),
                duplicate_of: None,
                link_key: &self.key,
                hold_id: &mut || HoldId::new_v7(now, &mut ids),
            },
            &context(now, "shop"),
        )
        .unwrap();
        let row = IntakeRow {
            request: RequestRecord {
                id: id.as_uuid(),
                key_hash: token_hash(&id.to_string()),
                fingerprint: [0; 32],
                response: Vec::new(),
            },
            link_hash: token_hash(&self.token(id)),
            outbox_ids: self.outbox_ids(&change, now),
            change: change.clone(),
        };
        let commit = CommitId::new_v7(now, &mut self.rng);
        self.store()
            .insert_orders(commit, &[row], now)
            .await
            .unwrap();
        change.order
    }

    fn outbox_ids(&mut self, change: &Change, now: DateTime<Utc>) -> Vec<Uuid> {
        let mut id = || CommitId::new_v7(now, &mut self.rng).as_uuid();
        change.messages.iter().map(|_| id()).collect()
    }

    async fn save(&mut self, decision: Decision, tracking_event: Option<TrackingEvent>) {
        let Decision::Change(change) = decision else {
            panic!("nothing to save");
        };
        let now = change.event.create_time;
        let extras = SaveExtras {
            tracking_event,
            outbox_ids: self.outbox_ids(&change, now),
            ..SaveExtras::default()
        };
        let commit = CommitId::new_v7(now, &mut self.rng);
        let saved = self.store().save(commit, &change, &extras).await.unwrap();
        assert_eq!(saved, Saved::Done);
    }

    /// What the order-service does with a yes.
    pub(super) async fn apply_yes(&mut self, id: OrderId) {
        let now = self.store().now().await.unwrap();
        let sequence = self.rng.random_range(1..1_000_000);
        let order = self.store().find_order(id).await.unwrap().unwrap();
        let round = self.store().list_rounds(id).await.unwrap().pop().unwrap();
        let decision = accept(
            &order,
            &round,
            &answer(now),
            None,
            &Formality {
                order_number: OrderNumber::new(now, sequence).unwrap(),
                policy: &policy(),
                warranty_months: &|_| 0,
            },
            &context(now, "customer"),
        )
        .unwrap();
        self.save(decision, None).await;
    }

    /// What the order-service does with a no.
    pub(super) async fn apply_no(&mut self, id: OrderId, objection: &Objection) {
        let now = self.store().now().await.unwrap();
        let order = self.store().find_order(id).await.unwrap().unwrap();
        let round = self.store().list_rounds(id).await.unwrap().pop().unwrap();
        let context = context(now, "customer");
        let decision = object(&order, &round, &answer(now), objection, &context).unwrap();
        self.save(decision, None).await;
    }

    /// Goods are promised to the order.
    pub(super) async fn allocate(&mut self, id: OrderId) {
        let now = self.store().now().await.unwrap();
        let order = self.store().find_order(id).await.unwrap().unwrap();
        let stock = self.store().find_stock(&["SKU-1"]).await.unwrap();
        let mut book = StockBook::new(stock);
        let decision = allocate(&order, &mut book, &context(now, "staff")).unwrap();
        if matches!(decision, Decision::Change(_)) {
            self.save(decision, None).await;
        }
    }

    /// The company calls the order off.
    pub(super) async fn cancel(&mut self, id: OrderId) {
        let now = self.store().now().await.unwrap();
        let order = self.store().find_order(id).await.unwrap().unwrap();
        let open = self.store().find_open_round(id).await.unwrap();
        let cancellation = Cancellation {
            reason: CancelReason::OutOfStock,
            text: "none left".into(),
            initiator: Initiator::Seller,
            lines: Vec::new(),
        };
        let context = context(now, "staff");
        let decision = cancel(&order, open.as_ref(), &cancellation, &context).unwrap();
        self.save(decision, None).await;
    }

    /// What the order-service does with news of the goods.
    pub(super) async fn track(&mut self, id: OrderId, status: TrackingStatus, place: &str) {
        let now = self.store().now().await.unwrap();
        let order = self.store().find_order(id).await.unwrap().unwrap();
        let known = self.store().list_tracking_events(id).await.unwrap();
        let mut event = TrackingEvent {
            id: TrackingEventId::new_v7(now, &mut self.rng),
            source: "carrier".into(),
            source_event_id: format!("{status}"),
            status,
            reason: if status == TrackingStatus::DeliveryDelayed {
                "weather_storm".into()
            } else {
                String::new()
            },
            report_time: now,
            receive_time: now,
            details: TrackingDetails {
                place: place.into(),
                note: "left with the neighbour, Ms. Canary".into(),
                ..TrackingDetails::default()
            },
            anomalies: Vec::new(),
        };
        let facts = TrackingFacts {
            known: &known,
            policy: &policy(),
        };
        let decision = track(&order, &mut event, &facts, &context(now, "carrier")).unwrap();
        self.save(decision, Some(event)).await;
    }
}

fn answer(now: DateTime<Utc>) -> Answer {
    Answer {
        channel: AnswerChannel::Link,
        answered_by: "customer".into(),
        receive_time: now,
        with_code: false,
    }
}

const fn context(now: DateTime<Utc>, actor: &str) -> Context<'_> {
    Context {
        now,
        actor,
        request_id: "",
        traceparent: None,
    }
}

fn policy() -> OrderPolicy {
    serde_json::from_value(serde_json::json!({
        "order_type": "ECOMMERCE", "version": 1, "display_name": "", "auto_approve": true,
        "confirmation_mode": "TACIT", "confirmation_window_seconds": 7200,
        "channel_plan": ["EMAIL"], "payment_methods": ["CASH_ON_DELIVERY"],
        "delivery_promise_seconds": 172_800, "allocate_at_confirmation": false,
        "unknown_customers": true, "completion_window_seconds": 60,
        "survey": { "delay_seconds": 60, "expire_seconds": 86400, "customer_pause_seconds": 0, "low_stars_max": 2 }
    }))
    .unwrap()
}

pub(super) fn line(goods_name: &str, specification: &str, quantity: i64, price: i64) -> NewLine {
    NewLine {
        sku: "SKU-1".into(),
        goods_name: goods_name.into(),
        specification: specification.into(),
        quantity,
        unit: "pcs".into(),
        unit_price: cny(price),
        extras: LineExtras::default(),
    }
}

fn cny(minor: i64) -> Money {
    Money::new(minor, Currency::parse("CNY").unwrap())
}

/// An order that passes every check.
pub(super) fn new_order(locale: &str, reference: &str, lines: Vec<NewLine>) -> NewOrder {
    let goods: i64 = lines
        .iter()
        .map(|it| it.quantity * it.unit_price.minor)
        .sum();
    NewOrder {
        caller: "shop".into(),
        client_reference: reference.into(),
        order_type: "ECOMMERCE".into(),
        customer: "C-1".into(),
        source_channel: "web".into(),
        handler: None,
        total: cny(goods + 1_200 - 500),
        promised_delivery_time: None,
        given: Given::default(),
        terms: Terms {
            transaction_type: TransactionType::General,
            entered_by: String::new(),
            customer_tier: None,
            locale: Locale::parse(locale).unwrap(),
            time_zone: TimeZone::parse("Asia/Shanghai").unwrap(),
            contact: Contact {
                display_name: "Wangcanary Wei".into(),
                email: Some(EmailAddress::parse("canary@example.com").unwrap()),
                phone: None,
                preferred_channel: None,
            },
            delivery: Delivery {
                address: PostalAddress {
                    region_code: "CN".into(),
                    postal_code: "200001".into(),
                    administrative_area: "上海市".into(),
                    locality: "上海".into(),
                    address_lines: vec!["Canary Road 17".into()],
                    ..PostalAddress::default()
                },
                consignee: "Consignee Canary".into(),
                phone: None,
                requested_window: None,
                wishes: "Ring at Canary's door".into(),
            },
            payment_method: PaymentMethod::CashOnDelivery,
            freight_minor: 1_200,
            discount_minor: 500,
            shortage_policy: ShortagePolicy::PartialNow,
            annotations: BTreeMap::new(),
            place_time: None,
        },
        lines,
    }
}
