//! Orders, and what was cancelled of them.

use std::{cell::RefCell, collections::HashMap};

use anyhow::Context as _;
use countersign_proto::v1::{
    ImportOrdersRequest, ImportOrdersResponse, Order, order_service_client::OrderServiceClient,
};

use super::{ImportArgs, cancel, register::Known, state_name, unreadable};
use crate::import::{
    cancellations::Purchases,
    fields::Field,
    grouping::{Group, Plan},
    mapping::{Mapping, Orders},
    orders::order,
    progress::Progress,
    reading::Problem,
    report,
    results::{Outcome, Results},
    rows::Rows,
    send::{self, Connection},
};

/// What is gathered on the way through the file.
struct State {
    results: Results,
    progress: Progress,
    /// What customers bought, when the file has cancellations that name no order.
    purchases: Purchases,
    /// Rows that cancel goods of earlier orders.
    cancellations: Vec<(i64, Order)>,
    /// Row → why its order is cancelled whole once it is taken in.
    ending: HashMap<i64, String>,
    /// Orders to cancel whole.
    ended: Vec<cancel::Call>,
}

/// Takes a file of orders in.
pub(super) async fn run(
    args: &ImportArgs,
    mapping: &Mapping,
    connection: &Connection,
) -> anyhow::Result<()> {
    let orders = mapping.orders.as_ref().with_context(|| {
        format!(
            "the mapping {} does not say how to read orders",
            args.mapping
        )
    })?;
    let fields: Vec<&Field> = orders
        .fields
        .given()
        .into_iter()
        .chain(orders.lines.given())
        .chain(orders.annotations.values())
        .collect();
    Mapping::check(Rows::open(&args.file)?.header(), &fields)?;
    let plan = Plan::new(&args.file, orders.group_by.as_deref())?;
    if args.register {
        let mut known = Known::default();
        for group in plan.groups()? {
            let group = group?;
            if is_order(orders, &group) {
                known.note(&order(mapping, orders, &group).0.order.unwrap_or_default());
            }
        }
        known.register(&orders.register, connection).await?;
    }
    let state = RefCell::new(State {
        results: Results::new(args.results.as_deref())?,
        progress: Progress::new("rows", plan.rows()),
        purchases: Purchases::default(),
        cancellations: Vec::new(),
        ending: HashMap::new(),
        ended: Vec::new(),
    });
    let rows = plan.groups()?.filter_map(|group| {
        group
            .and_then(|group| read(mapping, orders, &group, &state))
            .transpose()
    });
    let client = OrderServiceClient::new(connection.clone());
    let open = |stream| {
        let mut client = client.clone();
        async move { client.import_orders(stream).await }
    };
    let answered =
        |request, answer| take(mapping, orders, request, answer, &mut state.borrow_mut());
    send::stream(
        rows,
        open,
        |answer: &ImportOrdersResponse| answer.row,
        answered,
    )
    .await?;
    let State {
        mut results,
        progress,
        mut purchases,
        cancellations,
        ended,
        ..
    } = state.into_inner();
    progress.finish();
    let calls = cancel::plan(mapping, orders, &mut purchases, cancellations, &mut results)?;
    cancel::run(connection, calls.into_iter().chain(ended), &mut results).await?;
    results.finish("orders and cancellations")?;
    if args.report {
        report::run(connection, mapping, orders, &args.file).await?;
    }
    Ok(())
}

fn is_order(orders: &Orders, group: &Group) -> bool {
    let Some(head) = group.records.first() else {
        return false;
    };
    let cancels = orders
        .cancellations
        .as_ref()
        .is_some_and(|it| it.when.holds(head));
    !cancels && !orders.refused.iter().any(|it| it.when.holds(head))
}

/// The request of a group of rows, or nothing when it is not to be sent.
fn read(
    mapping: &Mapping,
    orders: &Orders,
    group: &Group,
    state: &RefCell<State>,
) -> anyhow::Result<Option<(i64, ImportOrdersRequest)>> {
    let mut state = state.borrow_mut();
    state.progress.add(group.records.len() as u64);
    let Some(head) = group.records.first() else {
        return Ok(None);
    };
    let row = group.line;
    if let Some(refused) = orders.refused.iter().find(|it| it.when.holds(head)) {
        let outcome = Outcome::refused(row, "NOT_AN_ORDER", &refused.reason, Vec::new());
        state.results.add(&outcome)?;
        return Ok(None);
    }
    let (request, problems) = order(mapping, orders, group);
    if !problems.is_empty() {
        state.results.add(&unreadable(row, problems))?;
        return Ok(None);
    }
    if orders
        .cancellations
        .as_ref()
        .is_some_and(|it| it.when.holds(head))
    {
        state
            .cancellations
            .push((row, request.order.unwrap_or_default()));
        return Ok(None);
    }
    if let Some(cancelled) = orders.cancelled.iter().find(|it| it.when.holds(head)) {
        state.ending.insert(row, cancelled.reason.clone());
    }
    let request = Some(request);
    Ok(Some((row, ImportOrdersRequest { row, request })))
}

/// What the service answered.
fn take(
    mapping: &Mapping,
    orders: &Orders,
    request: ImportOrdersRequest,
    answer: ImportOrdersResponse,
    state: &mut State,
) -> anyhow::Result<()> {
    let order = request.request.and_then(|it| it.order).unwrap_or_default();
    let ending = state.ending.remove(&answer.row);
    if let Some(error) = answer.error {
        let problems = error
            .field_violations
            .into_iter()
            .map(|it| Problem {
                field: it.field,
                description: it.description,
            })
            .collect();
        return state.results.add(&Outcome::refused(
            answer.row,
            &error.code,
            &error.message,
            problems,
        ));
    }
    if orders.cancellations.is_some() {
        state.purchases.add(&answer.order, &order);
    }
    if let Some(reason) = ending {
        state.ended.push(cancel::Call::whole(
            mapping,
            answer.row,
            &answer.order,
            &order,
            &reason,
        ));
    }
    let kind = if answer.replayed { "replayed" } else { "taken" };
    state.results.add(&Outcome {
        row: answer.row,
        kind: kind.to_owned(),
        code: state_name(answer.state()),
        name: answer.order,
        findings: answer.findings,
        ..Outcome::default()
    })
}
