//! A database that goes back in time under an order service, as after a failover to a copy that was behind.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use countersign_domain::safe_mode::SafeModeState;
use countersign_e2e::{System, order_builder};
use countersign_proto::v1::OrderState;
use countersign_store::testing::TestDatabase;

/// Until when something must have come about; a sign of life comes every ten seconds.
const PATIENCE: Duration = Duration::from_mins(1);

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_04_l_05_no_deadline_passes_on_a_copy_that_does_not_know_the_answers() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let made = client
            .create_order(order_builder().request())
            .await
            .unwrap();
        let order = made.into_inner();
        assert_eq!(order.state(), OrderState::AwaitingConfirmation);
        system.database.save().await;
        // The service writes once more, and the customer answers; the copy knows neither.
        let written = "SELECT MAX(l.beats) - MAX(s.beats) AS n FROM lives l, saved_lives s";
        until("a sign of life", async || {
            system.database.number(written).await > 0
        })
        .await;
        system.accept(&order.name).await;

        // From one moment to the next all deadlines lie behind: whoever does not look first lets them pass.
        let timers = "SELECT COUNT(*) AS n FROM timers";
        system.database.restore().await;
        let before = system.database.number(timers).await;
        system.store.shift_clock(TimeDelta::days(30));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = system.order(&order.name).await;
        assert_eq!(now.state(), OrderState::AwaitingConfirmation);
        assert_eq!(now.etag, order.etag, "nothing has happened by itself");
        assert_eq!(system.database.number(timers).await, before);
        until("safe mode", async || {
            let switch = system.store.find_safe_mode().await.unwrap();
            switch.is_some_and(|it| {
                it.state == SafeModeState::On && it.reason.contains("gone back in time")
            })
        })
        .await;
    }
}
