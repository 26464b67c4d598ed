//! What finds no place is refused at once, and what nobody waits for any more is not done.

use std::time::Duration;

use countersign_e2e::order_builder;
use countersign_runtime::{config, lifecycle::Lifecycle, telemetry::Telemetry};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use tokio::task::JoinSet;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::{super::collector::Collector, is_serving, replica, send_orders};

/// Keeps others from writing, on SQLite.
const LOCK: &str = "SELECT 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_01_ten_times_the_load_leaves_the_work_that_is_done_nearly_as_it_was() {
    let database = TestDatabase::sqlite().await;
    let replica = replica(&database, |limits| {
        // Of these, one caller has twelve.
        limits.calls_at_once = 16;
        limits.calls_waiting = 16;
    })
    .await;
    let client = replica.orders("shop").await;
    let span = Duration::from_secs(3);
    let pause = Duration::from_millis(250);
    send_orders(&client, 16, Duration::from_secs(1), pause).await;
    // One fair pair tells; a machine that is busy with something else must not fail here. `bench overload` has the figures.
    let mut seen = Vec::new();
    let over = loop {
        let peak = send_orders(&client, 16, span, pause).await;
        assert_eq!(peak.refused.len(), 0, "{:?}", peak.refused.first());
        let over = send_orders(&client, 160, span, pause).await;
        assert!(over.refused.len() > 128, "{}", over.refused.len());
        let mut took: Vec<Duration> = over.refused.iter().map(|(_, took)| *took).collect();
        took.sort();
        let median = took[took.len() / 2];
        seen.push((peak.taken, over.taken, median));
        if over.taken * 10 >= peak.taken * 9 && median < Duration::from_millis(20) {
            break over;
        }
        assert!(seen.len() < 8, "{seen:?}");
    };
    for (status, _) in &over.refused {
        let retry = status.get_details_retry_info().unwrap().retry_delay;
        assert!(retry.is_some_and(|delay| delay > Duration::ZERO));
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        assert!(pushback.to_str().unwrap().parse::<u64>().unwrap() > 0);
    }
    // Health goes past all of it.
    assert!(is_serving(replica.address).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_03_an_order_whose_time_is_over_in_the_queue_is_not_written_and_counted() {
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let (collector, endpoint) = Collector::start(&lifecycle).await;
    let settings = config::Telemetry {
        otlp_endpoint: Some(endpoint),
        log_filter: "error".to_owned(),
        ..config::Telemetry::default()
    };
    let telemetry = Telemetry::start(&settings, "order-service").unwrap();
    let database = TestDatabase::sqlite().await;
    let replica = replica(&database, |_| {}).await;
    let client = replica.orders("shop").await;
    let locked = database.lock(LOCK).await;
    // Both committers are stuck with these, once they have been taken.
    let mut stuck = JoinSet::new();
    for _ in 0..2 {
        let mut client = client.clone();
        stuck.spawn(async move { client.create_order(order_builder().request()).await });
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let hurried = (0..20).map(|_| {
        let mut client = client.clone();
        async move {
            let mut request = Request::new(order_builder().request());
            request.set_timeout(Duration::from_millis(300));
            client.create_order(request).await
        }
    });
    for answer in join_all(hurried).await {
        let code = answer.unwrap_err().code();
        // Whoever's own clock is first says so itself, in other words.
        assert!(
            matches!(code, Code::DeadlineExceeded | Code::Cancelled),
            "{code}"
        );
    }
    locked.release().await;
    for order in stuck.join_all().await {
        order.unwrap();
    }
    client
        .clone()
        .create_order(order_builder().request())
        .await
        .unwrap();
    let written = database.number("SELECT COUNT(*) AS n FROM orders").await;
    assert_eq!(written, 3, "the twenty cost the database nothing");
    telemetry.shutdown().await;
    let counted = collector.counted("deadlines_exceeded_total", "intake");
    assert_eq!(counted, 20, "found before they were written");
    let twice = collector.counted("deadlines_exceeded_total", "running");
    assert_eq!(twice, 0, "each is counted once");
    lifecycle.shutdown();
}
