//! What a file says became of an order after it was placed: its customer confirmed it, or it was cancelled.

use anyhow::Context as _;
use countersign_proto::v1::{
    AcceptConfirmationRequest, AnswerChannel, ApproveOrderRequest, CancelInitiator,
    CancelOrderRequest, CancelReason, GetOrderRequest, Order, OrderState,
    order_service_client::OrderServiceClient,
};
use futures::{StreamExt as _, stream};
use tonic::{Code, Status};

use super::{cancel::cancel, state_name};
use crate::import::{
    mapping::{Cancelled, Confirmed, Mapping, Orders},
    orders::request_id,
    progress::Progress,
    reading::Problem,
    record::Record,
    results::{Outcome, Results},
    send::{self, Connection, code_name},
};

/// Orders that are followed up at the same time.
const AT_ONCE: usize = 64;

/// What became of an order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate<'m> {
    Cancelled(&'m Cancelled),
    Confirmed(&'m Confirmed),
}

impl<'m> Fate<'m> {
    /// What the mapping says of a row. What was cancelled is not confirmed.
    pub(super) fn of(orders: &'m Orders, head: &Record) -> Option<Self> {
        let cancelled = orders.cancelled.iter().find(|it| it.when.holds(head));
        let confirmed = orders.confirmed.as_ref();
        cancelled.map(Self::Cancelled).or_else(|| {
            confirmed
                .filter(|it| it.when.holds(head))
                .map(Self::Confirmed)
        })
    }
}

/// An order that was taken in, and what is to be done about it yet.
#[derive(Debug)]
pub(super) struct Followed<'m> {
    pub(super) outcome: Outcome,
    pub(super) fate: Fate<'m>,
}

/// Refuses words in the mapping that the API does not know.
pub(super) fn check(orders: &Orders) -> anyhow::Result<()> {
    orders.cancelled.iter().try_for_each(|it| {
        cause(it)?;
        initiator(it).map(|_| ())
    })
}

fn cause(cancelled: &Cancelled) -> anyhow::Result<CancelReason> {
    CancelReason::from_str_name(&format!("CANCEL_REASON_{}", cancelled.cause)).with_context(|| {
        let cause = &cancelled.cause;
        format!("the mapping's orders.cancelled.cause {cause:?} is none that the API knows")
    })
}

fn initiator(cancelled: &Cancelled) -> anyhow::Result<CancelInitiator> {
    let name = format!("CANCEL_INITIATOR_{}", cancelled.initiator);
    CancelInitiator::from_str_name(&name).with_context(|| {
        let initiator = &cancelled.initiator;
        format!("the mapping's orders.cancelled.initiator {initiator:?} is none that the API knows")
    })
}

/// Tells the service, and adds what became of each order.
pub(super) async fn run(
    connection: &Connection,
    mapping: &Mapping,
    followed: Vec<Followed<'_>>,
    results: &mut Results,
) -> anyhow::Result<()> {
    if followed.is_empty() {
        return Ok(());
    }
    let mut progress = Progress::new("confirmed", followed.len() as u64);
    let mut answers = stream::iter(followed)
        .map(|it| async move {
            let answer = follow(connection, mapping, &it).await;
            (it.outcome, answer)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((mut outcome, answer)) = answers.next().await {
        progress.add(1);
        match answer {
            Ok(order) => outcome.code = state_name(order.state()),
            Err(status) => {
                "taken_but_not_followed_up".clone_into(&mut outcome.kind);
                outcome.problems.push(Problem {
                    field: code_name(status.code()),
                    description: status.message().to_owned(),
                });
            }
        }
        results.add(&outcome)?;
    }
    progress.finish();
    Ok(())
}

async fn follow(
    connection: &Connection,
    mapping: &Mapping,
    followed: &Followed<'_>,
) -> Result<Order, Status> {
    let Outcome {
        name, reference, ..
    } = &followed.outcome;
    let id = |what: &str| request_id(&mapping.source, &format!("{reference}:{what}"));
    let answer = match followed.fate {
        Fate::Cancelled(cancelled) => {
            let wrong = |error: anyhow::Error| Status::invalid_argument(error.to_string());
            let request = CancelOrderRequest {
                name: name.clone(),
                request_id: id("cancelled"),
                etag: String::new(),
                reason: cause(cancelled).map_err(wrong)?.into(),
                reason_text: cancelled.reason.clone(),
                initiator: initiator(cancelled).map_err(wrong)?.into(),
                lines: Vec::new(),
            };
            cancel(connection, &request).await
        }
        Fate::Confirmed(confirmed) => {
            let approve = ApproveOrderRequest {
                name: name.clone(),
                request_id: id("approved"),
                reason: confirmed.reason.clone(),
                ..ApproveOrderRequest::default()
            };
            let accept = AcceptConfirmationRequest {
                name: name.clone(),
                request_id: id("confirmed"),
                answer_channel: AnswerChannel::Staff.into(),
                answered_by: mapping.source.clone(),
                ..AcceptConfirmationRequest::default()
            };
            self::confirm(connection, approve, accept, &followed.outcome.code).await
        }
    };
    match answer {
        // Request ids are forgotten after some days: an order that is past this point already is as the file says.
        Err(status) if status.code() == Code::FailedPrecondition => {
            let order = get(connection, name).await?;
            match (followed.fate, order.state()) {
                (Fate::Cancelled(_), OrderState::Cancelled) => Ok(order),
                (Fate::Confirmed(_), _) if !order.order_number.is_empty() => Ok(order),
                _ => Err(status),
            }
        }
        answer => answer,
    }
}

/// Approves an order that is under audit, then takes its customer's yes.
async fn confirm(
    connection: &Connection,
    approve: ApproveOrderRequest,
    accept: AcceptConfirmationRequest,
    state: &str,
) -> Result<Order, Status> {
    if state == "UNDER_AUDIT" {
        send::call(|| {
            let mut client = OrderServiceClient::new(connection.clone());
            let request = approve.clone();
            async move { client.approve_order(request).await }
        })
        .await?;
    }
    send::call(|| {
        let mut client = OrderServiceClient::new(connection.clone());
        let request = accept.clone();
        async move { client.accept_confirmation(request).await }
    })
    .await
}

async fn get(connection: &Connection, name: &str) -> Result<Order, Status> {
    let request = GetOrderRequest {
        name: name.to_owned(),
    };
    send::call(|| {
        let mut client = OrderServiceClient::new(connection.clone());
        let request = request.clone();
        async move { client.get_order(request).await }
    })
    .await
}
