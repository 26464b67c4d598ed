//! Requests that are too big, and times at the ends of calendars.

use countersign_e2e::{System, order_builder, seed};
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use countersign_store::testing::TestDatabase;
use prost::Message as _;
use prost_types::Timestamp;
use tonic::{Code, Request, Status, metadata::AsciiMetadataKey};

use crate::program::{self, answers, free_address, program};

#[tokio::test]
async fn b_22_i_08_what_is_too_big_is_refused_before_it_is_stored_and_the_next_order_is_taken() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let wordy = order_builder().with(|order| {
        order.delivery.as_mut().unwrap().wishes = "a".repeat(3 * 1024 * 1024);
    });
    let mut long = order_builder();
    for _ in 0..5_000 {
        long = long.line("KETTLE-17", 1);
    }
    for (request, code) in [
        // A message above the limit is refused while its length is read.
        (wordy.request(), Code::ResourceExhausted),
        (long.request(), Code::InvalidArgument),
    ] {
        let refused = client.create_order(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    assert!(system.all_orders().await.is_empty());
    client
        .create_order(order_builder().request())
        .await
        .unwrap();
}

/// The most memory that a process has had, in bytes.
fn most_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() * 1_024
}

/// What clients make of a call that HTTP/2 has refused before it was one of gRPC; the service itself answers none of these to
/// an order that is in order.
fn is_of_http(refused: &Status) -> bool {
    matches!(
        refused.code(),
        Code::ResourceExhausted | Code::Internal | Code::Unknown | Code::Unavailable
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_08_ten_thousand_headers_and_a_hundred_thousand_lines_cost_no_more_memory_than_they_are_long()
 {
    let database = TestDatabase::sqlite().await;
    seed(&database.store).await;
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let mut process = program::start(&program().await, &database.url, address, folder.path());
    answers(address).await;
    let id = process.id().unwrap();
    let connect = || OrderServiceClient::connect(format!("http://{address}"));
    connect()
        .await
        .unwrap()
        .create_order(order_builder().request())
        .await
        .unwrap();
    let before = most_memory(id);

    let mut long = order_builder();
    for _ in 0..100_000 {
        long = long.line("KETTLE-17", 1);
    }
    let long = long.request();
    let bytes = long.encoded_len() as u64;
    assert!(bytes > 4 * 1_024 * 1_024, "{bytes}");
    let mut client = connect().await.unwrap();
    let refused = client.create_order(long).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");

    // Headers are bounded below the calls, by HTTP/2: the one call is refused, and what is a flood ends its connection.
    let with_headers = |count: usize| {
        let mut heavy = Request::new(order_builder().request());
        for number in 0..count {
            let name: AsciiMetadataKey = format!("x-header-{number}").parse().unwrap();
            heavy.metadata_mut().insert(name, "value".parse().unwrap());
        }
        heavy
    };
    let mut client = connect().await.unwrap();
    let refused = client.create_order(with_headers(500)).await.unwrap_err();
    assert!(refused.message().contains("431"), "{refused:?}");
    let preview = v1::CreateOrderRequest {
        validate_only: true,
        ..order_builder().request()
    };
    client.create_order(preview).await.unwrap();
    let refused = client.create_order(with_headers(10_000)).await.unwrap_err();
    assert!(is_of_http(&refused), "{refused:?}");
    println!("{bytes} bytes of lines; headers: {refused:?}");
    // The kernel counts pages in batches: where nothing was added it may say a little less than before.
    let grown = most_memory(id).saturating_sub(before);
    assert!(grown < 2 * bytes, "{grown} for {bytes}");

    // Neither is stored, and whoever comes next is served.
    let orders = "SELECT COUNT(*) AS n FROM orders";
    assert_eq!(database.number(orders).await, 1);
    let mut client = connect().await.unwrap();
    client
        .create_order(order_builder().request())
        .await
        .unwrap();
    process.kill().await.unwrap();
}

#[tokio::test]
async fn g_08_no_time_of_any_calendar_stops_the_service() {
    for database in TestDatabase::all().await {
        survives_all_times(System::start(database).await).await;
    }
}

async fn survives_all_times(system: System) {
    let mut client = system.orders().await;
    let times = [
        (i64::MIN, 0),
        (-62_135_596_801, 0),
        (-62_135_596_800, 0),
        (0, 0),
        // 2016-12-31T23:59:60, the last leap second, and what is no time at all.
        (1_483_228_799, 1_999_999_999),
        (1_483_228_800, -1),
        (2_147_483_647, 0),
        (2_147_483_648, 0),
        (253_402_300_799, 999_999_999),
        (253_402_300_800, 0),
        (i64::MAX, i32::MAX),
    ];
    for (seconds, nanos) in times {
        let time = Timestamp { seconds, nanos };
        let window = v1::TimeWindow {
            start_time: Some(time),
            end_time: Some(Timestamp {
                seconds: seconds.saturating_add(3_600),
                nanos,
            }),
        };
        let request = order_builder()
            .with(|order| {
                order.place_time = Some(time);
                order.delivery.as_mut().unwrap().requested_window = Some(window);
            })
            .request();
        match client.create_order(request).await {
            Ok(taken) => {
                let name = taken.into_inner().name;
                assert_eq!(system.order(&name).await.place_time, Some(time));
            }
            Err(refused) => assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}"),
        }
    }
    client
        .create_order(order_builder().request())
        .await
        .unwrap();
}
