//! A server of the test's own that stands still, and that is killed, under an order service and a worker.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use countersign_domain::{ids::OrderId, order::Channel};
use countersign_e2e::{Orders, System, order_builder, texts_at_any_hour};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tonic::Request;

use crate::kills::{
    history::{History, ledger},
    stage::{Stage, Stop},
};

const CLIENTS: usize = 8;
/// What callers allow for a call.
const DEADLINE: Duration = Duration::from_secs(3);
const STANDSTILL: Duration = Duration::from_mins(1);
/// After this all is as it was before.
const RECOVERY: Duration = Duration::from_secs(10);
/// Between two orders of a caller: one worker must send what eight callers order.
const PACE: Duration = Duration::from_millis(100);

/// A server of the test's own. It ends with the test.
pub(super) struct OwnServer {
    pub(super) url: String,
    /// What starts and stops it.
    script: &'static str,
}

impl OwnServer {
    /// A MySQL that keeps every commit on disk.
    fn start() -> Self {
        let name = "mysql-server";
        let url = script(name, &["start", "--durable"]);
        Self { url, script: name }
    }

    /// One whose data lie on a small file system.
    pub(super) fn start_on_disk(kind: &str, size: &str) -> Self {
        let name = match kind {
            "mysql" => "mysql-server",
            _ => "mariadb-server",
        };
        let url = script(name, &["start", "--disk", size]);
        Self { url, script: name }
    }

    async fn signal(&self, signal: Signal) {
        let pid = self.tell("pid").await.parse().ok();
        kill_process(pid.and_then(Pid::from_raw).unwrap(), signal).unwrap();
    }

    /// Beside the callers: they must not wait for a server that takes its time to start.
    pub(super) async fn tell(&self, what: &'static str) -> String {
        let (url, name) = (self.url.clone(), self.script);
        let telling = tokio::task::spawn_blocking(move || script(name, &[what, &url]));
        telling.await.unwrap()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        script(self.script, &["stop", &self.url]);
    }
}

