//! What staff do with an order under audit: look again, approve, reject, hold, release, assign, prioritize.

use chrono::{DateTime, Utc};

use super::{
    Action, Change, Context, Decision, Refusal, RoundRequest,
    amend::owed_minor,
    confirmation::{ask, close},
    intake::release_all,
    require, require_text,
};
use crate::{
    audit::{Finding, Severity},
    confirmation::{ConfirmationState, Round},
    event::{EventKind, MessageDetails, MessageKind},
    hold::{Hold, HoldReason},
    ids::HoldId,
    order::{Channel, Order, OrderState},
    policy::OrderPolicy,
    priority::{PriorityOverride, SCORE_MAX},
    secrets::LinkKey,
};

/// Puts new findings in the place of the old ones. Findings that were accepted stay accepted while rule, version,
/// field and value are the same.
pub fn audit_again(
    order: &Order,
    mut findings: Vec<Finding>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    require(order, Action::AuditOrder)?;
    for finding in &mut findings {
        finding.waived = order.progress.findings.iter().any(|old| {
            old.waived
                && old.rule == finding.rule
                && old.rule_version == finding.rule_version
                && old.field == finding.field
                && old.value == finding.value
        });
    }
    let mut change = Change::of(order, EventKind::Audited, context);
    change.note("findings", &order.progress.findings.len(), &findings.len());
    change.order.progress.findings = findings;
    Ok(Decision::change(change))
}

/// Accepts the open findings and asks the customer.
pub fn approve(
    order: &Order,
    reason: &str,
    channels: &[Channel],
    policy: &OrderPolicy,
    key: &LinkKey,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if order.state == OrderState::AwaitingConfirmation {
        return Ok(Decision::Already);
    }
    require(order, Action::ApproveOrder)?;
    let open = |finding: &&Finding| finding.severity != Severity::Info && !finding.waived;
    if let Some(finding) = order
        .progress
        .findings
        .iter()
        .find(|finding| finding.severity == Severity::Reject && !finding.waived)
    {
        return Err(Refusal::Precondition(format!(
            "rule {} refuses the order ({}): amend or reject it",
            finding.rule, finding.message
        )));
    }
    if order.progress.findings.iter().any(|finding| open(&finding)) {
        require_text("reason", reason)?;
    }
    if policy.handler_required && order.handler.is_none() {
        return Err(Refusal::Precondition(format!(
            "orders of type {} need a named handler first: AssignOrder",
            policy.order_type
        )));
    }
    let mut change = Change::of(order, EventKind::Approved, context).reason(reason);
    for finding in &mut change.order.progress.findings {
        finding.waived = finding.severity != Severity::Info;
    }
    let request = RoundRequest {
        channels: channels.to_vec(),
        requested_by: if channels.is_empty() {
            String::new()
        } else {
            context.actor.to_owned()
        },
        ..RoundRequest::default()
    };
    ask(&mut change, &request, policy, key, context)?;
    Ok(Decision::change(change))
}

/// Refuses the order for good.
pub fn reject(
    order: &Order,
    open: Option<&Round>,
    reason: &str,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if order.state == OrderState::Rejected {
        return Ok(Decision::Already);
    }
    require(order, Action::RejectOrder)?;
    require_text("reason", reason)?;
    let mut change = Change::of(order, EventKind::Rejected, context).reason(reason);
    release_all(&mut change);
    if let Some(round) = open {
        let closed = close(&mut change, round, ConfirmationState::Superseded);
        change.rounds.push(closed);
    }
    change.credit_minor = -owed_minor(order);
    change.enter(OrderState::Rejected, context);
    reason.clone_into(&mut change.order.progress.end_reason);
    change.tell(
        MessageKind::OrderRejected,
        MessageDetails {
            reasons: vec![reason.to_owned()],
            ..MessageDetails::default()
        },
        context,
    );
    Ok(Decision::change(change))
}

/// Lays a hold. Another hold for another reason may already be there.
pub fn hold(order: &Order, new: Hold, context: &Context<'_>) -> Result<Decision, Refusal> {
    if order.progress.holds.iter().any(|old| old.id == new.id) {
        return Ok(Decision::Already);
    }
    require(order, Action::HoldOrder)?;
    if new.reason == HoldReason::Other {
        require_text("hold.note", &new.note)?;
    }
    let mut change = Change::of(order, EventKind::Held, context).reason(new.note.clone());
    change.note("holds", "", &new.reason);
    change.order.progress.holds.push(new);
    Ok(Decision::change(change))
}

/// Releases one hold; others stay.
pub fn release_hold(
    order: &Order,
    hold_id: HoldId,
    note: &str,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    require(order, Action::ReleaseOrderHold)?;
    require_text("note", note)?;
    let Some(index) = order
        .progress
        .holds
        .iter()
        .position(|hold| hold.id == hold_id)
    else {
        return Err(Refusal::NotFound(format!("hold {hold_id}")));
    };
    let mut change = Change::of(order, EventKind::Released, context).reason(note);
    let released = change.order.progress.holds.remove(index);
    change.note("holds", &released.reason, "");
    Ok(Decision::change(change))
}

/// Names who looks after the order, or gives it back to the queue.
pub fn assign(
    order: &Order,
    handler: Option<&str>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    if order.handler.as_deref() == handler {
        return Ok(Decision::Already);
    }
    require(order, Action::AssignOrder)?;
    let mut change = Change::of(order, EventKind::Assigned, context);
    change.note(
        "handler",
        &order.handler.as_deref().unwrap_or_default(),
        &handler.unwrap_or_default(),
    );
    change.order.handler = handler.map(ToOwned::to_owned);
    Ok(Decision::change(change))
}

/// Sets the priority by hand, for a time.
pub fn prioritize(
    order: &Order,
    score: i32,
    reason: &str,
    expire_time: DateTime<Utc>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    require(order, Action::PrioritizeOrder)?;
    require_text("reason", reason)?;
    if !(0..=SCORE_MAX).contains(&score) {
        return Err(Refusal::invalid(
            "score",
            format!("must be 0 to {SCORE_MAX}"),
        ));
    }
    if expire_time <= context.now {
        return Err(Refusal::invalid("expire_time", "must lie ahead"));
    }
    let mut change = Change::of(order, EventKind::Prioritized, context).reason(reason);
    change.note("priority", &order.priority.score, &score);
    change.order.priority.score = score;
    change.order.priority.overridden = Some(PriorityOverride {
        score,
        reason: reason.to_owned(),
        expire_time,
        actor: context.actor.to_owned(),
    });
    Ok(Decision::change(change))
}
