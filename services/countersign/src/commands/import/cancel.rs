//! Cancelling what a file says was cancelled.

use std::collections::BTreeMap;

use countersign_proto::v1::{
    CancelInitiator, CancelLine, CancelOrderRequest, CancelReason, Order,
    order_service_client::OrderServiceClient,
};
use futures::{StreamExt as _, stream};
use tonic::Status;

use super::refusal;
use crate::import::{
    cancellations::Purchases,
    mapping::{Mapping, Orders},
    orders::request_id,
    progress::Progress,
    results::{Outcome, Results},
    send::{self, Connection},
};

/// Calls under way at the same time.
const AT_ONCE: usize = 32;

/// A cancellation and the row that asks for it.
#[derive(Debug)]
pub(super) struct Call {
    row: i64,
    request: CancelOrderRequest,
}

impl Call {
    /// Of a whole order.
    pub(super) fn whole(
        mapping: &Mapping,
        row: i64,
        name: &str,
        order: &Order,
        reason: &str,
    ) -> Self {
        let what = format!("{}:cancelled", order.client_reference);
        Self {
            row,
            request: request(mapping, &what, name, reason, Vec::new()),
        }
    }
}

fn request(
    mapping: &Mapping,
    what: &str,
    name: &str,
    reason: &str,
    lines: Vec<CancelLine>,
) -> CancelOrderRequest {
    CancelOrderRequest {
        name: name.to_owned(),
        request_id: request_id(&mapping.source, what),
        etag: String::new(),
        reason: CancelReason::CustomerChangedMind.into(),
        reason_text: reason.to_owned(),
        initiator: CancelInitiator::Customer.into(),
        lines,
    }
}

/// Finds the order of each cancellation, the earliest first, and tells those that have none.
pub(super) fn plan(
    mapping: &Mapping,
    orders: &Orders,
    purchases: &mut Purchases,
    mut cancellations: Vec<(i64, Order)>,
    results: &mut Results,
) -> anyhow::Result<Vec<Call>> {
    let Some(settings) = &orders.cancellations else {
        return Ok(Vec::new());
    };
    cancellations.sort_by_key(|(row, order)| {
        let placed = order.place_time.as_ref().map(|time| time.seconds);
        (placed, *row)
    });
    let mut calls = Vec::new();
    for (row, order) in cancellations {
        let (matches, unmatched) = purchases.take_back(&order);
        for it in unmatched {
            let line = order.lines.get(it.line);
            let sku = line.map(|line| line.sku.as_str()).unwrap_or_default();
            let mut outcome = Outcome::refused(row, "NO_MATCH", it.reason, Vec::new());
            "unmatched".clone_into(&mut outcome.kind);
            outcome.name = format!("{} {sku}", order.client_reference);
            results.add(&outcome)?;
        }
        for (name, lines) in matches {
            let what = format!("{}:{name}", order.client_reference);
            let lines = lines
                .into_iter()
                .map(|(line_number, quantity)| CancelLine {
                    line_number,
                    quantity,
                })
                .collect();
            calls.push(Call {
                row,
                request: request(mapping, &what, &name, &settings.reason, lines),
            });
        }
    }
    Ok(calls)
}

/// Makes the calls; those about the same order one after the other, in their sequence.
pub(super) async fn run(
    connection: &Connection,
    calls: impl Iterator<Item = Call>,
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut by_order: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    let mut total = 0;
    for call in calls {
        total += 1;
        by_order
            .entry(call.request.name.clone())
            .or_default()
            .push(call);
    }
    if total == 0 {
        return Ok(());
    }
    let mut progress = Progress::new("cancelled", total);
    let mut answers = stream::iter(by_order.into_values())
        .map(|calls| one_order(connection, calls))
        .buffer_unordered(AT_ONCE);
    while let Some(outcomes) = answers.next().await {
        for outcome in outcomes {
            progress.add(1);
            results.add(&outcome)?;
        }
    }
    progress.finish();
    Ok(())
}

async fn one_order(connection: &Connection, calls: Vec<Call>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for call in calls {
        let answer: Result<Order, Status> = send::call(|| {
            let mut client = OrderServiceClient::new(connection.clone());
            let request = call.request.clone();
            async move { client.cancel_order(request).await }
        })
        .await;
        outcomes.push(match answer {
            Ok(order) => Outcome {
                row: call.row,
                kind: "cancelled".to_owned(),
                name: order.name,
                ..Outcome::default()
            },
            Err(status) => refusal(call.row, &status),
        });
    }
    outcomes
}
