//! What is told of a change: the order's history and the messages that follow from it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{code::codes, ids::OrderId, order::OrderState};

codes! {
    /// What happened to an order.
    pub enum EventKind {
        /// Taken in.
        Received = "order.received",
        /// Judged again.
        Audited = "order.audited",
        /// Findings accepted by staff.
        Approved = "order.approved",
        /// Refused.
        Rejected = "order.rejected",
        /// A hold was laid.
        Held = "order.held",
        /// A hold was released.
        Released = "order.released",
        /// A handler was named.
        Assigned = "order.assigned",
        /// Priority set by hand.
        Prioritized = "order.prioritized",
        /// The customer was asked.
        ConfirmationRequested = "order.confirmation_requested",
        /// The customer was asked a second time.
        ConfirmationReminded = "order.confirmation_reminded",
        /// The customer said yes, or silence did.
        Confirmed = "order.confirmed",
        /// The customer said no.
        Objected = "order.objected",
        /// Nobody answered where a yes was needed.
        ConfirmationExpired = "order.confirmation_expired",
        /// An answer came that no longer counts.
        LateAnswer = "order.late_answer",
        /// A call was made that settled nothing.
        CallRecorded = "order.call_recorded",
        /// A wrong code was given.
        CodeRefused = "order.code_refused",
        /// A new revision.
        Amended = "order.amended",
        /// Other orders went into this one: a new revision with their lines.
        Joined = "order.joined",
        /// Went into another order.
        Merged = "order.merged",
        /// Lines called off.
        LinesCancelled = "order.lines_cancelled",
        /// Called off.
        Cancelled = "order.cancelled",
        /// Goods promised from stock.
        Allocated = "order.allocated",
        /// Picked, packed, shipped, delivered or returned units recorded.
        Progressed = "order.progressed",
        /// News of the goods on their way.
        Tracked = "order.tracked",
        /// The time to complain without a reason is over.
        Completed = "order.completed",
        /// The customer was asked how it was.
        SurveySent = "order.survey_sent",
        /// The customer was not asked how it was; the reason says why.
        SurveyWithheld = "order.survey_withheld",
        /// The customer said how it was.
        FeedbackReceived = "order.feedback_received",
        /// What the customer was unhappy with was followed up.
        FeedbackResolved = "order.feedback_resolved",
        /// The customer's data were erased; goods, amounts and states are left.
        Erased = "order.erased",
    }
}

impl EventKind {
    /// Whether the customer may see it on the order page.
    pub const fn is_public(self) -> bool {
        matches!(
            self,
            Self::Received
                | Self::Rejected
                | Self::ConfirmationRequested
                | Self::Confirmed
                | Self::Objected
                | Self::Amended
                | Self::Joined
                | Self::Merged
                | Self::LinesCancelled
                | Self::Cancelled
                | Self::Allocated
                | Self::Progressed
                | Self::Tracked
                | Self::Completed
        )
    }
}

/// A field before and after. Personal data is named, never shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Path.
    pub field: String,
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
}

/// One change of an order, for its history and for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderEvent {
    /// Whose.
    pub order_id: OrderId,
    /// The order's version after the change; with the order it names the event.
    pub version: i64,
    /// What happened.
    pub kind: EventKind,
    /// Revision then.
    pub revision: u32,
    /// State before.
    pub from_state: OrderState,
    /// State after.
    pub to_state: OrderState,
    /// "customer", "system" or who called.
    pub actor: String,
    /// When.
    pub create_time: DateTime<Utc>,
    /// The rest.
    pub details: EventDetails,
}

/// What is only read when the event is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventDetails {
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
    /// The rule or policy that decided.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decided_by: String,
    /// Of the call that caused it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

codes! {
    /// What a message to the customer is about.
    pub enum MessageKind {
        /// "We have your order."
        Acknowledgement = "ACKNOWLEDGEMENT",
        /// Something is wrong with the order (R17).
        ProblemFound = "PROBLEM_FOUND",
        /// "Is this right?" (R22).
        ConfirmationRequest = "CONFIRMATION_REQUEST",
        /// The same, again.
        ConfirmationReminder = "CONFIRMATION_REMINDER",
        /// Number and delivery note.
        OrderConfirmed = "ORDER_CONFIRMED",
        /// The order was changed.
        OrderAmended = "ORDER_AMENDED",
        /// The order or some lines were called off.
        OrderCancelled = "ORDER_CANCELLED",
        /// The order was refused.
        OrderRejected = "ORDER_REJECTED",
        /// "We have heard your objection."
        ObjectionReceived = "OBJECTION_RECEIVED",
        /// On its way.
        Dispatched = "DISPATCHED",
        /// Today.
        OutForDelivery = "OUT_FOR_DELIVERY",
        /// Later than promised (R38).
        Delayed = "DELAYED",
        /// Arrived.
        Delivered = "DELIVERED",
        /// "How was it?" (R39, R49).
        Survey = "SURVEY",
    }
}

impl MessageKind {
    /// Whether it makes sense to a customer who never got the message before it.
    pub const fn is_independent(self) -> bool {
        !matches!(self, Self::ConfirmationReminder)
    }

    /// Whether the customer may stop such messages and still get the others (RFC 8058).
    ///
    /// Courtesy may be declined: the order page tells the same, so nobody misses anything. What the customer must act upon,
    /// what is the record of an agreement, and what answers the customer may not: mail programs show the button next to the
    /// sender's name, and one tap too many would take the order's own papers away.
    pub const fn may_be_declined(self) -> bool {
        match self {
            Self::Dispatched | Self::OutForDelivery | Self::Delivered | Self::Survey => true,
            Self::Acknowledgement
            | Self::ProblemFound
            | Self::ConfirmationRequest
            | Self::ConfirmationReminder
            | Self::OrderConfirmed
            | Self::OrderAmended
            | Self::OrderCancelled
            | Self::OrderRejected
            | Self::ObjectionReceived
            | Self::Delayed => false,
        }
    }
}

/// A message that follows from a change; it stands in the outbox in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxMessage {
    /// About which order.
    pub order_id: OrderId,
    /// 1, 2, 3 … within the order: messages about an order start in this sequence.
    pub seq: u32,
    /// About what.
    pub kind: MessageKind,
    /// Revision that it is about; about an older one nothing is sent.
    pub revision: u32,
    /// The rest.
    pub details: MessageDetails,
}

/// What the renderer needs besides the order itself.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDetails {
    /// Round of confirmation, for its code and channel plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Explanations for the customer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// When it was promised before, for a delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_promise: Option<DateTime<Utc>>,
    /// W3C `traceparent` of the call that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

crate::hidden::hidden!(MessageDetails);
