//! Personal data at rest on every database: a copy shows none, keys are changed beside running services, wrong keys are
//! refused.
#![cfg(test)]

use chrono::Duration;
use countersign_domain::{
    customer::{Customer, CustomerProfile},
    ids::{DeliveryId, OrderId, ReplyId},
    message::Recipient,
    order::Channel,
    reply::{Reply, ReplyContent, ReplyState},
};
use countersign_store::{
    DataKeys, DispatchFacts, ListQuery, MailboxContent, MailboxItem, Planned, PutOptions, Settings,
    Store, StoreError,
    testing::{TestDatabase, data_keys, recipient_hash, shop::Shop},
};
use rand::{SeedableRng, rngs::StdRng};

const MAIL: &str = "Canary.Mail@birds.example";
const PHONE: &str = "+8613912345678";
/// The shop's orders hold names and addresses with this word.
const WORDS: [&str; 4] = ["canary", "birds.example", "13912345678", "key under"];

fn plan(facts: &DispatchFacts<'_>) -> Vec<Planned> {
    let order = facts.order;
    let mail = order.terms.contact.email.as_ref().unwrap().as_str();
    vec![Planned {
        id: DeliveryId::new_v7(facts.now, &mut StdRng::from_os_rng()),
        channel: Channel::Email,
        recipient: Recipient::new(mail),
        recipient_hash: recipient_hash(mail),
        due_time: facts.now,
    }]
}

fn customer() -> Customer {
    Customer {
        code: "C-1".to_owned(),
        version: 0,
        credit_limit: None,
        credit_exposure_minor: 0,
        blocked: false,
        profile: CustomerProfile {
            display_name: "Canary Wei".to_owned(),
            ..CustomerProfile::default()
        },
    }
}

/// Orders, messages, a reply, a customer and the mailbox.
async fn fill(store: &Store, orders: u32) {
    let now = store.now().await.unwrap();
    let mut shop = Shop::new(store.clone());
    for _ in 0..orders {
        let order = shop.order(Some(MAIL), Some(PHONE)).await;
        shop.accept(order.id).await;
    }
    store.dispatch(2_000, now, plan).await.unwrap();
    let reply = Reply {
        id: ReplyId::new_v7(now, &mut StdRng::from_os_rng()),
        source: "SMS".to_owned(),
        source_event_id: "e-1".to_owned(),
        order_id: None,
        content: ReplyContent::Text {
            from: Recipient::new(PHONE),
            text: "the key under the mat".to_owned(),
            in_reply_to: None,
        },
        state: ReplyState::Pending,
        due_time: now,
        attempts: 0,
        result: String::new(),
        receive_time: now,
    };
    store.insert_reply(&reply).await.unwrap();
    store
        .put_customers(&[customer()], PutOptions::default(), now)
        .await
        .unwrap();
    let delivery = store
        .list_deliveries(first_order(store).await)
        .await
        .unwrap();
    store
        .insert_mailbox_item(&MailboxItem {
            id: delivery[0].delivery.id.as_uuid(),
            order_id: delivery[0].delivery.order_id,
            channel: Channel::Sms,
            recipient: PHONE.to_owned(),
            content: MailboxContent::Sms {
                text: "Dear Canary".to_owned(),
            },
            create_time: now,
        })
        .await
        .unwrap();
}

async fn first_order(store: &Store) -> OrderId {
    let query = ListQuery {
        limit: 1,
        ..ListQuery::default()
    };
    store.list_orders(&query).await.unwrap().items[0].id
}

/// Reads everything back that [`fill`] wrote.
async fn read(store: &Store) {
    let now = store.now().await.unwrap();
    let query = ListQuery {
        limit: 500,
        ..ListQuery::default()
    };
    for order in store.list_orders(&query).await.unwrap().items {
        assert_eq!(order.terms.delivery.consignee, "Consignee Canary");
        let sent = store.list_deliveries(order.id).await.unwrap();
        assert!(sent.iter().all(|it| it.delivery.recipient.reveal() == MAIL));
        assert!(
            !store
                .list_order_events(order.id, 0, 10)
                .await
                .unwrap()
                .items
                .is_empty()
        );
        assert_eq!(store.list_rounds(order.id).await.unwrap().len(), 1);
        assert_eq!(store.list_delivery_notes(order.id).await.unwrap().len(), 1);
        assert!(store.find_service_pack(order.id).await.unwrap().is_some());
    }
    let found = store.find_customers(&["C-1"]).await.unwrap();
    assert_eq!(found["C-1"].profile.display_name, "Canary Wei");
    let mailbox = store.list_mailbox(None, 10).await.unwrap().items;
    assert_eq!(mailbox[0].recipient, PHONE);
    let replies = store
        .claim_replies(now, Duration::zero(), 10)
        .await
        .unwrap();
    assert!(matches!(&replies[0].content, ReplyContent::Text { text, .. } if text.contains("mat")));
}

async fn connect(database: &TestDatabase, keys: DataKeys) -> Store {
    Store::connect(&Settings::new(database.url.clone(), keys))
        .await
        .unwrap()
}

