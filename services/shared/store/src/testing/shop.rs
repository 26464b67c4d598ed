//! Orders for tests, decided by the domain and written as the order service writes them.
#![expect(
    clippy::missing_panics_doc,
    reason = "tests stop at the first thing that does not work"
)]

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    audit::RuleSet,
    confirmation::AnswerChannel,
    decide::{
        Amendment, Answer, CancelReason, Cancellation, Context, Decision, Facts, Formality, Given,
        Initiator, NewLine, NewOrder, accept, amend, cancel, judge, remind,
    },
    email::EmailAddress,
    ids::{CommitId, HoldId, OrderId},
    line::LineExtras,
    locale::{Locale, TimeZone},
    money::{Currency, Money},
    number::OrderNumber,
    order::{Contact, Delivery, Order, PaymentMethod, ShortagePolicy, Terms, TransactionType},
    phone::PhoneNumber,
    place::PostalAddress,
    policy::OrderPolicy,
    secrets::{LinkKey, token_hash},
    stock_book::StockBook,
};
use rand::{SeedableRng, rngs::StdRng};
use uuid::Uuid;

use crate::{FIRST_GENERATION, IntakeRow, RequestRecord, SaveExtras, Saved, Store};

/// A shop that takes orders and passes them on to the store.
pub struct Shop {
    /// Makes links and codes.
    pub key: LinkKey,
    /// What its orders follow: acknowledged, then confirmed by e-mail, 30 minutes later by SMS, 15 minutes later by phone.
    pub policy: OrderPolicy,
    store: Store,
    rng: StdRng,
    orders: u32,
}

impl Shop {
    /// A shop on this store.
    pub fn new(store: Store) -> Self {
        Self {
            key: LinkKey::new(&[7; 32]).expect("32 bytes"),
            policy: serde_json::from_value(serde_json::json!({
                "order_type": "ECOMMERCE", "version": 1, "display_name": "", "auto_approve": true,
                "confirmation_mode": "EXPLICIT", "confirmation_window_seconds": 7200,
                "channel_plan": ["EMAIL", "SMS", "PHONE"], "channel_step_seconds": [1800, 900],
                "acknowledge": true, "payment_methods": ["CASH_ON_DELIVERY"],
                "delivery_promise_seconds": 172_800, "allocate_at_confirmation": false,
                "unknown_customers": true, "completion_window_seconds": 60,
                "contact_hours": {
                    "sms": { "opens": "00:00", "closes": "00:00" },
                    "phone": { "opens": "00:00", "closes": "00:00" }
                }
            }))
            .expect("a policy"),
            store,
            rng: StdRng::seed_from_u64(1),
            orders: 0,
        }
    }

    /// Puts its policy where the worker looks for it.
    pub async fn publish_policy(&self) {
        let now = self.store.now().await.expect("the time");
        let inserted = self.store.insert_policy(&self.policy, now).await;
        assert!(inserted.expect("the database"), "a version that is there");
    }

    /// What the order service does half-way through a round without an answer.
    pub async fn remind(&mut self, id: OrderId) {
        let now = self.store.now().await.expect("the time");
        let (order, round) = self.order_and_round(id).await;
        self.save(remind(&order, &round, &context(now, "system")))
            .await;
    }

    /// Takes an order in: its acknowledgement and confirmation request stand in the outbox.
    pub async fn order(&mut self, email: Option<&str>, phone: Option<&str>) -> Order {
        self.orders += 1;
        let now = self.store.now().await.expect("the time");
        let id = OrderId::new_v7(now, &mut self.rng);
        let new = new_order(&format!("REF-{}", self.orders), email, phone);
        let mut ids = StdRng::seed_from_u64(2);
        let change = judge(
            id,
            &new,
            &mut Facts {
                policy: &self.policy,
                rules: &RuleSet::compile(&[]).expect("no rules"),
                customer: None,
                product: &|_| None,
                prices: &|_| None,
                stock: &mut StockBook::new([]),
                duplicate_of: None,
                link_key: &self.key,
                hold_id: &mut || HoldId::new_v7(now, &mut ids),
            },
            &context(now, "shop"),
        )
        .expect("an order that passes");
        let row = IntakeRow {
            request: RequestRecord {
                id: id.as_uuid(),
                key_hash: token_hash(&id.to_string()),
                fingerprint: [0; 32],
                response: Vec::new(),
            },
            link_hash: token_hash(&self.key.link_token(id, FIRST_GENERATION)),
            outbox_ids: self.outbox_ids(change.messages.len(), now),
            change: change.clone(),
        };
        let commit = CommitId::new_v7(now, &mut self.rng);
        self.store
            .insert_orders(commit, &[row], now)
            .await
            .expect("the order is stored");
        change.order
    }

    /// Writes what was decided about an order.
    pub async fn save(&mut self, decision: Decision) {
        let Decision::Change(change) = decision else {
            return;
        };
        let now = change.event.create_time;
        let extras = SaveExtras {
            outbox_ids: self.outbox_ids(change.messages.len(), now),
            ..SaveExtras::default()
        };
        let commit = CommitId::new_v7(now, &mut self.rng);
        let saved = self
            .store
            .save(commit, &change, &extras)
            .await
            .expect("the change is stored");
        assert_eq!(saved, Saved::Done);
    }

