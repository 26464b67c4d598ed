//! `bench`: how fast intake, watchers and messages are on this machine, always beside a yardstick in the same run.
//!
//! The yardstick writes the same rows by hand-written SQL, one transaction per order, over 32 connections. The service runs
//! in a process of its own and is called over real gRPC. Machines differ and their pace varies, so what counts is the
//! ratio of the medians, not the figures.

mod backlog;
mod carriers;
mod claim;
mod compare;
mod load;
mod messages;
mod orders;
mod overload;
mod report;
mod server;
mod storm;
mod watchers;
mod worker;
mod yardstick;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Orders a second over gRPC against the yardstick, closed loop, then the latency at a third of the peak, open loop.
    Intake(IntakeArgs),
    /// How long after a commit those who watch hear of it.
    Watchers(WatchersArgs),
    /// Messages a second from the outbox to a relay and a gateway, every try on record.
    Messages(MessagesArgs),
    /// Messages a second that are claimed and completed without being sent, with millions of rows behind them.
    Claim(ClaimArgs),
    /// What many times the peak does to intake: how much is still taken in, how fast the rest is refused, in how much memory.
    Overload(OverloadArgs),
    /// Whether the time of a comparison tells where two secrets first differ.
    Compare(CompareArgs),
    /// The calls of `bench overload`.
    #[command(hide = true)]
    Storm(StormArgs),
    /// The relay and the gateway of `bench messages`.
    #[command(hide = true)]
    Carriers,
}

/// Settings of `bench intake`.
#[derive(Clone, Debug, Args)]
pub(crate) struct IntakeArgs {
    /// A server without a database: `mysql://root@127.0.0.1:3306`. A database of its own is made and dropped.
    #[arg(long, value_name = "URL")]
    server_url: String,
    /// Callers that each wait for their answer before they ask again.
    #[arg(long, value_delimiter = ',', default_values_t = [256, 64])]
    callers: Vec<usize>,
    /// Alternating rounds; the medians count.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// All orders on one article.
    #[arg(long)]
    hot: bool,
    /// Leave the open loop out.
    #[arg(long)]
    no_open_loop: bool,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Settings of `bench watchers`.
#[derive(Clone, Debug, Args)]
pub(crate) struct WatchersArgs {
    /// A server without a database.
    #[arg(long, value_name = "URL")]
    server_url: String,
    /// How many watch, each all orders.
    #[arg(long, default_value_t = 5_000)]
    watchers: usize,
    /// Orders a second while they watch.
    #[arg(long, default_value_t = 20)]
    orders_per_second: u32,
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Settings of `bench messages`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MessagesArgs {
    /// A server without a database.
    #[arg(long, value_name = "URL")]
    server_url: String,
    /// Orders whose messages wait in the outbox; each has two.
    #[arg(long, default_value_t = 20_000)]
    orders: u64,
    /// Letters, and texts, under way at the same time.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// Alternating rounds; the medians count.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Settings of `bench claim`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClaimArgs {
    /// A server without a database.
    #[arg(long, value_name = "URL")]
    server_url: String,
    /// Rows behind those that are taken. Ten million take some six gigabytes.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Rows that are taken in each measurement.
    #[arg(long, default_value_t = 60_000)]
    take: u64,
    /// How many take at the same time.
    #[arg(long, default_value_t = 4)]
    tasks: u64,
    /// Alternating rounds; the medians count.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Settings of `bench overload`.
#[derive(Clone, Debug, Args)]
pub(crate) struct OverloadArgs {
    /// A server without a database.
    #[arg(long, value_name = "URL")]
    server_url: String,
    /// Callers of the peak.
    #[arg(long, default_value_t = 256)]
    callers: usize,
    /// How many times the peak is offered.
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Rows of the worker's queue that are there before. Ten million take some six gigabytes.
    #[arg(long, default_value_t = 0)]
    behind: u64,
    /// Rounds; the one in the middle counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(4..))]
    seconds: u64,
    /// Also write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Settings of `bench compare`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArgs {
    /// Samples of each kind.
    #[arg(long, default_value_t = 1_000_000)]
    samples: u64,
    /// Which kind's turn it is follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Settings of the storm.
#[derive(Clone, Debug, Args)]
pub(crate) struct StormArgs {
    /// Where the service answers.
    #[arg(long)]
    url: String,
    /// Calls a second, by the clock.
    #[arg(long, conflicts_with = "callers", required_unless_present = "callers")]
    per_second: Option<f64>,
    /// Callers who wait for their answers, and come again when a refusal says.
    #[arg(long)]
    callers: Option<usize>,
    /// For how long.
    #[arg(long)]
    seconds: u64,
}

impl Bench {
    /// Runs it and prints a table.
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Intake(args) => intake(args).await?,
            Self::Watchers(args) => watchers::run(args).await?,
            Self::Messages(args) => messages::run(args).await?,
            Self::Claim(args) => claim::run(args).await?,
            Self::Overload(args) => overload::run(args).await?,
            Self::Compare(args) => compare::run(args)?,
            Self::Storm(args) => storm::run(args).await?,
            Self::Carriers => carriers::run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn intake(args: &IntakeArgs) -> anyhow::Result<()> {
    let mut report = report::IntakeReport::new(args);
    let span = Duration::from_secs(args.seconds);
    for round in 1..=args.rounds {
        let database = server::Database::create(&args.server_url).await?;
        database.seed().await?;
        report::IntakeReport::say(&format!("round {round}: yardstick"));
        report.yardstick(yardstick::run(&database, args.hot, span).await?);
        database.drop().await?;
        for &callers in &args.callers {
            let database = server::Database::create(&args.server_url).await?;
            database.seed().await?;
            report::IntakeReport::say(&format!("round {round}: service, {callers} callers"));
            let service = server::Service::start(&database).await?;
            let figures = load::closed(service.url(), callers, args.hot, span).await?;
            let peak = figures.per_second();
            report.service(callers, figures);
            if callers == 256 && !args.no_open_loop {
                report::IntakeReport::say(&format!(
                    "round {round}: service, open loop at a third of the peak"
                ));
                report.open_loop(load::open(service.url(), peak / 3.0, args.hot, span).await?);
            }
            service.stop().await?;
            database.drop().await?;
        }
    }
    report.print()
}
