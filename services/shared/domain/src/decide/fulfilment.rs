//! From the formal order to delivered goods: the state follows from the counters on the lines, so that an order in
//! three parcels is always told truthfully.

use chrono::Duration;

use super::{Action, Change, Context, Decision, Refusal, amend::owed_minor, require};
use crate::{
    catalog::StockDelta,
    code::codes,
    event::{EventKind, MessageDetails, MessageKind},
    line::{LineCounters, OrderLine},
    order::{Order, OrderState},
    policy::OrderPolicy,
    stock_book::StockBook,
    timer::{Timer, TimerKind},
};

codes! {
    /// A stage that units of a line reach.
    pub enum Stage {
        /// Taken from the shelf.
        Picked = "PICKED",
        /// In a parcel.
        Packed = "PACKED",
        /// Left the warehouse.
        Shipped = "SHIPPED",
        /// Arrived.
        Delivered = "DELIVERED",
        /// Came back.
        Returned = "RETURNED",
    }
}

/// The state that the counters tell.
pub fn derive_state(lines: &[OrderLine]) -> OrderState {
    let sum = |count: fn(&OrderLine) -> i64| lines.iter().map(count).sum::<i64>();
    let wanted = sum(|line| line.counters.wanted());
    let delivered = sum(|line| line.counters.delivered);
    let reserved = sum(|line| line.counters.reserved);
    if wanted == 0 {
        OrderState::Cancelled
    } else if delivered == wanted {
        OrderState::Delivered
    } else if sum(|line| line.counters.shipped) > 0 {
        OrderState::Dispatched
    } else if sum(|line| line.counters.packed) == wanted {
        OrderState::Packed
    } else if sum(|line| line.counters.picked) > 0 {
        OrderState::Picking
    } else if reserved == wanted {
        OrderState::Allocated
    } else if reserved > 0 {
        OrderState::PartiallyAllocated
    } else {
        OrderState::Backordered
    }
}

/// Enters the derived state within a change.
pub(super) fn settle(change: &mut Change, context: &Context<'_>) {
    let state = derive_state(&change.order.lines);
    change.enter(state, context);
}

/// Promises goods to a formal order that lacks some (T9, single-order mode).
pub fn allocate(
    order: &Order,
    stock: &mut StockBook,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if order.state == OrderState::Allocated {
        return Ok(Decision::Already);
    }
    require(order, Action::AllocateOrder)?;
    let mut change = Change::of(order, EventKind::Allocated, context);
    for line in &mut change.order.lines {
        let short = line.counters.short();
        if short == 0 {
            continue;
        }
        let taken = stock.take(&line.sku, short, line.counters.reserved == 0);
        // A line is served by one warehouse: what is promised stays where it is.
        let Some(warehouse) = taken
            .warehouse
            .filter(|warehouse| line.warehouse.as_ref().is_none_or(|old| old == warehouse))
        else {
            continue;
        };
        change.stock.push(StockDelta {
            warehouse: warehouse.clone(),
            sku: line.sku.clone(),
            reserved: taken.quantity,
            on_hand: 0,
        });
        line.counters.reserved += taken.quantity;
        line.warehouse = Some(warehouse);
    }
    settle(&mut change, context);
    if change.stock.is_empty() && change.order.state == order.state {
        return Ok(Decision::Already);
    }
    Ok(Decision::change(change))
}

/// Records units that reached a stage; without any named, all that can. Shipped units leave the stock.
pub fn progress(
    order: &Order,
    stage: Stage,
    units: &[(u32, i64)],
    policy: &OrderPolicy,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let returning = stage == Stage::Returned && order.state == OrderState::Delivered;
    if !returning {
        require(order, Action::RecordOrderProgress)?;
    }
    let all: Vec<(u32, i64)>;
    let units = if units.is_empty() {
        all = order
            .lines
            .iter()
            .map(|line| (line.line_number, possible(&line.counters, stage)))
            .filter(|(_, quantity)| *quantity > 0)
            .collect();
        if all.is_empty() {
            return Err(Refusal::Precondition(format!(
                "the order has no units that can be {stage} now"
            )));
        }
        &all
    } else {
        units
    };
    let mut change = Change::of(order, EventKind::Progressed, context);
    for (index, &(line_number, quantity)) in units.iter().enumerate() {
        advance(&mut change, stage, line_number, quantity)
            .map_err(|problem| Refusal::invalid(format!("units[{index}]"), problem))?;
    }
    settle(&mut change, context);
    follow(&mut change, order, policy, context);
    Ok(Decision::change(change))
}

