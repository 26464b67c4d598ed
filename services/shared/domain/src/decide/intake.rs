//! Judging an order: goods promised, rules applied, the next state found and the customer asked or told. Intake and
//! amendment both end here.

use std::{borrow::Cow, sync::Arc};

use chrono::{DateTime, Utc};

use super::{Change, Context, Refusal, RoundRequest, amend::owed_minor, confirmation::ask};
use crate::{
    audit::{AuditInput, Duplicate, Finding, LineFacts, RuleSet, Severity},
    catalog::{Price, Product, StockDelta, list_price},
    customer::Customer,
    event::{EventKind, MessageDetails, MessageKind},
    hold::Hold,
    ids::{HoldId, OrderId},
    line::{LineCounters, LineExtras, OrderLine},
    money::Money,
    order::{Order, OrderState, Progress, ShortagePolicy, Terms, TransactionType, content_hash},
    policy::OrderPolicy,
    priority::{self, Priority},
    secrets::LinkKey,
    stock_book::{StockBook, net},
};

/// An order as it was sent in: every field checked for itself, nothing judged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Who sent it.
    pub caller: String,
    /// The sender's own number.
    pub client_reference: String,
    /// Name of a policy.
    pub order_type: String,
    /// The seller's customer number.
    pub customer: String,
    /// How it came.
    pub source_channel: String,
    /// Who looks after it, if the sender says so.
    pub handler: Option<String>,
    /// What the customer is to pay.
    pub total: Money,
    /// What was promised when it was sold, if anything.
    pub promised_delivery_time: Option<DateTime<Utc>>,
    /// What was asked for.
    pub terms: Terms,
    /// The goods.
    pub lines: Vec<NewLine>,
    /// What the sender said; the rest of the terms is filled in from the customer's record.
    pub given: Given,
}

/// Which terms the sender gave; for the others the terms hold what follows from the country.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// A locale.
    pub locale: bool,
    /// A time zone.
    pub time_zone: bool,
    /// A wish for the case of shortage.
    pub shortage_policy: bool,
}

impl NewOrder {
    /// See [`Order::content_hash`].
    pub fn content_hash(&self) -> i64 {
        content_hash(
            self.lines
                .iter()
                .map(|line| (line.sku.as_str(), line.quantity)),
            self.total,
        )
    }
}

/// A line as it was sent in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLine {
    /// Article number.
    pub sku: String,
    /// Name of the goods.
    pub goods_name: String,
    /// Size, colour, model.
    pub specification: String,
    /// Whole units, at least 1.
    pub quantity: i64,
    /// Name of the unit.
    pub unit: String,
    /// Of one unit.
    pub unit_price: Money,
    /// The rest.
    pub extras: LineExtras,
}

/// Numbers the lines and starts their counters.
pub(super) fn number_lines(lines: &[NewLine]) -> Vec<OrderLine> {
    (1_u32..)
        .zip(lines)
        .map(|(line_number, line)| OrderLine {
            line_number,
            sku: line.sku.clone(),
            goods_name: line.goods_name.clone(),
            specification: line.specification.clone(),
            unit: line.unit.clone(),
            unit_price: line.unit_price,
            extras: line.extras.clone(),
            warehouse: None,
            counters: LineCounters {
                ordered: line.quantity,
                ..LineCounters::default()
            },
        })
        .collect()
}

/// What is known when an order is judged.
pub struct Facts<'a> {
    /// Of the order's type.
    pub policy: &'a OrderPolicy,
    /// The rules in force.
    pub rules: &'a RuleSet,
    /// The customer's record, if there is one.
    pub customer: Option<&'a Customer>,
    /// By SKU.
    pub product: &'a dyn Fn(&str) -> Option<Arc<Product>>,
    /// By SKU.
    pub prices: &'a dyn Fn(&str) -> Option<Arc<[Price]>>,
    /// What can be promised; what is promised is taken out of it.
    pub stock: &'a mut StockBook,
    /// A like order of the last day under another reference.
    pub duplicate_of: Option<Duplicate>,
    /// Makes links and codes.
    pub link_key: &'a LinkKey,
    /// Makes the ids of holds that rules lay.
    pub hold_id: &'a mut dyn FnMut() -> HoldId,
}

