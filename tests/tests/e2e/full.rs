//! File systems that are full: of the database, and of the log.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use countersign_e2e::{LINK_SECRET, order_builder, seed};
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use countersign_runtime::lifecycle::Lifecycle;
use countersign_store::testing::TestDatabase;
use rustix::process::{Pid, Signal, kill_process};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

use super::{
    collector::Collector,
    database::full_disk::fill,
    program::{answers, free_address, program},
};

fn client(address: SocketAddr) -> OrderServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    OrderServiceClient::new(endpoint.timeout(Duration::from_secs(15)).connect_lazy())
}

async fn create(client: &mut OrderServiceClient<Channel>) -> Result<v1::Order, Status> {
    let request = Request::new(order_builder().request());
    client
        .create_order(request)
        .await
        .map(tonic::Response::into_inner)
}

/// Ends with the test, whatever comes of it.
pub(crate) struct Process(pub(crate) std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn serve(command: &mut Command, url: &str, address: SocketAddr, folder: &Path) -> Process {
    let child = command
        .env("DATABASE_URL", url)
        .env("COUNTERSIGN__ORDER__LISTEN", address.to_string())
        .env("COUNTERSIGN__LINKS__KEY", LINK_SECRET)
        .env(
            "COUNTERSIGN__PERSONAL_DATA__KEYS",
            countersign_store::testing::DATA_KEYS,
        )
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Process(child.spawn().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_07_a_log_that_takes_nothing_stops_no_service_and_lost_lines_are_counted() {
    let lifecycle = Lifecycle::new(Duration::from_secs(5));
    let (collector, endpoint) = Collector::start(&lifecycle).await;
    let database = TestDatabase::sqlite().await;
    seed(&database.store).await;
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(program().await);
    command
        .arg("order-service")
        .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "debug")
        .env("COUNTERSIGN__TELEMETRY__OTLP_ENDPOINT", endpoint)
        .stderr(full);
    let mut process = serve(&mut command, &database.url, address, folder.path());
    answers(address).await;
    let mut client = client(address);
    for _ in 0..20 {
        create(&mut client).await.unwrap();
    }
    assert!(process.0.try_wait().unwrap().is_none(), "it has ended");
    // Its last words are its figures.
    let id = i32::try_from(process.0.id()).ok().and_then(Pid::from_raw);
    kill_process(id.unwrap(), Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || process.0.wait());
    assert!(ended.await.unwrap().unwrap().success());
    let lost = collector.counted("log_lines_lost_total", "");
    assert!(lost >= 20, "{lost} lines were counted");
    lifecycle.shutdown();
}

/// A small file system of the process's own, in a namespace of its own; what it holds is seen from here by way of `/proc`.
const ON_A_SMALL_DISK: &str = "mount -t tmpfs -o size=24m tmpfs \"$PLACE\" && cp start.db \"$PLACE/shop.db\" && \
     exec \"$PROGRAM\" order-service";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_14_a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room() {
    let database = TestDatabase::sqlite().await;
    seed(&database.store).await;
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let start = folder.path().join("start.db");
    let copy = format!("VACUUM INTO '{}'", start.display());
    database.execute(&copy).await;
    let place = folder.path().join("disk");
    std::fs::create_dir(&place).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK])
        .env("PLACE", &place)
        .env("PROGRAM", program().await)
        .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "error");
    let url = format!("sqlite://{}/shop.db", place.display());
    let mut process = serve(&mut command, &url, address, folder.path());
    answers(address).await;
    let mut client = client(address);
    create(&mut client).await.unwrap();

    // Somebody else fills the disk to the last byte.
    let seen: PathBuf = format!("/proc/{}/root{}", process.0.id(), place.display()).into();
    let filler = seen.join("filler");
    fill(&filler);
    let mut known = 0;
    let began = Instant::now();
    let refused = loop {
        match create(&mut client).await {
            Ok(_) => known += 1,
            Err(status) => break status,
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{known} orders fit"
        );
        fill(&filler);
    };
    assert!(
        matches!(refused.code(), Code::Unavailable | Code::ResourceExhausted),
        "{refused:?}"
    );
    assert!(process.0.try_wait().unwrap().is_none(), "it has ended");

    std::fs::remove_file(&filler).unwrap();
    let began = Instant::now();
    while let Err(status) = create(&mut client).await {
        assert!(
            matches!(status.code(), Code::Unavailable | Code::ResourceExhausted),
            "{status:?}"
        );
        assert!(began.elapsed() < Duration::from_mins(1), "{status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    create(&mut client).await.unwrap();
}
