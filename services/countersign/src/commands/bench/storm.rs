//! More calls than a service can bear, from a process of its own.

use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::{Code, Status};

use super::{StormArgs, load, load::micros, orders::Orders};
use crate::console;

/// Calls that may be unanswered at the same time; a storm that has more is held up by itself.
const UNANSWERED_MAX: usize = 20_000;
/// What a client waits that is refused without being told for how long.
const PAUSE: Duration = Duration::from_secs(1);
/// All callers begin in the same instant. What they ask in this time is counted, but its refusals have a percentile of their own.
const BEGINNING: Duration = Duration::from_secs(2);

/// What a storm of calls came to.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Storm {
    /// Calls that were made.
    pub(super) offered: u64,
    pub(super) taken: u64,
    pub(super) refused: u64,
    /// Answered after the storm was over; in the percentiles, but not in the counts.
    pub(super) late: u64,
    /// Anything else than taken or refused for lack of room.
    pub(super) failed: u64,
    pub(super) taken_p99_ms: f64,
    pub(super) refused_p50_ms: f64,
    pub(super) refused_p99_ms: f64,
    /// Of the first two seconds, which are not in the other percentiles of refusals.
    pub(super) first_refused_p99_ms: f64,
    pub(super) seconds: f64,
}

/// One answered call.
struct Answered {
    code: Code,
    start: Instant,
    end: Instant,
}

impl Answered {
    fn now(code: Code, start: Instant) -> Self {
        Self {
            code,
            start,
            end: Instant::now(),
        }
    }
}

/// Makes the storm and prints what it came to as JSON.
pub(super) async fn run(args: &StormArgs) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (start, span) = (Instant::now(), Duration::from_secs(args.seconds));
    let offered = match (args.callers, args.per_second) {
        (Some(callers), _) => by_callers(&args.url, callers, span, sender).await?,
        (None, Some(per_second)) => by_the_clock(&args.url, per_second, span, sender).await?,
        (None, None) => bail!("neither callers nor calls a second are given"),
    };
    let storm = sum_up(offered, start, span, receiver).await?;
    console::say(&serde_json::to_string(&storm)?);
    Ok(())
}

/// So many callers, each of whom waits for its answer, and when it is refused for as long as it is told.
async fn by_callers(
    url: &str,
    callers: usize,
    span: Duration,
    answers: mpsc::UnboundedSender<Answered>,
) -> anyhow::Result<u64> {
    let clients = load::clients(url).await?;
    let end = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for (caller, client) in (0..callers).zip(clients.iter().cycle()) {
        let (mut client, answers) = (client.clone(), answers.clone());
        let mut orders = Orders::new(&format!("again-{caller}"), caller as u64, false);
        tasks.spawn(async move {
            let mut offered = 0_u64;
            let mut request = orders.make();
            while Instant::now() < end {
                offered += 1;
                let asked = Instant::now();
                let answer = client.create_order(request.clone()).await;
                let (code, pause) = match &answer {
                    Ok(_) => (Code::Ok, None),
                    Err(status) => (status.code(), Some(pushback(status))),
                };
                answers.send(Answered::now(code, asked)).ok();
                match pause {
                    Some(pause) => {
                        let again = (Instant::now() + pause).min(end);
                        tokio::time::sleep_until(again.into()).await;
                    }
                    None => request = orders.make(),
                }
            }
            offered
        });
    }
    Ok(tasks.join_all().await.into_iter().sum())
}

/// How long a refused caller is asked to wait.
fn pushback(status: &Status) -> Duration {
    let told = status.metadata().get("grpc-retry-pushback-ms");
    told.and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(PAUSE, Duration::from_millis)
}

/// Calls that start by the clock, whatever came of those before.
async fn by_the_clock(
    url: &str,
    per_second: f64,
    span: Duration,
    answers: mpsc::UnboundedSender<Answered>,
) -> anyhow::Result<u64> {
    let mut clients = load::clients(url).await?.into_iter().cycle();
    let mut orders = Orders::new("storm", 7, false);
    let (mut tasks, mut offered) = (JoinSet::new(), 0_u64);
    let start = Instant::now();
    let end = start + span;
    let pause = Duration::from_secs_f64(1.0 / per_second.max(1.0));
    let mut due = start;
    while due < end && Instant::now() < end {
        tokio::time::sleep_until(due.into()).await;
        while due <= Instant::now() && due < end && tasks.len() < UNANSWERED_MAX {
            let Some(mut client) = clients.next() else {
                bail!("there is no client");
            };
            let (request, answers) = (orders.make(), answers.clone());
            offered += 1;
            tasks.spawn(async move {
                let asked = Instant::now();
                let answer = client.create_order(request).await;
                let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
                answers.send(Answered::now(code, asked)).ok();
            });
            due += pause;
        }
        while tasks.try_join_next().is_some() {}
        // Whatever could not be made in time is not made at all.
        due = due.max(Instant::now());
    }
    while tasks.join_next().await.is_some() {}
    Ok(offered)
}

/// Counts what was answered within the span; what comes later was worked off when the storm was over.
async fn sum_up(
    offered: u64,
    start: Instant,
    span: Duration,
    mut receiver: mpsc::UnboundedReceiver<Answered>,
) -> anyhow::Result<Storm> {
    let mut storm = Storm {
        offered,
        seconds: span.as_secs_f64(),
        ..Storm::default()
    };
    let mut taken = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
    let mut refused = taken.clone();
    let mut first_refused = taken.clone();
    while let Some(answer) = receiver.recv().await {
        let (took, in_time) = (answer.end - answer.start, answer.end <= start + span);
        let count = match answer.code {
            Code::Ok => {
                taken.saturating_record(micros(took));
                &mut storm.taken
            }
            Code::ResourceExhausted => {
                let percentiles = if answer.start < start + BEGINNING {
                    &mut first_refused
                } else {
                    &mut refused
                };
                percentiles.saturating_record(micros(took));
                &mut storm.refused
            }
            _ => &mut storm.failed,
        };
        if in_time {
            *count += 1;
        } else {
            storm.late += 1;
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
    storm.first_refused_p99_ms = ms(&first_refused, 99.0);
    Ok(storm)
}
