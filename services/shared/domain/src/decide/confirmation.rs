//! The customer's yes, no or silence, and the rounds in which they are asked.

use chrono::{DateTime, Duration, Utc};

use super::{Action, Change, Context, Decision, Refusal, fulfilment::settle, require};
use crate::{
    code::codes,
    confirmation::{
        AnswerChannel, CODE_ATTEMPTS_MAX, ConfirmationMode, ConfirmationState, LateAnswer,
        Objection, Round, RoundDetails,
    },
    document::{DeliveryNote, ServicePack},
    event::{EventKind, MessageDetails, MessageKind},
    money::Money,
    number::OrderNumber,
    order::{Channel, Order, OrderState, PriceAgreement},
    policy::OrderPolicy,
    secrets::LinkKey,
    timer::{Timer, TimerKind},
};

/// What a member of staff may choose about a round; the policy decides what is left open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundRequest {
    /// In the order to be tried; the policy's plan when empty.
    pub channels: Vec<Channel>,
    /// Who chose.
    pub requested_by: String,
    /// The policy's window when absent.
    pub expire_time: Option<DateTime<Utc>>,
    /// The policy's mode when absent.
    pub mode: Option<ConfirmationMode>,
    /// A member of staff rings; nothing is sent.
    pub by_staff: bool,
}

/// The channels by which this customer can be reached, the preferred one first.
fn channel_plan(order: &Order, wanted: &[Channel]) -> Vec<Channel> {
    let mut plan: Vec<Channel> = Vec::new();
    let preferred = order.terms.contact.preferred_channel;
    let first = preferred.filter(|channel| wanted.contains(channel));
    for channel in first.into_iter().chain(wanted.iter().copied()) {
        if order.reachable_by(channel) && !plan.contains(&channel) {
            plan.push(channel);
        }
    }
    plan
}

/// Opens a round within a change: state, timer and message.
pub(super) fn ask(
    change: &mut Change,
    request: &RoundRequest,
    policy: &OrderPolicy,
    key: &LinkKey,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let plan = if request.channels.is_empty() {
        channel_plan(&change.order, &policy.channel_plan)
    } else {
        for channel in &request.channels {
            if !request.by_staff && !change.order.reachable_by(*channel) {
                return Err(Refusal::invalid(
                    "channels",
                    format!("the order has no address for {channel}"),
                ));
            }
        }
        request.channels.clone()
    };
    if plan.is_empty() {
        return Err(Refusal::Precondition(
            "the customer has neither e-mail address nor phone number that the policy could use"
                .into(),
        ));
    }
    let expire_time = request.expire_time.unwrap_or_else(|| {
        context.now + Duration::seconds(i64::from(policy.confirmation_window_seconds))
    });
    if expire_time <= context.now {
        return Err(Refusal::invalid("expire_time", "must lie ahead"));
    }
    let round = change.order.progress.last_round + 1;
    change.order.progress.last_round = round;
    change.rounds.push(Round {
        order_id: change.order.id,
        round,
        revision: change.order.revision,
        mode: request.mode.unwrap_or(policy.confirmation_mode),
        state: ConfirmationState::Open,
        expire_time,
        create_time: context.now,
        code_hash: key.code_hash(
            change.order.id,
            round,
            &key.confirmation_code(change.order.id, round),
        ),
        details: RoundDetails {
            step_seconds: policy
                .channel_step_seconds
                .iter()
                .copied()
                .take(plan.len() - 1)
                .collect(),
            channel_plan: plan,
            requested_by: request.requested_by.clone(),
            by_staff: request.by_staff,
            ..RoundDetails::default()
        },
    });
    change.timers_set.push(Timer {
        due_time: expire_time,
        order_id: change.order.id,
        kind: TimerKind::ConfirmationDeadline,
        generation: round,
    });
    change.enter(OrderState::AwaitingConfirmation, context);
    if !request.by_staff {
        change.tell(
            MessageKind::ConfirmationRequest,
            MessageDetails {
                round: Some(round),
                ..MessageDetails::default()
            },
            context,
        );
    }
    Ok(())
}

/// Closes an open round within a change and takes its timer away.
pub(super) fn close(change: &mut Change, round: &Round, state: ConfirmationState) -> Round {
    change.timers_cleared.push(deadline_timer(round));
    Round {
        state,
        ..round.clone()
    }
}

/// The timer that was set when the round was opened.
fn deadline_timer(round: &Round) -> Timer {
    Timer {
        due_time: round.expire_time,
        order_id: round.order_id,
        kind: TimerKind::ConfirmationDeadline,
        generation: round.round,
    }
}

