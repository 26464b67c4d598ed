//! News of the goods on their way: what it changes on the order, whatever order it comes in.

use super::{
    Change, Context, Decision, Refusal,
    fulfilment::{Stage, advance_all, follow, settle},
};
use crate::{
    event::{EventKind, MessageDetails, MessageKind},
    order::{Order, OrderState},
    policy::OrderPolicy,
    tracking::{TrackingEvent, TrackingStatus},
};

/// What is known besides the order.
#[derive(Clone, Copy, Debug)]
pub struct TrackingFacts<'a> {
    /// Events of the order so far, in any order.
    pub known: &'a [TrackingEvent],
    /// Of the order's type.
    pub policy: &'a OrderPolicy,
}

/// Takes an event in. It is always recorded; the order moves as far as the event implies and its state allows. A hold
/// does not stop news of what has already happened in the world, but it is recorded as an anomaly.
pub fn track(
    order: &Order,
    event: &mut TrackingEvent,
    facts: &TrackingFacts<'_>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if facts
        .known
        .iter()
        .any(|old| old.source == event.source && old.source_event_id == event.source_event_id)
    {
        return Ok(Decision::Already);
    }
    event.anomalies = event.anomalies_beside(order, facts.known);
    let mut change = Change::of(order, EventKind::Tracked, context).reason(event.reason.clone());
    change.note("tracking.status", "", &event.status);
    for anomaly in &event.anomalies {
        change.note("tracking.anomaly", "", &anomaly);
    }
    let stage = match event.status {
        TrackingStatus::PickedUp
        | TrackingStatus::InTransit
        | TrackingStatus::OutForDelivery
        | TrackingStatus::ReadyForPickup => Some(Stage::Shipped),
        TrackingStatus::Delivered => Some(Stage::Delivered),
        _ => None,
    };
    let moves = matches!(
        order.state,
        OrderState::Confirmed
            | OrderState::Allocated
            | OrderState::PartiallyAllocated
            | OrderState::Picking
            | OrderState::Packed
            | OrderState::Dispatched
    ) && order.progress.holds.is_empty();
    if let Some(stage) = stage
        && moves
    {
        advance_all(&mut change, stage);
        settle(&mut change, context);
        if event.status == TrackingStatus::Delivered && change.order.state == OrderState::Delivered
        {
            change.order.deliver_time = Some(event.report_time);
        }
        follow(&mut change, order, facts.policy, context);
    }
    tell(&mut change, order, event, facts, context);
    Ok(Decision::change(change))
}

/// Messages for news that is not a state of its own. Each kind is told once per order; an event that is older than one
/// already known tells nothing.
fn tell(
    change: &mut Change,
    order: &Order,
    event: &TrackingEvent,
    facts: &TrackingFacts<'_>,
    context: &Context<'_>,
) {
    let stale = order.state.is_terminal()
        || order.state == OrderState::Delivered
        || facts
            .known
            .iter()
            .any(|old| old.report_time > event.report_time || old.status == event.status);
    if stale {
        return;
    }
    match event.status {
        TrackingStatus::OutForDelivery => {
            change.tell(
                MessageKind::OutForDelivery,
                MessageDetails::default(),
                context,
            );
        }
        TrackingStatus::DeliveryDelayed | TrackingStatus::DeliveryFailed => change.tell(
            MessageKind::Delayed,
            MessageDetails {
                reasons: vec![event.reason.clone()],
                previous_promise: order.promised_delivery_time,
                ..MessageDetails::default()
            },
            context,
        ),
        _ => {}
    }
}
