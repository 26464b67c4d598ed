//! Erasures that are cut off, and long ones: each step is done again or gone on with.

use std::time::Duration;

use chrono::TimeDelta;
use countersign_domain::{
    erasure::ErasureState,
    ids::{ErasureId, OrderId, ReplyId},
    reply::{Reply, ReplyContent, ReplyState},
};
use countersign_e2e::{System, fresh_id, link_key};
use countersign_notification::ids::Ids;
use countersign_proto::v1;
use countersign_store::{ErasureBegun, NewErasure};

use crate::erasure::{CODE, NAME, PHONE, cancel, chain_is_whole, customers, request};

#[tokio::test]
async fn j_09_an_erasure_that_was_cut_off_goes_on_by_itself() {
    let system = System::sqlite().await;
    let mut client = customers(&system).await;
    let mut orders = system.orders().await;
    for _ in 0..45 {
        let order = orders.create_order(request()).await.unwrap().into_inner();
        orders.cancel_order(cancel(&order.name)).await.unwrap();
    }
    // No worker runs here: what it would have sent is not waited for.
    system.database.execute("DELETE FROM outbox").await;
    // As a process leaves it that is killed after its first steps: begun, and not gone on with.
    let now = system.store.now().await.unwrap();
    let new = NewErasure {
        id: ErasureId::from_uuid(
            OrderId::in_name(&system.all_orders().await[0].name)
                .unwrap()
                .as_uuid(),
        ),
        request_hash: [9; 32],
        customer: CODE.to_owned(),
        customer_hash: link_key().customer_hash(CODE),
        actor: "wang".to_owned(),
        reason: "asked for by letter 13".to_owned(),
    };
    let begun = system.store.begin_erasure(&new, false, now).await.unwrap();
    assert!(matches!(begun, ErasureBegun::Begun(_)));
    for _ in 0..2 {
        let store = &system.store;
        store
            .go_on_erasing(new.id, &|_| Vec::new(), now)
            .await
            .unwrap();
    }
    let half = system.store.find_erasure(new.id).await.unwrap().unwrap();
    assert_eq!(half.report.orders, 20);

    let name = new.id.resource_name();
    let mut state = String::new();
    for _ in 0..600 {
        let get = v1::GetErasureRequest { name: name.clone() };
        state = client.get_erasure(get).await.unwrap().into_inner().state;
        if state == "DONE" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(state, "DONE");
    let done = system.store.find_erasure(new.id).await.unwrap().unwrap();
    assert_eq!((done.report.orders, done.report.left()), (45, 0));
    chain_is_whole(&system.store).await;
}

#[tokio::test]
async fn j_09_many_replies_are_looked_through_piece_by_piece() {
    /// More than a piece, less than two.
    const REPLIES: usize = 2_300;
    let system = System::sqlite().await;
    let mut client = customers(&system).await;
    let record = v1::CreateCustomerRequest {
        customer_id: CODE.to_owned(),
        customer: Some(v1::Customer {
            display_name: NAME.to_owned(),
            phone: PHONE.to_owned(),
            ..v1::Customer::default()
        }),
        request_id: fresh_id("customer"),
    };
    client.create_customer(record).await.unwrap();
    let (store, ids) = (&system.store, Ids::from_system());
    let now = store.now().await.unwrap();
    for (at, millis) in (0..REPLIES).zip(0_i64..) {
        // The customer's own are the first and the last.
        let number = if at == 0 || at == REPLIES - 1 {
            PHONE
        } else {
            "+8613900000000"
        };
        let reply = Reply {
            id: ids.make(now + TimeDelta::milliseconds(millis), ReplyId::new_v7),
            source: "SMS_GATEWAY".to_owned(),
            source_event_id: format!("loose-{at}"),
            order_id: None,
            content: ReplyContent::Words {
                channel: "SMS".to_owned(),
                text: format!("from {number}"),
            },
            state: ReplyState::Applied,
            due_time: now,
            attempts: 0,
            result: String::new(),
            receive_time: now,
        };
        store.insert_reply(&reply).await.unwrap();
    }
    let new = NewErasure {
        id: ids.make(now, ErasureId::new_v7),
        request_hash: [8; 32],
        customer: CODE.to_owned(),
        customer_hash: link_key().customer_hash(CODE),
        actor: "wang".to_owned(),
        reason: "asked for by letter 14".to_owned(),
    };
    store.begin_erasure(&new, false, now).await.unwrap();
    let count = async || {
        system
            .database
            .number("SELECT COUNT(*) AS n FROM replies")
            .await
    };
    let all = i64::try_from(REPLIES).unwrap();
    let go_on = async || {
        let done = store.go_on_erasing(new.id, &|_| Vec::new(), now).await;
        done.unwrap().unwrap()
    };
    let half = go_on().await;
    if half.report.replies_after.is_some() {
        assert_eq!(half.state, ErasureState::Replies, "the first piece");
        assert_eq!(count().await, all - 1);
    }
    // Whoever goes on does so from there; the service does so by itself meanwhile.
    for _ in 0..10 {
        if go_on().await.state == ErasureState::Done {
            break;
        }
    }
    let done = store.find_erasure(new.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.report.left()), (ErasureState::Done, 0));
    assert_eq!(count().await, all - 2, "only the customer's own went");
}
