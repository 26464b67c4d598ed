//! Calls that change one order: fields checked, command made, outcome told.

use countersign_domain::{
    confirmation::{AnswerChannel, ConfirmationMode, Objection, ObjectionCategory},
    decide::{
        Amendment, CallOutcome, CallResult, CancelReason, Cancellation, Initiator,
        LineCancellation, RoundRequest,
    },
    hold::HoldReason,
    ids::{HoldId, OrderId},
    order::{Channel, Terms},
    text::{TextKind, checked_text},
};
use countersign_proto::v1;
use tonic::{Request, Response, Status};

use super::call::{CallParts, call_of, replayed};
use crate::{
    app::{
        App,
        command::{Command, Given, NewHold, Outcome},
    },
    convert::{
        self,
        intake::{Sender, amount, lines, short, terms},
        time, word,
    },
    error::{ServiceError, Violations},
};

type Answer<T> = Result<Response<T>, Status>;

/// Checks the parts that every command has, then the command's own, then runs it.
macro_rules! command {
    ($app:ident, $request:ident, $method:literal, $name:ident, |$inner:ident, $violations:ident| $body:expr) => {{
        let mut violations = Violations::new();
        let CallParts { call, inner, id } = call_of(
            $app,
            $request,
            $method,
            |inner| &inner.$name,
            &mut violations,
        )
        .await?;
        let command = {
            let ($inner, $violations) = (&inner, &mut violations);
            $body
        };
        let command = violations.finish(command)?;
        let outcome = $app.deciding.run(id, &command, &call).await?;
        (outcome, inner)
    }};
}

