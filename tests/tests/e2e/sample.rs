//! `countersign up --sample`: orders in every state, each once, also when the program is killed in the middle and started
//! again on the same data.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use countersign_proto::v1::{
    self, OrderState as S, catalog_service_client::CatalogServiceClient,
    order_service_client::OrderServiceClient,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use tonic::transport::{Channel, Endpoint};

use crate::program::{free_address, program};

const ORDERS: usize = 40;

/// Orders that are there when the program is killed.
const KILLED_AT: [usize; 3] = [6, 15, 27];

/// Where an order's course ends, by its number modulo the count of courses.
const ENDS: [S; 22] = [
    S::AwaitingConfirmation,
    S::Allocated,
    S::Delivered,
    S::Dispatched,
    S::Completed,
    S::Delivered,
    S::Objected,
    S::AwaitingConfirmation,
    S::Cancelled,
    S::AwaitingConfirmation,
    S::UnderAudit,
    S::Packed,
    S::Rejected,
    S::UnderAudit,
    S::PartiallyAllocated,
    S::Backordered,
    S::UnderAudit,
    S::Confirmed,
    S::UnderAudit,
    S::Picking,
    S::AwaitingConfirmation,
    S::Merged,
];

/// Starts everything in one process on the folder's own database.
fn start(program: &Path, folder: &Path, orders: SocketAddr) -> Child {
    let pages = free_address();
    Command::new(program)
        .args(["up", "--sample", &ORDERS.to_string()])
        .env_remove("DATABASE_URL")
        .env("COUNTERSIGN__ORDER__LISTEN", orders.to_string())
        .env("COUNTERSIGN__NOTIFICATION__LISTEN", pages.to_string())
        .env(
            "COUNTERSIGN__NOTIFICATION__GRPC_LISTEN",
            free_address().to_string(),
        )
        .env(
            "COUNTERSIGN__NOTIFICATION__PUBLIC_URL",
            format!("http://{pages}"),
        )
        .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "error")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .timeout(Duration::from_secs(10))
        .connect_lazy()
}

/// All orders, or nothing while the program is not there.
async fn orders(address: SocketAddr) -> Option<Vec<v1::Order>> {
    let request = v1::ListOrdersRequest {
        page_size: 500,
        ..v1::ListOrdersRequest::default()
    };
    let answer = OrderServiceClient::new(channel(address))
        .max_decoding_message_size(16 * 1024 * 1024)
        .list_orders(request)
        .await;
    Some(answer.ok()?.into_inner().orders)
}

/// Waits until so many orders have come in. Answers how many there are.
async fn until_there_are(count: usize, address: SocketAddr) -> usize {
    let began = Instant::now();
    loop {
        let there = orders(address).await.map_or(0, |orders| orders.len());
        if there >= count {
            return there;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "only {there} orders came"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the program says, until it says what to look at next.
async fn summary(process: &mut Child) -> Vec<String> {
    let output = process.stdout.take().unwrap();
    let mut lines = BufReader::new(output).lines();
    let mut said = Vec::new();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let done = line.starts_with("What to look at next");
            said.push(line);
            if done {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(45), read).await;
    assert!(in_time.is_ok(), "the sample does not end: {said:#?}");
    said
}

/// What lines have reserved is what the shelves say is reserved.
async fn stock_agrees(address: SocketAddr, orders: &[v1::Order]) {
    let mut by_orders = BTreeMap::<String, i64>::new();
    for line in orders.iter().flat_map(|order| &order.lines) {
        let reserved = line.counters.unwrap().reserved;
        if reserved > 0 {
            let level = format!("warehouses/{}/stockLevels/{}", line.warehouse, line.sku);
            *by_orders.entry(level).or_default() += reserved;
        }
    }
    let request = v1::ListStockLevelsRequest {
        parent: "warehouses/-".to_owned(),
        page_size: 1_000,
        page_token: String::new(),
    };
    let levels = CatalogServiceClient::new(channel(address))
        .list_stock_levels(request)
        .await
        .unwrap()
        .into_inner()
        .stock_levels;
    let by_shelves: BTreeMap<String, i64> = levels
        .into_iter()
        .filter(|level| level.reserved != 0)
        .map(|level| (level.name, level.reserved))
        .collect();
    assert_eq!(by_shelves, by_orders);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_with_a_sample_shows_every_state_also_after_kills() {
    let program = program().await;
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();

    for count in KILLED_AT {
        let mut process = start(&program, folder.path(), address);
        let there = until_there_are(count, address).await;
        process.kill().await.unwrap();
        assert!(there < ORDERS, "it was not killed in the middle: {there}");
    }
    let mut process = start(&program, folder.path(), address);
    let said = summary(&mut process).await;

    let orders = orders(address).await.unwrap();
    let references: BTreeSet<String> = orders
        .iter()
        .map(|order| order.client_reference.clone())
        .collect();
    let wanted: BTreeSet<String> = (0..ORDERS)
        .map(|number| format!("SAMPLE-{number:05}"))
        .collect();
    assert_eq!(references, wanted);
    assert_eq!(orders.len(), ORDERS, "each once");
    let mut counts = BTreeMap::<&str, usize>::new();
    for order in &orders {
        let number: usize = order
            .client_reference
            .trim_start_matches("SAMPLE-")
            .parse()
            .unwrap();
        assert_eq!(
            order.state(),
            ENDS[number % ENDS.len()],
            "order {number}: {:?}",
            order.findings
        );
        let state = order.state().as_str_name();
        *counts
            .entry(state.trim_start_matches("ORDER_STATE_"))
            .or_default() += 1;
    }

    assert_eq!(
        counts.len(),
        15,
        "every state but RECEIVED, in which no order rests: {counts:?}"
    );
    // Each state has its line with its count and something to show for it, and no step was refused.
    for (state, count) in counts {
        let line = said
            .iter()
            .find(|line| line.split_whitespace().next() == Some(state))
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], count.to_string(), "{line}");
        assert!(words[2].starts_with('█'), "{line}");
    }
    assert!(
        !said.iter().any(|line| line.contains("refused")),
        "{said:#?}"
    );
    stock_agrees(address, &orders).await;
    process.kill().await.unwrap();
}
