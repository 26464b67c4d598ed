//! Any commands in any sequence on two orders that share one stock: what holds after each of them.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    audit::{AuditInput, RuleSet, default_rules},
    catalog::{Price, Product, StockLevel},
    confirmation::{AnswerChannel, ConfirmationState, Objection, ObjectionCategory, Round},
    decide::{
        self, Amendment, Answer, CallOutcome, CallResult, CancelReason, Cancellation, Change,
        Context, Decision, Facts, Formality, Initiator, LineCancellation, Merging, NewLine,
        Refusal, RoundRequest, Stage, TrackingFacts,
    },
    event::EventKind,
    hold::{Hold, HoldReason},
    ids::{HoldId, OrderId, TrackingEventId},
    number::OrderNumber,
    order::{Channel, Order, OrderState, PaymentMethod, ShortagePolicy},
    policy::OrderPolicy,
    secrets::LinkKey,
    stock_book::StockBook,
    tracking::{TrackingDetails, TrackingEvent, TrackingStatus},
};
use proptest::{prelude::*, sample::Index};
use uuid::Uuid;

use crate::shop::{customer, new_line, new_order, noon, policy, product, total_of};

const SKUS: [&str; 3] = ["TEA", "CUP", "POT"];
const WAREHOUSES: [&str; 2] = ["HZ", "SH"];
const TYPES: [&str; 4] = ["ECOMMERCE", "STORE", "WHOLESALE", "CUSTOM"];

/// What may happen. Numbers are brought to what is there when the command is carried out.
#[derive(Clone, Debug)]
enum Command {
    Take {
        order_type: Index,
        lines: Vec<(Index, i64)>,
        payment: Index,
        shortage: Index,
        mistake: bool,
    },
    AuditAgain,
    Approve,
    Reject,
    Hold,
    Release(Index),
    Assign(bool),
    Prioritize(i32),
    Amend {
        lines: Option<Vec<(Index, i64)>>,
        payment: Option<Index>,
        mistake: bool,
    },
    Cancel,
    CancelLine(Index, Option<i64>),
    /// The other order goes into this one.
    Merge,
    OpenRound(Index),
    Accept(Index),
    Object(Index),
    Remind(Index),
    Expire(Index),
    CallResult,
    CodeRefused(Index),
    Allocate,
    Progress(Index, Index, i64),
    Track(Index, i64),
    Complete,
    Restock(Index, Index, i64),
    Wait(i64),
}

fn any_lines() -> impl Strategy<Value = Vec<(Index, i64)>> {
    prop::collection::vec((any::<Index>(), 1_i64..12), 1..4)
}

fn any_order() -> impl Strategy<Value = Command> {
    let index = any::<Index>;
    (
        index(),
        any_lines(),
        index(),
        index(),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(order_type, lines, payment, shortage, mistake)| Command::Take {
                order_type,
                lines,
                payment,
                shortage,
                mistake,
            },
        )
}

fn any_command() -> impl Strategy<Value = Command> {
    use Command as C;
    let index = any::<Index>;
    prop_oneof![
        2 => Just(C::AuditAgain),
        8 => Just(C::Approve),
        1 => Just(C::Reject),
        2 => Just(C::Hold),
        6 => index().prop_map(C::Release),
        1 => any::<bool>().prop_map(C::Assign),
        1 => (-5..1005).prop_map(C::Prioritize),
        2 => (prop::option::of(any_lines()), prop::option::of(index()), prop::bool::weighted(0.2))
            .prop_map(|(lines, payment, mistake)| C::Amend { lines, payment, mistake }),
        1 => Just(C::Cancel),
        4 => (index(), prop::option::of(0_i64..8))
            .prop_map(|(line, quantity)| C::CancelLine(line, quantity)),
        5 => Just(C::Merge),
        2 => index().prop_map(C::OpenRound),
        14 => index().prop_map(C::Accept),
        1 => index().prop_map(C::Object),
        2 => index().prop_map(C::Remind),
        3 => index().prop_map(C::Expire),
        1 => Just(C::CallResult),
        1 => index().prop_map(C::CodeRefused),
        8 => Just(C::Allocate),
        40 => (index(), index(), 0_i64..12)
            .prop_map(|(stage, line, quantity)| C::Progress(stage, line, quantity)),
        4 => (index(), -5_i64..50).prop_map(|(status, hours)| C::Track(status, hours)),
        6 => Just(C::Complete),
        4 => (index(), index(), 1_i64..10)
            .prop_map(|(warehouse, sku, units)| C::Restock(warehouse, sku, units)),
        2 => (0_i64..30).prop_map(C::Wait),
    ]
}

