//! Requests that are too big, and times at the ends of calendars.

use countersign_e2e::{System, order_builder};
use countersign_proto::v1;
use countersign_store::testing::TestDatabase;
use prost_types::Timestamp;
use tonic::Code;

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
    for (request, allowed) in [
        // The library refuses a message above the limit while it reads its length.
        (
            wordy.request(),
            &[Code::OutOfRange, Code::ResourceExhausted][..],
        ),
        (long.request(), &[Code::InvalidArgument]),
    ] {
        let refused = client.create_order(request).await.unwrap_err();
        assert!(allowed.contains(&refused.code()), "{refused:?}");
    }
    assert!(system.all_orders().await.is_empty());
    client
        .create_order(order_builder().request())
        .await
        .unwrap();
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
