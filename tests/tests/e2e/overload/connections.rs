//! More connections than can be borne, and fewer files than are wanted.

use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use countersign_e2e::{LINK_SECRET, Orders, order_builder, seed};
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{io::AsyncReadExt as _, net::TcpStream, process::Command};
use tonic::transport::Endpoint;

use super::{super::program, Over, replica};

/// Opens so many connections at once and says nothing. Answers those that are there.
async fn open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let opened = join_all((0..count).map(|_| TcpStream::connect(address))).await;
    opened.into_iter().filter_map(Result::ok).collect()
}

/// How many of these the server has closed, or closes within a while: those that did not fit into the system's queue come out of it
/// only when the system looks again, after seconds.
async fn closed(connections: &mut [TcpStream], enough: usize) -> usize {
    let began = Instant::now();
    loop {
        let looked = connections.iter_mut().map(|connection| async {
            let mut bytes = [0; 256];
            loop {
                let read = connection.read(&mut bytes);
                match tokio::time::timeout(Duration::from_millis(50), read).await {
                    Ok(Ok(0) | Err(_)) => return true,
                    // The server's first words.
                    Ok(Ok(_)) => {}
                    Err(_) => return false,
                }
            }
        });
        let closed = join_all(looked).await.into_iter().filter(|it| *it).count();
        if closed >= enough || began.elapsed() > Duration::from_mins(1) {
            return closed;
        }
    }
}

/// Lets this process have so many files open.
fn more_files(wanted: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(wanted);
    assert!(
        most >= wanted,
        "{most} files are too few: raise the hard limit (ulimit -Hn)"
    );
    let current = Some(wanted);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Orders on an established connection, one after the other until it is over. Answers how long each took, sorted.
async fn orders_until(over: Over, mut client: Orders) -> Vec<Duration> {
    let mut took = Vec::new();
    while !over.is_over() {
        let (request, began) = (order_builder().request(), Instant::now());
        client.create_order(request).await.unwrap();
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took.sort();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_07_ten_thousand_connections_held_open_do_not_touch_those_that_are_established() {
    const CONNECTIONS: usize = 10_000;
    const LIMIT: usize = 40;
    more_files(11_000);
    let database = TestDatabase::sqlite().await;
    let replica = replica(&database, |limits| limits.connections = LIMIT).await;
    let client = replica.orders("shop").await;
    let over = Over::default();
    let storm = async {
        let mut connections = Vec::with_capacity(CONNECTIONS);
        while connections.len() < CONNECTIONS {
            connections.extend(open(replica.address, 100).await);
        }
        // Ours is one of the forty.
        let turned_away = connections.len() - (LIMIT - 1);
        let closed = closed(&mut connections, turned_away).await;
        over.tell();
        assert_eq!(closed, turned_away);
        connections
    };
    let (connections, took) = tokio::join!(storm, orders_until(over.clone(), client));
    println!(
        "{} orders meanwhile, the slowest took {:?}",
        took.len(),
        took.last()
    );
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
    drop(connections);
    // There is room again as soon as they are gone.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        let endpoint = Endpoint::from_shared(format!("http://{}", replica.address)).unwrap();
        if let Ok(channel) = endpoint.connect().await {
            let list = v1::ListOrdersRequest::default();
            if OrderServiceClient::new(channel)
                .list_orders(list)
                .await
                .is_ok()
            {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody gets in any more");
}

/// Processor time that a process has used, in hundredths of a second.
fn processor_time(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name may hold anything; numbers come behind its bracket.
    let (_, numbers) = stat.rsplit_once(')').unwrap();
    let mut numbers = numbers.split_whitespace().skip(11);
    let mut next = || numbers.next().unwrap().parse::<u64>().unwrap();
    next() + next()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_08_a_process_with_256_files_turns_connections_away_and_does_not_spin() {
    let database = TestDatabase::sqlite().await;
    seed(&database.store).await;
    let folder = tempfile::tempdir().unwrap();
    let (program, address) = (program::program().await, program::free_address());
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 256 && exec \"$0\" order-service"])
        .arg(&program)
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN__ORDER__LISTEN", address.to_string())
        .env("COUNTERSIGN__LINKS__KEY", LINK_SECRET)
        .env(
            "COUNTERSIGN__PERSONAL_DATA__KEYS",
            countersign_store::testing::DATA_KEYS,
        )
        .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "error")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    program::answers(address).await;
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = OrderServiceClient::new(channel);
    client
        .create_order(order_builder().request())
        .await
        .unwrap();

    let mut connections = open(address, 400).await;
    let turned_away = closed(&mut connections, 200).await;
    assert!(turned_away >= 200, "{turned_away}");
    // Those that it took are still there: it has nothing to do, and does nothing.
    let id = child.id().unwrap();
    let before = processor_time(id);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = processor_time(id) - before;
    assert!(used < 150, "{used} hundredths of a second in three seconds");
    // It has files left for the database, and goes on.
    for _ in 0..20 {
        client
            .create_order(order_builder().request())
            .await
            .unwrap();
    }
    drop(connections);
    program::answers(address).await;
    child.kill().await.unwrap();
}
