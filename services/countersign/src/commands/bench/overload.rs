//! What ten times the load that it can bear does to the service: how much it still takes in, and how fast the rest is refused.
//!
//! The peak is what so many callers reach who wait for their answers. Then many times as many ask, who come again when a refusal
//! tells them, as clients that keep to the shipped service config do; and then calls start by the clock at many times the peak,
//! whatever they are told. All of them come from a process of its own with the lowest priority: in the world those who call are on
//! other machines, and must not take processor time from the service and its database. How much was really offered is told.
//!
//! With rows behind, the worker is started afterwards and sends what the orders gave rise to, for its memory.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    OverloadArgs,
    backlog::{Backlog, Due},
    server::{Database, Service, memory_peak_bytes},
    storm::Storm,
    worker::{Carriers, start_worker},
};
use crate::console;

/// Letters, and texts, that the worker has under way at the same time.
const WORKER_AT_ONCE: usize = 64;

/// Who makes a storm.
#[derive(Clone, Copy)]
enum From {
    /// So many callers who keep to what they are told.
    Callers(usize),
    /// The clock: so many calls a second.
    Clock(f64),
}

/// Measures it and prints a table.
pub(super) async fn run(args: &OverloadArgs) -> anyhow::Result<()> {
    let (mut obedient, mut blind, mut worker_mib) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let measured = measure(args, round).await?;
        obedient.push(measured.obedient);
        blind.push(measured.blind);
        worker_mib.extend(measured.worker_mib);
    }
    console::say(&format!(
        "{:<22} {:>8} {:>10} {:>9} {:>6} {:>11} {:>12} {:>12} {:>10} {:>9} {:>6} {:>7}",
        "",
        "peak/s",
        "offered/s",
        "taken/s",
        "share",
        "taken p99",
        "refused p50",
        "refused p99",
        "at first",
        "memory",
        "late",
        "failed"
    ));
    let (obedient, blind) = (middle(obedient), middle(blind));
    for (who, row) in [
        ("callers who come again", &obedient),
        ("calls by the clock", &blind),
    ] {
        let of = |key: &str| row[key].as_f64().unwrap_or(0.0);
        console::say(&format!(
            "{who:<22} {:>8.0} {:>10.0} {:>9.0} {:>5.0}% {:>8.0} ms {:>9.1} ms {:>9.1} ms {:>7.0} ms {:>5.0} MiB {:>6} {:>7}",
            of("peak_per_second"),
            of("offered_per_second"),
            of("taken_per_second"),
            of("share") * 100.0,
            of("taken_p99_ms"),
            of("refused_p50_ms"),
            of("refused_p99_ms"),
            of("first_refused_p99_ms"),
            of("memory_mib"),
            row["late"],
            row["failed"],
        ));
    }
    let worker_mib = worker_mib.into_iter().reduce(f64::max);
    if let Some(mib) = worker_mib {
        console::say(&format!(
            "worker with {} rows behind: {mib:.0} MiB",
            args.behind
        ));
    }
    if let Some(path) = &args.json {
        let document = json!({
            "bench": "overload",
            "rounds": args.rounds,
            "rows_behind": args.behind,
            "callers_who_come_again": obedient,
            "calls_by_the_clock": blind,
            "worker_memory_mib": worker_mib,
        });
        fs::write(path, serde_json::to_string_pretty(&document)?)?;
    }
    Ok(())
}

/// One round.
struct Measured {
    obedient: Value,
    blind: Value,
    /// Most memory of the worker, when there were rows for it.
    worker_mib: Option<f64>,
}