/// An order and what is stored beside it.
#[derive(Debug, Default)]
struct Stored {
    order: Option<Order>,
    rounds: BTreeMap<u32, Round>,
    tracked: Vec<TrackingEvent>,
    credit_minor: i64,
    /// The number that was given, once one was.
    number: Option<OrderNumber>,
}

struct World {
    orders: [Stored; 2],
    /// On hand and reserved by warehouse and SKU.
    stock: BTreeMap<(String, String), (i64, i64)>,
    rules: RuleSet,
    policies: BTreeMap<String, OrderPolicy>,
    key: LinkKey,
    now: DateTime<Utc>,
    ids: u128,
}

impl World {
    fn new() -> Self {
        Self {
            orders: Default::default(),
            stock: WAREHOUSES
                .iter()
                .flat_map(|warehouse| {
                    SKUS.iter()
                        .map(|sku| (((*warehouse).to_owned(), (*sku).to_owned()), (10, 0)))
                })
                .collect(),
            rules: RuleSet::compile(&default_rules()).unwrap(),
            policies: TYPES
                .iter()
                .map(|name| ((*name).to_owned(), policy(name)))
                .collect(),
            key: LinkKey::new(&[7; 32]).unwrap(),
            now: noon(),
            ids: 0,
        }
    }

    fn book(&self) -> StockBook {
        StockBook::new(
            self.stock
                .iter()
                .map(|((warehouse, sku), (on_hand, reserved))| StockLevel {
                    warehouse: warehouse.clone(),
                    sku: sku.clone(),
                    on_hand: *on_hand,
                    reserved: *reserved,
                }),
        )
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(0x019a_a000_0000_7000_8000_0000_0000_0000 + self.ids)
    }

    /// Carries a command out on one of the orders and holds what came of it against the rules of the trade.
    fn run(&mut self, which: usize, command: &Command) -> Result<(), TestCaseError> {
        match command {
            Command::Restock(warehouse, sku, units) => {
                let place = (warehouse.get(&WAREHOUSES), sku.get(&SKUS));
                let level = self
                    .stock
                    .get_mut(&((*place.0).to_owned(), (*place.1).to_owned()));
                level.unwrap().0 += units;
            }
            Command::Wait(hours) => self.now += TimeDelta::hours(*hours),
            Command::Merge => self.merge(which)?,
            _ => {
                let before = self.orders[which].order.clone();
                let (kind, decision) = self.decide(which, command);
                if let Ok(Decision::Change(change)) = decision {
                    self.check_change(which, before.as_ref(), &change, kind)?;
                    self.apply(which, before.as_ref(), *change)?;
                }
            }
        }
        self.check_sums()
    }

