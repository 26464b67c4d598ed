//! Putting orders together, so that they go as one delivery (R53).
//!
//! One order survives and takes over the lines of the others as a new revision; the others end as MERGED and point to it.
//! What is promised from stock stays promised: a line that has all its goods keeps them.

mod key;

use super::{
    Change, Context, Facts, Refusal, amend::owed_minor, confirmation::close, fulfilment::settle,
    intake::settle_judgement, require_text,
};
use crate::{
    catalog::StockDelta,
    confirmation::{ConfirmationState, Round},
    document::{DeliveryNote, ServicePack},
    event::{EventKind, MessageDetails, MessageKind},
    ids::OrderId,
    line::{LineCounters, OrderLine},
    order::{Order, OrderState, PriceAgreement},
    priority,
    stock_book::net,
};

/// Orders that may be put together at once, the surviving one among them.
pub const MERGED_ORDERS_MAX: usize = 20;

/// Why an order cannot go together with the surviving one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRefusal {
    /// Which order.
    pub order: OrderId,
    /// The field that differs or stands in the way, as a path in the order.
    pub field: &'static str,
    /// What would be right. Tells no personal data.
    pub description: String,
}

/// What came of putting orders together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merging {
    /// Write all of these, or none.
    Changes {
        /// The surviving order with everybody's lines.
        survivor: Box<Change>,
        /// The others, each with a pointer to the surviving one.
        merged: Vec<Change>,
    },
    /// They are together already.
    Already,
    /// Nothing changes, because of these.
    Refused(Vec<MergeRefusal>),
}

/// How far orders have come that can be put together. Both sides must have come equally far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The customer has not agreed yet.
    Unconfirmed,
    /// Formal, waiting for the pool run.
    Confirmed,
    /// Formal, goods promised as far as there are any, nothing picked.
    Allocated,
}

impl Stage {
    const fn of(state: OrderState) -> Option<Self> {
        match state {
            OrderState::UnderAudit | OrderState::AwaitingConfirmation => Some(Self::Unconfirmed),
            OrderState::Confirmed => Some(Self::Confirmed),
            OrderState::Allocated | OrderState::PartiallyAllocated | OrderState::Backordered => {
                Some(Self::Allocated)
            }
            _ => None,
        }
    }
}

/// Puts `others` into `survivor`. Before confirmation the surviving order is judged and its customer asked anew, as after
/// an amendment. Formal orders stay formal: nobody agreed to anything else than the sum of what was agreed, so nobody is
/// asked again.
///
/// `open` are the open rounds of any of the orders.
pub fn merge(
    survivor: &Order,
    others: &[Order],
    open: &[Round],
    reason: &str,
    facts: &mut Facts<'_>,
    context: &Context<'_>,
) -> Result<Merging, Refusal> {
    require_text("reason", reason)?;
    if !others.is_empty()
        && others
            .iter()
            .all(|other| other.progress.merged_into == Some(survivor.id))
    {
        return Ok(Merging::Already);
    }
    let (terms, total) = match key::put_together(survivor, others, facts) {
        Ok(together) => together,
        Err(refusals) => return Ok(Merging::Refused(refusals)),
    };
    let mut change = Change::of(survivor, EventKind::Joined, context).reason(reason);
    change.order.revision += 1;
    change.event.revision = change.order.revision;
    let revision = change.order.revision;
    change.note("revision", &survivor.revision, &revision);
    let names: Vec<String> = others.iter().map(|it| it.id.resource_name()).collect();
    change.note("merged_orders", "", &names.join(", "));
    take_lines(&mut change, survivor, others);
    if terms != survivor.terms {
        change.note("delivery.requested_window", "(before)", "(in common)");
        change.order.terms = terms;
        change.terms_changed = true;
    }
    change.note("total", &survivor.total, &total);
    change.order.total = total;
    change.order.promised_delivery_time = everybody(survivor, others)
        .filter_map(|order| order.promised_delivery_time)
        .min();
    tell(&mut change, reason, context);

    if Stage::of(survivor.state) == Some(Stage::Unconfirmed) {
        judge_together(&mut change, survivor, others, open, facts, context)?;
    } else {
        stay_formal(&mut change, survivor, others, facts, context);
    }
    let merged = others
        .iter()
        .map(|other| end(other, survivor, open, reason, context))
        .collect();
    Ok(Merging::Changes {
        survivor: Box::new(change),
        merged,
    })
}

fn everybody<'a>(survivor: &'a Order, others: &'a [Order]) -> impl Iterator<Item = &'a Order> {
    std::iter::once(survivor).chain(others)
}

/// Gives the surviving order everybody's lines, numbered anew, with the goods that are promised to them. What was called
/// off stays behind.
fn take_lines(change: &mut Change, survivor: &Order, others: &[Order]) {
    let show = |lines: &[OrderLine]| {
        lines
            .iter()
            .map(|line| format!("{} × {}", line.counters.wanted(), line.sku))
            .collect::<Vec<_>>()
            .join(", ")
    };
    change.order.lines = (1_u32..)
        .zip(
            everybody(survivor, others)
                .flat_map(|order| &order.lines)
                .filter(|line| line.counters.wanted() > 0),
        )
        .map(|(line_number, line)| OrderLine {
            line_number,
            counters: LineCounters {
                ordered: line.counters.wanted(),
                reserved: line.counters.reserved,
                ..LineCounters::default()
            },
            ..line.clone()
        })
        .collect();
    change.lines_replaced = true;
    let after = show(&change.order.lines);
    change.note("lines", &show(&survivor.lines), &after);
}

