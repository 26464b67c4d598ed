//! `import`: takes files in.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use countersign_proto::v1;
use countersign_runtime::{client, config::Config};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::import::{mapping::Mapping, reading::Problem, results::Outcome, send::code_name};

mod cancel;
mod follow;
mod orders;
mod reference;
mod register;
mod tracking;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Records of customers.
    Customers,
    /// Articles.
    Products,
    /// Prices of price lists.
    Prices,
    /// Counted stock.
    Stock,
    /// Orders, one row a line or one object an order.
    Orders,
    /// When goods were handed over and delivered.
    Tracking,
}

/// How a file is taken in.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What the file holds.
    what: What,
    /// `.csv`, `.tsv` or `.jsonl`, each also with `.gz`.
    file: PathBuf,
    /// Which column is what: a TOML file, or `countersign`, `uci-online-retail` or `olist`.
    #[arg(long, default_value = "countersign")]
    mapping: String,
    /// Where the order service answers.
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    target: String,
    /// Writes what became of each row to this CSV file.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// With orders: first makes the customers and products that stand in the file, and stock of each.
    #[arg(long)]
    register: bool,
    /// With orders and tracking: tells afterwards what the service knows about all orders of the mapping's source.
    #[arg(long)]
    report: bool,
}

/// Takes a file in. Fails only when it broke off; rows that were refused are an answer.
pub(crate) async fn run(args: &ImportArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mapping = Mapping::load(&args.mapping)?;
    // A sender's numbers are unique among those of the same caller.
    let caller = format!("import.{}", mapping.source);
    let connection = client::connect(&args.target, &caller, &config.client).await?;
    match args.what {
        What::Orders => orders::run(args, &mapping, &connection).await?,
        What::Tracking => tracking::run(args, &mapping, &connection).await?,
        What::Customers | What::Products | What::Prices | What::Stock => {
            reference::run(args, &mapping, &connection).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A call that was refused.
fn refusal(row: i64, status: &Status) -> Outcome {
    let problems = status
        .get_details_bad_request()
        .map(|details| details.field_violations)
        .unwrap_or_default()
        .into_iter()
        .map(|it| Problem {
            field: it.field,
            description: it.description,
        })
        .collect();
    Outcome::refused(row, &code_name(status.code()), status.message(), problems)
}

/// A row whose values are none, as the service would have refused it.
fn unreadable(row: i64, problems: Vec<Problem>) -> Outcome {
    let code = code_name(Code::InvalidArgument);
    Outcome::refused(row, &code, "the row cannot be read", problems)
}

/// `AWAITING_CONFIRMATION`
fn state_name(state: v1::OrderState) -> String {
    state
        .as_str_name()
        .trim_start_matches("ORDER_STATE_")
        .to_owned()
}
