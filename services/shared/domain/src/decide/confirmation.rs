//! The rounds in which the customer is asked.

use chrono::{DateTime, Duration, Utc};

use super::{Action, Change, Context, Decision, Refusal, require};
use crate::{
    confirmation::{ConfirmationMode, ConfirmationState, Round, RoundDetails},
    contact_hours::CustomerZone,
    event::{EventKind, MessageDetails, MessageKind},
    locale::TimeZone,
    order::{Channel, Order, OrderState},
    policy::OrderPolicy,
    secrets::LinkKey,
    timer::{Timer, TimerKind},
};

/// Shorter rounds have no reminder.
const REMINDER_MIN: Duration = Duration::hours(1);

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
    let expire_time = request
        .expire_time
        .unwrap_or_else(|| planned_deadline(&change.order, &plan, policy, context.now));
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
    if let Some(opened) = change.rounds.last() {
        // One row at a time: the reminder's timer is followed by the deadline's.
        let first = reminder_timer(opened).unwrap_or_else(|| deadline_timer(opened));
        change.timers_set.push(first);
    }
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
    change.timers_cleared.extend(reminder_timer(round));
    Round {
        state,
        ..round.clone()
    }
}

/// When silence counts, by the policy.
fn planned_deadline(
    order: &Order,
    plan: &[Channel],
    policy: &OrderPolicy,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    let planned = now + Duration::seconds(i64::from(policy.confirmation_window_seconds));
    plan.last().map_or(planned, |last| {
        let zone = CustomerZone::of(order, TimeZone::UTC);
        policy.contact_hours.deadline(*last, zone, planned)
    })
}

/// The timer half-way through the round, when it is long enough to ask twice. A member of staff who rings reminds himself.
fn reminder_timer(round: &Round) -> Option<Timer> {
    let length = round.expire_time - round.create_time;
    (length >= REMINDER_MIN && !round.details.by_staff).then(|| Timer {
        due_time: round.create_time + Duration::seconds(length.num_seconds() / 2),
        kind: TimerKind::ConfirmationReminder,
        ..deadline_timer(round)
    })
}

/// Half of the time has passed without an answer: the customer is asked again, and the deadline's timer is set. A held
/// order asks nothing.
pub fn remind(order: &Order, round: &Round, context: &Context<'_>) -> Decision {
    if round.state != ConfirmationState::Open || order.state != OrderState::AwaitingConfirmation {
        return Decision::Already;
    }
    let mut change = Change::of(order, EventKind::ConfirmationReminded, context);
    change.timers_cleared.extend(reminder_timer(round));
    change.timers_set.push(deadline_timer(round));
    if order.progress.holds.is_empty() {
        change.tell(
            MessageKind::ConfirmationReminder,
            MessageDetails {
                round: Some(round.round),
                ..MessageDetails::default()
            },
            context,
        );
    } else {
        "nothing is asked about a held order".clone_into(&mut change.event.details.reason);
    }
    Decision::change(change)
}

/// The timer of the round's deadline.
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
    Ok(Decision::change(change))
}