    fn decide(&mut self, which: usize, command: &Command) -> (Kind, Result<Decision, Refusal>) {
        let order_id = self.id();
        let hold_ids: Vec<Uuid> = (0..20).map(|_| self.id()).collect();
        let mut hold_ids = hold_ids.into_iter();
        let mut next_hold = move || HoldId::from_uuid(hold_ids.next().unwrap());
        let mut book = self.book();
        let stored = &self.orders[which];
        let mut known = customer();
        known.credit_exposure_minor = stored.credit_minor;
        let find_product = |sku: &str| -> Option<Arc<Product>> { Some(product(sku)) };
        let find_prices = |_: &str| -> Option<Arc<[Price]>> { None };
        let context = Context {
            now: self.now,
            actor: "li.na",
            request_id: "r",
            traceparent: None,
        };
        let order_type = match (&stored.order, command) {
            (Some(order), _) => order.order_type.clone(),
            (None, Command::Take { order_type, .. }) => (*order_type.get(&TYPES)).to_owned(),
            (None, _) => return (Kind::Other, Ok(Decision::Already)),
        };
        let policy = &self.policies[&order_type];
        let mut facts = Facts {
            policy,
            rules: &self.rules,
            customer: Some(&known),
            product: &find_product,
            prices: &find_prices,
            stock: &mut book,
            duplicate_of: None,
            link_key: &self.key,
            hold_id: &mut next_hold,
        };
        let Some(order) = &stored.order else {
            let Command::Take {
                lines,
                payment,
                shortage,
                mistake,
                ..
            } = command
            else {
                return (Kind::Other, Ok(Decision::Already));
            };
            let lines = lines_of(lines);
            let mut new = new_order(&order_type, lines);
            new.terms.payment_method = *payment.get(PaymentMethod::ALL);
            new.terms.shortage_policy = *shortage.get(ShortagePolicy::ALL);
            new.total.minor += i64::from(*mistake);
            let judged = decide::judge(OrderId::from_uuid(order_id), &new, &mut facts, &context);
            return (
                Kind::Other,
                judged.map(|change| Decision::Change(Box::new(change))),
            );
        };
        let open = stored
            .rounds
            .values()
            .find(|round| round.state == ConfirmationState::Open);
        let rounds: Vec<&Round> = stored.rounds.values().collect();
        // Mostly the open one.
        let round = |index: &Index| match (open, index.index(4)) {
            (Some(open), 1..) => Some(open),
            _ if rounds.is_empty() => None,
            _ => Some(rounds[index.index(rounds.len())]),
        };
        let answer = Answer {
            channel: AnswerChannel::Link,
            answered_by: "customer".into(),
            receive_time: self.now,
            with_code: false,
        };
        let formality = Formality {
            order_number: OrderNumber::new(self.now, u32::try_from(self.ids).unwrap()).unwrap(),
            policy,
            warranty_months: &|_| 12,
        };
        let nothing = Ok(Decision::Already);
        let decision = match command {
            Command::Take { .. } | Command::Restock(..) | Command::Wait(_) | Command::Merge => {
                nothing
            }
            Command::AuditAgain => {
                let mut copy = order.clone();
                let lines = decide::reserve(&mut copy, &mut facts, self.now, &mut Vec::new());
                let findings = self.rules.evaluate(&AuditInput {
                    order,
                    customer: Some(&known),
                    policy,
                    lines: &lines,
                    duplicate_of: None,
                    now: self.now,
                });
                decide::audit_again(order, findings, &context)
            }
            Command::Approve => {
                decide::approve(order, "looked at", &[], policy, &self.key, &context)
            }
            Command::Reject => decide::reject(order, open, "no", &context),
            Command::Hold => {
                let new = Hold {
                    id: HoldId::from_uuid(order_id),
                    reason: HoldReason::AwaitingPayment,
                    note: String::new(),
                    owner: String::new(),
                    review_time: None,
                    create_time: self.now,
                    created_by: "li.na".into(),
                };
                decide::hold(order, new, &context)
            }
            Command::Release(index) => match &order.progress.holds[..] {
                [] => nothing,
                holds => decide::release_hold(order, index.get(holds).id, "paid", &context),
            },
            Command::Assign(named) => decide::assign(order, named.then_some("wang.wei"), &context),
            Command::Prioritize(score) => decide::prioritize(
                order,
                *score,
                "asked for",
                self.now + TimeDelta::hours(1),
                &context,
            ),
            Command::Amend {
                lines,
                payment,
                mistake,
            } => {
                let lines = lines.as_ref().map(|lines| lines_of(lines));
                let total = lines.as_ref().map(|lines| {
                    let mut total = total_of(lines);
                    total.minor += i64::from(*mistake);
                    total
                });
                let terms = payment.map(|payment| {
                    let mut terms = order.terms.clone();
                    terms.payment_method = *payment.get(PaymentMethod::ALL);
                    terms
                });
                let amendment = Amendment {
                    lines,
                    terms,
                    total,
                    reason: "asked for".into(),
                };
                let amended = decide::amend(order, open, &amendment, &mut facts, &context);
                return (Kind::Amendment, amended);
            }
            Command::Cancel => {
                return (
                    Kind::Cancellation,
                    decide::cancel(order, open, &cancellation(vec![]), &context),
                );
            }
            Command::CancelLine(index, quantity) => {
                let lines = vec![LineCancellation {
                    line_number: index.get(&order.lines).line_number,
                    quantity: *quantity,
                }];
                return (
                    Kind::Cancellation,
                    decide::cancel(order, open, &cancellation(lines), &context),
                );
            }
            Command::OpenRound(channel) => {
                let request = RoundRequest {
                    channels: vec![*channel.get(Channel::ALL)],
                    requested_by: "li.na".into(),
                    ..RoundRequest::default()
                };
                decide::open_round(order, open, &request, policy, &self.key, &context)
            }
            Command::Accept(index) => round(index).map_or(nothing, |round| {
                decide::accept(order, round, &answer, None, &formality, &context)
            }),
            Command::Object(index) => round(index).map_or(nothing, |round| {
                let objection = Objection {
                    category: ObjectionCategory::Price,
                    line_numbers: vec![1],
                    text: "too much".into(),
                };
                decide::object(order, round, &answer, &objection, &context)
            }),
            Command::Remind(index) => {
                round(index).map_or(nothing, |round| Ok(decide::remind(order, round, &context)))
            }
            Command::Expire(index) => round(index).map_or(nothing, |round| {
                decide::expire(order, round, &formality, &context)
            }),
            Command::CallResult => {
                let result = CallResult {
                    outcome: CallOutcome::Busy,
                    call_id: "c".into(),
                    digits: String::new(),
                    duration_seconds: 0,
                    note: String::new(),
                };
                decide::call_result(order, &result, &context)
            }
            Command::CodeRefused(index) => round(index).map_or(nothing, |round| {
                Ok(decide::code_refused(order, round, &context))
            }),
            Command::Allocate => decide::allocate(order, &mut book, &context),
            Command::Progress(stage, line, quantity) => {
                let units = [(line.get(&order.lines).line_number, *quantity)];
                decide::progress(order, *stage.get(Stage::ALL), &units, policy, &context)
            }
            Command::Track(status, hours) => {
                let mut event = TrackingEvent {
                    id: TrackingEventId::from_uuid(order_id),
                    source: "carrier".into(),
                    source_event_id: format!("{status:?}-{hours}"),
                    status: *status.get(TrackingStatus::ALL),
                    reason: String::new(),
                    report_time: noon() + TimeDelta::hours(*hours),
                    receive_time: self.now,
                    details: TrackingDetails::default(),
                    anomalies: vec![],
                };
                let facts = TrackingFacts {
                    known: &stored.tracked,
                    policy,
                };
                let decision = decide::track(order, &mut event, &facts, &context);
                if matches!(decision, Ok(Decision::Change(_))) {
                    self.orders[which].tracked.push(event);
                }
                return (Kind::Other, decision);
            }
            Command::Complete => decide::complete(order, &context),
        };
        (Kind::Other, decision)
    }

