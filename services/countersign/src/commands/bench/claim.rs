//! What claiming and completing messages costs, with few and with many rows behind those that are due first.
//!
//! The claims and completions are the worker's own, 128 rows at a
//! time; nothing is sent. The yardstick takes one row at a time, as most queues do. Runs alternate; the medians count.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use chrono::TimeDelta;
use countersign_domain::{
    message::{AttemptOutcome, DeliveryState},
    order::Channel,
};
use countersign_store::{Claimed, Finish, NextStep, Store, Verdict};
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    ClaimArgs,
    backlog::{Backlog, Due},
    server::Database,
};
use crate::console;

/// Rows of a claim, as the worker takes them.
const BATCH: u64 = 128;
/// Rows behind, in the small database.
const FEW: u64 = 10_000;
/// Connections of the yardstick.
const YARDSTICK_TASKS: u64 = 32;
/// The yardstick gets this part of the rows: it is slow.
const YARDSTICK_PART: u64 = 6;
const LEASE: TimeDelta = TimeDelta::seconds(30);

/// One measurement.
struct Taken {
    rows: u64,
    span: Duration,
    claims: Vec<Duration>,
}

impl Taken {
    fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
        let rows = self.rows as f64;
        rows / self.span.as_secs_f64()
    }

    fn claim_ms(&self, percent: usize) -> f64 {
        let mut claims = self.claims.clone();
        claims.sort_unstable();
        let at = (claims.len() * percent / 100).min(claims.len().saturating_sub(1));
        claims
            .get(at)
            .map_or(0.0, |claim| claim.as_secs_f64() * 1_000.0)
    }
}

/// A queue to take from.
struct Queue {
    database: Database,
    behind: u64,
    backlog: Backlog,
    rounds: u32,
}

impl Queue {
    async fn fill(server_url: &str, behind: u64) -> anyhow::Result<Self> {
        let database = Database::create(server_url).await?;
        let mut backlog = Backlog::new()?;
        backlog.fill(&database.store, behind, Due::Long).await?;
        Ok(Self {
            database,
            behind,
            backlog,
            rounds: 0,
        })
    }

    /// Puts rows to the front of the queue and has them taken by so many tasks at once.
    async fn take(&mut self, rows: u64, tasks: u64, how: How) -> anyhow::Result<Taken> {
        self.rounds += 1;
        self.backlog.put_first(&self.database.store, rows).await?;
        let (left, start) = (Arc::new(AtomicU64::new(rows)), Instant::now());
        let mut all = JoinSet::new();
        for task in 0..tasks {
            let (store, left) = (self.database.store.clone(), left.clone());
            let seed = u128::from(self.rounds) << 64 | u128::from(task) << 32;
            all.spawn(async move { how.run(&store, &left, seed).await });
        }
        let (mut claims, mut taken) = (Vec::new(), 0);
        while let Some(done) = all.join_next().await {
            let (own, rows) = done?.context("take rows")?;
            claims.extend(own);
            taken += rows;
        }
        ensure!(taken >= rows, "{taken} of {rows} rows were taken");
        Ok(Taken {
            rows: taken,
            span: start.elapsed(),
            claims,
        })
    }
}

/// How rows are taken.
#[derive(Clone, Copy)]
enum How {
    OneByOne,
    InBatches,
}

impl How {
    async fn run(
        self,
        store: &Store,
        left: &AtomicU64,
        seed: u128,
    ) -> anyhow::Result<(Vec<Duration>, u64)> {
        let (mut claims, mut count) = (Vec::new(), 0);
        let size = match self {
            Self::OneByOne => 1,
            Self::InBatches => BATCH,
        };
        let take = |left: u64| left.checked_sub(size.min(left)).filter(|_| left > 0);
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            let token = Uuid::from_u128(seed + u128::from(count) + 1);
            let now = store.now().await?;
            let start = Instant::now();
            match self {
                Self::OneByOne => {
                    let id = store
                        .claim_delivery_plainly(Channel::Email, token, now)
                        .await?;
                    claims.push(start.elapsed());
                    if let Some(id) = id {
                        store.complete_delivery_plainly(id, token, now).await?;
                        count += 1;
                    }
                }
                Self::InBatches => {
                    let claimed = store
                        .claim_deliveries(token, Channel::Email, now, LEASE, size)
                        .await?;
                    claims.push(start.elapsed());
                    let done: Vec<Finish> = claimed.iter().map(|it| done(it, token)).collect();
                    let refused = store.finish_attempts(&done, now).await?;
                    ensure!(refused.is_empty(), "{} rows were lost", refused.len());
                    count += done.len() as u64;
                }
            }
        }
        Ok((claims, count))
    }
}

fn done(claimed: &Claimed, token: Uuid) -> Finish {
    let delivery = &claimed.delivery;
    Finish {
        delivery: delivery.id,
        order_id: delivery.order_id,
        token,
        number: delivery.attempts,
        outcome: AttemptOutcome::Sent,
        error: String::new(),
        provider_id: Some(delivery.id.to_string()),
        verdict: Verdict::End(DeliveryState::Sent),
        next: NextStep::AsPlanned,
        if_taken: None,
    }
}

/// Measures it and prints a table.
pub(super) async fn run(args: &ClaimArgs) -> anyhow::Result<()> {
    let mut few = Queue::fill(&args.server_url, FEW).await?;
    let mut many = Queue::fill(&args.server_url, args.rows).await?;
    let (mut plain, mut small, mut large) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let part = args.take / YARDSTICK_PART;
        plain.push(few.take(part, YARDSTICK_TASKS, How::OneByOne).await?);
        small.push(few.take(args.take, args.tasks, How::InBatches).await?);
        large.push(many.take(args.take, args.tasks, How::InBatches).await?);
        let last = |of: &[Taken]| of.last().map_or(0.0, Taken::per_second);
        console::say(&format!(
            "round {round}: one by one {:.0}/s; in batches {:.0}/s, with {} rows behind {:.0}/s",
            last(&plain),
            last(&small),
            many.behind,
            last(&large)
        ));
    }
    let rows = [
        row("yardstick, one row at a time", few.behind, &plain),
        row("128 rows at a time", few.behind, &small),
        row("128 rows at a time", many.behind, &large),
    ];
    console::say(&format!(
        "{:<30} {:>12} {:>10} {:>14} {:>14}",
        "claim and complete", "rows behind", "rows/s", "claim p50 ms", "claim p99 ms"
    ));
    for row in &rows {
        console::say(&format!(
            "{:<30} {:>12} {:>10.0} {:>14.1} {:>14.1}",
            row["what"].as_str().unwrap_or_default(),
            row["rows_behind"],
            row["rows_per_second"].as_f64().unwrap_or(0.0),
            row["claim_p50_ms"].as_f64().unwrap_or(0.0),
            row["claim_p99_ms"].as_f64().unwrap_or(0.0),
        ));
    }
    few.database.drop().await?;
    many.database.drop().await?;
    if let Some(path) = &args.json {
        let document = json!({ "bench": "claim", "rounds": args.rounds, "rows": rows });
        fs::write(path, serde_json::to_string_pretty(&document)?)?;
    }
    Ok(())
}

fn row(what: &str, behind: u64, taken: &[Taken]) -> serde_json::Value {
    let median = |of: &dyn Fn(&Taken) -> f64| {
        let mut all: Vec<f64> = taken.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    json!({
        "what": what,
        "rows_behind": behind,
        "rows_per_second": median(&Taken::per_second),
        "claim_p50_ms": median(&|it| it.claim_ms(50)),
        "claim_p99_ms": median(&|it| it.claim_ms(99)),
    })
}