/// The keys of every test with others before and without some.
fn keys(lookup: u8, numbered: &[(u16, u8)]) -> DataKeys {
    let numbered: Vec<_> = numbered
        .iter()
        .map(|(number, byte)| (*number, [*byte; 32]))
        .collect();
    DataKeys::new(&[lookup; 32], &numbered).unwrap()
}

#[tokio::test]
async fn j_07_a_copy_of_the_database_shows_no_personal_data() {
    for database in TestDatabase::all().await {
        fill(&database.store, 3).await;
        read(&database.store).await;
        assert_eq!(database.places_of(&WORDS).await, Vec::<String>::new());
        // The search finds what is there: an order's own number of its sender is no secret.
        assert!(!database.places_of(&["ref-1"]).await.is_empty());
        // A customer is still found by his address, however it is written.
        let hash = database.store.recipient_hash("canary.mail@BIRDS.example");
        let found = database.store.find_deliveries_to(&hash, 50).await.unwrap();
        assert!(!found.is_empty());
    }
}

#[tokio::test]
async fn a_value_that_was_moved_to_another_order_is_not_read() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        let one = shop.order(Some(MAIL), None).await;
        let other = shop.order(Some("b@birds.example"), None).await;
        let hex = other.id.as_uuid().simple();
        database
            .execute(&format!(
                "UPDATE orders SET terms = (SELECT t FROM (SELECT terms AS t FROM orders WHERE id = X'{hex}') AS o)"
            ))
            .await;
        assert!(store.find_order(other.id).await.unwrap().is_some());
        let error = store.find_order(one.id).await.unwrap_err();
        assert!(
            error.to_string().contains("was not sealed for this place"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn keys_are_changed_beside_services_that_write_and_old_ones_end() {
    for database in TestDatabase::all().await {
        let old = &database.store;
        old.prove_keys(old.now().await.unwrap()).await.unwrap();
        fill(old, 230).await;
        let now = old.now().await.unwrap();

        // First everybody learns to read the new key, then it writes.
        let reader = connect(&database, keys(11, &[(1, 12), (2, 22)])).await;
        reader.prove_keys(now).await.unwrap();
        let new = connect(&database, keys(11, &[(2, 22), (1, 12)])).await;
        new.prove_keys(now).await.unwrap();
        read(&new).await;

        let done = new.rekey(&|_| {}).await.unwrap();
        assert!(done.values > 230 * 10, "{done:?}");
        assert_eq!((done.left, done.done_with), (0, vec![1]));
        assert_eq!(new.rekey(&|_| {}).await.unwrap().values, 0);
        for count in new.count_sealed().await.unwrap() {
            assert!(count.by_key.keys().all(|number| *number == 2), "{count:?}");
        }
        read(&reader).await;

        // The old key has done its work.
        let last = connect(&database, keys(11, &[(2, 22)])).await;
        last.prove_keys(now).await.unwrap();
        read(&last).await;
        let refused = old.prove_keys(now).await.unwrap_err();
        assert!(
            refused.to_string().contains("key 2 is missing"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn what_a_late_service_writes_with_an_old_key_is_found_by_the_next_run() {
    for database in TestDatabase::all().await {
        let old = &database.store;
        let now = old.now().await.unwrap();
        old.prove_keys(now).await.unwrap();
        let mut shop = Shop::new(old.clone());
        shop.order(Some(MAIL), None).await;
        let new = connect(&database, keys(11, &[(2, 22), (1, 12)])).await;
        new.prove_keys(now).await.unwrap();
        let done = new.rekey(&|_| {}).await.unwrap();
        assert_eq!(done.done_with, [1]);
        shop.order(Some(MAIL), None).await;
        // Its key was forgotten; whoever has it still reads it, and the next run finds it.
        let counts = new.count_sealed().await.unwrap();
        assert!(counts.iter().any(|it| it.by_key.contains_key(&1)));
        let again = new.rekey(&|_| {}).await.unwrap();
        assert!(again.values > 0, "{again:?}");
    }
}

#[tokio::test]
async fn wrong_keys_are_refused_and_leave_nothing_behind() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        store.prove_keys(now).await.unwrap();
        store.prove_keys(now).await.unwrap();
        for (wrong, words) in [
            (keys(99, &[(1, 12)]), "lookup is another key"),
            (keys(11, &[(1, 99)]), "key 1 is another one"),
            (keys(11, &[(2, 12)]), "key 1 is missing"),
            (keys(11, &[(2, 22), (1, 99)]), "key 1 is another one"),
        ] {
            let error = connect(&database, wrong)
                .await
                .prove_keys(now)
                .await
                .unwrap_err();
            assert!(matches!(error, StoreError::Settings(_)), "{error:?}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let rows = database
            .number("SELECT COUNT(*) AS n FROM personal_data_keys")
            .await;
        assert_eq!(rows, 2);
        assert_eq!(data_keys().writing(), 1);
    }
}
