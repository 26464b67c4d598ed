//! How long after a commit those who watch hear of it.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::{sync::Mutex, task::JoinSet};
use tonic::transport::Channel;

use super::{
    WatchersArgs, load,
    orders::Orders,
    server::{Database, Service},
};
use crate::console;

/// Watchers of one connection.
const PER_CONNECTION: usize = 250;

/// Measures it.
pub(super) async fn run(args: &WatchersArgs) -> anyhow::Result<()> {
    let database = Database::create(&args.server_url).await?;
    database.seed().await?;
    let service = Service::start(&database).await?;
    // When each order's answer came, by its reference: the commit lies before it.
    let heard = Arc::new(AtomicU64::new(0));
    let latency = Arc::new(Mutex::new(Histogram::<u64>::new_with_bounds(
        1,
        120_000_000,
        3,
    )?));
    let mut tasks = JoinSet::new();
    let mut connection = None;
    for watcher in 0..args.watchers {
        if watcher % PER_CONNECTION == 0 {
            connection = Some(
                Channel::from_shared(service.url().to_owned())?
                    .connect()
                    .await?,
            );
        }
        let channel = connection.clone().context("a connection")?;
        let mut client = OrderServiceClient::new(channel);
        let mut stream = client
            .watch_order_events(v1::WatchOrderEventsRequest::default())
            .await
            .context("watch")?
            .into_inner();
        let (heard, latency) = (Arc::clone(&heard), Arc::clone(&latency));
        tasks.spawn(async move {
            let mut own = Vec::new();
            while let Ok(Some(answer)) = stream.message().await {
                let Some(created) = answer.event.and_then(|event| event.create_time) else {
                    continue;
                };
                heard.fetch_add(1, Ordering::Relaxed);
                own.push(age_us(&created));
                if own.len() >= 64 {
                    let mut all = latency.lock().await;
                    own.drain(..).for_each(|us| all.saturating_record(us));
                }
            }
            let mut all = latency.lock().await;
            own.drain(..).for_each(|us| all.saturating_record(us));
        });
    }
    console::say(&format!(
        "{} watchers, {} orders a second",
        args.watchers, args.orders_per_second
    ));
    let clients = load::clients(service.url()).await?;
    let mut orders = Orders::new("watched", 5, false);
    let pause = Duration::from_secs_f64(1.0 / f64::from(args.orders_per_second.max(1)));
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut sent = 0_u64;
    let mut ticks = tokio::time::interval(pause);
    while Instant::now() < end {
        ticks.tick().await;
        let mut client = clients[0].clone();
        client
            .create_order(orders.make())
            .await
            .context("create an order")?;
        sent += 1;
    }
    let expected = sent * args.watchers as u64;
    let patience = Instant::now() + Duration::from_secs(30);
    while heard.load(Ordering::Relaxed) < expected && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let memory = service.memory_peak_bytes().unwrap_or(0);
    service.stop().await?;
    while tasks.join_next().await.is_some() {}
    let all = latency.lock().await;
    let heard = heard.load(Ordering::Relaxed);
    let ms = |percentile: f64| {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
        let us = all.value_at_percentile(percentile) as f64;
        us / 1_000.0
    };
    console::say(&format!(
        "{} watchers, {sent} orders: {heard} of {expected} heard; commit to watcher p50 {:.1} ms, p99 {:.1} ms, \
         most {:.1} ms; service memory {} MiB",
        args.watchers,
        ms(50.0),
        ms(99.0),
        ms(100.0),
        memory / (1024 * 1024)
    ));
    if let Some(path) = &args.json {
        let document = json!({
            "bench": "watchers",
            "watchers": args.watchers,
            "orders": sent,
            "heard": heard,
            "expected": expected,
            "p50_ms": ms(50.0),
            "p99_ms": ms(99.0),
            "memory_bytes": memory,
        });
        fs::write(path, serde_json::to_string_pretty(&document)?)?;
    }
    database.drop().await
}

/// Age of an event, microseconds, by the clock of this machine, which is also the database's. It counts from the moment of
/// the decision, so the commit itself is in it.
fn age_us(created: &prost_types::Timestamp) -> u64 {
    use countersign_runtime::clock::{Clock as _, SystemClock};
    let created_us = created.seconds * 1_000_000 + i64::from(created.nanos) / 1_000;
    u64::try_from(SystemClock.now().timestamp_micros() - created_us).unwrap_or(0)
}
