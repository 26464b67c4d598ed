//! Erasures that are cut off, and long ones: each step is done again or gone on with.

use std::time::Duration;

use chrono::TimeDelta;
use countersign_domain::{
    customer::{Customer, CustomerProfile},
    erasure::ErasureState,
    ids::{ErasureId, OrderId, ReplyId},
    phone::PhoneNumber,
    reply::{Reply, ReplyContent, ReplyState},
    secrets::LinkKey,
};
use countersign_e2e::{Replica, System, fresh_id, link_key};
use countersign_notification::ids::Ids;
use countersign_proto::v1::{self, customer_service_client::CustomerServiceClient};
use countersign_store::{ErasureBegun, NewErasure, Store, testing::TestDatabase};

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
        other_hashes: Vec::new(),
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
    for database in TestDatabase::all().await {
        // No service runs, so nobody else goes on with it.
        let (store, ids) = (&database.store, Ids::from_system());
        let now = store.now().await.unwrap();
        known(store).await;
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
            other_hashes: Vec::new(),
            actor: "wang".to_owned(),
            reason: "asked for by letter 14".to_owned(),
        };
        let begun = store.begin_erasure(&new, false, now).await.unwrap();
        assert!(matches!(begun, ErasureBegun::Begun(_)), "{begun:?}");
        let count = async || database.number("SELECT COUNT(*) AS n FROM replies").await;
        let all = i64::try_from(REPLIES).unwrap();
        let go_on = async || {
            let done = store.go_on_erasing(new.id, &|_| Vec::new(), now).await;
            done.unwrap().unwrap()
        };
        let half = go_on().await;
        assert!(half.report.replies_after.is_some(), "{:?}", half.report);
        assert_eq!(half.state, ErasureState::Replies, "the first piece");
        assert_eq!(count().await, all - 1);
        // Whoever goes on does so from there.
        for _ in 0..10 {
            if go_on().await.state == ErasureState::Done {
                break;
            }
        }
        let done = store.find_erasure(new.id).await.unwrap().unwrap();
        assert_eq!((done.state, done.report.left()), (ErasureState::Done, 0));
        assert_eq!(count().await, all - 2, "only the customer's own went");
    }
}

/// Puts the customer on record.
async fn known(store: &Store) {
    let customer = Customer {
        code: CODE.to_owned(),
        version: 1,
        credit_limit: None,
        credit_exposure_minor: 0,
        blocked: false,
        profile: CustomerProfile {
            display_name: NAME.to_owned(),
            phone: Some(PhoneNumber::parse(PHONE, None).unwrap()),
            ..CustomerProfile::default()
        },
    };
    let now = store.now().await.unwrap();
    store.put_customer(&customer, None, now).await.unwrap();
}

#[tokio::test]
async fn j_09_an_erasure_is_the_same_one_after_the_link_key_was_changed() {
    for database in TestDatabase::all().await {
        let (store, ids) = (&database.store, Ids::from_system());
        known(store).await;
        let now = store.now().await.unwrap();
        let keys: Vec<String> = (0..3)
            .map(|n| format!("the link key number {n:03}, of 32 bytes"))
            .collect();
        let asked = |lines: &[&String], request: u8| {
            let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
            let key = LinkKey::read(&lines.join("\n")).unwrap();
            let mut hashes = key.each().map(|key| key.customer_hash(CODE));
            NewErasure {
                id: ids.make(now, ErasureId::new_v7),
                request_hash: [request; 32],
                customer: CODE.to_owned(),
                customer_hash: hashes.next().unwrap(),
                other_hashes: hashes.collect(),
                actor: "wang".to_owned(),
                reason: "asked for by letter 15".to_owned(),
            }
        };
        let ask = async |new: NewErasure| store.begin_erasure(&new, false, now).await.unwrap();
        let first = asked(&[&keys[0], &keys[1]], 1);
        let (id, hash) = (first.id, first.customer_hash);
        let ErasureBegun::Begun(begun) = ask(first).await else {
            panic!("it may begin");
        };
        assert_eq!((begun.id, begun.customer_hash), (id, hash));
        // Another key makes what is new: the same call and another call both find the one that runs.
        for request in [1, 2] {
            let again = ask(asked(&[&keys[1], &keys[0]], request)).await;
            assert_eq!(again, ErasureBegun::Begun(begun.clone()), "{request}");
        }
        let records = "SELECT COUNT(*) AS n FROM erasures";
        assert_eq!(database.number(records).await, 1);
        // A request id of another customer is still refused.
        let mut other = asked(&[&keys[1], &keys[2]], 1);
        other.customer = "C-OTHER".to_owned();
        assert_eq!(ask(other).await, ErasureBegun::OtherRequest);
    }
}

#[tokio::test]
async fn j_09_a_call_to_erase_is_repeated_at_a_service_whose_first_link_key_is_another() {
    let old = "the link key number 000, of 32 bytes";
    let new = "the link key number 001, of 32 bytes";
    let database = TestDatabase::sqlite().await;
    known(&database.store).await;
    let request = v1::EraseCustomerRequest {
        name: format!("customers/{CODE}"),
        reason: "asked for by letter 16".to_owned(),
        actor: "wang".to_owned(),
        request_id: fresh_id("erase"),
        ..v1::EraseCustomerRequest::default()
    };
    let mut names = Vec::new();
    for keys in [format!("{old}\n{new}"), format!("{new}\n{old}")] {
        let key = LinkKey::read(&keys).unwrap();
        let replica = Replica::start_keyed(database.store.clone(), key).await;
        let mut client = CustomerServiceClient::connect(format!("http://{}", replica.address))
            .await
            .unwrap();
        let answer = client.erase_customer(request.clone()).await.unwrap();
        names.push(answer.into_inner().name);
    }
    assert_eq!(names[0], names[1]);
    let records = "SELECT COUNT(*) AS n FROM erasures";
    assert_eq!(database.number(records).await, 1);
}
