//! What a call or a code gave that is neither yes nor no.

use super::{Change, Context, Decision, Refusal};
use crate::{
    code::codes,
    confirmation::{CODE_ATTEMPTS_MAX, Round},
    event::EventKind,
    order::Order,
};

codes! {
    /// How a call to the customer ended (R19).
    pub enum CallOutcome {
        /// Said yes.
        AnsweredConfirmed = "ANSWERED_CONFIRMED",
        /// Said no.
        AnsweredObjected = "ANSWERED_OBJECTED",
        /// Answered, but neither yes nor no.
        AnsweredUnclear = "ANSWERED_UNCLEAR",
        /// Nobody answered.
        NoAnswer = "NO_ANSWER",
        /// A machine answered; it never counts as a yes.
        Machine = "MACHINE",
        /// Busy.
        Busy = "BUSY",
        /// The call could not be made.
        Failed = "FAILED",
    }
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallResult {
    /// How it ended.
    pub outcome: CallOutcome,
    /// Gateway's id of the call; empty for staff.
    pub call_id: String,
    /// Keys pressed.
    pub digits: String,
    /// Length.
    pub duration_seconds: u32,
    /// Free words of the member of staff.
    pub note: String,
}

/// Records a call that settled nothing; a yes or no goes to [`accept`](super::accept) or [`object`](super::object).
pub fn call_result(
    order: &Order,
    result: &CallResult,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let mut change =
        Change::of(order, EventKind::CallRecorded, context).reason(result.note.clone());
    change.note("call.outcome", "", &result.outcome);
    if !result.call_id.is_empty() {
        change.note("call.id", "", &result.call_id);
    }
    if !result.digits.is_empty() {
        change.note("call.digits", "", &result.digits);
    }
    change.note("call.duration_seconds", "", &result.duration_seconds);
    Ok(Decision::change(change))
}

/// A wrong code was given: counted, and after [`CODE_ATTEMPTS_MAX`] the round takes no more codes.
pub fn code_refused(order: &Order, round: &Round, context: &Context<'_>) -> Decision {
    let mut change = Change::of(order, EventKind::CodeRefused, context);
    let mut round = round.clone();
    round.details.code_attempts = (round.details.code_attempts + 1).min(CODE_ATTEMPTS_MAX);
    change.note(
        "code_attempts",
        &(round.details.code_attempts - 1),
        &round.details.code_attempts,
    );
    change.rounds.push(round);
    Decision::change(change)
}
