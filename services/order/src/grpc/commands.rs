//! Calls that change one order: fields checked, command made, outcome told.

use countersign_domain::{
    decide::{CancelReason, Cancellation, Initiator, LineCancellation},
    hold::HoldReason,
    ids::HoldId,
    order::Channel,
    text::{TextKind, checked_text},
};
use countersign_proto::v1;
use tonic::{Request, Response, Status};

use super::call::{command, replayed};
use crate::{
    app::{
        App,
        command::{Command, NewHold, Outcome},
    },
    convert::{intake::short, time, word},
    error::Violations,
};

type Answer<T> = Result<Response<T>, Status>;

pub(crate) mod amend;
mod answers;
mod merge;

#[expect(clippy::unnecessary_wraps, reason = "every call ends with it")]
pub(super) fn order_answer(outcome: Outcome) -> Answer<v1::Order> {
    Ok(replayed(outcome.order, outcome.replayed))
}

impl App {
    pub(crate) async fn audit_order(
        &self,
        request: Request<v1::AuditOrderRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(self, request, "AuditOrder", name, |_inner, _violations| {
            Some(Command::Audit)
        });
        order_answer(outcome)
    }

    pub(crate) async fn approve_order(
        &self,
        request: Request<v1::ApproveOrderRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(self, request, "ApproveOrder", name, |inner, violations| {
            let reason = words(&inner.reason, "reason", violations);
            let channels = channels(&inner.channels, violations);
            reason
                .zip(channels)
                .map(|(reason, channels)| Command::Approve { reason, channels })
        });
        order_answer(outcome)
    }

    pub(crate) async fn reject_order(
        &self,
        request: Request<v1::RejectOrderRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(self, request, "RejectOrder", name, |inner, violations| {
            words(&inner.reason, "reason", violations).map(|reason| Command::Reject { reason })
        });
        order_answer(outcome)
    }

    pub(crate) async fn hold_order(
        &self,
        request: Request<v1::HoldOrderRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(self, request, "HoldOrder", name, |inner, violations| {
            let hold = inner.hold.clone().unwrap_or_default();
            let reason = word::from_proto::<v1::HoldReason, HoldReason>(
                hold.reason,
                "hold.reason",
                violations,
            );
            let note = words(&hold.note, "hold.note", violations);
            let owner = short(&hold.owner, 0, 64, "hold.owner", violations);
            let review_time = hold
                .review_time
                .as_ref()
                .and_then(|review| time::from_proto(review, "hold.review_time", violations));
            (|| {
                Some(Command::Hold(NewHold {
                    reason: reason?,
                    note: note?,
                    owner: owner?,
                    review_time,
                }))
            })()
        });
        order_answer(outcome)
    }

    pub(crate) async fn release_order_hold(
        &self,
        request: Request<v1::ReleaseOrderHoldRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(
            self,
            request,
            "ReleaseOrderHold",
            name,
            |inner, violations| {
                let hold_id = violations.take("hold_id", inner.hold_id.parse::<HoldId>());
                let note = words(&inner.note, "note", violations);
                hold_id
                    .zip(note)
                    .map(|(hold_id, note)| Command::ReleaseHold { hold_id, note })
            }
        );
        order_answer(outcome)
    }

    pub(crate) async fn assign_order(
        &self,
        request: Request<v1::AssignOrderRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(self, request, "AssignOrder", name, |inner, violations| {
            short(&inner.handler, 0, 64, "handler", violations).map(|handler| Command::Assign {
                handler: Some(handler).filter(|handler| !handler.is_empty()),
            })
        });
        order_answer(outcome)
    }

    pub(crate) async fn prioritize_order(
        &self,
        request: Request<v1::PrioritizeOrderRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(
            self,
            request,
            "PrioritizeOrder",
            name,
            |inner, violations| {
                let reason = words(&inner.reason, "reason", violations);
                let expire_time = violations
                    .require("expire_time", inner.expire_time.as_ref())
                    .and_then(|expire| time::from_proto(expire, "expire_time", violations));
                reason
                    .zip(expire_time)
                    .map(|(reason, expire_time)| Command::Prioritize {
                        score: inner.score,
                        reason,
                        expire_time,
                    })
            }
        );
        order_answer(outcome)
    }

    pub(crate) async fn cancel_order(
        &self,
        request: Request<v1::CancelOrderRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(self, request, "CancelOrder", name, |inner, violations| {
            let reason = word::from_proto::<v1::CancelReason, CancelReason>(
                inner.reason,
                "reason",
                violations,
            );
            let initiator = word::from_proto::<v1::CancelInitiator, Initiator>(
                inner.initiator,
                "initiator",
                violations,
            );
            let text = words(&inner.reason_text, "reason_text", violations);
            let cancelled: Vec<LineCancellation> = inner
                .lines
                .iter()
                .map(|line| LineCancellation {
                    line_number: u32::try_from(line.line_number).unwrap_or(0),
                    quantity: (line.quantity != 0).then_some(line.quantity),
                })
                .collect();
            (|| {
                Some(Command::Cancel(Cancellation {
                    reason: reason?,
                    text: text?,
                    initiator: initiator?,
                    lines: cancelled,
                }))
            })()
        });
        order_answer(outcome)
    }
}

/// Free words of staff or customer.
fn words(text: &str, field: &str, violations: &mut Violations) -> Option<String> {
    violations.take(field, checked_text(text, 0, 2_000, TextKind::MultiLine))
}

fn channels(values: &[i32], violations: &mut Violations) -> Option<Vec<Channel>> {
    values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            word::from_proto::<v1::Channel, Channel>(
                *value,
                &format!("channels[{index}]"),
                violations,
            )
        })
        .collect()
}
