//! What is old goes; what an open order needs stays.

use chrono::TimeDelta;
use countersign_domain::{message::DeliveryState, order::Channel, retention::Retained};
use countersign_runtime::config;
use countersign_store::{AccessRefusal, testing::TestDatabase};
use tokio_util::sync::CancellationToken;

use super::{MAIL, Stage};
use crate::retention::sweep;

#[tokio::test]
async fn what_is_old_goes_batch_by_batch_and_what_an_open_order_needs_stays() {
    use DeliveryState::Sent;
    for database in TestDatabase::all().await {
        let mut stage = Stage::on(database, |_| {}).await;
        let open = stage.shop.order(MAIL, None).await;
        let closed = stage.shop.order(MAIL, None).await;
        let letters = [(1, Channel::Email, Sent), (2, Channel::Email, Sent)];
        for order in [&open, &closed] {
            stage.until_states(order.id, &letters).await;
        }
        stage.shop.cancel(closed.id).await;
        let cancelled = [letters[0], letters[1], (3, Channel::Email, Sent)];
        stage.until_states(closed.id, &cancelled).await;
        let settings = config::Retention {
            batch_rows: 2,
            pause_ms: 1,
            ..config::Retention::default()
        };
        let (store, soft) = (stage.store().clone(), CancellationToken::new());
        let young = sweep(&store, &settings, false, &soft).await.unwrap();
        assert!(young.values().all(|rows| *rows == 0), "{young:?}");

        let refused = AccessRefusal {
            minute: store.now().await.unwrap(),
            caller: "unauthenticated".to_owned(),
            method: "/countersign.v1.OrderService/ListOrders".to_owned(),
            code: "UNAUTHENTICATED".to_owned(),
            peer: "PUBLIC".to_owned(),
            count: 3,
        };
        store.insert_access_refusals(&[refused]).await.unwrap();

        store.shift_clock(TimeDelta::days(400));
        let counted = sweep(&store, &settings, true, &soft).await.unwrap();
        let swept = sweep(&store, &settings, false, &soft).await.unwrap();
        for (retained, rows) in [
            (Retained::Requests, 2),
            (Retained::Mailbox, 5),
            (Retained::Replies, 0),
            (Retained::Refusals, 1),
            (Retained::Tracking, 0),
            (Retained::Attempts, 3),
            // The last one stays: whatever may still follow waits for it.
            (Retained::Deliveries, 2),
        ] {
            assert_eq!(counted[&retained], rows, "{retained}");
            assert_eq!(swept[&retained], rows, "{retained}");
        }
        assert_eq!(stage.states(open.id).await, letters);
        assert_eq!(stage.states(closed.id).await, cancelled[2..]);
        let all = store.list_deliveries(open.id).await.unwrap();
        assert!(all.iter().all(|it| it.history.len() == 1));
        let again = sweep(&store, &settings, false, &soft).await.unwrap();
        assert!(again.values().all(|rows| *rows == 0), "{again:?}");
        stage.end().await;
    }
}
