//! Workers that are killed again and again while orders come in.

use std::time::Duration;

use countersign_store::testing::TestDatabase;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    history::History,
    stage::{LEASE, Stage},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_12_workers_that_are_killed_again_and_again_lose_nothing_and_double_nothing() {
    let mut stage = Stage::on(TestDatabase::sqlite().await).await;
    let mut history = History::default();
    let mut rng = StdRng::seed_from_u64(12);
    for round in 0..10 {
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