/// Asks the customer again; the open round, if any, gives way.
pub fn open_round(
    order: &Order,
    open: Option<&Round>,
    request: &RoundRequest,
    policy: &OrderPolicy,
    key: &LinkKey,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    require(order, Action::CreateConfirmation)?;
    let mut change = Change::of(order, EventKind::ConfirmationRequested, context);
    if let Some(round) = open {
        let closed = close(&mut change, round, ConfirmationState::Superseded);
        change.rounds.push(closed);
    }
    ask(&mut change, request, policy, key, context)?;
    Decision::change(change)
}

/// Who answered, by what way, and when it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// By what way.
    pub channel: AnswerChannel,
    /// "customer" or the member of staff who took it.
    pub answered_by: String,
    /// Time of receipt; it decides against the deadline.
    pub receive_time: DateTime<Utc>,
}

/// Records an answer that no longer counts.
fn late(
    order: &Order,
    round: &Round,
    answer: &Answer,
    accepted: bool,
    text: &str,
    context: &Context<'_>,
) -> Change {
    let mut change = Change::of(order, EventKind::LateAnswer, context);
    change.event.details.reason = format!(
        "{} by {} after round {} was {}",
        if accepted { "yes" } else { "no" },
        answer.channel,
        round.round,
        round.state
    );
    let mut round = round.clone();
    round.details.late_answers.push(LateAnswer {
        accepted,
        answer_channel: answer.channel,
        answer_time: answer.receive_time,
        text: text.to_owned(),
    });
    change.rounds.push(round);
    change
}

/// How many answers that came too late are kept for a round.
const LATE_ANSWERS_MAX: usize = 20;

/// Whether the answer counts; else what is to be done instead.
fn counts(
    order: &Order,
    round: &Round,
    answer: &Answer,
    accepted: bool,
    text: &str,
    context: &Context<'_>,
) -> Result<Option<Decision>, Refusal> {
    let same_answer = matches!(
        (round.state, accepted),
        (ConfirmationState::Accepted, true) | (ConfirmationState::Objected, false)
    );
    if same_answer {
        return Ok(Some(Decision::Already));
    }
    if !round.takes_answer_at(answer.receive_time) {
        if round.details.late_answers.len() >= LATE_ANSWERS_MAX {
            return Ok(Some(Decision::Already));
        }
        let change = late(order, round, answer, accepted, text, context);
        return Ok(Some(Decision::Change(Box::new(change))));
    }
    Ok(None)
}

/// What the formal order needs besides the order itself.
pub struct Formality<'a> {
    /// A number that was never used.
    pub order_number: OrderNumber,
    /// Of the order's type.
    pub policy: &'a OrderPolicy,
    /// Months of warranty by SKU; 0 is none.
    pub warranty_months: &'a dyn Fn(&str) -> u32,
}

/// The customer's yes. The first answer that counts wins; a later one is recorded and changes nothing.
pub fn accept(
    order: &Order,
    round: &Round,
    answer: &Answer,
    amount: Option<Money>,
    formality: &Formality<'_>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if let Some(instead) = counts(order, round, answer, true, "", context)? {
        return Ok(instead);
    }
    require(order, Action::AcceptConfirmation)?;
    if let Some(amount) = amount
        && amount != order.total
    {
        return Err(Refusal::invalid(
            "amount",
            format!("must be the order's total, {}", order.total),
        ));
    }
    Decision::change(confirmed(
        order,
        round,
        answer,
        ConfirmationState::Accepted,
        formality,
        context,
    ))
}

/// Makes the formal order (R8, R25).
fn confirmed(
    order: &Order,
    round: &Round,
    answer: &Answer,
    state: ConfirmationState,
    formality: &Formality<'_>,
    context: &Context<'_>,
) -> Change {
    let mut change = Change::of(order, EventKind::Confirmed, context);
    change.event.details.decided_by = order.policy_version.to_string();
    let mut closed = close(&mut change, round, state);
    closed.details.answer_time = Some(answer.receive_time);
    closed.details.answer_channel = Some(answer.channel);
    closed.details.answered_by.clone_from(&answer.answered_by);
    change.rounds.push(closed);

    let number = order
        .order_number
        .clone()
        .unwrap_or_else(|| formality.order_number.clone());
    if order.order_number.is_none() {
        change.note("order_number", "", &number);
    }
    let after = &mut change.order;
    after.order_number = Some(number.clone());
    after.confirm_time.get_or_insert(context.now);
    after.progress.price_agreement = Some(PriceAgreement {
        amount: order.total,
        agree_time: answer.receive_time,
        answer_channel: answer.channel,
        revision: order.revision,
        agreed_by: answer.answered_by.clone(),
    });
    if after.promised_delivery_time.is_none() {
        after.promised_delivery_time = Some(order.terms.delivery.requested_window.map_or_else(
            || {
                context.now
                    + Duration::seconds(i64::from(formality.policy.delivery_promise_seconds))
            },
            |window| window.end,
        ));
    }
    change.enter(OrderState::Confirmed, context);
    if formality.policy.allocate_at_confirmation {
        settle(&mut change, context);
    }
    change.delivery_note = Some(DeliveryNote::of(&change.order, &number, context.now));
    change.service_pack = Some(ServicePack::of(
        &change.order,
        &number,
        formality.policy,
        formality.warranty_months,
        context.now,
    ));
    change.tell(
        MessageKind::OrderConfirmed,
        MessageDetails::default(),
        context,
    );
    change
}

