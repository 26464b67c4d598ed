//! Confirmations: asking the customer, and what the customer says.

use countersign_domain::{
    confirmation::{AnswerChannel, ConfirmationMode, Objection, ObjectionCategory},
    decide::{CallOutcome, CallResult, RoundRequest},
    ids::OrderId,
};
use countersign_proto::v1;
use tonic::Request;

use super::{Answer, channels, order_answer, words};
use crate::{
    app::{
        App,
        command::{Command, Given},
    },
    convert::{
        self,
        intake::{amount, short},
        time, word,
    },
    error::{ServiceError, Violations},
    grpc::call::{caller_of, command, replayed},
};

impl App {
    pub(crate) async fn create_confirmation(
        &self,
        request: Request<v1::CreateConfirmationRequest>,
    ) -> Answer<v1::Confirmation> {
        let caller = caller_of(&request)?;
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
                        requested_by: caller.name().to_owned(),
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
                            with_code: false,
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

/// The round that a name like `orders/{order}/confirmations/{round}` names; none for the last one.
#[expect(
    clippy::option_option,
    reason = "no round named is right, a wrong one is not"
)]
fn round_of(name: &str, violations: &mut Violations) -> Option<Option<u32>> {
    match name.split_once("/confirmations/") {
        None => Some(None),
        Some((_, round)) => {
            let round = round.parse().ok();
            if round.is_none() {
                violations.add(
                    "name",
                    "must be orders/{order}/confirmations/{round} or orders/{order}",
                );
            }
            round.map(Some)
        }
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
        with_code: false,
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