    /// What the order service does with the customer's yes.
    pub async fn accept(&mut self, id: OrderId) {
        let now = self.store.now().await.expect("the time");
        let (order, round) = self.order_and_round(id).await;
        let answer = Answer {
            channel: AnswerChannel::Link,
            answered_by: "customer".to_owned(),
            receive_time: now,
            with_code: false,
        };
        let formality = Formality {
            order_number: OrderNumber::new(now, 400 + self.orders).expect("a number"),
            policy: &self.policy,
            warranty_months: &|_| 0,
        };
        let decision = accept(
            &order,
            &round,
            &answer,
            None,
            &formality,
            &context(now, "customer"),
        )
        .expect("accepted");
        self.save(decision).await;
    }

    /// Changes an order: one piece more of its first line.
    pub async fn amend(&mut self, id: OrderId) {
        let now = self.store.now().await.expect("the time");
        let (order, round) = self.order_and_round(id).await;
        let mut lines = new_order("", None, Some("+8613912345678")).lines;
        for line in &mut lines {
            line.quantity += 1;
        }
        let amendment = Amendment {
            lines: Some(lines),
            total: Some(Money::new(order.total.minor + 10_000, order.total.currency)),
            reason: "one more".to_owned(),
            terms: None,
        };
        let mut ids = StdRng::seed_from_u64(3);
        let mut facts = Facts {
            policy: &self.policy,
            rules: &RuleSet::compile(&[]).expect("no rules"),
            customer: None,
            product: &|_| None,
            prices: &|_| None,
            stock: &mut StockBook::new([]),
            duplicate_of: None,
            link_key: &self.key,
            hold_id: &mut || HoldId::new_v7(now, &mut ids),
        };
        let context = context(now, "shop");
        let decision = amend(&order, Some(&round), &amendment, &mut facts, &context);
        self.save(decision.expect("amended")).await;
    }

    /// Calls an order off.
    pub async fn cancel(&mut self, id: OrderId) {
        let now = self.store.now().await.expect("the time");
        let (order, round) = self.order_and_round(id).await;
        let cancellation = Cancellation {
            reason: CancelReason::Other,
            text: "no longer wanted".to_owned(),
            initiator: Initiator::Customer,
            lines: Vec::new(),
        };
        let decision = cancel(
            &order,
            Some(&round),
            &cancellation,
            &context(now, "customer"),
        )
        .expect("cancelled");
        self.save(decision).await;
    }

    async fn order_and_round(
        &self,
        id: OrderId,
    ) -> (Order, countersign_domain::confirmation::Round) {
        let order = self.store.find_order(id).await.expect("the database");
        let round = self.store.find_open_round(id).await.expect("the database");
        (
            order.expect("the order is there"),
            round.expect("a round is open"),
        )
    }

    fn outbox_ids(&mut self, count: usize, now: DateTime<Utc>) -> Vec<Uuid> {
        (0..count)
            .map(|_| CommitId::new_v7(now, &mut self.rng).as_uuid())
            .collect()
    }
}

const fn context(now: DateTime<Utc>, actor: &str) -> Context<'_> {
    Context {
        now,
        actor,
        request_id: "",
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    }
}

fn cny(minor: i64) -> Money {
    Money::new(minor, Currency::parse("CNY").expect("a currency"))
}

/// An order that needs no stock and passes every check.
fn new_order(reference: &str, email: Option<&str>, phone: Option<&str>) -> NewOrder {
    NewOrder {
        caller: "shop".to_owned(),
        client_reference: reference.to_owned(),
        order_type: "ECOMMERCE".to_owned(),
        customer: "C-1".to_owned(),
        source_channel: "web".to_owned(),
        handler: None,
        total: cny(20_700),
        promised_delivery_time: None,
        terms: Terms {
            transaction_type: TransactionType::Indirect,
            entered_by: String::new(),
            customer_tier: None,
            locale: Locale::parse("en").expect("a locale"),
            time_zone: TimeZone::parse("Asia/Shanghai").expect("a zone"),
            contact: Contact {
                display_name: "Wangcanary Wei".to_owned(),
                email: email.map(|text| EmailAddress::parse(text).expect("an address")),
                phone: phone.map(|text| PhoneNumber::parse(text, None).expect("a number")),
                preferred_channel: None,
            },
            delivery: Delivery {
                address: PostalAddress {
                    region_code: "CN".to_owned(),
                    postal_code: "200001".to_owned(),
                    administrative_area: "上海市".to_owned(),
                    locality: "上海".to_owned(),
                    address_lines: vec!["Canary Road 17".to_owned()],
                    ..PostalAddress::default()
                },
                consignee: "Consignee Canary".to_owned(),
                phone: None,
                requested_window: None,
                wishes: String::new(),
            },
            payment_method: PaymentMethod::CashOnDelivery,
            freight_minor: 1_200,
            discount_minor: 500,
            shortage_policy: ShortagePolicy::PartialNow,
            annotations: BTreeMap::new(),
            place_time: None,
        },
        lines: vec![NewLine {
            sku: "SKU-1".to_owned(),
            goods_name: "Tea".to_owned(),
            specification: "green".to_owned(),
            quantity: 2,
            unit: "pcs".to_owned(),
            unit_price: cny(10_000),
            extras: LineExtras::default(),
        }],
        given: Given::default(),
    }
}
