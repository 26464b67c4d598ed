//! Whether the customer is asked how it was.

use chrono::{DateTime, Duration, Utc};

use super::{Change, Context, Decision};
use crate::{
    event::{EventKind, MessageDetails, MessageKind},
    order::{Order, OrderState},
    policy::OrderPolicy,
    survey::{Subject, Survey, SurveyRules, SurveyState, WithheldReason, survey_channel},
    timer::{Timer, TimerKind},
};

/// What is known besides the order.
#[derive(Clone, Copy, Debug)]
pub struct SurveyFacts<'a> {
    /// Of the order's type.
    pub policy: &'a OrderPolicy,
    /// It was decided before.
    pub decided: bool,
    /// The customer has said how it was.
    pub answered: bool,
    /// An address of the customer's is not to be written to. Whoever unsubscribed from letters is not asked by SMS
    /// instead.
    pub opted_out: bool,
    /// When the customer was asked last, about any order.
    pub last_ask_time: Option<DateTime<Utc>>,
}

/// Sets the time to answer and the timer to ask, within the change that delivers the order.
pub(super) fn await_survey(change: &mut Change, policy: &OrderPolicy, context: &Context<'_>) {
    let Some(rules) = &policy.survey else {
        return;
    };
    let delivered = change.order.deliver_time.unwrap_or(context.now);
    let until = rules.until(delivered);
    change.order.progress.feedback_until = Some(until);
    // News of a delivery long ago, such as an import of old orders, asks nobody.
    if until > context.now {
        let due_time = delivered + Duration::seconds(i64::from(rules.delay_seconds));
        change.timers_set.push(Timer {
            due_time: due_time.max(context.now),
            order_id: change.order.id,
            kind: TimerKind::Survey,
            generation: Subject::DELIVERY.number,
        });
    }
}

/// The time to ask has come: asks, or puts on record why not. Decided once for each subject.
pub fn survey(order: &Order, facts: &SurveyFacts<'_>, context: &Context<'_>) -> Decision {
    let (Some(rules), false) = (&facts.policy.survey, facts.decided) else {
        return Decision::Already;
    };
    let expire_time = order
        .progress
        .feedback_until
        .unwrap_or_else(|| rules.until(context.now));
    let reason = why_not(order, rules, expire_time, facts, context.now);
    let kind = if reason.is_some() {
        EventKind::SurveyWithheld
    } else {
        EventKind::SurveySent
    };
    let mut change = Change::of(order, kind, context)
        .reason(reason.map_or("", |reason: WithheldReason| reason.as_str()));
    change.event.details.decided_by = facts.policy.identity().to_string();
    change.survey = Some(Survey {
        order_id: order.id,
        subject: Subject::DELIVERY,
        state: if reason.is_some() {
            SurveyState::Withheld
        } else {
            SurveyState::Asked
        },
        reason,
        customer: order.customer.clone(),
        order_type: order.order_type.clone(),
        source_channel: order.source_channel.clone(),
        create_time: context.now,
        expire_time,
        answer_time: None,
        previous_ask_time: facts.last_ask_time,
    });
    if reason.is_none() {
        change.tell(MessageKind::Survey, MessageDetails::default(), context);
    }
    Decision::change(change)
}

fn why_not(
    order: &Order,
    rules: &SurveyRules,
    expire_time: DateTime<Utc>,
    facts: &SurveyFacts<'_>,
    now: DateTime<Utc>,
) -> Option<WithheldReason> {
    use WithheldReason as Why;
    let sum = |count: fn(&crate::line::LineCounters) -> i64| {
        order
            .lines
            .iter()
            .map(|line| count(&line.counters))
            .sum::<i64>()
    };
    let pause = Duration::seconds(i64::from(rules.customer_pause_seconds));
    let reasons = [
        (facts.answered, Why::Answered),
        (
            !matches!(order.state, OrderState::Delivered | OrderState::Completed),
            Why::NotDelivered,
        ),
        (
            sum(|line| line.returned) >= sum(|line| line.delivered),
            Why::Returned,
        ),
        (!order.progress.holds.is_empty(), Why::Unsettled),
        (expire_time <= now, Why::TooLate),
        (
            rules.total_min.is_some_and(|min| {
                min.currency == order.total.currency && order.total.minor < min.minor
            }),
            Why::BelowMinimum,
        ),
        (survey_channel(order).is_none(), Why::Unreachable),
        (facts.opted_out, Why::OptedOut),
        (
            facts.last_ask_time.is_some_and(|last| now < last + pause),
            Why::RecentlyAsked,
        ),
    ];
    reasons
        .into_iter()
        .find_map(|(holds, why)| holds.then_some(why))
}
