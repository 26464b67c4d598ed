//! Workers that are killed again and again while orders come in. Ten minutes of it:
//! `COUNTERSIGN_KILL_ROUNDS=300 cargo test -p countersign-e2e --test e2e c_12_workers`.

use std::time::Duration;

use chrono::TimeDelta;
use countersign_domain::message::DeliveryState;
use countersign_e2e::setting;
use countersign_notification::testkit::{Act, Answer, Stage as Point};
use countersign_store::{Claimed, testing::TestDatabase};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    history::History,
    stage::{LEASE, Stage, Stop},
};

/// Orders of a round: one of two workers is killed somewhere among them.
const ORDERS: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_12_workers_that_are_killed_again_and_again_lose_nothing_and_double_nothing() {
    let mut stage = Stage::on(TestDatabase::sqlite().await).await;
    let mut history = History::default();
    let mut rng = StdRng::seed_from_u64(12);
    // A worker is at work for a while, so that it can be killed at it.
    let take = Duration::from_millis(30);
    stage.gateways.mail.always(Point::Dot, Act::Delay(take));
    stage.gateways.texts.always(Answer::Delay(take));
    let mut workers = vec![stage.worker(None), stage.worker(None)];
    for _ in 0..setting("COUNTERSIGN_KILL_ROUNDS", 10) {
        let last_of_one = rng.random_range(0..ORDERS);
        for number in 0..ORDERS {
            stage.order(number % 3 != 1, number % 3 != 2).await;
            let pause = Duration::from_millis(rng.random_range(20..100));
            tokio::time::sleep(pause).await;
            if number == last_of_one {
                workers.swap_remove(rng.random_range(0..2)).kill().await;
            }
        }
        // What the other one has in hand it brings to its end before time is let pass: its leases end, too.
        stage.settled().await;
        let now = stage.deliveries().await;
        history.look(&now);
        history.count_windows(&now);
        history.figures.kills += 1;
        stage.pass(LEASE, workers.last_mut()).await;
        workers.push(stage.worker(None));
    }
    // What was lost again and again comes back within 39 s; the second and third channels then, all together.
    stage.settled().await;
    stage.pass(TimeDelta::seconds(39), workers.last_mut()).await;
    stage.settled().await;
    for worker in workers {
        assert!(worker.ended().await, "{}", stage.log());
    }
    stage.pass(TimeDelta::hours(1), None).await;
    stage.finish().await;
    history.judge(&stage).await;
    assert!(history.problems.is_empty(), "{:#?}", history.problems);
    assert_eq!(history.figures.lost, 0);
    assert!(history.figures.windows > 0, "nobody was killed at work");
    let delays = first_delays(&stage.deliveries().await);
    let late = delays[delays.len() * 99 / 100];
    println!("{}; p99 of first messages: {late}", history.figures);
    assert!(late <= TimeDelta::seconds(90), "{delays:?}");
    // I7: the history is whole.
    let store = &stage.database.store;
    while store.sequence_events().await.unwrap() > 0 {}
    let walked = store.verify_chain(1, Vec::new(), &|_| {}).await.unwrap();
    assert_eq!(walked.fault_count, 0, "{:?}", walked.faults);
    assert!(walked.records >= stage.orders.len() as u64, "{walked:?}");
}

/// How long the first message of each order took, sorted.
fn first_delays(all: &[Claimed]) -> Vec<TimeDelta> {
    let first = all.iter().map(|it| &it.delivery).filter(|it| it.seq == 1);
    let mut delays: Vec<TimeDelta> = first
        .map(|it| it.finish_time.unwrap() - it.create_time)
        .collect();
    delays.sort();
    delays
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
