//! A collector that is down. In a file of its own because telemetry starts once in a process.

use std::time::{Duration, Instant};

use countersign_runtime::{config, telemetry::Telemetry};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_accepts_and_never_answers_delays_the_end_by_seconds_only() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = config::Telemetry {
        otlp_endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
        ..config::Telemetry::default()
    };
    let telemetry = Telemetry::start(&settings, "order-service").unwrap();
    tracing::info_span!("place order").in_scope(|| tracing::info!("order placed"));
    opentelemetry::global::meter("countersign")
        .u64_counter("orders.placed")
        .build()
        .add(1, &[]);

    let before = Instant::now();
    telemetry.shutdown().await;

    assert!(
        before.elapsed() < Duration::from_secs(20),
        "{:?}",
        before.elapsed()
    );
}
