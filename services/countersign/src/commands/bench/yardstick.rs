//! The yardstick: the same rows by hand-written SQL, one transaction per order, 32 connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use countersign_domain::{
    catalog::StockDelta,
    decide::{Context, Facts, NewOrder, judge},
    ids::{CommitId, HoldId, OrderId, OutboxId},
    policy::default_policies,
    secrets::{LinkKey, token_hash},
    stock_book::StockBook,
};
use countersign_store::{FIRST_GENERATION, IntakeRow, RequestRecord};
use hdrhistogram::Histogram;
use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};
use tokio::task::JoinSet;

use super::{
    load::{Figures, micros},
    orders::Orders,
    server::{Database, WAREHOUSE},
};

/// Connections, each writing one order after the other.
const CONNECTIONS: usize = 32;
/// Orders made ready for each second, so that making them costs nothing while the clock runs.
const READY_PER_SECOND: u64 = 4_000;

/// Measures it.
pub(super) async fn run(database: &Database, hot: bool, span: Duration) -> anyhow::Result<Figures> {
    let now = database.store.now().await?;
    let rows = Arc::new(ready(hot, now, READY_PER_SECOND * (span.as_secs() + 1))?);
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let end = start + span;
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (store, rows, next) = (database.store.clone(), Arc::clone(&rows), Arc::clone(&next));
        tasks.spawn(async move {
            let (mut latencies, mut failed) = (Vec::new(), 0_u64);
            while Instant::now() < end {
                let Some((commit, row)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                let asked = Instant::now();
                match store.insert_order_plainly(*commit, row).await {
                    Ok(true) => latencies.push(asked.elapsed()),
                    Ok(false) | Err(_) => failed += 1,
                }
            }
            (latencies, failed)
        });
    }
    let mut figures = Figures {
        orders: 0,
        failed: 0,
        span,
        latency: Histogram::new_with_bounds(1, 120_000_000, 3)?,
    };
    while let Some(done) = tasks.join_next().await {
        let (latencies, failed) = done?;
        figures.failed += failed;
        for latency in latencies {
            figures.orders += 1;
            figures.latency.saturating_record(micros(latency));
        }
    }
    figures.span = start.elapsed();
    Ok(figures)
}

/// Judged orders, as the service would write them.
fn ready(hot: bool, now: DateTime<Utc>, count: u64) -> anyhow::Result<Vec<(CommitId, IntakeRow)>> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut orders = Orders::new("yardstick", 7, hot);
    let key = LinkKey::new(&[7; 32])?;
    let policy = default_policies()
        .into_iter()
        .find(|policy| policy.order_type == "ECOMMERCE")
        .context("the policy of platform orders")?;
    let rules = countersign_domain::audit::RuleSet::default();
    (0..count)
        .map(|_| {
            let request = orders.make();
            let new: NewOrder = countersign_order::bench::new_order(&request)?;
            let mut ids = SmallRng::seed_from_u64(random.next_u64());
            let id = OrderId::new_v7(now, &mut ids);
            let mut change = judge(
                id,
                &new,
                &mut Facts {
                    policy: &policy,
                    rules: &rules,
                    customer: None,
                    product: &|_| None,
                    prices: &|_| None,
                    stock: &mut StockBook::default(),
                    duplicate_of: None,
                    link_key: &key,
                    hold_id: &mut || HoldId::new_v7(now, &mut SmallRng::seed_from_u64(1)),
                },
                &Context {
                    now,
                    actor: &new.caller,
                    request_id: &request.request_id,
                    traceparent: None,
                },
            )?;
            for line in &mut change.order.lines {
                line.warehouse = Some(WAREHOUSE.into());
                line.counters.reserved = line.counters.ordered;
                change.stock.push(StockDelta {
                    warehouse: WAREHOUSE.into(),
                    sku: line.sku.clone(),
                    reserved: line.counters.ordered,
                    on_hand: 0,
                });
            }
            let response = countersign_order::bench::answer_bytes(&change.order);
            let mut key_hash = [0; 32];
            random.fill_bytes(&mut key_hash);
            Ok((
                CommitId::new_v7(now, &mut ids),
                IntakeRow {
                    request: RequestRecord {
                        id: OutboxId::new_v7(now, &mut ids).as_uuid(),
                        key_hash,
                        fingerprint: key_hash,
                        response,
                    },
                    link_hash: token_hash(&key.link_token(id, FIRST_GENERATION)),
                    outbox_ids: (0..change.messages.len())
                        .map(|_| OutboxId::new_v7(now, &mut ids).as_uuid())
                        .collect(),
                    change,
                },
            ))
        })
        .collect()
}
