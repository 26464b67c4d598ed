//! A server of the test's own that stands still, and that is killed.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use countersign_e2e::{Orders, System, order_builder};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tonic::Request;

const CLIENTS: usize = 8;
/// What callers allow for a call.
const DEADLINE: Duration = Duration::from_secs(3);
const STANDSTILL: Duration = Duration::from_secs(20);

/// A server that keeps every commit on disk. It ends with the test.
struct OwnServer {
    url: String,
}

impl OwnServer {
    fn start() -> Self {
        let url = script(&["start", "--durable"]);
        Self { url }
    }

    fn signal(&self, signal: Signal) {
        let pid = script(&["pid", &self.url]).parse().ok();
        kill_process(pid.and_then(Pid::from_raw).unwrap(), signal).unwrap();
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        script(&["stop", &self.url]);
    }
}

fn script(arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/mysql-server");
    let output = Command::new(path).args(arguments).output().unwrap();
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
    last: Option<Instant>,
}

/// Sends orders; a call that fails is made again until it is answered.
async fn send_orders(mut client: Orders, stop: Arc<AtomicBool>) -> Known {
    let mut known = Known::default();
    while !stop.load(Ordering::Acquire) {
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
                known.last = Some(Instant::now());
                break;
            }
            known.failed += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    known
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_10_b_11_a_server_that_stands_still_or_is_killed_loses_nothing_that_was_acknowledged() {
    let server = OwnServer::start();
    let database = TestDatabase::at(&server.url).await;
    let system = System::start(database).await;
    system.restock("KETTLE-17", 1_000_000).await;
    system.restock("CUP-4", 1_000_000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for _ in 0..CLIENTS {
        callers.push(send_orders(system.orders().await, Arc::clone(&stop)));
    }
    let breaking = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.signal(Signal::STOP);
        tokio::time::sleep(STANDSTILL).await;
        server.signal(Signal::CONT);
        let went_on = Instant::now();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let connected = "SELECT CAST(VARIABLE_VALUE AS SIGNED) AS n FROM performance_schema.global_status \
                         WHERE VARIABLE_NAME = 'Threads_connected'";
        let connections = system.database.number(connected).await;
        for _ in 0..3 {
            server.signal(Signal::KILL);
            tokio::time::sleep(Duration::from_millis(300)).await;
            script(&["again", &server.url]);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let back = Instant::now();
        tokio::time::sleep(Duration::from_secs(10)).await;
        stop.store(true, Ordering::Release);
        (went_on, connections, back)
    };
    let (known, (went_on, connections, back)) = tokio::join!(join_all(callers), breaking);

    assert!(connections <= 21, "no more than the pool: {connections}");
    let mut acknowledged = BTreeMap::new();
    for caller in known {
        assert!(caller.failed > 0, "it was not felt");
        // A busy machine wakes late; a call that waited for the server would have taken the whole standstill.
        let late = DEADLINE + Duration::from_secs(3);
        assert!(caller.longest < late, "{:?}", caller.longest);
        let last = caller.last.unwrap();
        assert!(
            last > went_on + Duration::from_secs(10) && last > back,
            "it goes on"
        );
        acknowledged.extend(caller.acknowledged);
    }
    let orders = system.all_orders().await;
    let there: BTreeMap<String, String> = orders
        .iter()
        .map(|order| (order.client_reference.clone(), order.name.clone()))
        .collect();
    assert_eq!(there.len(), orders.len(), "a reference is there twice");
    assert_eq!(there, acknowledged);
    let count = i64::try_from(orders.len()).unwrap();
    for (table, times) in [("order_events", 1), ("requests", 1), ("outbox", 2)] {
        let sql = format!("SELECT COUNT(*) AS n FROM {table}");
        assert_eq!(system.database.number(&sql).await, times * count, "{table}");
    }
    system.stock_agrees_with_orders().await;
}
