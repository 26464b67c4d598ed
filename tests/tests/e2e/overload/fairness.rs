//! One caller takes nothing from another: turns and quotas.

use std::time::{Duration, Instant};

use countersign_e2e::{Orders, order_builder};
use countersign_proto::v1;
use countersign_runtime::config::CallerLimits;
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{Over, replica, send_orders};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_05_a_caller_that_floods_leaves_the_others_their_share() {
    let database = TestDatabase::sqlite().await;
    let replica = replica(&database, |limits| {
        limits.calls_at_once = 4;
        limits.calls_waiting = 24;
    })
    .await;
    let span = Duration::from_secs(4);
    let pause = Duration::from_millis(5);
    let flood = replica.orders("flood").await;
    let polite = [
        replica.orders("shop").await,
        replica.orders("market").await,
        replica.orders("erp").await,
    ];
    let warm_up = send_orders(&flood, 4, Duration::from_millis(500), pause).await;
    assert!(warm_up.taken > 0);

    let mut rounds = Vec::new();
    // A machine that is busy with something else may hold up any of them; one fair round tells.
    for _ in 0..5 {
        let (flooded, others) = tokio::join!(
            send_orders(&flood, 100, span, pause),
            join_all(
                polite
                    .iter()
                    .map(|client| send_orders(client, 4, span, pause))
            )
        );
        assert!(flooded.refused.len() > 20, "it is refused");
        let taken: Vec<u64> = others.iter().map(|seen| seen.taken).collect();
        let all = flooded.taken + taken.iter().sum::<u64>();
        // A quarter each would be fair; four fifths of that are a fifth of all.
        let is_fair = taken.iter().all(|taken| taken * 5 >= all);
        rounds.push((flooded.taken, taken));
        if is_fair {
            println!("the flood and the others had {rounds:?}");
            return;
        }
    }
    panic!("the flood and the others had {rounds:?}");
}

/// The longest time that one of ten orders takes.
async fn ten_orders(client: &mut Orders) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        let asked = Instant::now();
        client
            .create_order(order_builder().request())
            .await
            .unwrap();
        longest = longest.max(asked.elapsed());
    }
    longest
}

#[tokio::test]
async fn j_03_a_caller_that_has_had_its_orders_is_told_when_to_come_again_and_others_are_not_touched()
 {
    let database = TestDatabase::sqlite().await;
    let replica = replica(&database, |limits| {
        limits.callers.insert(
            "shop".to_owned(),
            CallerLimits {
                orders_per_minute: 5,
                ..CallerLimits::default()
            },
        );
    })
    .await;
    let (mut shop, mut market) = (replica.orders("shop").await, replica.orders("market").await);
    for _ in 0..5 {
        shop.create_order(order_builder().request()).await.unwrap();
    }
    let refused = shop.create_order(order_builder().request()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let failure = refused.get_details_quota_failure().unwrap();
    assert_eq!(failure.violations[0].subject, "callers/shop");
    assert_eq!(failure.violations[0].description, "5 orders a minute");
    let retry = refused.get_details_retry_info().unwrap().retry_delay;
    assert!(retry.is_some_and(|delay| delay <= Duration::from_secs(12)));
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
    // A batch counts each of its orders.
    let batch = v1::BatchCreateOrdersRequest {
        requests: vec![order_builder().request(), order_builder().request()],
    };
    let refused = shop.batch_create_orders(batch.clone()).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    // Reading is no order, and the others have what is theirs.
    shop.list_orders(v1::ListOrdersRequest::default())
        .await
        .unwrap();
    market.batch_create_orders(batch).await.unwrap();
    // While it goes on to be refused, the others wait no longer than before.
    let alone = ten_orders(&mut market).await;
    let over = Over::default();
    let insisting = async {
        let mut refused = 0;
        while !over.is_over() {
            let order = shop.create_order(order_builder().request()).await;
            assert_eq!(order.unwrap_err().code(), Code::ResourceExhausted);
            refused += 1;
        }
        refused
    };
    let ordering = async {
        let beside = ten_orders(&mut market).await;
        over.tell();
        beside
    };
    let (refused, beside) = tokio::join!(insisting, ordering);
    println!("{alone:?} alone, {beside:?} beside {refused} refusals");
    assert!(refused > 0);
    let most = alone * 5 + Duration::from_secs(1);
    assert!(beside < most, "{beside:?}, alone {alone:?}");
    let taken = database.number("SELECT COUNT(*) AS n FROM orders").await;
    assert_eq!(taken, 27);
}
