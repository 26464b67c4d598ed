//! Orders, what was taken back of them, and what became of them.

use std::{cell::RefCell, collections::HashMap};

use anyhow::Context as _;
use countersign_proto::v1::{
    ImportOrdersRequest, ImportOrdersResponse, Order, order_service_client::OrderServiceClient,
};
use tonic::{Code, Status};

use super::{
    ImportArgs, cancel,
    follow::{self, Fate, Followed},
    register::Known,
    state_name, unreadable,
};
use crate::import::{
    cancellations::Purchases,
    fields::Field,
    grouping::{Group, Plan},
    mapping::{Mapping, Orders, text},
    orders::{Made, order},
    progress::Progress,
    reading::Problem,
    report,
    results::{Outcome, Results},
    rows::Rows,
    send::{self, Answer, Connection, code_of, is_passing},
};

impl Answer for ImportOrdersResponse {
    fn row(&self) -> i64 {
        self.row
    }

    fn not_now(&self) -> Option<Status> {
        let error = self.error.as_ref()?;
        let status = Status::new(code_of(&error.code), error.message.clone());
        (is_passing(&status) || status.code() == Code::Internal).then_some(status)
    }
}

/// What is gathered on the way through the file.
struct State<'m> {
    results: Results,
    progress: Progress,
    /// What customers bought, when the file has cancellations that name no order.
    purchases: Purchases,
    /// Rows that cancel goods of earlier orders.
    cancellations: Vec<(i64, Order)>,
    /// Row → what is to be done about its order once it is taken in.
    fates: HashMap<i64, Fate<'m>>,
    /// Orders that are taken in, with what is to be done about them.
    followed: Vec<Followed<'m>>,
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
    follow::check(orders)?;
    Mapping::check(Rows::open(&args.file)?.header(), &fields)?;
    let plan = Plan::new(&args.file, orders.group_by.as_deref())?;
    if args.register {
        let mut known = Known::default();
        for group in plan.groups()? {
            let group = group?;
            if is_order(orders, &group) {
                known.note(order(mapping, orders, &group));
            }
        }
        known.register(&orders.register, connection).await?;
    }
    let state = RefCell::new(State {
        results: Results::new(args.results.as_deref())?,
        progress: Progress::new("rows", plan.rows()),
        purchases: Purchases::default(),
        cancellations: Vec::new(),
        fates: HashMap::new(),
        followed: Vec::new(),
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
    let answered = |request, answer| take(orders, request, answer, &mut state.borrow_mut());
    send::stream(rows, open, answered).await?;
    let State {
        mut results,
        progress,
        mut purchases,
        cancellations,
        followed,
        ..
    } = state.into_inner();
    progress.finish();
    if let Some(settings) = &orders.cancellations {
        let plan = cancel::plan(
            mapping,
            settings,
            &mut purchases,
            cancellations,
            &mut results,
        );
        cancel::run(connection, plan, &mut results).await?;
    }
    follow::run(connection, mapping, followed, &mut results).await?;
    results.finish("orders and cancellations", Some(plan.count()))?;
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
fn read<'m>(
    mapping: &Mapping,
    orders: &'m Orders,
    group: &Group,
    state: &RefCell<State<'m>>,
) -> anyhow::Result<Option<(i64, ImportOrdersRequest)>> {
    let mut state = state.borrow_mut();
    state.progress.add(group.records.len() as u64);
    let Some(head) = group.records.first() else {
        return Ok(None);
    };
    let row = group.line;
    if let Some(refused) = orders.refused.iter().find(|it| it.when.holds(head)) {
        let reference = text(orders.fields.client_reference.as_ref(), head);
        let outcome = Outcome::refused(row, "NOT_AN_ORDER", &refused.reason, Vec::new());
        state.results.add(&outcome.of(&reference))?;
        return Ok(None);
    }
    let Made {
        request,
        problems,
        guest,
    } = order(mapping, orders, group);
    if !problems.is_empty() {
        let reference = text(orders.fields.client_reference.as_ref(), head);
        let outcome = unreadable(row, problems).of(&reference);
        state.results.add(&outcome)?;
        return Ok(None);
    }
    if orders
        .cancellations
        .as_ref()
        .is_some_and(|it| it.when.holds(head))
    {
        let mut cancellation = request.order.unwrap_or_default();
        if guest {
            // Nobody knows whose goods these were.
            cancellation.customer.clear();
        }
        state.cancellations.push((row, cancellation));
        return Ok(None);
    }
    if let Some(fate) = Fate::of(orders, head) {
        state.fates.insert(row, fate);
    }
    let request = Some(request);
    Ok(Some((row, ImportOrdersRequest { row, request })))
}

/// What the service answered.
fn take(
    orders: &Orders,
    request: ImportOrdersRequest,
    answer: ImportOrdersResponse,
    state: &mut State<'_>,
) -> anyhow::Result<()> {
    let order = request.request.and_then(|it| it.order).unwrap_or_default();
    let fate = state.fates.remove(&answer.row);
    let known = answer
        .error
        .as_ref()
        .is_some_and(|error| code_of(&error.code) == Code::AlreadyExists);
    let answered_state = answer.state();
    let mut outcome = Outcome {
        row: answer.row,
        kind: if answer.replayed || known {
            "replayed".to_owned()
        } else {
            "taken".to_owned()
        },
        code: state_name(answered_state),
        name: answer.order,
        findings: answer.findings,
        ..Outcome::default()
    }
    .of(&order.client_reference);
    match answer.error {
        // Taken in so long ago that the call is forgotten; the sender's number is not.
        Some(_) if known => outcome.code.clear(),
        Some(error) => {
            let problems = error
                .field_violations
                .into_iter()
                .map(|it| Problem {
                    field: it.field,
                    description: it.description,
                })
                .collect();
            let refused = Outcome::refused(answer.row, &error.code, &error.message, problems);
            return state.results.add(&refused.of(&order.client_reference));
        }
        None => {}
    }
    if orders.cancellations.is_some() {
        state.purchases.add(&outcome.name, &order);
    }
    match fate {
        Some(fate) => {
            state.followed.push(Followed { outcome, fate });
            Ok(())
        }
        None => state.results.add(&outcome),
    }
}
