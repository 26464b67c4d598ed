//! What ten times the load that it can bear does to the service: how much it still takes in, and how fast the rest is refused.
//!
//! The peak is taken closed loop; then calls start by the clock at many times the peak, from a process of its own with the lowest
//! priority: in the world those who call are on other machines, and must not take processor time from the service and its
//! database. How much was really offered is told.

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{process::Command, sync::mpsc, task::JoinSet};
use tonic::Code;

use super::{
    OverloadArgs, StormArgs, load,
    load::micros,
    orders::Orders,
    server::{Database, Service},
};
use crate::console;

/// Calls that may be unanswered at the same time; a storm that has more is held up by itself.
const UNANSWERED_MAX: usize = 20_000;

/// What a storm of calls came to.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Storm {
    /// Calls that were made.
    offered: u64,
    taken: u64,
    refused: u64,
    /// Anything else than taken or refused for lack of room.
    failed: u64,
    taken_p99_ms: f64,
    refused_p50_ms: f64,
    refused_p99_ms: f64,
    seconds: f64,
}

/// Measures it and prints a table.
pub(super) async fn run(args: &OverloadArgs) -> anyhow::Result<()> {
    let span = Duration::from_secs(args.seconds);
    let mut rows = Vec::new();
    for round in 1..=args.rounds {
        let database = Database::create(&args.server_url).await?;
        database.seed().await?;
        let service = Service::start(&database).await?;
        console::say(&format!("round {round}: peak, {} callers", args.callers));
        let figures = load::closed(service.url(), args.callers, false, span).await?;
        let peak = figures.per_second();
        console::say(&format!("  {peak:.0} orders/s"));
        console::say(&format!("round {round}: {} times the peak", args.times));
        let storm = storm_process(service.url(), peak * args.times, args.seconds).await?;
        let memory = service.memory_peak_bytes().unwrap_or(0);
        service.stop().await?;
        database.drop().await?;
        rows.push(row(peak, &storm, memory));
    }
    rows.sort_by(|a, b| {
        let share = |row: &serde_json::Value| row["share"].as_f64().unwrap_or(0.0);
        share(a).total_cmp(&share(b))
    });
    console::say(&format!(
        "{:>10} {:>12} {:>10} {:>7} {:>11} {:>12} {:>12} {:>9} {:>7}",
        "peak/s",
        "offered/s",
        "taken/s",
        "share",
        "taken p99",
        "refused p50",
        "refused p99",
        "memory",
        "failed"
    ));
    for row in &rows {
        let of = |key: &str| row[key].as_f64().unwrap_or(0.0);
        console::say(&format!(
            "{:>10.0} {:>12.0} {:>10.0} {:>6.0}% {:>8.0} ms {:>9.1} ms {:>9.1} ms {:>5.0} MiB {:>7}",
            of("peak_per_second"),
            of("offered_per_second"),
            of("taken_per_second"),
            of("share") * 100.0,
            of("taken_p99_ms"),
            of("refused_p50_ms"),
            of("refused_p99_ms"),
            of("memory_mib"),
            row["failed"],
        ));
    }
    if let Some(path) = &args.json {
        let document = json!({ "bench": "overload", "rounds": args.rounds, "rows": rows });
        fs::write(path, serde_json::to_string_pretty(&document)?)?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of some millions")]
fn row(peak: f64, storm: &Storm, memory_bytes: u64) -> serde_json::Value {
    let per_second = |count: u64| count as f64 / storm.seconds.max(f64::EPSILON);
    json!({
        "peak_per_second": peak,
        "offered_per_second": per_second(storm.offered),
        "taken_per_second": per_second(storm.taken),
        "share": per_second(storm.taken) / peak,
        "taken_p99_ms": storm.taken_p99_ms,
        "refused_p50_ms": storm.refused_p50_ms,
        "refused_p99_ms": storm.refused_p99_ms,
        "memory_mib": memory_bytes as f64 / 1_048_576.0,
        "failed": storm.failed,
    })
}

/// Runs the storm in a process that yields to every other.
async fn storm_process(url: &str, per_second: f64, seconds: u64) -> anyhow::Result<Storm> {
    let ran = Command::new("nice")
        .args(["-n", "19"])
        .arg(std::env::current_exe()?)
        .args(["bench", "storm", "--url", url])
        .args(["--per-second", &format!("{per_second:.0}")])
        .args(["--seconds", &seconds.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("start the storm")?;
    if !ran.status.success() {
        bail!("the storm ended with {}", ran.status);
    }
    serde_json::from_slice(&ran.stdout).context("read what the storm came to")
}

/// One answered call.
struct Answered {
    code: Code,
    took: Duration,
}

/// The storm itself: prints what it came to as JSON.
pub(super) async fn storm(args: &StormArgs) -> anyhow::Result<()> {
    let clients = load::clients(&args.url).await?;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut orders = Orders::new("storm", 7, false);
    let (mut tasks, mut offered) = (JoinSet::new(), 0_u64);
    let span = Duration::from_secs(args.seconds);
    let start = Instant::now();
    let end = start + span;
    let pause = Duration::from_secs_f64(1.0 / args.per_second.max(1.0));
    let (mut due, mut clients) = (start, clients.into_iter().cycle());
    while due < end && Instant::now() < end {
        tokio::time::sleep_until(due.into()).await;
        while due <= Instant::now() && due < end && tasks.len() < UNANSWERED_MAX {
            let Some(mut client) = clients.next() else {
                bail!("there is no client");
            };
            let (request, sender) = (orders.make(), sender.clone());
            offered += 1;
            tasks.spawn(async move {
                let asked = Instant::now();
                let answer = client.create_order(request).await;
                let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
                let took = asked.elapsed();
                sender.send(Answered { code, took }).ok();
            });
            due += pause;
        }
        while tasks.try_join_next().is_some() {}
        // Whatever could not be made in time is not made at all.
        due = due.max(Instant::now());
    }
    let seconds = start.elapsed().as_secs_f64();
    while tasks.join_next().await.is_some() {}
    drop(sender);
    let mut storm = Storm {
        offered,
        seconds,
        ..Storm::default()
    };
    let mut taken = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
    let mut refused = taken.clone();
    while let Some(Answered { code, took }) = receiver.recv().await {
        match code {
            Code::Ok => {
                storm.taken += 1;
                taken.saturating_record(micros(took));
            }
            Code::ResourceExhausted => {
                storm.refused += 1;
                refused.saturating_record(micros(took));
            }
            _ => storm.failed += 1,
        }
    }
    let ms = |histogram: &Histogram<u64>, at: f64| {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
        let us = histogram.value_at_percentile(at) as f64;
        us / 1_000.0
    };
    storm.taken_p99_ms = ms(&taken, 99.0);
    storm.refused_p50_ms = ms(&refused, 50.0);
    storm.refused_p99_ms = ms(&refused, 99.0);
    console::say(&serde_json::to_string(&storm)?);
    Ok(())
}