/// An order that was judged.
pub type Judged = Change;

/// Judges a new order.
pub fn judge(
    id: OrderId,
    new: &NewOrder,
    facts: &mut Facts<'_>,
    context: &Context<'_>,
) -> Result<Judged, Refusal> {
    let mut received = Order {
        id,
        caller: new.caller.clone(),
        client_reference: new.client_reference.clone(),
        order_number: None,
        revision: 1,
        version: 0,
        state: OrderState::Received,
        order_type: new.order_type.clone(),
        policy_version: facts.policy.identity(),
        customer: new.customer.clone(),
        source_channel: new.source_channel.clone(),
        handler: new.handler.clone(),
        total: new.total,
        priority: Priority::default(),
        promised_delivery_time: new.promised_delivery_time,
        terms: new.terms.clone(),
        progress: Progress::default(),
        lines: number_lines(&new.lines),
        create_time: context.now,
        update_time: context.now,
        confirm_time: None,
        deliver_time: None,
    };
    received.enter(OrderState::Received, context.now);
    let mut change = Change::of(&received, EventKind::Received, context);
    if facts.policy.acknowledge {
        change.tell(
            MessageKind::Acknowledgement,
            MessageDetails::default(),
            context,
        );
    }
    settle_judgement(&mut change, facts, context)?;
    if change.order.state == OrderState::Rejected {
        // "We have your order" and "we refuse it" in one breath would be odd.
        change
            .messages
            .retain(|message| message.kind != MessageKind::Acknowledgement);
    }
    Ok(change)
}

/// Promises goods, applies the rules, finds the next state, asks or tells the customer.
pub(super) fn settle_judgement(
    change: &mut Change,
    facts: &mut Facts<'_>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let lines = reserve(&mut change.order, facts, context.now, &mut change.stock);
    change.event.details.decided_by = change.order.policy_version.to_string();
    let customer = facts
        .customer
        .map(|customer| with_debt_of(customer, change));
    let findings = facts.rules.evaluate(&AuditInput {
        order: &change.order,
        customer: customer.as_deref(),
        policy: facts.policy,
        lines: &lines,
        duplicate_of: facts.duplicate_of,
        now: context.now,
    });
    change.order.priority = priority::compute(&change.order, facts.policy, context.now);

    lay_holds(change, &findings, facts, context);
    let worst = findings.iter().map(|finding| finding.severity).max();
    let told: Vec<String> = findings
        .iter()
        .filter(|finding| !finding.customer_message.is_empty())
        .map(|finding| finding.customer_message.clone())
        .collect();
    let refused: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Reject)
        .collect();
    if let Some(first) = refused.first() {
        change.order.progress.end_reason.clone_from(&first.message);
    }
    change.order.progress.findings = findings;

    if worst == Some(Severity::Reject) {
        give_back(change, facts);
        change.enter(OrderState::Rejected, context);
        let reasons = if told.is_empty() {
            vec![change.order.progress.end_reason.clone()]
        } else {
            told
        };
        change.tell(
            MessageKind::OrderRejected,
            MessageDetails {
                reasons,
                ..MessageDetails::default()
            },
            context,
        );
        return Ok(());
    }
    change.credit_minor += owed_minor(&change.order);
    if !told.is_empty() {
        change.tell(
            MessageKind::ProblemFound,
            MessageDetails {
                reasons: told,
                ..MessageDetails::default()
            },
            context,
        );
    }
    let passes = worst.is_none_or(|severity| severity == Severity::Info)
        && facts.policy.auto_approve
        && change.order.progress.holds.is_empty()
        && !(facts.policy.handler_required && change.order.handler.is_none());
    if passes {
        ask(
            change,
            &RoundRequest::default(),
            facts.policy,
            facts.link_key,
            context,
        )
    } else {
        change.enter(OrderState::UnderAudit, context);
        Ok(())
    }
}

