//! kill -9: what was acknowledged is there, once; what was not can be sent again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use countersign_e2e::{System, order_builder};
use countersign_proto::v1::order_service_client::OrderServiceClient;
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use tonic::{Code, Request, transport::Endpoint};

use super::program::{answers, free_address, program, start};

const ROUNDS: u32 = 20;
const CLIENTS: usize = 8;

/// What a client knows at the end.
#[derive(Debug, Default)]
struct Knowledge {
    /// By reference, what was acknowledged.
    acknowledged: BTreeMap<String, String>,
    /// Calls that had to be made again.
    repeated: u32,
}

/// Sends orders one after the other; a call that was not answered is made again, with the same id, until it is.
async fn send_orders(address: SocketAddr, stop: Arc<AtomicBool>) -> Knowledge {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_timeout(Duration::from_millis(500))
        .timeout(Duration::from_secs(12))
        .connect_lazy();
    let mut client = OrderServiceClient::new(channel);
    let mut knowledge = Knowledge::default();
    while !stop.load(Ordering::Acquire) {
        let request = order_builder().request();
        let began = Instant::now();
        loop {
            match client.create_order(Request::new(request.clone())).await {
                Ok(answer) => {
                    let order = answer.into_inner();
                    knowledge
                        .acknowledged
                        .insert(order.client_reference, order.name);
                    break;
                }
                Err(status) => {
                    assert!(
                        matches!(
                            status.code(),
                            Code::Unavailable
                                | Code::Unknown
                                | Code::Cancelled
                                | Code::Aborted
                                | Code::Internal
                        ),
                        "{status:?}"
                    );
                    assert!(began.elapsed() < Duration::from_mins(1), "{status:?}");
                    knowledge.repeated += 1;
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            }
        }
    }
    knowledge
}

async fn kill_and_count(database: TestDatabase, rounds: u32) {
    let program = program().await;
    let folder = tempfile::tempdir().unwrap();
    // The harness's own replica only reads, afterwards.
    let system = System::start(database).await;
    system.restock("KETTLE-17", 1_000_000).await;
    system.restock("CUP-4", 1_000_000).await;
    let url = system.database.url.clone();
    let address = free_address();
    let stop = Arc::new(AtomicBool::new(false));

    let mut process = start(&program, &url, address, folder.path());
    answers(address).await;
    let clients = join_all((0..CLIENTS).map(|_| send_orders(address, Arc::clone(&stop))));
    let killing = async {
        for round in 0..rounds {
            // Moments that hit every step: 40 to 340 ms after it answers, by a sequence that does not repeat itself soon.
            let moment = 40 + (u64::from(round) * 7_919) % 300;
            tokio::time::sleep(Duration::from_millis(moment)).await;
            process.kill().await.unwrap();
            process = start(&program, &url, address, folder.path());
            answers(address).await;
        }
        stop.store(true, Ordering::Release);
    };
    let (knowledge, ()) = tokio::join!(clients, killing);

    let repeated: u32 = knowledge.iter().map(|client| client.repeated).sum();
    let acknowledged: BTreeMap<String, String> = knowledge
        .into_iter()
        .flat_map(|client| client.acknowledged)
        .collect();
    println!("{} orders, {repeated} calls made again", acknowledged.len());
    assert!(repeated >= rounds, "the kills were not felt: {repeated}");
    assert!(
        acknowledged.len() > rounds as usize,
        "{}",
        acknowledged.len()
    );

    let orders = system.all_orders().await;
    let there: BTreeMap<String, String> = orders
        .iter()
        .map(|order| (order.client_reference.clone(), order.name.clone()))
        .collect();
    assert_eq!(there.len(), orders.len(), "a reference is there twice");
    assert_eq!(
        there, acknowledged,
        "every call was answered in the end, so both are the same"
    );
    let names: BTreeSet<&String> = there.values().collect();
    assert_eq!(names.len(), there.len());
    let count = i64::try_from(orders.len()).unwrap();
    let number = |sql: &'static str| system.database.number(sql);
    assert_eq!(number("SELECT COUNT(*) AS n FROM requests").await, count);
    assert_eq!(
        number("SELECT COUNT(*) AS n FROM order_events").await,
        count
    );
    assert_eq!(number("SELECT COUNT(*) AS n FROM order_links").await, count);
    assert_eq!(number("SELECT COUNT(*) AS n FROM timers").await, count);
    // Acknowledgement and confirmation request, each once for each order.
    for kind in ["ACKNOWLEDGEMENT", "CONFIRMATION_REQUEST"] {
        let sql = format!("SELECT COUNT(DISTINCT order_id) AS n FROM outbox WHERE kind = '{kind}'");
        assert_eq!(system.database.number(&sql).await, count, "{kind}");
    }
    assert_eq!(number("SELECT COUNT(*) AS n FROM outbox").await, 2 * count);
    system.stock_agrees_with_orders().await;
    process.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_11_orders_survive_twenty_kills_on_sqlite() {
    kill_and_count(TestDatabase::sqlite().await, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_11_orders_survive_twenty_kills_on_servers() {
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        if let Some(database) = TestDatabase::server(variable).await {
            kill_and_count(database, ROUNDS).await;
        }
    }
}
