//! Random schedules. One is: three fresh orders (six messages, by up to three channels each), gateways that fail or fall
//! silent at random, and workers that are killed one after the other at random steps until one may finish. Thousands of them:
//! `COUNTERSIGN_SCHEDULES=10000 cargo test -p countersign-e2e --test e2e seeded_kill_schedules_on_sqlite -- --nocapture`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use countersign_e2e::setting;
use countersign_notification::testkit::{Act, Answer, GatewayStub, Stage as Point};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    history::{Figures, History},
    stage::{LEASE, Stage, Stop},
};

/// Databases that are worked on side by side.
const LANES: usize = 4;
/// Steps of the worker that a message passes.
const STEPS: [&str; 14] = [
    "planning",
    "dispatched",
    "claimed",
    "begun",
    "connected",
    "body_part",
    "body_written",
    "request_begun",
    "request_part",
    "answered",
    "recorded",
    "recovered",
    "asked",
    "begun_again",
];

/// Something that a gateway does wrong once. With half of them it falls silent, and the worker is killed then.
fn mischief(rng: &mut StdRng, stage: &Stage) {
    let gateways = &stage.gateways;
    let http = |rng: &mut StdRng, gateway: &GatewayStub| {
        let failed = || Answer::Status(503, String::new(), "{}".to_owned());
        gateway.once(match rng.random_range(0..6) {
            0 | 1 => Answer::AcceptAndStall,
            2 => Answer::Stall,
            3 => Answer::AcceptAndDrop,
            4 => Answer::Drop,
            _ => failed(),
        });
    };
    match rng.random_range(0..4) {
        0 => http(rng, &gateways.texts),
        1 => http(rng, &gateways.calls),
        _ => match rng.random_range(0..7) {
            0 => gateways.mail.once(Point::Connect, Act::Stall),
            1 => gateways.mail.once(Point::Rcpt, Act::Stall),
            2 => gateways.mail.once(Point::Body, Act::Stall),
            3 => gateways.mail.once(Point::Dot, Act::Stall),
            4 => gateways.mail.once(Point::Dot, Act::AcceptAndDrop),
            5 => gateways.mail.once(Point::Body, Act::Drop),
            _ => gateways.mail.once(Point::Dot, Act::AcceptAndStall),
        },
    }
}

async fn play(stage: &mut Stage, seed: u64) -> Figures {
    let mut rng = StdRng::seed_from_u64(seed);
    stage.clear().await;
    for (mail, phone) in [(true, true), (false, true), (true, false)] {
        stage.order(mail, phone).await;
    }
    let mut plan = Vec::new();
    let mut told = Vec::new();
    for _ in 0..rng.random_range(1..=3) {
        if rng.random_bool(0.6) {
            let armed = (
                STEPS[rng.random_range(0..STEPS.len())],
                rng.random_range(1..=4),
            );
            told.push(format!("{armed:?}"));
            plan.push(armed);
        } else {
            mischief(&mut rng, stage);
            told.push("mischief".to_owned());
        }
    }
    let mut history = History::default();
    loop {
        let mut worker = stage.worker(plan.pop());
        let stop = stage.watch(&mut worker).await;
        if stop != Stop::Killed {
            worker.kill().await;
        }
        let now = stage.deliveries().await;
        history.look(&now);
        if stop == Stop::Done && plan.is_empty() {
            break;
        }
        history.count_windows(&now);
        history.figures.kills += 1;
        stage.pass(LEASE, None).await;
    }
    history.judge(stage).await;
    history.figures.schedules = 1;
    let problems = history.problems.join("\n");
    assert!(
        problems.is_empty(),
        "repeat it with COUNTERSIGN_SCHEDULES=1 COUNTERSIGN_SEED={seed}: {told:?}\n{problems}\n{:#?}\n{}",
        stage.deliveries().await,
        stage.log()
    );
    history.figures
}

async fn play_all(databases: Vec<TestDatabase>, count: u64) -> Figures {
    let began = Instant::now();
    let first = setting("COUNTERSIGN_SEED", 20_261_123);
    println!("seeds {first} to {}", first + count - 1);
    let next = AtomicU64::new(0);
    let lanes = databases.into_iter().map(|database| async {
        let mut stage = Stage::on(database).await;
        let mut sum = Figures::default();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return sum;
            }
            sum += play(&mut stage, first + at).await;
            if at % 250 == 249 {
                println!("{} of {count} after {:?}", at + 1, began.elapsed());
            }
        }
    });
    let mut sum = Figures::default();
    for lane in join_all(lanes).await {
        sum += lane;
    }
    println!("{sum}; {:?}", began.elapsed());
    assert_eq!(sum.schedules, count);
    assert_eq!(sum.lost + sum.texts_again + sum.calls_again, 0);
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_kill_schedules_on_sqlite() {
    let databases = join_all((0..LANES).map(|_| TestDatabase::sqlite())).await;
    let sum = play_all(databases, setting("COUNTERSIGN_SCHEDULES", 200)).await;
    assert!(sum.kills > 0, "nobody was killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_kill_schedules_on_servers() {
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        let (first, second) = tokio::join!(
            TestDatabase::server(variable),
            TestDatabase::server(variable)
        );
        let databases: Vec<TestDatabase> = first.into_iter().chain(second).collect();
        if !databases.is_empty() {
            play_all(
                databases,
                setting("COUNTERSIGN_SCHEDULES", 200).div_ceil(20),
            )
            .await;
        }
    }
}
