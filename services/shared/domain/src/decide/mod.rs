//! Decisions: an order as it stands, a command and the facts go in; a [`Change`] or a [`Refusal`] comes out.
//!
//! Nothing here reads a clock, a database or a random number. The store writes a [`Change`] in one transaction, on
//! condition that the order still has the version that the decision was made on; else the decision is made again.

mod actions;
mod amend;
mod answer;
mod audit;
mod call;
mod cancel;
mod confirmation;
mod feedback;
mod fulfilment;
mod intake;
mod merge;
mod survey;
mod tracking;

use std::fmt::Display;

use chrono::{DateTime, Utc};

use crate::{
    catalog::StockDelta,
    confirmation::Round,
    document::{DeliveryNote, ServicePack},
    event::{
        EventDetails, EventKind, FieldChange, MessageDetails, MessageKind, OrderEvent,
        OutboxMessage,
    },
    feedback::Feedback,
    hold::HoldReason,
    order::{Order, OrderState},
    survey::Survey,
    timer::Timer,
};

pub use actions::{Action, AllowedAction, allowed_actions};
pub use amend::{Amendment, amend};
pub use answer::{Answer, Formality, accept, expire, object};
pub use audit::{approve, assign, audit_again, hold, prioritize, reject, release_hold};
pub use call::{CallOutcome, CallResult, call_result, code_refused};
pub use cancel::{CancelReason, Cancellation, Initiator, LineCancellation, cancel};
pub use confirmation::{RoundRequest, open_round, remind};
pub use feedback::{FeedbackFacts, record_feedback, resolve_feedback};
pub use fulfilment::{Stage, allocate, complete, derive_state, progress};
pub use intake::{Facts, Given, Judged, NewLine, NewOrder, judge, reserve};
pub use merge::{MERGED_ORDERS_MAX, MergeRefusal, Merging, merge};
pub use survey::{SurveyFacts, survey};
pub use tracking::{TrackingFacts, track};

/// Who decides, when, and on whose call.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Time of the database.
    pub now: DateTime<Utc>,
    /// "customer", "system" or who called.
    pub actor: &'a str,
    /// Of the call that caused it; empty for timers.
    pub request_id: &'a str,
    /// W3C `traceparent` of the call.
    pub traceparent: Option<&'a str>,
}

/// Everything that one decision changes; written in one transaction or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The order afterwards, its version one greater than before.
    pub order: Order,
    /// For the history.
    pub event: OrderEvent,
    /// For the outbox.
    pub messages: Vec<OutboxMessage>,
    /// For the stock levels.
    pub stock: Vec<StockDelta>,
    /// Rounds that were opened or changed.
    pub rounds: Vec<Round>,
    /// Timers to be set.
    pub timers_set: Vec<Timer>,
    /// Timers that are no longer wanted.
    pub timers_cleared: Vec<Timer>,
    /// Made when the order is confirmed.
    pub delivery_note: Option<DeliveryNote>,
    /// Made when the order is confirmed (R28).
    pub service_pack: Option<ServicePack>,
    /// Whether the customer is asked how it was, once that is decided.
    pub survey: Option<Survey>,
    /// What the customer said, as it stands now.
    pub feedback: Option<Feedback>,
    /// What the customer owes more (or less, if negative) on account, minor units.
    pub credit_minor: i64,
    /// Whether lines were replaced, not just their counters changed.
    pub lines_replaced: bool,
    /// Whether terms were changed.
    pub terms_changed: bool,
}

impl Change {
    /// Starts from the order as it stands: version + 1, update time, an event of the kind.
    fn of(before: &Order, kind: EventKind, context: &Context<'_>) -> Self {
        let mut order = before.clone();
        order.version += 1;
        order.update_time = context.now;
        Self {
            event: OrderEvent {
                order_id: order.id,
                version: order.version,
                kind,
                revision: order.revision,
                from_state: before.state,
                to_state: before.state,
                actor: context.actor.to_owned(),
                create_time: context.now,
                details: EventDetails {
                    request_id: context.request_id.to_owned(),
                    ..EventDetails::default()
                },
            },
            order,
            messages: Vec::new(),
            stock: Vec::new(),
            rounds: Vec::new(),
            timers_set: Vec::new(),
            timers_cleared: Vec::new(),
            delivery_note: None,
            service_pack: None,
            survey: None,
            feedback: None,
            credit_minor: 0,
            lines_replaced: false,
            terms_changed: false,
        }
    }

    fn enter(&mut self, state: OrderState, context: &Context<'_>) {
        self.order.enter(state, context.now);
        self.event.to_state = state;
    }

    fn reason(mut self, reason: impl Into<String>) -> Self {
        self.event.details.reason = reason.into();
        self
    }

    fn note(
        &mut self,
        field: &str,
        before: &(impl Display + ?Sized),
        after: &(impl Display + ?Sized),
    ) {
        self.event.details.changes.push(FieldChange {
            field: field.to_owned(),
            before: before.to_string(),
            after: after.to_string(),
        });
    }

    /// Puts a message into the outbox, next in the order's sequence.
    fn tell(&mut self, kind: MessageKind, details: MessageDetails, context: &Context<'_>) {
        self.order.progress.last_message_seq += 1;
        self.messages.push(OutboxMessage {
            order_id: self.order.id,
            seq: self.order.progress.last_message_seq,
            kind,
            revision: self.order.revision,
            details: MessageDetails {
                traceparent: context.traceparent.map(ToOwned::to_owned),
                ..details
            },
        });
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write this.
    Change(Box<Change>),
    /// It has already happened; there is nothing to write.
    Already,
}

impl Decision {
    fn change(change: Change) -> Self {
        Self::Change(Box::new(change))
    }
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something stands in the way.
    #[error("the order is held ({}): release the hold first", join(.0))]
    Held(Vec<HoldReason>),
    /// It cannot be done in this state.
    #[error("{action} needs an order in {}, this one is {state}", join(.allowed))]
    WrongState {
        /// What was asked for.
        action: Action,
        /// Where the order stands.
        state: OrderState,
        /// Where it would have to stand.
        allowed: Vec<OrderState>,
    },
    /// Something given with the command is not right.
    #[error("{field}: {description}")]
    Invalid {
        /// Path.
        field: String,
        /// What would be right.
        description: String,
    },
    /// What is needed is not there.
    #[error("{0}")]
    Precondition(String),
    /// There is no such thing.
    #[error("{0} not found")]
    NotFound(String),
}

impl Refusal {
    fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            description: description.into(),
        }
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Refuses when the order stands elsewhere or is held.
fn require(order: &Order, action: Action) -> Result<(), Refusal> {
    if !action.states().contains(&order.state) {
        return Err(Refusal::WrongState {
            action,
            state: order.state,
            allowed: action.states().to_vec(),
        });
    }
    if action.moves() && !order.progress.holds.is_empty() {
        return Err(Refusal::Held(
            order
                .progress
                .holds
                .iter()
                .map(|hold| hold.reason)
                .collect(),
        ));
    }
    Ok(())
}

/// Refuses an empty reason.
fn require_text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::invalid(
            field,
            "must say why, in at least one word",
        ));
    }
    Ok(())
}