fn script(name: &str, arguments: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let output = Command::new(folder.join(name))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What one caller knows: the orders that were acknowledged, by reference, and how long his longest call took.
#[derive(Default)]
struct Known {
    acknowledged: BTreeMap<String, String>,
    failed: u32,
    longest: Duration,
}

/// Told by all sides as it happens.
struct Progress {
    /// Orders acknowledged to each caller.
    callers: Vec<AtomicU64>,
    stop: AtomicBool,
}

/// Sends orders; a call that fails is made again until it is answered.
async fn send_orders(mut client: Orders, caller: usize, progress: Arc<Progress>) -> Known {
    let mut known = Known::default();
    while !progress.stop.load(Ordering::Acquire) {
        let order = order_builder().request();
        loop {
            let mut request = Request::new(order.clone());
            request.set_timeout(DEADLINE);
            let began = Instant::now();
            let answer = client.create_order(request).await;
            known.longest = known.longest.max(began.elapsed());
            if let Ok(order) = answer {
                let order = order.into_inner();
                known
                    .acknowledged
                    .insert(order.client_reference, order.name);
                progress.callers[caller].fetch_add(1, Ordering::AcqRel);
                break;
            }
            known.failed += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(PACE).await;
    }
    known
}

/// Waits until every caller has a new acknowledgement and the relay a new letter. Answers how long that took.
async fn goes_on(progress: &Progress, stage: &Stage) -> Duration {
    let began = Instant::now();
    let figures = || {
        let callers = progress.callers.iter();
        let orders = callers.map(|it| it.load(Ordering::Acquire));
        let letters = stage.gateways.mail.accepted();
        orders.chain([letters]).collect::<Vec<u64>>()
    };
    let before = figures();
    loop {
        let now = figures();
        let elapsed = began.elapsed();
        if now.iter().zip(&before).all(|(now, before)| now > before) {
            return elapsed;
        }
        assert!(elapsed < RECOVERY, "from {before:?} to {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The connections that a server has.
async fn connections(system: &System) -> i64 {
    let connected = "SELECT CAST(VARIABLE_VALUE AS SIGNED) AS n FROM performance_schema.global_status \
                     WHERE VARIABLE_NAME = 'Threads_connected'";
    system.database.number(connected).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_10_b_11_a_server_that_stands_still_or_is_killed_loses_nothing_that_was_acknowledged() {
    let server = OwnServer::start();
    let database = TestDatabase::at(&server.url).await;
    let system = System::start(database).await;
    system.restock("KETTLE-17", 1_000_000).await;
    system.restock("CUP-4", 1_000_000).await;
    texts_at_any_hour(&system.store).await;
    let mut stage = Stage::bare(system.database.twin()).await;
    let mut worker = stage.worker(None);
    let progress = Arc::new(Progress {
        callers: (0..CLIENTS).map(|_| AtomicU64::new(0)).collect(),
        stop: AtomicBool::new(false),
    });
    let mut callers = Vec::new();
    for caller in 0..CLIENTS {
        let client = system.orders().await;
        callers.push(send_orders(client, caller, Arc::clone(&progress)));
    }
    let breaking = async {
        let all_well = goes_on(&progress, &stage).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.signal(Signal::STOP).await;
        tokio::time::sleep(STANDSTILL).await;
        server.signal(Signal::CONT).await;
        let went_on = goes_on(&progress, &stage).await;
        let connections = connections(&system).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        for _ in 0..3 {
            server.signal(Signal::KILL).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.tell("again").await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let back = goes_on(&progress, &stage).await;
        progress.stop.store(true, Ordering::Release);
        println!(
            "all at work after {all_well:?}, again after {went_on:?}, and again after {back:?}"
        );
        connections
    };
    let (known, connections) = tokio::join!(join_all(callers), breaking);

    // The pools of the service and of the worker, and what looks.
    assert!(connections <= 27, "no more than the pools: {connections}");
    let mut acknowledged = BTreeMap::new();
    for caller in known {
        assert!(caller.failed > 0, "it was not felt");
        // A busy machine wakes late; a call that waited for the server would have taken the whole standstill.
        let late = DEADLINE + Duration::from_secs(3);
        assert!(caller.longest < late, "{:?}", caller.longest);
        acknowledged.extend(caller.acknowledged);
    }
    // The worker lost no lease to itself: each letter went once.
    let ids = acknowledged.values();
    stage.orders = ids
        .map(|name| OrderId::from_resource_name(name).unwrap())
        .collect();
    stage.second_channels_fall_due(&mut worker).await;
    let end = stage.watch(&mut worker).await;
    assert_eq!(end, Stop::Done, "{}", stage.log());
    assert!(worker.ended().await, "{}", stage.log());
    let mut history = History::default();
    history.judge(&stage).await;
    assert!(history.problems.is_empty(), "{:#?}", history.problems);
    let mut letters = ledger(&stage.gateways, Channel::Email);
    assert_eq!(letters.len(), 2 * acknowledged.len());
    letters.sort();
    letters.dedup();
    assert_eq!(letters.len(), 2 * acknowledged.len(), "one went twice");
    let orders = system.all_orders().await;
    let there: BTreeMap<String, String> = orders
        .iter()
        .map(|order| (order.client_reference.clone(), order.name.clone()))
        .collect();
    assert_eq!(there.len(), orders.len(), "a reference is there twice");
    assert_eq!(there, acknowledged);
    let count = i64::try_from(orders.len()).unwrap();
    for (table, times) in [("order_events", 1), ("requests", 1), ("outbox", 0)] {
        let sql = format!("SELECT COUNT(*) AS n FROM {table}");
        assert_eq!(system.database.number(&sql).await, times * count, "{table}");
    }
    system.stock_agrees_with_orders().await;
}
