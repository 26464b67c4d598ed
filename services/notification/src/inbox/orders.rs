//! The calls to the order service that replies lead to.

use std::time::Duration;

use countersign_domain::{
    confirmation::{AnswerChannel, Objection},
    feedback::FeedbackAnswer,
    ids::OrderId,
    money::Money,
    reply::{Reply, ReplyContent},
};
use countersign_proto::{
    common,
    v1::{
        self, feedback_service_client::FeedbackServiceClient,
        order_service_client::OrderServiceClient,
    },
};
use countersign_runtime::{client::Connection, telemetry::inject_into_metadata};
use tonic::{Code, Request, Status};

/// Limit of one call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the order service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Done.
    Done,
    /// Will never be done.
    Never(String),
    /// Did not answer, or asks to come again.
    NotNow(String),
}

/// The order service.
#[derive(Clone, Debug)]
pub(crate) struct OrderCalls {
    client: OrderServiceClient<Connection>,
    feedback: FeedbackServiceClient<Connection>,
}

impl OrderCalls {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            client: OrderServiceClient::new(connection.clone()),
            feedback: FeedbackServiceClient::new(connection),
        }
    }

    /// Tells what a customer said. The reply's id is the request's, so that telling it twice is telling it once.
    pub(super) async fn tell(&self, reply: &Reply, order: OrderId) -> Told {
        let mut client = self.client.clone();
        let request_id = reply.id.to_string();
        let receive_time = Some(prost_types::Timestamp {
            seconds: reply.receive_time.timestamp(),
            nanos: reply.receive_time.timestamp_subsec_nanos().cast_signed(),
        });
        let answered = match &reply.content {
            ReplyContent::Accept {
                round,
                answer_channel,
                amount,
            } => client
                .accept_confirmation(call(v1::AcceptConfirmationRequest {
                    name: name(order, *round),
                    request_id,
                    answer_channel: wire_channel(*answer_channel),
                    amount: amount.map(wire_money),
                    answered_by: "customer".to_owned(),
                    receive_time,
                }))
                .await
                .map(|_| ()),
            ReplyContent::Object {
                round,
                answer_channel,
                objection,
            } => client
                .reject_confirmation(call(v1::RejectConfirmationRequest {
                    name: name(order, *round),
                    request_id,
                    answer_channel: wire_channel(*answer_channel),
                    objection: Some(wire_objection(objection)),
                    answered_by: "customer".to_owned(),
                    receive_time,
                }))
                .await
                .map(|_| ()),
            ReplyContent::Code {
                round,
                answer_channel,
                code,
            } => client
                .verify_confirmation_code(call(v1::VerifyConfirmationCodeRequest {
                    name: name(order, *round),
                    request_id,
                    code: code.clone(),
                    answer_channel: wire_channel(*answer_channel),
                    receive_time,
                }))
                .await
                .map(|_| ()),
            ReplyContent::Call {
                round,
                outcome,
                call_id,
                digits,
                objection,
            } => client
                .record_call_result(call(v1::RecordCallResultRequest {
                    name: name(order, *round),
                    request_id,
                    outcome: v1::CallOutcome::from_str_name(&format!("CALL_OUTCOME_{outcome}"))
                        .unwrap_or_default()
                        .into(),
                    call_id: call_id.clone(),
                    digits: digits.clone(),
                    objection: objection.as_ref().map(wire_objection),
                    receive_time,
                    ..v1::RecordCallResultRequest::default()
                }))
                .await
                .map(|_| ()),
            ReplyContent::Words { channel, text } => client
                .create_order_contact(call(v1::CreateOrderContactRequest {
                    parent: order.resource_name(),
                    request_id,
                    contact: Some(v1::OrderContact {
                        direction: v1::ContactDirection::Inbound.into(),
                        channel: channel.clone(),
                        summary: text.clone(),
                        create_time: receive_time,
                        ..v1::OrderContact::default()
                    }),
                }))
                .await
                .map(|_| ()),
            ReplyContent::Feedback { answer } => {
                let request = v1::RecordFeedbackRequest {
                    parent: order.resource_name(),
                    request_id,
                    feedback: Some(wire_feedback(answer)),
                    receive_time,
                };
                let mut client = self.feedback.clone();
                client.record_feedback(call(request)).await.map(|_| ())
            }
            // A hold keeps silence from confirming what the customer has never been asked, and stands in the queue of staff.
            ReplyContent::Unreachable { round } => client
                .hold_order(call(v1::HoldOrderRequest {
                    name: order.resource_name(),
                    request_id,
                    hold: Some(v1::Hold {
                        reason: v1::HoldReason::CustomerUnreachable.into(),
                        note: format!(
                            "No channel led to the customer in round {round}; see the messages."
                        ),
                        ..v1::Hold::default()
                    }),
                    ..v1::HoldOrderRequest::default()
                }))
                .await
                .map(|_| ()),
            ReplyContent::Text { .. }
            | ReplyContent::Key { .. }
            | ReplyContent::Status { .. }
            | ReplyContent::Report { .. }
            | ReplyContent::StatusById { .. }
            | ReplyContent::Bounce { .. }
            | ReplyContent::Subscription { .. }
            | ReplyContent::Unreadable { .. }
            | ReplyContent::OptOut { .. } => {
                return Told::Never("NOT_FOR_ORDERS".to_owned());
            }
        };
        answered.map_or_else(|status| judge(&status), |()| Told::Done)
    }
}

