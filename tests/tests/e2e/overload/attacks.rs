//! Clients that break the protocol of HTTP/2 on purpose: they lose their connection, and nobody else notices.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use countersign_e2e::{Orders, order_builder};
use countersign_store::testing::TestDatabase;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{Over, is_serving, replica};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// A frame by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a call, as HPACK without any table.
fn call() -> Vec<u8> {
    let mut headers = vec![0x83, 0x86];
    let mut literal = |index: &[u8], value: &str| {
        headers.extend(index);
        headers.push(u8::try_from(value.len()).unwrap());
        headers.extend(value.as_bytes());
    };
    literal(&[0x04], "/countersign.v1.OrderService/ListOrders");
    literal(&[0x01], "localhost");
    literal(&[0x0f, 0x10], "application/grpc");
    literal(&[0x00, 2, b't', b'e'], "trailers");
    headers
}

/// A connection that has said hello.
async fn hello(address: SocketAddr) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(PREFACE).await.unwrap();
    let settings = frame(SETTINGS, 0, 0, &[]);
    connection.write_all(&settings).await.unwrap();
    connection
}

/// Writes what an attacker makes until the server has hung up, or the time is over. Whether it has hung up.
async fn attack(address: SocketAddr, span: Duration, mut next: impl FnMut() -> Vec<u8>) -> bool {
    let (mut reader, mut writer) = hello(address).await.into_split();
    let reading = async {
        let mut bytes = vec![0; 64 * 1024];
        while reader.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    let writing = async { while writer.write_all(&next()).await.is_ok() {} };
    tokio::select! {
        () = reading => true,
        () = writing => true,
        () = tokio::time::sleep(span) => false,
    }
}

/// Somebody who goes on ordering meanwhile, and counts the orders that were taken. Answers the longest time that one took.
async fn order_on(mut client: Orders, taken: Arc<AtomicU64>, over: Over) -> Duration {
    let mut longest = Duration::ZERO;
    while !over.is_over() {
        let asked = Instant::now();
        client
            .create_order(order_builder().request())
            .await
            .unwrap();
        longest = longest.max(asked.elapsed());
        taken.fetch_add(1, Ordering::Relaxed);
    }
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_13_whoever_abuses_http2_is_hung_up_on_and_others_are_served() {
    let database = TestDatabase::sqlite().await;
    let replica = replica(&database, |_| {}).await;
    let address = replica.address;
    let over = Over::default();
    let mut others = JoinSet::new();
    let taken = Arc::new(AtomicU64::new(0));
    let shop = replica.orders("shop").await;
    others.spawn(order_on(shop, taken.clone(), over.clone()));
    let span = Duration::from_secs(20);

    // Rapid reset: each call is taken back as soon as it is made.
    let mut stream = 1;
    let reset = attack(address, span, || {
        let mut frames = Vec::new();
        for _ in 0..100 {
            frames.extend(frame(HEADERS, END_HEADERS, stream, &call()));
            frames.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            stream += 2;
        }
        frames
    });
    assert!(reset.await, "rapid reset goes on");

    // Streams without end, of which none says what it wants: those that are too many are refused, and whoever opens more all
    // the same is hung up on. The others hold places until then, and leave a part of the places to others.
    let mut stream = 1;
    let streams = attack(address, Duration::from_secs(5), || {
        let mut frames = Vec::new();
        for _ in 0..100 {
            frames.extend(frame(HEADERS, END_HEADERS, stream, &call()));
            stream += 2;
        }
        frames
    })
    .await;
    assert!(streams, "streams without end go on");

    // Headers without end.
    let mut first = true;
    let continuation = attack(address, span, || {
        let mut block = Vec::new();
        for _ in 0..50 {
            block.extend([0x00, 1, b'x', 100]);
            block.extend([b'y'; 100]);
        }
        let kind = if first { HEADERS } else { CONTINUATION };
        first = false;
        frame(kind, 0, 1, &block)
    });
    assert!(continuation.await, "headers without end go on");

    // A flood of pings that are answered: allowed by the protocol, and nobody else's trouble.
    let before = taken.load(Ordering::Relaxed);
    let pings = attack(address, Duration::from_secs(3), || {
        frame(PING, 0, 0, &[7; 8]).repeat(100)
    })
    .await;
    let beside = taken.load(Ordering::Relaxed) - before;
    assert!(!pings, "answered, and not hung up on");
    assert!(beside >= 10, "{beside} orders in three seconds");
    // The same by somebody who does not read the answers: the server stops reading, too.
    let mut deaf = hello(address).await;
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(1_000);
    let mut heard = 0;
    let flood = async {
        while deaf.write_all(&pings).await.is_ok() {
            heard += pings.len();
        }
    };
    let endless = tokio::time::timeout(Duration::from_secs(3), flood).await;
    assert!(endless.is_err(), "not hung up on, and not listened to");
    // What the two sockets hold, and not what the server keeps.
    assert!(heard < 16 << 20, "{heard} bytes");

    over.tell();
    let longest = others.join_next().await.unwrap().unwrap();
    let taken = taken.load(Ordering::Relaxed);
    println!("{taken} orders, the longest took {longest:?}");
    assert!(taken > 20, "{taken}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert!(is_serving(address).await);
}
