//! All connections to the database are taken by queries that do not end.

use std::time::{Duration, Instant};

use countersign_e2e::{Orders, Replica, order_builder, seed};
use countersign_proto::v1;
use countersign_store::{
    Settings, Store,
    testing::{TestDatabase, data_keys, execute},
};
use futures::future::join_all;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::is_serving;

/// More than fit: all connections of the pool, and all places of those who wait.
const SLOW: usize = 1_000;
/// What a refusal may take; most of them, so that a machine that is busy with something else does not fail here.
const REFUSED_WITHIN: Duration = Duration::from_millis(50);

async fn get(mut client: Orders, name: String) -> Result<(), Status> {
    let asked = client.get_order(v1::GetOrderRequest { name });
    asked.await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_13_when_a_thousand_slow_queries_have_all_connections_new_calls_are_refused_at_once() {
    // On SQLite readers wait for nobody.
    for database in TestDatabase::all().await {
        if database.url.starts_with("sqlite") {
            continue;
        }
        seed(&database.store).await;
        // Whoever is let in waits as long as this test may take.
        let patient = Settings {
            acquire_timeout: Duration::from_mins(1),
            ..Settings::new(database.url.clone(), data_keys())
        };
        let store = Store::connect(&patient).await.unwrap();
        let replica = Replica::start_with(store, |limits| {
            limits.calls_at_once = 64;
            limits.calls_waiting = 64;
            limits.call_wait_ms = 60_000;
            limits.call_deadline_ms = 60_000;
        })
        .await;
        let clients = [replica.orders("shop").await, replica.orders("market").await];
        let mut shop = clients[0].clone();
        let order = shop.create_order(order_builder().request()).await.unwrap();
        let name = order.into_inner().name;

        let session = Store::connect(&Settings {
            connections_max: 1,
            ..patient
        })
        .await
        .unwrap();
        execute(&session, "LOCK TABLES orders WRITE").await;
        let mut slow = JoinSet::new();
        for number in 0..SLOW {
            slow.spawn(get(clients[number % 2].clone(), name.clone()));
        }
        let mut refused = 0;
        while refused < SLOW - 128 {
            let answer = slow.join_next().await.unwrap().unwrap();
            let status = answer.unwrap_err();
            assert_eq!(
                status.code(),
                Code::ResourceExhausted,
                "{refused} {status:?}"
            );
            refused += 1;
        }

        let mut took = Vec::new();
        for client in clients.iter().cycle().take(20) {
            let asked = Instant::now();
            let status = get(client.clone(), name.clone()).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
            took.push(asked.elapsed());
        }
        took.sort();
        assert!(took[took.len() / 2] < REFUSED_WITHIN, "{took:?}");
        assert!(is_serving(replica.address).await);

        // Those that were let in have their answer, and then there is room again.
        execute(&session, "UNLOCK TABLES").await;
        for answer in slow.join_all().await {
            answer.unwrap();
        }
        for answer in join_all(clients.map(|client| get(client, name.clone()))).await {
            answer.unwrap();
        }
    }
}