async fn measure(args: &OverloadArgs, round: usize) -> anyhow::Result<Measured> {
    let database = Database::create(&args.server_url).await?;
    database.seed().await?;
    if args.behind > 0 {
        Backlog::new()?
            .fill(&database.store, args.behind, Due::Later)
            .await?;
    }
    let service = Service::start(&database).await?;
    console::say(&format!("round {round}: peak, {} callers", args.callers));
    let calm = storm_process(service.url(), From::Callers(args.callers), args.seconds).await?;
    let peak = per_second(calm.taken, &calm);
    console::say(&format!(
        "  {peak:.0} orders/s, p99 {:.0} ms",
        calm.taken_p99_ms
    ));
    let mut rows = Vec::new();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some thousands"
    )]
    let callers = (args.callers as f64 * args.times).max(1.0) as usize;
    for (what, from) in [
        ("callers", From::Callers(callers)),
        ("the peak by the clock", From::Clock(peak * args.times)),
    ] {
        console::say(&format!("round {round}: {} times {what}", args.times));
        let storm = storm_process(service.url(), from, args.seconds).await?;
        let memory = service.memory_peak_bytes().unwrap_or(0);
        rows.push(row(peak, &storm, memory));
    }
    service.stop().await?;
    let worker_mib = if args.behind > 0 {
        console::say(&format!("round {round}: worker"));
        Some(worker_mib(&database, args.seconds).await?)
    } else {
        None
    };
    database.drop().await?;
    let blind = rows.pop().unwrap_or_default();
    let obedient = rows.pop().unwrap_or_default();
    Ok(Measured {
        obedient,
        blind,
        worker_mib,
    })
}

/// Lets the worker work for a while; most memory that it had.
async fn worker_mib(database: &Database, seconds: u64) -> anyhow::Result<f64> {
    let mut carriers = Carriers::start().await?;
    let mut worker = start_worker(database, &carriers, WORKER_AT_ONCE).await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let peak = worker.id().and_then(memory_peak_bytes);
    console::say(&format!("  {} messages", carriers.accepted().await?));
    worker.kill().await.context("end the worker")?;
    Ok(mib(peak.context("the worker ended by itself")?))
}

/// The row in the middle, by what was still taken in.
fn middle(mut rows: Vec<Value>) -> Value {
    let share = |row: &Value| row["share"].as_f64().unwrap_or(0.0);
    rows.sort_by(|a, b| share(a).total_cmp(&share(b)));
    let at = rows.len() / 2;
    rows.into_iter().nth(at).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[expect(clippy::cast_precision_loss, reason = "counts of some millions")]
fn per_second(count: u64, storm: &Storm) -> f64 {
    count as f64 / storm.seconds.max(f64::EPSILON)
}

fn row(peak: f64, storm: &Storm, memory_bytes: u64) -> Value {
    json!({
        "peak_per_second": peak,
        "offered_per_second": per_second(storm.offered, storm),
        "taken_per_second": per_second(storm.taken, storm),
        "share": per_second(storm.taken, storm) / peak,
        "taken_p99_ms": storm.taken_p99_ms,
        "refused_p50_ms": storm.refused_p50_ms,
        "refused_p99_ms": storm.refused_p99_ms,
        "first_refused_p99_ms": storm.first_refused_p99_ms,
        "memory_mib": mib(memory_bytes),
        "late": storm.late,
        "failed": storm.failed,
    })
}

/// Runs the storm in a process that yields to every other.
async fn storm_process(url: &str, from: From, seconds: u64) -> anyhow::Result<Storm> {
    let (flag, number) = match from {
        From::Callers(callers) => ("--callers", callers.to_string()),
        From::Clock(per_second) => ("--per-second", format!("{per_second:.0}")),
    };
    let ran = Command::new("nice")
        .args(["-n", "19"])
        .arg(std::env::current_exe()?)
        .args(["bench", "storm", "--url", url, flag, &number])
        .args(["--seconds", &seconds.to_string()])
        .stdin(Stdio::null())
        .output()
        .await
        .context("start the storm")?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        bail!("the storm ended with {}: {said}", ran.status);
    }
    serde_json::from_slice(&ran.stdout).context("read what the storm came to")
}