/// Whether to come again. The service's words may quote the customer, so only its code is kept.
fn judge(status: &Status) -> Told {
    let code = format!("{:?}", status.code());
    match status.code() {
        Code::FailedPrecondition
        | Code::NotFound
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::Unimplemented => Told::Never(code),
        _ => Told::NotNow(code),
    }
}

fn call<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    inject_into_metadata(request.metadata_mut());
    request
}

fn name(order: OrderId, round: Option<u32>) -> String {
    let order = order.resource_name();
    round.map_or_else(
        || order.clone(),
        |round| format!("{order}/confirmations/{round}"),
    )
}

fn wire_channel(channel: AnswerChannel) -> i32 {
    v1::AnswerChannel::from_str_name(&format!("ANSWER_CHANNEL_{channel}"))
        .unwrap_or_default()
        .into()
}

fn wire_money(amount: Money) -> common::Money {
    let (units, nanos) = amount.to_units_nanos();
    common::Money {
        currency_code: amount.currency.code().to_owned(),
        units,
        nanos,
    }
}

fn wire_objection(objection: &Objection) -> v1::Objection {
    let category = format!("OBJECTION_CATEGORY_{}", objection.category);
    v1::Objection {
        category: v1::ObjectionCategory::from_str_name(&category)
            .unwrap_or_default()
            .into(),
        line_numbers: objection
            .line_numbers
            .iter()
            .map(|number| i32::try_from(*number).unwrap_or(0))
            .collect(),
        text: objection.text.clone(),
    }
}

fn wire_feedback(answer: &FeedbackAnswer) -> v1::Feedback {
    let number = |number: u32| i32::try_from(number).unwrap_or(0);
    let tag = |tag| v1::FeedbackTag::from_str_name(&format!("FEEDBACK_TAG_{tag}"));
    v1::Feedback {
        stars: number(answer.stars),
        tags: answer
            .tags
            .iter()
            .map(|word| tag(word).unwrap_or_default().into())
            .collect(),
        words: answer.words.clone(),
        lines: answer
            .lines
            .iter()
            .map(|line| v1::FeedbackLine {
                line_number: number(line.line_number),
                stars: number(line.stars),
                ..v1::FeedbackLine::default()
            })
            .collect(),
        source: v1::FeedbackSource::from_str_name(&format!("FEEDBACK_SOURCE_{}", answer.source))
            .unwrap_or_default()
            .into(),
        given_by: "customer".to_owned(),
        ..v1::Feedback::default()
    }
}

#[cfg(test)]
mod tests {
    use countersign_domain::{
        confirmation::ObjectionCategory,
        decide::CallOutcome,
        feedback::{FeedbackSource, FeedbackTag},
    };

    use super::*;

    #[test]
    fn every_word_of_the_domain_has_one_on_the_wire() {
        for channel in AnswerChannel::ALL {
            assert_ne!(wire_channel(*channel), 0, "{channel}");
        }
        for category in ObjectionCategory::ALL {
            let objection = Objection {
                category: *category,
                line_numbers: Vec::new(),
                text: String::new(),
            };
            assert_ne!(wire_objection(&objection).category, 0, "{category}");
        }
        for source in FeedbackSource::ALL {
            let answer = FeedbackAnswer {
                tags: FeedbackTag::ALL.to_vec(),
                ..FeedbackAnswer::of_stars(1, *source)
            };
            let wire = wire_feedback(&answer);
            assert_ne!(wire.source, 0, "{source}");
            assert!(!wire.tags.contains(&0));
        }
        for outcome in CallOutcome::ALL {
            let word = format!("CALL_OUTCOME_{outcome}");
            assert!(v1::CallOutcome::from_str_name(&word).is_some(), "{word}");
        }
    }
}
