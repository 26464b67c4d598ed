use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;

const LONG: Duration = Duration::from_mins(10);

/// Signals go to the whole process; tests that send one must not meet in `cargo test`'s single process.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn send(signal: &str) {
    let status = Command::new("kill")
        .args([signal, &std::process::id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn the_first_signal_lets_tasks_finish_their_work() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let lifecycle = Lifecycle::new(LONG);
    let finished = Arc::new(AtomicBool::new(false));
    let (soft, done) = (lifecycle.soft(), Arc::clone(&finished));
    lifecycle.spawn("worker", async move {
        soft.cancelled().await;
        tokio::task::yield_now().await;
        done.store(true, Ordering::SeqCst);
    });
    let signals = Signals::listen().unwrap();
    send("-TERM");

    let ended = lifecycle.clone().run_with(signals).await;

    assert_eq!(ended, Ended::Clean);
    assert!(finished.load(Ordering::SeqCst));
    assert!(!lifecycle.hard().is_cancelled());
}

#[tokio::test]
async fn a_second_signal_drops_what_is_under_way() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let lifecycle = Lifecycle::new(LONG);
    let soft = lifecycle.soft();
    lifecycle.spawn("stuck", async move {
        soft.cancelled().await;
        send("-INT");
        std::future::pending::<()>().await;
    });
    let signals = Signals::listen().unwrap();
    send("-TERM");

    assert_eq!(lifecycle.run_with(signals).await, Ended::Cut);
}

#[tokio::test(start_paused = true)]
async fn when_the_grace_is_over_tasks_are_dropped() {
    let lifecycle = Lifecycle::new(Duration::from_secs(30));
    lifecycle.spawn("stuck", std::future::pending::<()>());
    lifecycle.shutdown();
    let before = tokio::time::Instant::now();

    let ended = lifecycle.run().await.unwrap();

    assert_eq!(ended, Ended::Cut);
    assert_eq!(before.elapsed(), Duration::from_secs(30));
}

#[tokio::test]
async fn a_task_that_fails_ends_the_process_with_its_name() {
    let lifecycle = Lifecycle::new(LONG);
    let soft = lifecycle.soft();
    lifecycle.spawn("bystander", async move { soft.cancelled().await });
    lifecycle.spawn("intake", async {
        Err::<(), _>(anyhow::anyhow!("no database"))
    });

    let ended = lifecycle.run().await.unwrap();

    assert_eq!(ended, Ended::Failed("intake"));
}

#[tokio::test]
async fn a_task_that_panics_ends_the_process_with_its_name() {
    let lifecycle = Lifecycle::new(LONG);
    lifecycle.spawn("committer", async {
        assert!(std::hint::black_box(false), "broken invariant");
    });

    let ended = lifecycle.run().await.unwrap();

    assert_eq!(ended, Ended::Failed("committer"));
    assert_eq!(
        format!("{:?}", ended.exit_code()),
        format!("{:?}", ExitCode::FAILURE)
    );
}

#[tokio::test]
async fn a_task_that_finishes_stops_nobody() {
    let lifecycle = Lifecycle::new(LONG);
    lifecycle.spawn("once", async {}).await.unwrap();

    assert!(!lifecycle.is_stopping());
}

#[tokio::test]
async fn cancelling_a_token_that_was_handed_out_stops_nobody_else() {
    let lifecycle = Lifecycle::new(LONG);
    lifecycle.soft().cancel();

    assert!(!lifecycle.is_stopping());
    assert!(!lifecycle.soft().is_cancelled());
}
