//! Workers that are killed again and again while orders come in. Ten minutes of it:
//! `COUNTERSIGN_KILL_ROUNDS=600 cargo test -p countersign-e2e --test e2e c_12_workers`.

use std::time::Duration;

use chrono::TimeDelta;
use countersign_domain::message::DeliveryState;
use countersign_notification::testkit::Answer;
use countersign_store::{Claimed, testing::TestDatabase};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    history::History,
    schedules::setting,
    stage::{LEASE, Stage, Stop},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_12_workers_that_are_killed_again_and_again_lose_nothing_and_double_nothing() {
    let mut stage = Stage::on(TestDatabase::sqlite().await).await;
    let mut history = History::default();
    let mut rng = StdRng::seed_from_u64(12);
    for round in 0..setting("COUNTERSIGN_KILL_ROUNDS", 10) {
        stage.order(round % 3 != 1, round % 3 != 2).await;
        let workers = [stage.worker(None), stage.worker(None)];
        // Long enough to begin something, too short to end everything.
        let pause = Duration::from_millis(rng.random_range(150..700));
        tokio::time::sleep(pause).await;
        for worker in workers {
            worker.kill().await;
        }
        let now = stage.deliveries().await;
        history.look(&now);
        history.count_windows(&now);
        history.figures.kills += 2;
        stage.pass(LEASE, None).await;
    }
    stage.finish().await;
    history.judge(&stage).await;
    assert!(history.problems.is_empty(), "{:#?}", history.problems);
    assert_eq!(history.figures.lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_21_a_database_whose_clock_runs_ahead_hands_no_lease_over_early_or_late() {
    let mut stage = Stage::on(TestDatabase::sqlite().await).await;
    // From here on the database's time is five minutes ahead of that of the machine.
    stage.pass(TimeDelta::minutes(5), None).await;
    stage.order(false, true).await;
    stage.gateways.texts.once(Answer::Stall);
    let mut first = stage.worker(None);
    assert_eq!(stage.watch(&mut first).await, Stop::Stalled);
    let mut second = stage.worker(None);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let leased = |all: &[Claimed]| {
        let mut states = all.iter().map(|it| it.delivery.state);
        states.any(|state| state == DeliveryState::Leased)
    };
    assert!(
        leased(&stage.deliveries().await),
        "it is still the first one's"
    );
    first.kill().await;
    stage.pass(LEASE, Some(&mut second)).await;
    let end = stage.watch(&mut second).await;
    assert_eq!(end, Stop::Done, "{}", stage.log());
    assert!(second.ended().await, "{}", stage.log());
    let mut history = History::default();
    history.judge(&stage).await;
    assert!(history.problems.is_empty(), "{:#?}", history.problems);
}