/// The customer as they would be with the changed order: the debt on record has the order as it was before.
fn with_debt_of<'a>(customer: &'a Customer, change: &Change) -> Cow<'a, Customer> {
    let difference = if change.order.state == OrderState::Received {
        0
    } else {
        change.credit_minor + owed_minor(&change.order)
    };
    let mut customer = Cow::Borrowed(customer);
    if difference != 0 {
        customer.to_mut().credit_exposure_minor += difference;
    }
    customer
}

/// Promises goods to each line and says what is known about it. Lines of an order that the supplier ships need none.
pub fn reserve(
    order: &mut Order,
    facts: &mut Facts<'_>,
    now: DateTime<Utc>,
    deltas: &mut Vec<StockDelta>,
) -> Vec<LineFacts> {
    let needs_stock = order.terms.transaction_type != TransactionType::Indirect;
    let partial = order.terms.shortage_policy == ShortagePolicy::PartialNow;
    let currency = order.total.currency;
    let mut known = Vec::with_capacity(order.lines.len());
    for line in &mut order.lines {
        let prices = (facts.prices)(&line.sku);
        let list_price = prices
            .as_deref()
            .and_then(|prices| {
                list_price(
                    prices,
                    &order.customer,
                    order.terms.customer_tier.as_deref(),
                    line.counters.ordered,
                    now,
                )
            })
            .map(|price| price.unit_price)
            .filter(|price| price.currency == currency);
        let mut line_facts = LineFacts {
            product: (facts.product)(&line.sku),
            list_price,
            stocked: true,
            available: line.counters.ordered,
        };
        if needs_stock {
            let taken = facts.stock.take(&line.sku, line.counters.short(), partial);
            line_facts.stocked = taken.stocked;
            line_facts.available = line.counters.reserved + taken.available;
            if let Some(warehouse) = taken.warehouse {
                deltas.push(StockDelta {
                    warehouse: warehouse.clone(),
                    sku: line.sku.clone(),
                    reserved: taken.quantity,
                    on_hand: 0,
                });
                line.counters.reserved += taken.quantity;
                line.warehouse = Some(warehouse);
            }
        }
        known.push(line_facts);
    }
    known
}

/// Gives back what this change promised.
fn give_back(change: &mut Change, facts: &mut Facts<'_>) {
    let before = change.stock.len();
    release_all(change);
    for delta in &change.stock[before..] {
        facts.stock.apply(delta);
    }
    change.stock = net(change.stock.drain(..));
}

/// Gives back everything that is promised to the order.
pub(super) fn release_all(change: &mut Change) {
    for line in &mut change.order.lines {
        if line.counters.reserved > 0
            && let Some(warehouse) = &line.warehouse
        {
            change.stock.push(StockDelta {
                warehouse: warehouse.clone(),
                sku: line.sku.clone(),
                reserved: -line.counters.reserved,
                on_hand: 0,
            });
            line.counters.reserved = 0;
            line.counters.picked = line.counters.shipped;
            line.counters.packed = line.counters.shipped;
        }
    }
}

/// Lays the holds that findings ask for, one for each reason.
fn lay_holds(
    change: &mut Change,
    findings: &[Finding],
    facts: &mut Facts<'_>,
    context: &Context<'_>,
) {
    for finding in findings {
        let Some(reason) = finding.hold else { continue };
        let holds = &mut change.order.progress.holds;
        if holds.iter().any(|hold| hold.reason == reason) {
            continue;
        }
        holds.push(Hold {
            id: (facts.hold_id)(),
            reason,
            note: finding.message.clone(),
            owner: String::new(),
            review_time: None,
            create_time: context.now,
            created_by: format!("rule {}@{}", finding.rule, finding.rule_version),
        });
    }
}
