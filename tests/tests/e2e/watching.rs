//! Those who watch see every change once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use countersign_e2e::{Orders, System, fresh_id, order_builder};
use countersign_proto::v1;
use countersign_store::testing::TestDatabase;
use futures::future::join_all;

/// Watches until told to stop, going away and coming back every so many events.
async fn watch(
    mut client: Orders,
    every: usize,
    stop: Arc<AtomicBool>,
    wanted: Arc<AtomicBool>,
) -> Vec<v1::OrderEvent> {
    let mut seen = Vec::new();
    let mut resume_token = "0".to_owned();
    loop {
        let mut stream = client
            .watch_order_events(v1::WatchOrderEventsRequest {
                resume_token: resume_token.clone(),
                ..v1::WatchOrderEventsRequest::default()
            })
            .await
            .unwrap()
            .into_inner();
        wanted.store(true, Ordering::Release);
        for _ in 0..every {
            match tokio::time::timeout(Duration::from_secs(1), stream.message()).await {
                Ok(Ok(Some(answer))) => {
                    resume_token = answer.resume_token;
                    seen.extend(answer.event);
                }
                Ok(other) => panic!("the stream ended: {other:?}"),
                // Nothing came for a second after the last writer was done.
                Err(_) if stop.load(Ordering::Acquire) => return seen,
                Err(_) => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_comes_and_goes_misses_nothing_and_sees_nothing_twice() {
    for database in TestDatabase::all().await {
        let mut system = System::start(database).await;
        system.add_replica().await;
        let stop = Arc::new(AtomicBool::new(false));
        let ready = Arc::new(AtomicBool::new(false));
        let mut watchers = Vec::new();
        for (number, every) in [usize::MAX, 7, 1, 23].into_iter().enumerate() {
            let client = system.replicas[number % 2].orders("watcher").await;
            watchers.push(watch(client, every, Arc::clone(&stop), Arc::clone(&ready)));
        }
        // Four writers on two replicas: orders are made, held, accepted.
        let mut writers = Vec::new();
        for number in 0..4 {
            let mut client = system.replicas[number % 2].orders("shop").await;
            writers.push(async move {
                for _ in 0..15 {
                    let order = client
                        .create_order(order_builder().request())
                        .await
                        .unwrap()
                        .into_inner();
                    client
                        .assign_order(v1::AssignOrderRequest {
                            name: order.name.clone(),
                            request_id: fresh_id("assign"),
                            handler: "mei".to_owned(),
                            ..v1::AssignOrderRequest::default()
                        })
                        .await
                        .unwrap();
                    client
                        .accept_confirmation(v1::AcceptConfirmationRequest {
                            name: order.name,
                            request_id: fresh_id("yes"),
                            ..v1::AcceptConfirmationRequest::default()
                        })
                        .await
                        .unwrap();
                }
            });
        }
        let writing = async {
            join_all(writers).await;
            stop.store(true, Ordering::Release);
        };
        let (seen, ()) = tokio::join!(join_all(watchers), writing);

        let mut expected = BTreeMap::new();
        for order in system.all_orders().await {
            for event in system.trace(&order.name).await.events {
                expected.insert(event.name.clone(), event);
            }
        }
        assert_eq!(expected.len(), 4 * 15 * 3);
        for events in seen {
            let by_name: BTreeMap<_, _> = events
                .iter()
                .map(|event| (event.name.clone(), event.clone()))
                .collect();
            assert_eq!(events.len(), by_name.len(), "an event was seen twice");
            assert_eq!(by_name, expected);
            // What happened to one order is seen in its sequence.
            let mut last = BTreeMap::new();
            for event in &events {
                let version: i64 = event.name.rsplit('/').next().unwrap().parse().unwrap();
                let before = last.insert(event.order.clone(), version);
                assert!(
                    before.is_none_or(|before| before < version),
                    "{}",
                    event.name
                );
            }
        }
    }
}

#[tokio::test]
async fn a_watcher_may_ask_for_some_orders_and_kinds_only() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let one = client
        .create_order(order_builder().request())
        .await
        .unwrap()
        .into_inner();
    let two = client
        .create_order(order_builder().request())
        .await
        .unwrap()
        .into_inner();
    let mut stream = client
        .watch_order_events(v1::WatchOrderEventsRequest {
            resume_token: "0".to_owned(),
            orders: vec![two.name.clone()],
            kinds: vec!["order.confirmed".to_owned()],
        })
        .await
        .unwrap()
        .into_inner();
    system.accept(&one.name).await;
    system.accept(&two.name).await;
    let event = loop {
        let answer = stream.message().await.unwrap().unwrap();
        if let Some(event) = answer.event {
            break event;
        }
    };
    assert_eq!(
        (event.order, event.kind.as_str()),
        (two.name, "order.confirmed")
    );
}