    /// Puts the other order into this one; what is stored afterwards must be right together.
    fn merge(&mut self, which: usize) -> Result<(), TestCaseError> {
        let other = 1 - which;
        let (Some(survivor), Some(gone)) = (
            self.orders[which].order.clone(),
            self.orders[other].order.clone(),
        ) else {
            return Ok(());
        };
        let hold_ids: Vec<Uuid> = (0..20).map(|_| self.id()).collect();
        let mut hold_ids = hold_ids.into_iter();
        let mut next_hold = move || HoldId::from_uuid(hold_ids.next().unwrap());
        let mut book = self.book();
        let mut known = customer();
        known.credit_exposure_minor = self.orders.iter().map(|it| it.credit_minor).sum();
        let open: Vec<Round> = self
            .orders
            .iter()
            .flat_map(|stored| stored.rounds.values().cloned())
            .filter(|round| round.state == ConfirmationState::Open)
            .collect();
        let context = Context {
            now: self.now,
            actor: "li.na",
            request_id: "r",
            traceparent: None,
        };
        let mut facts = Facts {
            policy: &self.policies[&survivor.order_type],
            rules: &self.rules,
            customer: Some(&known),
            product: &|sku: &str| -> Option<Arc<Product>> { Some(product(sku)) },
            prices: &|_: &str| -> Option<Arc<[Price]>> { None },
            stock: &mut book,
            duplicate_of: None,
            link_key: &self.key,
            hold_id: &mut next_hold,
        };
        let others = [gone.clone()];
        let merging = decide::merge(
            &survivor,
            &others,
            &open,
            "one delivery",
            &mut facts,
            &context,
        );
        let (change, ends) = match merging {
            Ok(Merging::Changes { survivor, merged }) => (survivor, merged),
            Ok(Merging::Refused(refusals)) => {
                prop_assert!(!refusals.is_empty());
                return Ok(());
            }
            Ok(Merging::Already) => {
                prop_assert_eq!(gone.progress.merged_into, Some(survivor.id));
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        prop_assert!(self.policies[&survivor.order_type].mergeable);
        for order in [&survivor, &gone] {
            prop_assert!(order.progress.holds.is_empty() && !order.state.is_terminal());
        }
        let wanted =
            |order: &Order| -> i64 { order.lines.iter().map(|line| line.counters.wanted()).sum() };
        let reserved =
            |order: &Order| -> i64 { order.lines.iter().map(|line| line.counters.reserved).sum() };
        prop_assert_eq!(wanted(&change.order), wanted(&survivor) + wanted(&gone));
        prop_assert!(
            reserved(&change.order) >= reserved(&survivor) + reserved(&gone),
            "goods that were promised are lost"
        );
        prop_assert_eq!(
            change.order.total.minor,
            survivor.total.minor + gone.total.minor
        );
        if survivor.order_number.is_some() && survivor.state.is_formal() {
            prop_assert_eq!(change.order.state.is_formal(), true);
            prop_assert_eq!(change.stock.len(), 0, "goods move with their lines");
            prop_assert!(change.delivery_note.is_some());
        } else {
            prop_assert!(change.order.state.is_before_confirmation());
            prop_assert!(change.order.progress.price_agreement.is_none());
        }
        prop_assert_eq!(ends.len(), 1);
        for end in &ends {
            prop_assert_eq!(end.order.state, OrderState::Merged);
            prop_assert_eq!(end.order.progress.merged_into, Some(survivor.id));
            prop_assert_eq!(reserved(&end.order), 0);
        }
        self.check_change(which, Some(&survivor), &change, Kind::Other)?;
        self.apply(which, Some(&survivor), *change)?;
        for end in ends {
            self.check_change(other, Some(&gone), &end, Kind::Other)?;
            self.apply(other, Some(&gone), end)?;
        }
        Ok(())
    }

    /// What holds of every change by itself.
    fn check_change(
        &self,
        which: usize,
        before: Option<&Order>,
        change: &Change,
        kind: Kind,
    ) -> Result<(), TestCaseError> {
        let after = &change.order;
        let event = &change.event;
        prop_assert_eq!(event.order_id, after.id);
        prop_assert_eq!(event.version, after.version);
        prop_assert_eq!(event.to_state, after.state);
        prop_assert_eq!(after.update_time, self.now);
        for line in &after.lines {
            prop_assert_eq!(line.counters.check(), Ok(()), "{:?}", line);
        }
        let Some(before) = before else {
            prop_assert_eq!(after.version, 1);
            prop_assert_eq!(after.revision, 1);
            return Ok(());
        };
        prop_assert_eq!(after.version, before.version + 1);
        prop_assert_eq!(event.from_state, before.state);
        let amended = event.kind == EventKind::Amended;
        let joined = event.kind == EventKind::Joined;
        prop_assert_eq!(
            after.revision,
            before.revision + u32::from(amended || joined)
        );
        prop_assert!(!amended || after.progress.price_agreement.is_none());
        if before.state.is_terminal() {
            prop_assert_eq!(after.state, before.state, "{:?}", event.kind);
            prop_assert_eq!(&after.lines, &before.lines, "{:?}", event.kind);
            prop_assert_eq!(change.credit_minor, 0);
        }
        if !before.progress.holds.is_empty() {
            let ends = matches!(after.state, OrderState::Cancelled | OrderState::Rejected);
            // What is left when short lines are called off may well be packed already.
            let fewer = kind == Kind::Cancellation;
            prop_assert!(
                ends || fewer || place(after.state) <= place(before.state),
                "{} moved a held order from {} to {}",
                event.kind,
                before.state,
                after.state
            );
        }
        let first = before.progress.last_message_seq + 1;
        for (seq, message) in (first..).zip(&change.messages) {
            prop_assert_eq!(message.seq, seq);
            prop_assert_eq!(message.revision, after.revision);
        }
        for round in &change.rounds {
            if let Some(old) = self.orders[which].rounds.get(&round.round)
                && old.state != ConfirmationState::Open
            {
                prop_assert_eq!(round.state, old.state, "round {}", round.round);
                prop_assert_eq!(round.details.answer_time, old.details.answer_time);
            }
        }
        Ok(())
    }

    /// Writes a change as the store would.
    fn apply(
        &mut self,
        which: usize,
        before: Option<&Order>,
        change: Change,
    ) -> Result<(), TestCaseError> {
        for delta in &change.stock {
            let key = (delta.warehouse.clone(), delta.sku.clone());
            let (on_hand, reserved) = self.stock.get_mut(&key).unwrap();
            *on_hand += delta.on_hand;
            *reserved += delta.reserved;
            prop_assert!(
                0 <= *reserved && reserved <= on_hand,
                "{:?} {:?}: {} of {} reserved after {:?}",
                change.event.kind,
                key,
                reserved,
                on_hand,
                delta
            );
        }
        let stored = &mut self.orders[which];
        for round in change.rounds {
            stored.rounds.insert(round.round, round);
        }
        stored.credit_minor += change.credit_minor;
        let after = change.order;
        if let Some(number) = stored.number {
            prop_assert_eq!(after.order_number, Some(number));
        }
        let confirmed_before = before.is_some_and(|order| order.confirm_time.is_some());
        prop_assert_eq!(after.order_number.is_some(), after.confirm_time.is_some());
        prop_assert!(!confirmed_before || after.confirm_time.is_some());
        let never_confirmed = after.order_number.is_none();
        prop_assert!(
            !never_confirmed || after.state.is_before_confirmation() || after.state.is_terminal(),
            "{} without a number",
            after.state
        );
        stored.number = after.order_number;
        stored.order = Some(after);
        Ok(())
    }

    /// What holds of all that is stored together.
    fn check_sums(&self) -> Result<(), TestCaseError> {
        let mut promised: BTreeMap<(String, String), i64> = BTreeMap::new();
        for stored in &self.orders {
            let Some(order) = &stored.order else { continue };
            for line in &order.lines {
                if line.counters.reserved > 0 {
                    let warehouse = line.warehouse.clone().unwrap();
                    *promised.entry((warehouse, line.sku.clone())).or_default() +=
                        line.counters.reserved;
                }
            }
            let owes = order.terms.payment_method == PaymentMethod::OnAccount
                && !order.state.is_terminal();
            let debt = if owes { order.total.minor } else { 0 };
            prop_assert_eq!(
                stored.credit_minor,
                debt,
                "owed by an order that is {}",
                order.state
            );
            let open = stored
                .rounds
                .values()
                .filter(|round| round.state == ConfirmationState::Open)
                .count();
            let asked = order.state == OrderState::AwaitingConfirmation;
            prop_assert_eq!(
                open,
                usize::from(asked),
                "open rounds of an order that is {}",
                order.state
            );
        }
        for (key, (_, reserved)) in &self.stock {
            prop_assert_eq!(
                *reserved,
                promised.get(key).copied().unwrap_or(0),
                "{:?}",
                key
            );
        }
        Ok(())
    }
}

/// Commands that may bring an order elsewhere than on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Amendment,
    Cancellation,
    Other,
}

/// How far a state is on the way to the customer.
fn place(state: OrderState) -> u8 {
    match state {
        OrderState::Received => 0,
        OrderState::UnderAudit | OrderState::Objected => 1,
        OrderState::AwaitingConfirmation => 2,
        OrderState::Confirmed | OrderState::Backordered => 3,
        OrderState::PartiallyAllocated => 4,
        OrderState::Allocated => 5,
        OrderState::Picking => 6,
        OrderState::Packed => 7,
        OrderState::Dispatched => 8,
        OrderState::Delivered => 9,
        OrderState::Completed
        | OrderState::Rejected
        | OrderState::Cancelled
        | OrderState::Merged => 10,
    }
}

fn lines_of(lines: &[(Index, i64)]) -> Vec<NewLine> {
    lines
        .iter()
        .map(|(sku, quantity)| {
            let mut line = new_line(SKUS[sku.index(SKUS.len())], *quantity, 1250);
            line.extras.customization = "engraved".into();
            line
        })
        .collect()
}

fn cancellation(lines: Vec<LineCancellation>) -> Cancellation {
    Cancellation {
        reason: CancelReason::CustomerChangedMind,
        text: "no longer wanted".into(),
        initiator: Initiator::Customer,
        lines,
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_for_the_books_are_right(
        orders in [any_order(), any_order()],
        commands in prop::collection::vec((0_usize..2, any_command()), 1..100),
    ) {
        let mut world = World::new();
        for (which, order) in orders.iter().enumerate() {
            world.run(which, order)?;
        }
        for (which, command) in &commands {
            world.run(*which, command)?;
        }
    }

    /// Orders that may go together do so at any moment of their lives; stock and debts stay right, and what was merged
    /// stays merged whatever is asked for afterwards.
    #[test]
    fn orders_go_together_and_the_books_stay_right(
        first in any_order(),
        more in any_lines(),
        before in prop::collection::vec((0_usize..2, any_command()), 0..8),
        survivor in 0_usize..2,
        after in prop::collection::vec((0_usize..2, any_command()), 0..40),
    ) {
        let mut second = first.clone();
        if let Command::Take { lines, .. } = &mut second {
            *lines = more;
        }
        let mut world = World::new();
        world.run(0, &first)?;
        world.run(1, &second)?;
        for (which, command) in &before {
            world.run(*which, command)?;
        }
        world.run(survivor, &Command::Merge)?;
        for (which, command) in &after {
            world.run(*which, command)?;
        }
    }
}
