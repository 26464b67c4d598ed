//! News of the goods on their way, in one vocabulary for all carriers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    code::codes,
    ids::TrackingEventId,
    order::{Order, OrderState},
};

codes! {
    /// Where the goods are.
    pub enum TrackingStatus {
        /// Announced.
        Pending = "PENDING",
        /// The carrier has them.
        PickedUp = "PICKED_UP",
        /// On the way.
        InTransit = "IN_TRANSIT",
        /// On the last vehicle.
        OutForDelivery = "OUT_FOR_DELIVERY",
        /// Waiting at a counter.
        ReadyForPickup = "READY_FOR_PICKUP",
        /// Arrived.
        Delivered = "DELIVERED",
        /// Stopped for a while.
        OnHold = "ON_HOLD",
        /// Later than promised.
        DeliveryDelayed = "DELIVERY_DELAYED",
        /// Tried in vain.
        DeliveryFailed = "DELIVERY_FAILED",
        /// On the way back.
        ReturnToSender = "RETURN_TO_SENDER",
        /// Called off.
        Cancelled = "CANCELLED",
        /// The source does not say.
        Unknown = "UNKNOWN",
    }
}

impl TrackingStatus {
    /// Place in the usual sequence; statuses that may come at any time have none.
    const fn rank(self) -> Option<u8> {
        match self {
            Self::Pending => Some(0),
            Self::PickedUp => Some(1),
            Self::InTransit => Some(2),
            Self::OutForDelivery | Self::ReadyForPickup => Some(3),
            Self::Delivered => Some(4),
            _ => None,
        }
    }
}

/// The side that caused an incident is the first word of its reason (R37, R56); anything else is refused.
pub const REASON_PREFIXES: &[&str] = &[
    "carrier",
    "retailer",
    "consignee",
    "weather",
    "natural",
    "customs",
    "other",
];

/// A report about the goods on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingEvent {
    /// Ours.
    pub id: TrackingEventId,
    /// Who reports.
    pub source: String,
    /// The source's own id of the event; the same id is taken once.
    pub source_event_id: String,
    /// Where the goods are.
    pub status: TrackingStatus,
    /// Cause-prefixed reason; empty when there is none.
    pub reason: String,
    /// When it happened, by the source's word.
    pub report_time: DateTime<Utc>,
    /// When we were told.
    pub receive_time: DateTime<Utc>,
    /// The rest.
    pub details: TrackingDetails,
    /// What does not fit with what else is known.
    pub anomalies: Vec<Anomaly>,
}

/// What is only read.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrackingDetails {
    /// Where, in words.
    pub place: String,
    /// Consignment number of the carrier.
    pub tracking_number: String,
    /// Free words.
    pub note: String,
}

codes! {
    /// What does not fit with what else is known.
    pub enum Anomaly {
        /// The goods were on their way before the order was placed or confirmed.
        BeforeOrder = "before_order",
        /// A later stage was reported at an earlier time, or the other way round.
        OutOfSequence = "out_of_sequence",
        /// The order is held.
        WhileHeld = "while_held",
        /// The order is rejected or cancelled.
        AfterEnd = "after_end",
        /// More was reported than had been promised from stock.
        NotAllocated = "not_allocated",
    }
}

impl TrackingEvent {
    /// What does not fit with the order and with the other events.
    pub(crate) fn anomalies_beside(&self, order: &Order, known: &[Self]) -> Vec<Anomaly> {
        let mut found = Vec::new();
        let placed = order.terms.place_time.unwrap_or(order.create_time);
        if self.report_time < placed {
            found.push(Anomaly::BeforeOrder);
        }
        let against_sequence = |old: &Self| {
            let (Some(mine), Some(theirs)) = (self.status.rank(), old.status.rank()) else {
                return false;
            };
            (mine > theirs && self.report_time < old.report_time)
                || (mine < theirs && self.report_time > old.report_time)
        };
        if known.iter().any(against_sequence) {
            found.push(Anomaly::OutOfSequence);
        }
        if !order.progress.holds.is_empty() {
            found.push(Anomaly::WhileHeld);
        }
        if matches!(
            order.state,
            OrderState::Rejected | OrderState::Cancelled | OrderState::Merged
        ) {
            found.push(Anomaly::AfterEnd);
        }
        let goods_move = self.status.rank().is_some_and(|rank| rank > 0);
        if goods_move
            && (order.state.is_before_confirmation()
                || order.lines.iter().any(|line| line.counters.short() > 0))
        {
            found.push(Anomaly::NotAllocated);
        }
        found
    }
}

crate::hidden::hidden!(TrackingDetails);