fn order_answer(outcome: Outcome) -> Answer<v1::Order> {
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

    pub(crate) async fn amend_order(
        &self,
        request: Request<v1::AmendOrderRequest>,
    ) -> Answer<v1::Order> {
        let mut violations = Violations::new();
        let parts = call_of(
            self,
            request,
            "AmendOrder",
            |inner| inner.order.as_ref().map_or("", |order| order.name.as_str()),
            &mut violations,
        )
        .await?;
        violations.check()?;
        let before = self.deciding.get(parts.id).await?;
        let mut violations = Violations::new();
        let amendment = self.amendment(&parts.inner, &before, &parts.call.caller, &mut violations);
        let amendment = violations.finish(amendment)?;
        if parts.inner.validate_only {
            let order = self
                .deciding
                .preview_amendment(parts.id, &amendment, &parts.call)
                .await?;
            return Ok(Response::new(order));
        }
        let outcome = self
            .deciding
            .run(parts.id, &Command::Amend(amendment), &parts.call)
            .await?;
        order_answer(outcome)
    }

    /// The new values that the mask names, on top of the order as it stands.
    fn amendment(
        &self,
        request: &v1::AmendOrderRequest,
        before: &countersign_domain::order::Order,
        caller: &str,
        violations: &mut Violations,
    ) -> Option<Amendment> {
        let wanted = request.order.clone().unwrap_or_default();
        let paths = request.update_mask.clone().unwrap_or_default().paths;
        if paths.is_empty() {
            violations.add("update_mask", "must name at least one field");
        }
        // The order as it stands, with the named fields in it, goes through the same checks as a new one.
        let mut merged = convert::order::to_proto(before);
        let (mut lines_change, mut terms_change, mut total_change) = (false, false, false);
        for path in &paths {
            match path.as_str() {
                "lines" => lines_change = true,
                "total" => total_change = true,
                "delivery" => merged.delivery.clone_from(&wanted.delivery),
                "contact" => merged.contact.clone_from(&wanted.contact),
                "payment_method" => merged.payment_method = wanted.payment_method,
                "freight" => merged.freight.clone_from(&wanted.freight),
                "discount" => merged.discount.clone_from(&wanted.discount),
                "shortage_policy" => merged.shortage_policy = wanted.shortage_policy,
                "annotations" => merged.annotations.clone_from(&wanted.annotations),
                other => violations.add(
                    "update_mask",
                    format!(
                        "{other:?} cannot be amended; lines, delivery, contact, payment_method, total, freight, \
                         discount, shortage_policy and annotations can"
                    ),
                ),
            }
            terms_change |= !matches!(path.as_str(), "lines" | "total");
        }
        let currency = Some(before.total.currency);
        let sender = Sender {
            caller,
            default_region: self.default_region,
        };
        let reason = words(&request.reason, "reason", violations);
        let new_lines =
            lines_change.then(|| lines(&wanted.lines, "order.lines", currency, violations));
        let new_total = total_change.then(|| match &wanted.total {
            Some(total) => amount(total, "order.total", violations),
            None => violations.require("order.total", None),
        });
        let new_terms = terms_change.then(|| {
            let (checked, _) = terms(&merged, "order", currency, &sender, violations)?;
            checked.map(|checked| Terms {
                customer_tier: before.terms.customer_tier.clone(),
                ..checked
            })
        });
        if let Some(Some(total)) = new_total
            && total.currency != before.total.currency
        {
            violations.add(
                "order.total",
                format!(
                    "must stay in {}: cancel and order anew instead",
                    before.total.currency.code()
                ),
            );
        }
        Some(Amendment {
            lines: new_lines.map_or(Some(None), |lines| lines.map(Some))?,
            terms: new_terms.map_or(Some(None), |terms| terms.map(Some))?,
            total: new_total.map_or(Some(None), |total| total.map(Some))?,
            reason: reason?,
        })
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

    pub(crate) async fn create_confirmation(
        &self,
        request: Request<v1::CreateConfirmationRequest>,
    ) -> Answer<v1::Confirmation> {
        let caller = super::call::caller_of(request.metadata())?;
        let (outcome, _) = command!(
            self,
            request,
            "CreateConfirmation",
            parent,
            |inner, violations| {
                let channels = channels(&inner.channels, violations);
                if inner.channels.is_empty() {
                    violations.add("channels", "must name at least one of EMAIL, SMS, PHONE");
                }
                let expire_time = inner
                    .expire_time
                    .as_ref()
                    .and_then(|expire| time::from_proto(expire, "expire_time", violations));
                let mode = match inner.mode {
                    0 => None,
                    mode => word::from_proto::<v1::ConfirmationMode, ConfirmationMode>(
                        mode, "mode", violations,
                    ),
                };
                channels.map(|channels| {
                    Command::OpenRound(RoundRequest {
                        channels,
                        requested_by: caller.clone(),
                        expire_time,
                        mode,
                        by_staff: inner.by_staff,
                    })
                })
            }
        );
        let id = OrderId::in_name(&outcome.order.name).map_err(ServiceError::internal)?;
        let round = match &outcome.change {
            Some(change) => change.rounds.last().cloned(),
            None => self
                .deciding
                .store
                .list_rounds(id)
                .await
                .map_err(ServiceError::from)?
                .pop(),
        };
        let round = round.ok_or_else(|| ServiceError::internal("no round after one was opened"))?;
        Ok(replayed(
            convert::confirmation::to_proto(&round),
            outcome.replayed,
        ))
    }

    pub(crate) async fn accept_confirmation(
        &self,
        request: Request<v1::AcceptConfirmationRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(
            self,
            request,
            "AcceptConfirmation",
            name,
            |inner, violations| {
                let round = round_of(&inner.name, violations);
                let answer = given(
                    inner.answer_channel,
                    &inner.answered_by,
                    inner.receive_time.as_ref(),
                    violations,
                );
                let agreed = match &inner.amount {
                    Some(value) => amount(value, "amount", violations).map(Some),
                    None => Some(None),
                };
                (|| {
                    Some(Command::Accept {
                        round: round?,
                        answer: answer?,
                        amount: agreed?,
                    })
                })()
            }
        );
        order_answer(outcome)
    }

    pub(crate) async fn reject_confirmation(
        &self,
        request: Request<v1::RejectConfirmationRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(
            self,
            request,
            "RejectConfirmation",
            name,
            |inner, violations| {
                let round = round_of(&inner.name, violations);
                let answer = given(
                    inner.answer_channel,
                    &inner.answered_by,
                    inner.receive_time.as_ref(),
                    violations,
                );
                let objection = match &inner.objection {
                    Some(objection) => self::objection(objection, violations),
                    None => violations.require("objection", None),
                };
                (|| {
                    Some(Command::Object {
                        round: round?,
                        answer: answer?,
                        objection: objection?,
                    })
                })()
            }
        );
        order_answer(outcome)
    }

    pub(crate) async fn verify_confirmation_code(
        &self,
        request: Request<v1::VerifyConfirmationCodeRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(
            self,
            request,
            "VerifyConfirmationCode",
            name,
            |inner, violations| {
                let round = round_of(&inner.name, violations);
                let code =
                    violations.take("code", countersign_domain::secrets::read_code(&inner.code));
                let answer = given(
                    inner.answer_channel,
                    "customer",
                    inner.receive_time.as_ref(),
                    violations,
                );
                (|| {
                    Some(Command::VerifyCode {
                        round: round?,
                        answer: answer?,
                        code: code?,
                    })
                })()
            }
        );
        order_answer(outcome)
    }

    pub(crate) async fn record_call_result(
        &self,
        request: Request<v1::RecordCallResultRequest>,
    ) -> Answer<v1::Order> {
        let (outcome, _) = command!(
            self,
            request,
            "RecordCallResult",
            name,
            |inner, violations| {
                let round = round_of(&inner.name, violations);
                let outcome = word::from_proto::<v1::CallOutcome, CallOutcome>(
                    inner.outcome,
                    "outcome",
                    violations,
                );
                let call_id = short(&inner.call_id, 0, 128, "call_id", violations);
                let digits = short(&inner.digits, 0, 32, "digits", violations);
                let agent = short(&inner.agent, 0, 64, "agent", violations);
                let note = words(&inner.note, "note", violations);
                let objection = match &inner.objection {
                    Some(objection) => self::objection(objection, violations).map(Some),
                    None => Some(None),
                };
                let by_gateway = !inner.call_id.is_empty();
                let receive_time = inner
                    .receive_time
                    .as_ref()
                    .and_then(|received| time::from_proto(received, "receive_time", violations));
                (|| {
                    Some(Command::CallResult {
                        round: round?,
                        answer: Given {
                            channel: Some(if by_gateway {
                                AnswerChannel::PhoneKey
                            } else {
                                AnswerChannel::Staff
                            }),
                            answered_by: if by_gateway {
                                "customer".to_owned()
                            } else {
                                agent?
                            },
                            receive_time,
                        },
                        result: CallResult {
                            outcome: outcome?,
                            call_id: call_id?,
                            digits: digits?,
                            duration_seconds: u32::try_from(inner.duration_seconds).unwrap_or(0),
                            note: note?,
                        },
                        objection: objection?,
                    })
                })()
            }
        );
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

/// The round that a name like `orders/{order}/confirmations/{round}` names; none for the last one.
#[expect(
    clippy::option_option,
    reason = "no round named is right, a wrong one is not"
)]
fn round_of(name: &str, violations: &mut Violations) -> Option<Option<u32>> {
    match name.split_once("/confirmations/") {
        None => Some(None),
        Some((_, round)) => match round.parse() {
            Ok(round) => Some(Some(round)),
            Err(_) => {
                violations.add(
                    "name",
                    "must be orders/{order}/confirmations/{round} or orders/{order}",
                );
                None
            }
        },
    }
}

fn given(
    channel: i32,
    answered_by: &str,
    receive_time: Option<&prost_types::Timestamp>,
    violations: &mut Violations,
) -> Option<Given> {
    let channel = match channel {
        0 => Some(None),
        value => word::from_proto::<v1::AnswerChannel, AnswerChannel>(
            value,
            "answer_channel",
            violations,
        )
        .map(Some),
    };
    let answered_by = short(answered_by, 0, 64, "answered_by", violations);
    let receive_time = match receive_time {
        Some(received) => time::from_proto(received, "receive_time", violations).map(Some),
        None => Some(None),
    };
    Some(Given {
        channel: channel?,
        answered_by: answered_by?,
        receive_time: receive_time?,
    })
}

fn objection(objection: &v1::Objection, violations: &mut Violations) -> Option<Objection> {
    let category = word::from_proto::<v1::ObjectionCategory, ObjectionCategory>(
        objection.category,
        "objection.category",
        violations,
    );
    let text = words(&objection.text, "objection.text", violations);
    Some(Objection {
        category: category?,
        line_numbers: objection
            .line_numbers
            .iter()
            .map(|number| u32::try_from(*number).unwrap_or(0))
            .collect(),
        text: text?,
    })
}
