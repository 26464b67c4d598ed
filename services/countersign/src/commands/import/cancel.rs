//! Taking goods back that cancellations of their own name: calls by order, outcomes by cancellation.

use std::collections::BTreeMap;

use countersign_proto::v1::{
    CancelInitiator, CancelLine, CancelOrderRequest, CancelReason, Order,
    order_service_client::OrderServiceClient,
};
use futures::{StreamExt as _, stream};
use tonic::Status;

use crate::import::{
    cancellations::Purchases,
    mapping::{Cancellations, Mapping},
    orders::request_id,
    progress::Progress,
    reading::Problem,
    results::{Outcome, Results},
    send::{self, Connection, code_name},
};

/// Calls under way at the same time.
const AT_ONCE: usize = 32;

/// What cancellations come to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    cancellations: Vec<Cancellation>,
    calls: Vec<Call>,
}

/// A cancellation and what became of it so far.
#[derive(Debug)]
struct Cancellation {
    outcome: Outcome,
    lines: usize,
    taken_back: usize,
}

/// Goods to be taken back of one order.
#[derive(Debug)]
struct Call {
    /// Index of the cancellation that asks for it.
    at: usize,
    request: CancelOrderRequest,
}

/// Finds the order of each line of each cancellation, the earliest first.
pub(super) fn plan(
    mapping: &Mapping,
    settings: &Cancellations,
    purchases: &mut Purchases,
    mut cancellations: Vec<(i64, Order)>,
    results: &mut Results,
) -> Plan {
    cancellations.sort_by_key(|(row, order)| {
        let placed = order.place_time.as_ref().map(|time| time.seconds);
        (placed, *row)
    });
    let mut plan = Plan::default();
    for (row, order) in cancellations {
        let at = plan.cancellations.len();
        let (matches, unmatched) = purchases.take_back(&order);
        let taken_back = order.lines.len() - unmatched.len();
        results.add_taken_back("taken back of an earlier order", taken_back as u64);
        let mut problems = Vec::with_capacity(unmatched.len());
        for it in unmatched {
            results.add_taken_back(it.reason, 1);
            let line = order.lines.get(it.line);
            let sku = line.map(|line| line.sku.as_str()).unwrap_or_default();
            problems.push(Problem {
                field: format!("lines[{}] {sku}", it.line),
                description: it.reason.to_owned(),
            });
        }
        plan.cancellations.push(Cancellation {
            outcome: Outcome {
                row,
                reference: order.client_reference.clone(),
                problems,
                ..Outcome::default()
            },
            lines: order.lines.len(),
            taken_back,
        });
        for (name, lines) in matches {
            let what = format!("{}:{name}", order.client_reference);
            let lines = lines
                .into_iter()
                .map(|(line_number, quantity)| CancelLine {
                    line_number,
                    quantity,
                })
                .collect();
            plan.calls.push(Call {
                at,
                request: CancelOrderRequest {
                    name,
                    request_id: request_id(&mapping.source, &what),
                    etag: String::new(),
                    reason: CancelReason::CustomerChangedMind.into(),
                    reason_text: settings.reason.clone(),
                    initiator: CancelInitiator::Customer.into(),
                    lines,
                },
            });
        }
    }
    plan
}

impl Cancellation {
    fn told(&mut self, answer: Result<Order, Status>, order: &str) {
        let outcome = &mut self.outcome;
        if !outcome.name.is_empty() {
            outcome.name.push(' ');
        }
        outcome.name.push_str(order);
        if let Err(status) = answer {
            outcome.code = code_name(status.code());
            outcome.problems.push(Problem {
                field: order.to_owned(),
                description: status.message().to_owned(),
            });
        }
    }

    fn finish(mut self) -> Outcome {
        let kind = match (self.taken_back, self.lines) {
            _ if !self.outcome.code.is_empty() => "refused",
            (0, _) => "cancellation_unmatched",
            (some, all) if some < all => "cancellation_matched_in_part",
            _ => "cancellation_matched",
        };
        kind.clone_into(&mut self.outcome.kind);
        self.outcome
    }
}

/// Makes the calls; those about the same order one after the other, in their sequence.
pub(super) async fn run(
    connection: &Connection,
    plan: Plan,
    results: &mut Results,
) -> anyhow::Result<()> {
    let Plan {
        mut cancellations,
        calls,
    } = plan;
    if !calls.is_empty() {
        let mut progress = Progress::new("cancelled", calls.len() as u64);
        let mut by_order: BTreeMap<String, Vec<Call>> = BTreeMap::new();
        for call in calls {
            let order = call.request.name.clone();
            by_order.entry(order).or_default().push(call);
        }
        let mut answers = stream::iter(by_order)
            .map(|(order, calls)| async move {
                let mut told = Vec::with_capacity(calls.len());
                for call in calls {
                    told.push((call.at, cancel(connection, &call.request).await));
                }
                (order, told)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((order, told)) = answers.next().await {
            for (at, answer) in told {
                progress.add(1);
                if let Some(cancellation) = cancellations.get_mut(at) {
                    cancellation.told(answer, &order);
                }
            }
        }
        progress.finish();
    }
    for cancellation in cancellations {
        results.add(&cancellation.finish())?;
    }
    Ok(())
}

/// Cancels an order or some of it.
pub(super) async fn cancel(
    connection: &Connection,
    request: &CancelOrderRequest,
) -> Result<Order, Status> {
    send::call(|| {
        let mut client = OrderServiceClient::new(connection.clone());
        let request = request.clone();
        async move { client.cancel_order(request).await }
    })
    .await
}