fn tell(change: &mut Change, reason: &str, context: &Context<'_>) {
    change.tell(
        MessageKind::OrderAmended,
        MessageDetails {
            reasons: vec![reason.to_owned()],
            ..MessageDetails::default()
        },
        context,
    );
}

/// Applies the rules to all lines and asks the customer about all of them.
fn judge_together(
    change: &mut Change,
    survivor: &Order,
    others: &[Order],
    open: &[Round],
    facts: &mut Facts<'_>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    close_round(change, open);
    if let Some(agreement) = change.order.progress.price_agreement.take() {
        change.note("price_agreement", &agreement.amount, "void");
    }
    // Lines that lack goods look for all of them anew: a line is served by one warehouse.
    let mut given_back = Vec::new();
    for line in &mut change.order.lines {
        if line.counters.short() > 0
            && let Some(warehouse) = line.warehouse.take()
        {
            given_back.push(StockDelta {
                warehouse,
                sku: line.sku.clone(),
                reserved: -line.counters.reserved,
                on_hand: 0,
            });
            line.counters.reserved = 0;
        }
    }
    for delta in &given_back {
        facts.stock.apply(delta);
    }
    change.stock = given_back;
    change.order.policy_version = facts.policy.identity();
    // The debt on record has every one of the orders in it; judged is what it will be.
    let owed_by_others = others.iter().map(owed_minor).fold(0, i64::saturating_add);
    change.credit_minor = -owed_minor(survivor) - owed_by_others;
    settle_judgement(change, facts, context)?;
    change.credit_minor += owed_by_others;
    if change.order.state == OrderState::Rejected {
        let message = change.order.progress.end_reason.clone();
        return Err(Refusal::Precondition(format!(
            "the orders would be refused together: {message}"
        )));
    }
    let promised =
        |order: &Order| -> i64 { order.lines.iter().map(|line| line.counters.reserved).sum() };
    if promised(&change.order) < everybody(survivor, others).map(promised).sum::<i64>() {
        return Err(Refusal::Precondition(
            "together the orders would be promised fewer goods than apart".to_owned(),
        ));
    }
    change.stock = net(change.stock.drain(..));
    Ok(())
}

/// Sums up what was agreed and makes the papers of the new revision.
fn stay_formal(
    change: &mut Change,
    survivor: &Order,
    others: &[Order],
    facts: &Facts<'_>,
    context: &Context<'_>,
) {
    change.order.progress.price_agreement = agreed_together(change, survivor, others);
    change.order.priority = priority::compute(&change.order, facts.policy, context.now);
    change.credit_minor = owed_minor(&change.order) - owed_minor(survivor);
    if survivor.state != OrderState::Confirmed {
        settle(change, context);
    }
    if let Some(number) = change.order.order_number {
        change.delivery_note = Some(DeliveryNote::of(&change.order, number, context.now));
        change.service_pack = Some(ServicePack::of(
            &change.order,
            number,
            facts.policy,
            |sku| (facts.product)(sku).map_or(0, |product| product.profile.warranty_months),
            context.now,
        ));
    }
}

/// The last of the agreements with the sum of all; none when one of the orders has none.
fn agreed_together(change: &Change, survivor: &Order, others: &[Order]) -> Option<PriceAgreement> {
    let agreements: Option<Vec<&PriceAgreement>> = everybody(survivor, others)
        .map(|order| order.progress.price_agreement.as_ref())
        .collect();
    let last = agreements?.into_iter().max_by_key(|it| it.agree_time)?;
    Some(PriceAgreement {
        amount: change.order.total,
        revision: change.order.revision,
        ..last.clone()
    })
}

/// The end of an order that went into another one. Its goods went with it.
fn end(
    other: &Order,
    survivor: &Order,
    open: &[Round],
    reason: &str,
    context: &Context<'_>,
) -> Change {
    let mut change = Change::of(other, EventKind::Merged, context).reason(reason);
    close_round(&mut change, open);
    for line in &mut change.order.lines {
        line.counters.reserved = 0;
    }
    change.credit_minor = -owed_minor(other);
    change.enter(OrderState::Merged, context);
    change.order.progress.merged_into = Some(survivor.id);
    reason.clone_into(&mut change.order.progress.end_reason);
    change.note("merged_into", "", &survivor.id.resource_name());
    tell(&mut change, reason, context);
    change
}

fn close_round(change: &mut Change, open: &[Round]) {
    let round = open
        .iter()
        .find(|round| round.order_id == change.order.id && round.state == ConfirmationState::Open);
    if let Some(round) = round {
        let closed = close(change, round, ConfirmationState::Superseded);
        change.rounds.push(closed);
    }
}
