//! Tens of thousands of deadlines that fell due while nobody was there. A million of them, on each database:
//! `COUNTERSIGN_TIMERS=1000000 cargo test --release -p countersign-e2e --test e2e g_07 -- --nocapture --test-threads=1`.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use countersign_domain::ids::OrderId;
use countersign_e2e::{System, order_builder, setting};
use countersign_proto::v1;
use countersign_store::testing::TestDatabase;

/// Orders whose own deadlines are among those that fell due. The others' orders are not there any more; each is looked at all
/// the same.
const ORDERS: usize = 120;

/// How long each of some calls took, sorted.
async fn intake(system: &System, calls: u64) -> Vec<Duration> {
    let mut client = system.orders().await;
    let mut took = Vec::new();
    for _ in 0..calls {
        let request = order_builder().request();
        let began = Instant::now();
        client.create_order(request).await.unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    took
}

/// Rows of timers, all from one hour of 2020, as the database writes times.
fn rows(count: u64, sqlite: bool) -> Vec<String> {
    let (day_ends, second_ends) = if sqlite { ("T", "+00:00") } else { (" ", "") };
    (0..count)
        .map(|number| {
            let (minute, second) = (number / 60 % 60, number % 60);
            format!(
                "('2020-01-01{day_ends}00:{minute:02}:{second:02}{second_ends}', X'{number:032x}', 'SURVEY', 1)"
            )
        })
        .collect()
}

async fn drain(database: TestDatabase, others: u64) {
    // A busy machine keeps some hundreds a second; what is counted again and again is not counted too often.
    let patience = Duration::from_secs(150) + Duration::from_millis(5 * others);
    let pause = Duration::from_millis(50 + others / 2_000);
    let system = System::start(database).await;
    system.restock("KETTLE-17", 1_000_000).await;
    system.restock("CUP-4", 1_000_000).await;
    intake(&system, 20).await;
    let calm = intake(&system, 100).await;
    let mut client = system.orders().await;
    let mut waiting = Vec::new();
    for _ in 0..ORDERS {
        let order = client
            .create_order(order_builder().request())
            .await
            .unwrap();
        waiting.push(OrderId::from_resource_name(&order.into_inner().name).unwrap());
    }
    // The outage: everything falls due at once. The orders' deadlines are younger than all others.
    let began = Instant::now();
    let others_rows = rows(others, system.database.url.starts_with("sqlite"));
    for part in others_rows.chunks(2_000) {
        let insert = format!(
            "INSERT INTO timers (due_time, order_id, kind, generation) VALUES {}",
            part.join(", ")
        );
        system.database.execute(&insert).await;
    }
    system.store.shift_clock(TimeDelta::days(30));
    let left = "SELECT COUNT(*) AS n FROM timers WHERE due_time < '2021-01-01'";
    let (busy, drained) = tokio::join!(intake(&system, 100 + others / 2_000), async {
        loop {
            let open = system.database.number(OPEN).await;
            let left = system.database.number(left).await;
            // Oldest first: no order's own deadline is kept while hundreds of older ones wait.
            assert!(
                left <= 400 || open >= i64::try_from(ORDERS).unwrap(),
                "{left} {open}"
            );
            if left == 0 {
                return began.elapsed();
            }
            assert!(began.elapsed() < patience, "{left} left");
            tokio::time::sleep(pause).await;
        }
    });
    let at = |took: &[Duration], share: usize| took[took.len() * share / 100];
    println!(
        "{others} deadlines in {drained:?}; intake p50 {:?}, p95 {:?} and p99 {:?}, before {:?} and {:?}",
        at(&busy, 50),
        at(&busy, 95),
        at(&busy, 99),
        at(&calm, 50),
        at(&calm, 95)
    );
    // One intake shares two cores with eight deadlines at a time; it must not wait for the whole of them.
    let limit = at(&calm, 95) * 20 + Duration::from_secs(1);
    assert!(
        at(&busy, 95) < limit,
        "{:?}, at most {limit:?}",
        at(&busy, 95)
    );
    for order in &waiting {
        system
            .until(&order.resource_name(), v1::OrderState::Allocated)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g_07_deadlines_that_fell_due_together_are_kept_oldest_first_and_intake_goes_on() {
    drain(
        TestDatabase::sqlite().await,
        setting("COUNTERSIGN_TIMERS", 20_000),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g_07_deadlines_that_fell_due_together_are_kept_oldest_first_on_servers() {
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        if let Some(database) = TestDatabase::server(variable).await {
            drain(database, setting("COUNTERSIGN_TIMERS", 3_000)).await;
        }
    }
}

/// Orders that still wait for their customers.
const OPEN: &str = "SELECT COUNT(*) AS n FROM orders WHERE state = 'AWAITING_CONFIRMATION'";
