//! More than the service can do: what is refused, how, and what becomes of the others.

mod attacks;
mod connections;
mod fairness;
mod pool;
mod service_config;
mod shedding;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use countersign_e2e::{Orders, Replica, order_builder, seed};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use tonic::{Code, Status, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// What callers saw.
#[derive(Debug, Default)]
struct Seen {
    /// Orders that were taken in.
    taken: u64,
    /// Refusals, and how long each took.
    refused: Vec<(Status, Duration)>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.taken += other.taken;
        self.refused.extend(other.refused);
    }
}

/// So many at a time send orders until the time is over; whoever is refused pauses for a moment, and comes again.
async fn send_orders(client: &Orders, at_once: usize, span: Duration, pause: Duration) -> Seen {
    let end = Instant::now() + span;
    let senders = (0..at_once).map(|_| {
        let mut client = client.clone();
        async move {
            let mut seen = Seen::default();
            while Instant::now() < end {
                let asked = Instant::now();
                match client.create_order(order_builder().request()).await {
                    Ok(_) => seen.taken += 1,
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                        seen.refused.push((status, asked.elapsed()));
                        tokio::time::sleep(pause).await;
                    }
                }
            }
            seen
        }
    });
    let mut all = Seen::default();
    for seen in join_all(senders).await {
        all.add(seen);
    }
    all
}

/// Whether the health service says that all is well.
async fn is_serving(address: SocketAddr) -> bool {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let asked = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    asked.unwrap().into_inner().status() == ServingStatus::Serving
}

/// A database with goods in it, and a replica that bears so much.
async fn replica(
    database: &TestDatabase,
    change: impl FnOnce(&mut countersign_runtime::config::Limits),
) -> Replica {
    seed(&database.store).await;
    Replica::start_with(database.store.clone(), change).await
}

/// Tells tasks that it is over.
#[derive(Clone, Debug, Default)]
struct Over(Arc<AtomicBool>);

impl Over {
    fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }
}
