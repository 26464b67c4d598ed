//! Calling off an order or some of its lines.

use super::{
    Action, Change, Context, Decision, Refusal, amend::owed_minor, confirmation::close,
    fulfilment::derive_state, intake::release_all, require, require_text,
};
use crate::{
    catalog::StockDelta,
    code::codes,
    confirmation::{ConfirmationState, Round},
    event::{EventKind, MessageDetails, MessageKind},
    order::{Order, OrderState},
};

codes! {
    /// Why an order or line was called off.
    pub enum CancelReason {
        /// No longer wanted.
        CustomerChangedMind = "CUSTOMER_CHANGED_MIND",
        /// No goods.
        OutOfStock = "OUT_OF_STOCK",
        /// No money.
        Payment = "PAYMENT",
        /// Fraud.
        Fraud = "FRAUD",
        /// The same order twice.
        Duplicate = "DUPLICATE",
        /// The customer does not answer.
        Unreachable = "UNREACHABLE",
        /// See the text.
        Other = "OTHER",
    }
}

codes! {
    /// Who wanted it.
    pub enum Initiator {
        /// The customer.
        Customer = "CUSTOMER",
        /// The company.
        Seller = "SELLER",
        /// A rule.
        System = "SYSTEM",
    }
}

/// Units of a line to be called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineCancellation {
    /// Which line.
    pub line_number: u32,
    /// All that is not shipped when absent.
    pub quantity: Option<i64>,
}

/// What is to be called off, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// Why, in a word.
    pub reason: CancelReason,
    /// Why, in the words that the customer reads.
    pub text: String,
    /// Who wanted it.
    pub initiator: Initiator,
    /// The whole order when empty.
    pub lines: Vec<LineCancellation>,
}

/// Calls off an order or some of its lines. Goods that have left are not called off but sent back.
pub fn cancel(
    order: &Order,
    open: Option<&Round>,
    cancellation: &Cancellation,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if order.state == OrderState::Cancelled {
        return Ok(Decision::Already);
    }
    require(order, Action::CancelOrder)?;
    require_text("reason_text", &cancellation.text)?;
    let whole = cancellation.lines.is_empty();
    let kind = if whole {
        EventKind::Cancelled
    } else {
        EventKind::LinesCancelled
    };
    let mut change = Change::of(order, kind, context).reason(format!(
        "{} by {}: {}",
        cancellation.reason, cancellation.initiator, cancellation.text
    ));
    if whole {
        release_all(&mut change);
        for line in &mut change.order.lines {
            line.counters.cancelled += line.counters.cancellable();
        }
    } else {
        cancel_lines(&mut change, &cancellation.lines)?;
        reduce_total(&mut change, order);
    }
    let all_gone = change
        .order
        .lines
        .iter()
        .all(|line| line.counters.wanted() == 0);
    if all_gone {
        if let Some(round) = open {
            let closed = close(&mut change, round, ConfirmationState::Superseded);
            change.rounds.push(closed);
        }
        change.event.kind = EventKind::Cancelled;
        change.enter(OrderState::Cancelled, context);
        cancellation
            .text
            .clone_into(&mut change.order.progress.end_reason);
        change.credit_minor = -owed_minor(order);
    } else if order.state.is_formal() && order.state != OrderState::Confirmed {
        let state = derive_state(&change.order.lines);
        change.enter(state, context);
    }
    change.tell(
        MessageKind::OrderCancelled,
        MessageDetails {
            reasons: vec![cancellation.text.clone()],
            ..MessageDetails::default()
        },
        context,
    );
    Ok(Decision::change(change))
}

/// Takes the price of the cancelled units off the total. The agreement about the old total no longer holds (R14).
fn reduce_total(change: &mut Change, before: &Order) {
    let off_minor: i64 = change
        .order
        .lines
        .iter()
        .zip(&before.lines)
        .map(|(after, before)| {
            let units = after.counters.cancelled - before.counters.cancelled;
            units.saturating_mul(after.unit_price.minor)
        })
        .fold(0, i64::saturating_add);
    let before_total = change.order.total;
    let mut total = before_total;
    total.minor = (total.minor - off_minor).max(0);
    if total == before_total {
        return;
    }
    change.order.total = total;
    change.note("total", &before_total, &total);
    change.order.progress.price_agreement = None;
    change.credit_minor = owed_minor(&change.order) - owed_minor(before);
}

fn cancel_lines(change: &mut Change, lines: &[LineCancellation]) -> Result<(), Refusal> {
    for (index, wanted) in lines.iter().enumerate() {
        let field = format!("lines[{index}]");
        let Some(line) = change
            .order
            .lines
            .iter_mut()
            .find(|line| line.line_number == wanted.line_number)
        else {
            return Err(Refusal::invalid(
                format!("{field}.line_number"),
                format!("the order has no line {}", wanted.line_number),
            ));
        };
        let counters = &mut line.counters;
        let possible = counters.cancellable();
        let quantity = wanted.quantity.unwrap_or(possible);
        if quantity < 1 || quantity > possible {
            return Err(Refusal::invalid(
                format!("{field}.quantity"),
                format!("must be 1 to {possible}: what is wanted and has not been shipped"),
            ));
        }
        // What was never promised goes first; then promised goods go back to the shelf.
        let promised = (quantity - counters.short()).max(0);
        counters.cancelled += quantity;
        if promised > 0
            && let Some(warehouse) = &line.warehouse
        {
            counters.reserved -= promised;
            let left = counters.shipped + counters.reserved;
            counters.picked = counters.picked.min(left);
            counters.packed = counters.packed.min(counters.picked);
            change.stock.push(StockDelta {
                warehouse: warehouse.clone(),
                sku: line.sku.clone(),
                reserved: -promised,
                on_hand: 0,
            });
        }
        let field = format!("lines[{}].cancelled", wanted.line_number);
        change
            .event
            .details
            .changes
            .push(crate::event::FieldChange {
                field,
                before: (line.counters.cancelled - quantity).to_string(),
                after: line.counters.cancelled.to_string(),
            });
    }
    Ok(())
}
