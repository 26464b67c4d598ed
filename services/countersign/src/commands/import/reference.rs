//! Customers, products, prices and stock levels.

use std::{cell::RefCell, future::Future};

use anyhow::Context as _;
use countersign_proto::v1::{
    ImportCustomersRequest, ImportPricesRequest, ImportProductsRequest, ImportRowResponse,
    ImportStockLevelsRequest, catalog_service_client::CatalogServiceClient,
    customer_service_client::CustomerServiceClient,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use super::{ImportArgs, What, unreadable};
use crate::import::{
    fields::Field,
    grouping::Plan,
    mapping::Mapping,
    progress::Progress,
    reading::Problem,
    record::Record,
    reference,
    results::{Outcome, Results},
    rows::Rows,
    send::{self, Answer, Connection, code_name},
};

/// Takes a file of reference data in.
pub(super) async fn run(
    args: &ImportArgs,
    mapping: &Mapping,
    connection: &Connection,
) -> anyhow::Result<()> {
    let missing = || {
        format!(
            "the mapping {} does not say how to read these",
            args.mapping
        )
    };
    let catalog = CatalogServiceClient::new(connection.clone());
    match args.what {
        What::Customers => {
            let fields = mapping.customers.as_ref().with_context(missing)?;
            let client = CustomerServiceClient::new(connection.clone());
            let make = |row, record: &Record| {
                let (customer, problems) = reference::customer(mapping, fields, record);
                let customer = Some(customer);
                (ImportCustomersRequest { row, customer }, problems)
            };
            let open = |stream| {
                let mut client = client.clone();
                async move { client.import_customers(stream).await }
            };
            file(args, &fields.given(), make, open).await
        }
        What::Products => {
            let fields = mapping.products.as_ref().with_context(missing)?;
            let make = |row, record: &Record| {
                let (product, problems) = reference::product(mapping, fields, record);
                let product = Some(product);
                (ImportProductsRequest { row, product }, problems)
            };
            let open = |stream| {
                let mut client = catalog.clone();
                async move { client.import_products(stream).await }
            };
            file(args, &fields.given(), make, open).await
        }
        What::Prices => {
            let fields = mapping.prices.as_ref().with_context(missing)?;
            let make = |row, record: &Record| {
                let (price, problems) = reference::price(mapping, fields, record);
                let price = Some(price);
                (ImportPricesRequest { row, price }, problems)
            };
            let open = |stream| {
                let mut client = catalog.clone();
                async move { client.import_prices(stream).await }
            };
            file(args, &fields.given(), make, open).await
        }
        What::Stock | What::Orders | What::Tracking => {
            let fields = mapping.stock.as_ref().with_context(missing)?;
            let make = |row, record: &Record| {
                let (level, problems) = reference::stock(mapping, fields, record);
                let stock_level = Some(level);
                (ImportStockLevelsRequest { row, stock_level }, problems)
            };
            let open = |stream| {
                let mut client = catalog.clone();
                async move { client.import_stock_levels(stream).await }
            };
            file(args, &fields.given(), make, open).await
        }
    }
}

/// Sends a file's rows as `make` makes them.
async fn file<Q, F>(
    args: &ImportArgs,
    fields: &[&Field],
    make: impl Fn(i64, &Record) -> (Q, Vec<Problem>),
    open: impl FnMut(ReceiverStream<Q>) -> F,
) -> anyhow::Result<()>
where
    Q: Clone,
    F: Future<Output = Result<Response<Streaming<ImportRowResponse>>, Status>>,
{
    Mapping::check(Rows::open(&args.file)?.header(), fields)?;
    let plan = Plan::new(&args.file, None)?;
    let results = RefCell::new(Results::new(args.results.as_deref())?);
    let unread = RefCell::new(Vec::new());
    let rows = plan.groups()?.filter_map(|group| {
        let group = match group {
            Ok(group) => group,
            Err(error) => return Some(Err(error)),
        };
        let (request, problems) = make(group.line, group.records.first()?);
        if problems.is_empty() {
            return Some(Ok((group.line, request)));
        }
        unread.borrow_mut().push(unreadable(group.line, problems));
        None
    });
    send_rows("rows", plan.rows(), rows, open, |outcome| {
        results.borrow_mut().add(outcome)
    })
    .await?;
    let mut results = results.into_inner();
    for outcome in unread.take() {
        results.add(&outcome)?;
    }
    results.finish("rows", Some(plan.rows()))
}

/// Sends rows of reference data and tells what became of each.
pub(super) async fn send_rows<Q, F>(
    what: &'static str,
    total: u64,
    rows: impl Iterator<Item = anyhow::Result<(i64, Q)>>,
    open: impl FnMut(ReceiverStream<Q>) -> F,
    mut tell: impl FnMut(&Outcome) -> anyhow::Result<()>,
) -> anyhow::Result<()>
where
    Q: Clone,
    F: Future<Output = Result<Response<Streaming<ImportRowResponse>>, Status>>,
{
    let mut progress = Progress::new(what, total);
    let answered = |_, answer: ImportRowResponse| {
        progress.add(1);
        tell(&outcome(answer))
    };
    send::stream(rows, open, answered).await?;
    progress.finish();
    Ok(())
}

impl Answer for ImportRowResponse {
    fn row(&self) -> i64 {
        self.row
    }
}

fn outcome(answer: ImportRowResponse) -> Outcome {
    if answer.error.is_empty() {
        return Outcome {
            row: answer.row,
            kind: answer.outcome,
            name: answer.name,
            ..Outcome::default()
        };
    }
    let code = code_name(Code::InvalidArgument);
    // "field: what is wrong"
    let problems = match answer.error.split_once(": ") {
        Some((field, description)) if !field.contains(' ') => vec![Problem {
            field: field.to_owned(),
            description: description.to_owned(),
        }],
        _ => Vec::new(),
    };
    Outcome::refused(answer.row, &code, &answer.error, problems)
}
