//! Servers of the test's own whose disk is full: a small file system in memory, which takes root.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use countersign_e2e::{Orders, System, order_builder};
use countersign_proto::v1;
use countersign_store::testing::TestDatabase;
use tonic::{Code, Request, Status};

use super::server::OwnServer;

/// What callers allow for a call.
const DEADLINE: Duration = Duration::from_secs(3);
/// Until when a server takes writes again that has room again. MySQL's binary log looks once a minute.
const RECOVERY: Duration = Duration::from_secs(150);

async fn create(client: &mut Orders) -> Result<String, (String, Status)> {
    let order: v1::CreateOrderRequest = order_builder().request();
    let reference = order.order.as_ref().unwrap().client_reference.clone();
    let mut request = Request::new(order);
    request.set_timeout(DEADLINE);
    match client.create_order(request).await {
        Ok(made) => Ok(made.into_inner().client_reference),
        Err(status) => Err((reference, status)),
    }
}

/// Adds to a file until nothing more fits.
pub(crate) fn fill(path: &Path) {
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        let bytes = vec![0; size];
        while file.write_all(&bytes).is_ok() {}
    }
}

/// A refusal that tells nothing wrong: the caller may come again, or does not know.
fn is_right(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled
    )
}

/// Without root these tests fail at once and say why: that they were left out must not look as if they had passed.
fn needs_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test must be run as root, for it mounts a small file system in memory; as somebody else leave it out by `-E 'not test(b_14_)'`"
    );
}

async fn full(server: OwnServer) {
    let folder = server.tell("folder").await;
    let filler = Path::new(&folder).join("filler");
    let database = TestDatabase::at(&server.url).await;
    let system = System::start(database).await;
    system.restock("KETTLE-17", 1_000_000).await;
    system.restock("CUP-4", 1_000_000).await;
    let mut client = system.orders().await;
    let mut acknowledged = BTreeSet::new();
    for _ in 0..20 {
        acknowledged.insert(create(&mut client).await.unwrap());
    }

    // Somebody else fills the disk to the last byte; what the server has set aside is used up before it says no.
    let mut refused: Vec<(String, Status)> = Vec::new();
    let began = Instant::now();
    while refused.len() < 5 {
        fill(&filler);
        match create(&mut client).await {
            Ok(reference) => {
                acknowledged.insert(reference);
            }
            Err(no) => refused.push(no),
        }
        assert!(
            began.elapsed() < Duration::from_mins(3),
            "{} orders fit",
            acknowledged.len()
        );
    }
    for (_, status) in &refused {
        assert!(is_right(status), "{status:?}");
    }
    println!("{} orders fit; then {:?}", acknowledged.len(), refused[0].1);

    // Room comes back, and nobody is restarted.
    let pid = server.tell("pid").await;
    std::fs::remove_file(&filler).unwrap();
    let began = Instant::now();
    loop {
        match create(&mut client).await {
            Ok(reference) => {
                acknowledged.insert(reference);
                break;
            }
            Err((_, status)) => assert!(
                is_right(&status) && began.elapsed() < RECOVERY,
                "{status:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("written again after {:?}", began.elapsed());
    for _ in 0..20 {
        acknowledged.insert(create(&mut client).await.unwrap());
    }
    assert_eq!(server.tell("pid").await, pid, "it is the same process");

    // What was acknowledged is there; each order that is there is whole.
    let orders = system.all_orders().await;
    let there: BTreeSet<String> = orders
        .iter()
        .map(|it| it.client_reference.clone())
        .collect();
    assert_eq!(there.len(), orders.len(), "a reference is there twice");
    let missing: Vec<&String> = acknowledged.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let count = i64::try_from(orders.len()).unwrap();
    for (table, times) in [("order_events", 1), ("requests", 1), ("outbox", 2)] {
        let sql = format!("SELECT COUNT(*) AS n FROM {table}");
        assert_eq!(system.database.number(&sql).await, times * count, "{table}");
    }
    system.stock_agrees_with_orders().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_14_a_mysql_whose_disk_is_full_acknowledges_nothing_and_goes_on_when_there_is_room() {
    needs_root();
    full(OwnServer::start_on_disk("mysql", "400m")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_14_a_mariadb_whose_disk_is_full_acknowledges_nothing_and_goes_on_when_there_is_room() {
    needs_root();
    full(OwnServer::start_on_disk("mariadb", "300m")).await;
}