/// Units of a line that can reach a stage next.
const fn possible(counters: &LineCounters, stage: Stage) -> i64 {
    match stage {
        Stage::Picked => counters.shipped + counters.reserved - counters.picked,
        Stage::Packed => counters.picked - counters.packed,
        Stage::Shipped => counters.packed - counters.shipped,
        Stage::Delivered => counters.shipped - counters.delivered,
        Stage::Returned => counters.shipped - counters.returned,
    }
}

/// Adds units to a counter and, for shipping, takes them off the stock.
fn advance(
    change: &mut Change,
    stage: Stage,
    line_number: u32,
    quantity: i64,
) -> Result<(), String> {
    let Some(line) = change
        .order
        .lines
        .iter_mut()
        .find(|line| line.line_number == line_number)
    else {
        return Err(format!("the order has no line {line_number}"));
    };
    let counters = &mut line.counters;
    let possible = possible(counters, stage);
    if quantity < 1 || quantity > possible {
        return Err(format!(
            "line {line_number}: quantity must be 1 to {possible} to be {stage}"
        ));
    }
    let counter = match stage {
        Stage::Picked => &mut counters.picked,
        Stage::Packed => &mut counters.packed,
        Stage::Shipped => &mut counters.shipped,
        Stage::Delivered => &mut counters.delivered,
        Stage::Returned => &mut counters.returned,
    };
    let before = *counter;
    *counter += quantity;
    let after = *counter;
    if stage == Stage::Shipped {
        counters.reserved -= quantity;
        if let Some(warehouse) = &line.warehouse {
            change.stock.push(StockDelta {
                warehouse: warehouse.clone(),
                sku: line.sku.clone(),
                reserved: -quantity,
                on_hand: -quantity,
            });
        }
    }
    let field = format!("lines[{line_number}].{}", stage.as_str().to_lowercase());
    change.note(&field, &before, &after);
    Ok(())
}

/// Brings every unit that is promised to `stage` and all stages before it: a carrier's report implies them.
pub(super) fn advance_all(change: &mut Change, stage: Stage) {
    let numbers: Vec<u32> = change
        .order
        .lines
        .iter()
        .map(|line| line.line_number)
        .collect();
    for through in [
        Stage::Picked,
        Stage::Packed,
        Stage::Shipped,
        Stage::Delivered,
    ] {
        for &number in &numbers {
            let Some(line) = change
                .order
                .lines
                .iter()
                .find(|line| line.line_number == number)
            else {
                continue;
            };
            let open = possible(&line.counters, through);
            if open > 0 {
                // Cannot be refused: `open` is what is possible.
                advance(change, through, number, open).ok();
            }
        }
        if through == stage {
            break;
        }
    }
}

/// Messages, times and timers that follow when a state was entered.
pub(super) fn follow(
    change: &mut Change,
    before: &Order,
    policy: &OrderPolicy,
    context: &Context<'_>,
) {
    let state = change.order.state;
    if state == before.state {
        return;
    }
    if state == OrderState::Dispatched {
        change.tell(MessageKind::Dispatched, MessageDetails::default(), context);
    }
    if state == OrderState::Delivered {
        change.order.deliver_time.get_or_insert(context.now);
        change.tell(MessageKind::Delivered, MessageDetails::default(), context);
        change.timers_set.push(Timer {
            due_time: context.now + Duration::seconds(i64::from(policy.completion_window_seconds)),
            order_id: change.order.id,
            kind: TimerKind::Completion,
            generation: 0,
        });
        super::survey::await_survey(change, policy, context);
    }
}

/// The time to complain without a reason is over.
pub fn complete(order: &Order, context: &Context<'_>) -> Result<Decision, Refusal> {
    if order.state != OrderState::Delivered {
        return Ok(Decision::Already);
    }
    if !order.progress.holds.is_empty() {
        return Err(Refusal::Held(
            order
                .progress
                .holds
                .iter()
                .map(|hold| hold.reason)
                .collect(),
        ));
    }
    let mut change = Change::of(order, EventKind::Completed, context);
    change.credit_minor = -owed_minor(order);
    change.enter(OrderState::Completed, context);
    Ok(Decision::change(change))
}
