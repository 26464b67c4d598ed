//! Order services that are restarted one after the other while callers send orders, as an upgrade does it. The callers keep
//! to the policy of retries that clients are given: four tries, after 0.1 s to 1 s, of what was answered UNAVAILABLE.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use countersign_e2e::{LINK_SECRET, System, order_builder};
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::program::{answers, free_address, program};

const CALLERS: usize = 6;
const TRIES_MAX: u32 = 4;

/// An order service as a process of its own, and how it is set up.
pub(crate) struct Service {
    program: PathBuf,
    url: String,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Service {
    pub(crate) async fn start(url: &str, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let (program, address) = (program().await, free_address());
        let child = spawn(&program, url, folder, address, settings);
        answers(address).await;
        Self {
            program,
            url: url.to_owned(),
            folder: folder.to_owned(),
            address,
            child,
        }
    }

    /// SIGTERM, the end in good order, and a new process at the same place.
    pub(crate) async fn restart(&mut self, settings: &[(&str, &str)]) {
        self.end().await;
        self.child = spawn(
            &self.program,
            &self.url,
            &self.folder,
            self.address,
            settings,
        );
        answers(self.address).await;
    }

    pub(crate) async fn end(&mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        kill_process(id.and_then(Pid::from_raw).unwrap(), Signal::TERM).unwrap();
        let status = self.child.wait().await.unwrap();
        assert!(status.success(), "something was cut off: {status}");
    }
}

fn spawn(
    program: &Path,
    url: &str,
    folder: &Path,
    address: SocketAddr,
    settings: &[(&str, &str)],
) -> Child {
    Command::new(program)
        .arg("order-service")
        .env("DATABASE_URL", url)
        .env("COUNTERSIGN__ORDER__LISTEN", address.to_string())
        .env("COUNTERSIGN__LINKS__KEY", LINK_SECRET)
        .env(
            "COUNTERSIGN__PERSONAL_DATA__KEYS",
            countersign_store::testing::DATA_KEYS,
        )
        .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "error")
        .env("COUNTERSIGN__SHUTDOWN__NOTICE_SECONDS", "1")
        // However slow the machine is: what is tested is the restart.
        .env("COUNTERSIGN__LIMITS__CALL_DEADLINE_MS", "60000")
        .envs(settings.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// What a caller knows at the end.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Names of orders by reference.
    pub(crate) acknowledged: BTreeMap<String, String>,
    pub(crate) retries: u32,
    pub(crate) failed: Vec<Status>,
}

/// Sends orders over all services until it is told to stop.
async fn send_orders(channel: Channel, pace: Duration, stop: Arc<AtomicBool>) -> Known {
    let mut client = OrderServiceClient::new(channel);
    let mut known = Known::default();
    while !stop.load(Ordering::Acquire) {
        let request = order_builder().request();
        match retried(&mut client, &request, &mut known.retries).await {
            Ok(order) => {
                known
                    .acknowledged
                    .insert(order.client_reference, order.name);
            }
            Err(status) => known.failed.push(status),
        }
        // Steadily rather than as fast as it goes: two cores carry the database, the services and the callers.
        tokio::time::sleep(pace).await;
    }
    known
}

/// The policy of retries.
async fn retried(
    client: &mut OrderServiceClient<Channel>,
    request: &v1::CreateOrderRequest,
    retries: &mut u32,
) -> Result<v1::Order, Status> {
    let mut pause = Duration::from_millis(100);
    for number in 1.. {
        match client.create_order(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if number < TRIES_MAX && is_unavailable(&status) => {
                *retries += 1;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            Err(status) => return Err(status),
        }
    }
    unreachable!("the tries have an end")
}

/// What clients of other languages call UNAVAILABLE: a call that its connection ended under. Tonic's client gives the
/// library's own error instead of that code.
fn is_unavailable(status: &Status) -> bool {
    status.code() == Code::Unavailable
        || (matches!(
            status.code(),
            Code::Unknown | Code::Cancelled | Code::Internal
        ) && std::error::Error::source(status).is_some())
}

/// A channel that balances over all of them.
fn balanced(services: &[SocketAddr]) -> Channel {
    let endpoints = services.iter().map(|address| {
        Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_mins(1))
            .tcp_nodelay(true)
    });
    Channel::balance_list(endpoints)
}

/// Callers send orders while `work` goes on, each with a pause in between. Answers what they know, and that nothing failed.
pub(crate) async fn under_load<W: Future<Output = ()>>(
    services: &[SocketAddr],
    pace: Duration,
    work: W,
) -> BTreeMap<String, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let callers = (0..CALLERS).map(|_| send_orders(balanced(services), pace, Arc::clone(&stop)));
    let working = async {
        work.await;
        stop.store(true, Ordering::Release);
    };
    let (known, ()) = tokio::join!(join_all(callers), working);
    let failed: Vec<&Status> = known.iter().flat_map(|it| &it.failed).collect();
    let retries: u32 = known.iter().map(|it| it.retries).sum();
    let acknowledged: BTreeMap<String, String> = known
        .iter()
        .flat_map(|it| it.acknowledged.clone())
        .collect();
    println!("{} orders, {retries} calls made again", acknowledged.len());
    assert!(failed.is_empty(), "callers saw {failed:?}");
    acknowledged
}

async fn roll(database: TestDatabase) {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(database).await;
    system.restock("KETTLE-17", 1_000_000).await;
    system.restock("CUP-4", 1_000_000).await;
    let url = system.database.url.clone();
    let mut first = Service::start(&url, folder.path(), &[]).await;
    let mut second = Service::start(&url, folder.path(), &[]).await;
    let addresses = [first.address, second.address];
    let mut longest = Duration::ZERO;
    let acknowledged = Box::pin(under_load(&addresses, Duration::from_millis(20), async {
        for _ in 0..2 {
            for service in [&mut first, &mut second] {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let began = Instant::now();
                service.restart(&[]).await;
                longest = longest.max(began.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }))
    .await;
    println!("the longest restart took {longest:?}");
    assert!(acknowledged.len() > CALLERS * 4, "{}", acknowledged.len());
    let orders = system.all_orders().await;
    let there: BTreeMap<String, String> = orders
        .iter()
        .map(|order| (order.client_reference.clone(), order.name.clone()))
        .collect();
    assert_eq!(there.len(), orders.len(), "a reference is there twice");
    assert_eq!(there, acknowledged);
    let messages = "SELECT COUNT(*) AS n FROM outbox";
    let count = i64::try_from(2 * orders.len()).unwrap();
    assert_eq!(system.database.number(messages).await, count);
    system.stock_agrees_with_orders().await;
    first.end().await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_01_order_services_restarted_one_by_one_under_load_cost_callers_nothing_on_sqlite() {
    roll(TestDatabase::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_01_order_services_restarted_one_by_one_under_load_cost_callers_nothing_on_mysql() {
    if let Some(database) = TestDatabase::server("TEST_MYSQL_URL").await {
        roll(database).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_01_order_services_restarted_one_by_one_under_load_cost_callers_nothing_on_mariadb() {
    if let Some(database) = TestDatabase::server("TEST_MARIADB_URL").await {
        roll(database).await;
    }
}
