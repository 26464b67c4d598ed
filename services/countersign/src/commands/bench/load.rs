//! Calling the service: closed loop for throughput, open loop for latency.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use hdrhistogram::Histogram;
use tokio::{sync::mpsc, task::JoinSet};
use tonic::transport::Channel;

use super::orders::Orders;

/// Connections of the client; calls are spread over them.
const CONNECTIONS: usize = 8;
/// Callers run for so long before their calls count.
const WARM_UP: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) orders: u64,
    pub(super) failed: u64,
    pub(super) span: Duration,
    /// Microseconds.
    pub(super) latency: Histogram<u64>,
}

impl Figures {
    /// Orders a second.
    pub(super) fn per_second(&self) -> f64 {
        // Counts of a benchmark are far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "a count of some millions")]
        let orders = self.orders as f64;
        orders / self.span.as_secs_f64()
    }

    /// A percentile in milliseconds.
    pub(super) fn percentile_ms(&self, percentile: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
        let us = self.latency.value_at_percentile(percentile) as f64;
        us / 1_000.0
    }
}

/// Clients over several connections.
pub(super) async fn clients(url: &str) -> anyhow::Result<Vec<OrderServiceClient<Channel>>> {
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let channel = Channel::from_shared(url.to_owned())?
            .tcp_nodelay(true)
            .connect()
            .await
            .context("connect to the service")?;
        clients.push(OrderServiceClient::new(channel));
    }
    Ok(clients)
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 120_000_000, 3)?)
}

/// Each caller waits for its answer before it asks again.
pub(super) async fn closed(
    url: &str,
    callers: usize,
    hot: bool,
    span: Duration,
) -> anyhow::Result<Figures> {
    let clients = clients(url).await?;
    let start = Instant::now() + WARM_UP;
    let end = start + span;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let mut client = clients[caller % CONNECTIONS].clone();
        let mut orders = Orders::new(&format!("c{callers}-{caller}"), caller as u64, hot);
        tasks.spawn(async move {
            let (mut latencies, mut failed) = (Vec::new(), 0_u64);
            while Instant::now() < end {
                let request = orders.make();
                let asked = Instant::now();
                let answer = client.create_order(request).await;
                let answered = Instant::now();
                if answered < start || answered > end {
                    continue;
                }
                match answer {
                    Ok(_) => latencies.push(answered - asked),
                    Err(_) => failed += 1,
                }
            }
            (latencies, failed)
        });
    }
    let mut figures = Figures {
        orders: 0,
        failed: 0,
        span,
        latency: histogram()?,
    };
    while let Some(done) = tasks.join_next().await {
        let (latencies, failed) = done?;
        figures.failed += failed;
        for latency in latencies {
            figures.orders += 1;
            figures.latency.saturating_record(micros(latency));
        }
    }
    Ok(figures)
}

/// Calls start by the clock, whether earlier ones were answered or not; latency counts from when a call was due, so a stall
/// is not hidden by the calls that it held back.
pub(super) async fn open(
    url: &str,
    per_second: f64,
    hot: bool,
    span: Duration,
) -> anyhow::Result<Figures> {
    let clients = clients(url).await?;
    let failed = Arc::new(AtomicU64::new(0));
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut orders = Orders::new("open", 99, hot);
    let start = Instant::now();
    let end = start + span;
    let pause = Duration::from_secs_f64(1.0 / per_second.max(1.0));
    let mut due = start;
    let mut index = 0;
    let mut tasks = JoinSet::new();
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        // The timer ticks by the millisecond: all that has come due since goes now.
        while due <= Instant::now() && due < end {
            let mut client = clients[index % CONNECTIONS].clone();
            index += 1;
            let request: v1::CreateOrderRequest = orders.make();
            let (sender, failed, asked) = (sender.clone(), Arc::clone(&failed), due);
            tasks.spawn(async move {
                if client.create_order(request).await.is_ok() {
                    sender.send(asked.elapsed()).ok();
                } else {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            });
            due += pause;
        }
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    drop(sender);
    let mut figures = Figures {
        orders: 0,
        failed: failed.load(Ordering::Relaxed),
        span,
        latency: histogram()?,
    };
    while let Some(latency) = receiver.recv().await {
        figures.orders += 1;
        figures.latency.saturating_record(micros(latency));
    }
    Ok(figures)
}

/// Whole microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
