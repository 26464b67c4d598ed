//! The customer's yes, no or silence, and the formal order that a yes makes.

use chrono::{DateTime, Duration, Utc};

use super::{
    Action, Change, Context, Decision, Refusal, confirmation::close, fulfilment::settle, require,
};
use crate::{
    confirmation::{
        AnswerChannel, ConfirmationMode, ConfirmationState, LateAnswer, Objection, Round,
    },
    document::{DeliveryNote, ServicePack},
    event::{EventKind, MessageDetails, MessageKind},
    money::Money,
    number::OrderNumber,
    order::{Order, OrderState, PriceAgreement},
    policy::OrderPolicy,
};

/// Who answered, by what way, and when it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// By what way.
    pub channel: AnswerChannel,
    /// "customer" or the member of staff who took it.
    pub answered_by: String,
    /// Time of receipt; it decides against the deadline.
    pub receive_time: DateTime<Utc>,
    /// The code came with it, which only the recipient was told.
    pub with_code: bool,
}

impl Answer {
    /// A text message proves nothing but that somebody knows the customer's number (RELIABILITY, F-14).
    fn is_low_trust(&self) -> bool {
        self.channel == AnswerChannel::Sms && !self.with_code
    }
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
) -> Option<Decision> {
    let same_answer = matches!(
        (round.state, accepted),
        (ConfirmationState::Accepted, true) | (ConfirmationState::Objected, false)
    );
    if same_answer {
        return Some(Decision::Already);
    }
    if !round.takes_answer_at(answer.receive_time) {
        if round.details.late_answers.len() >= LATE_ANSWERS_MAX {
            return Some(Decision::Already);
        }
        let change = late(order, round, answer, accepted, text, context);
        return Some(Decision::change(change));
    }
    None
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
    if let Some(instead) = counts(order, round, answer, true, "", context) {
        return Ok(instead);
    }
    require(order, Action::AcceptConfirmation)?;
    if answer.is_low_trust() && !formality.policy.bare_text_confirms(order.total) {
        return Err(Refusal::Precondition(
            "a text message that only says yes does not confirm an order of this total: the code, the link or staff do"
                .to_owned(),
        ));
    }
    if let Some(amount) = amount
        && amount != order.total
    {
        return Err(Refusal::invalid(
            "amount",
            format!("must be the order's total, {}", order.total),
        ));
    }
    Ok(Decision::change(confirmed(
        order,
        round,
        answer,
        ConfirmationState::Accepted,
        formality,
        context,
    )))
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
    if answer.is_low_trust() {
        "channel_trust=low: a text message without the code"
            .clone_into(&mut change.event.details.reason);
    }
    let mut closed = close(&mut change, round, state);
    closed.details.answer_time = Some(answer.receive_time);
    closed.details.answer_channel = Some(answer.channel);
    closed.details.answered_by.clone_from(&answer.answered_by);
    change.rounds.push(closed);

    let number = order.order_number.unwrap_or(formality.order_number);
    if order.order_number.is_none() {
        change.note("order_number", "", &number);
    }
    let after = &mut change.order;
    after.order_number = Some(number);
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
    change.delivery_note = Some(DeliveryNote::of(&change.order, number, context.now));
    change.service_pack = Some(ServicePack::of(
        &change.order,
        number,
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
    if let Some(instead) = counts(order, round, answer, false, &objection.text, context) {
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
    Ok(Decision::change(change))
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
        with_code: false,
    };
    let held = !order.progress.holds.is_empty();
    if round.mode == ConfirmationMode::Tacit && !held {
        return Ok(Decision::change(confirmed(
            order,
            round,
            &silence,
            ConfirmationState::Tacit,
            formality,
            context,
        )));
    }
    let mut change = Change::of(order, EventKind::ConfirmationExpired, context).reason(if held {
        "silence does not confirm a held order"
    } else {
        "no answer in time"
    });
    let closed = close(&mut change, round, ConfirmationState::Expired);
    change.rounds.push(closed);
    change.enter(OrderState::UnderAudit, context);
    Ok(Decision::change(change))
}
