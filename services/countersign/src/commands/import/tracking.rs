//! What happened to the goods of orders that are in the service.

use anyhow::Context as _;
use countersign_proto::v1::{RecordTrackingEventRequest, order_service_client::OrderServiceClient};
use futures::{StreamExt as _, stream};

use super::{ImportArgs, refusal, unreadable};
use crate::import::{
    fields::Field,
    grouping::Plan,
    mapping::Mapping,
    progress::Progress,
    report,
    results::{Outcome, Results},
    rows::Rows,
    send::{self, Connection},
    tracking::{Report, reports},
};

/// Orders whose reports are under way at the same time.
const AT_ONCE: usize = 32;

/// Takes a file of tracking reports in.
pub(super) async fn run(
    args: &ImportArgs,
    mapping: &Mapping,
    connection: &Connection,
) -> anyhow::Result<()> {
    let tracking = mapping.tracking.as_ref().with_context(|| {
        format!(
            "the mapping {} does not say how to read tracking",
            args.mapping
        )
    })?;
    let mut fields: Vec<&Field> = tracking.events.iter().map(|event| &event.time).collect();
    fields.push(&tracking.order);
    Mapping::check(Rows::open(&args.file)?.header(), &fields)?;
    let plan = Plan::new(&args.file, None)?;
    let names = report::names(connection, &mapping.source).await?;
    let mut results = Results::new(args.results.as_deref())?;
    let mut progress = Progress::new("orders", plan.rows());
    let mut groups = plan.groups()?;
    let read = std::iter::from_fn(|| {
        let group = match groups.next()? {
            Ok(group) => group,
            Err(error) => return Some(Err(error)),
        };
        let record = group.records.first()?;
        let reference = tracking.order.text(record);
        let reports = reports(mapping, tracking, &reference, record);
        let name = names.get(&reference).cloned();
        Some(Ok((group.line, reference, name, reports)))
    });
    let mut answers = stream::iter(read)
        .map(|group| async move {
            let (row, reference, name, reports) = group?;
            let outcomes = one_order(connection, row, name, reports).await;
            anyhow::Ok(outcomes.into_iter().map(move |it| it.of(&reference)))
        })
        .buffer_unordered(AT_ONCE);
    while let Some(outcomes) = answers.next().await {
        progress.add(1);
        for outcome in outcomes? {
            results.add(&outcome)?;
        }
    }
    progress.finish();
    drop(answers);
    results.finish("tracking reports", None)?;
    if let Some(orders) = mapping.orders.as_ref().filter(|_| args.report) {
        report::run(connection, mapping, orders, &args.file).await?;
    }
    Ok(())
}

/// An order's reports, one after the other.
async fn one_order(
    connection: &Connection,
    row: i64,
    name: Option<String>,
    reports: Vec<Report>,
) -> Vec<Outcome> {
    let Some(name) = name else {
        let refused = |_| {
            Outcome::refused(
                row,
                "NOT_FOUND",
                "the order is not in the service",
                Vec::new(),
            )
        };
        return reports.iter().map(refused).collect();
    };
    let mut outcomes = Vec::new();
    for report in reports {
        if !report.problems.is_empty() {
            outcomes.push(unreadable(row, report.problems));
            continue;
        }
        let request = RecordTrackingEventRequest {
            parent: name.clone(),
            request_id: report.request_id,
            event: Some(report.event),
        };
        let answer = send::call(|| {
            let mut client = OrderServiceClient::new(connection.clone());
            let request = request.clone();
            async move { client.record_tracking_event(request).await }
        })
        .await;
        outcomes.push(match answer {
            Ok(event) => Outcome {
                row,
                kind: "recorded".to_owned(),
                code: event
                    .status()
                    .as_str_name()
                    .trim_start_matches("TRACKING_STATUS_")
                    .to_owned(),
                findings: event.anomalies,
                name: event.name,
                ..Outcome::default()
            },
            Err(status) => refusal(row, &status),
        });
    }
    outcomes
}