/// The customer's no (R24): recorded, and the order does not become confirmed.
pub fn object(
    order: &Order,
    round: &Round,
    answer: &Answer,
    objection: &Objection,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if let Some(instead) = counts(order, round, answer, false, &objection.text, context)? {
        return Ok(instead);
    }
    // A hold stops moves towards the warehouse; a customer may always say no.
    require(order, Action::RejectConfirmation)?;
    for number in &objection.line_numbers {
        if !order.lines.iter().any(|line| line.line_number == *number) {
            return Err(Refusal::invalid(
                "objection.line_numbers",
                format!("the order has no line {number}"),
            ));
        }
    }
    let mut change = Change::of(order, EventKind::Objected, context);
    change.event.details.reason = objection.category.to_string();
    let mut closed = close(&mut change, round, ConfirmationState::Objected);
    closed.details.answer_time = Some(answer.receive_time);
    closed.details.answer_channel = Some(answer.channel);
    closed.details.answered_by.clone_from(&answer.answered_by);
    closed.details.objection = Some(objection.clone());
    change.rounds.push(closed);
    change.enter(OrderState::Objected, context);
    change.tell(
        MessageKind::ObjectionReceived,
        MessageDetails::default(),
        context,
    );
    Decision::change(change)
}

/// The deadline of a round has passed: silence confirms or, where a yes was needed, calls for staff.
pub fn expire(
    order: &Order,
    round: &Round,
    formality: &Formality<'_>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if round.state != ConfirmationState::Open
        || order.state != OrderState::AwaitingConfirmation
        || context.now < round.expire_time
    {
        return Ok(Decision::Already);
    }
    let silence = Answer {
        channel: AnswerChannel::Silence,
        answered_by: "system".into(),
        receive_time: context.now,
    };
    let held = !order.progress.holds.is_empty();
    if round.mode == ConfirmationMode::Tacit && !held {
        return Decision::change(confirmed(
            order,
            round,
            &silence,
            ConfirmationState::Tacit,
            formality,
            context,
        ));
    }
    let mut change = Change::of(order, EventKind::ConfirmationExpired, context).reason(if held {
        "silence does not confirm a held order"
    } else {
        "no answer in time"
    });
    let closed = close(&mut change, round, ConfirmationState::Expired);
    change.rounds.push(closed);
    change.enter(OrderState::UnderAudit, context);
    Decision::change(change)
}

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

/// Records a call that settled nothing; a yes or no goes to [`accept`] or [`object`].
pub fn call_result(
    order: &Order,
    result: &CallResult,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    let mut change =
        Change::of(order, EventKind::CallRecorded, context).reason(result.note.clone());
    change.note("call.outcome", "", result.outcome);
    if !result.call_id.is_empty() {
        change.note("call.id", "", &result.call_id);
    }
    if !result.digits.is_empty() {
        change.note("call.digits", "", &result.digits);
    }
    change.note("call.duration_seconds", "", result.duration_seconds);
    Decision::change(change)
}

/// A wrong code was given: counted, and after [`CODE_ATTEMPTS_MAX`] the round takes no more codes.
pub fn code_refused(order: &Order, round: &Round, context: &Context<'_>) -> Decision {
    let mut change = Change::of(order, EventKind::CodeRefused, context);
    let mut round = round.clone();
    round.details.code_attempts = (round.details.code_attempts + 1).min(CODE_ATTEMPTS_MAX);
    change.note(
        "code_attempts",
        round.details.code_attempts - 1,
        round.details.code_attempts,
    );
    change.rounds.push(round);
    Decision::Change(Box::new(change))
}
