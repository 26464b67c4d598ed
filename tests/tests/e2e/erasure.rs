//! A customer's data are erased everywhere; what is left can be read, and the audit chain is whole.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use countersign_domain::{
    chain::AnchorLine, ids::OrderId, message::DeliveryState, reply::ReplyContent,
    retention::Retained,
};
use countersign_e2e::{System, fresh_id, link_key, order_builder, reason, timestamp};
use countersign_notification::{
    ids::Ids,
    inbox::{Inbox, ReplyInput},
};
use countersign_proto::v1::{
    self, customer_service_client::CustomerServiceClient as Customers,
    notification_service_client::NotificationServiceClient as Notifications,
};
use countersign_store::{DatabaseKind, Store, testing::TestDatabase};
use tonic::{Code, Status, transport::Channel};

use crate::stand::Stand;

pub(crate) const CODE: &str = "CANARY-7391";
pub(crate) const NAME: &str = "Canaria Yellowbird";
const EMAIL: &str = "canary.7391@birds.example";
pub(crate) const PHONE: &str = "+8613973917391";
const STREET: &str = "Canary Wharf Lane 7391";
pub(crate) const WORDS: &str = "my canary does not want it";
/// Must be found nowhere afterwards.
const TRACES: [&str; 7] = [
    CODE,
    "Canaria",
    "canary.7391",
    "birds.example",
    "13973917391",
    "Canary Wharf",
    "my canary",
];

pub(crate) async fn customers(system: &System) -> Customers<Channel> {
    let address = system.replicas[0].address;
    Customers::connect(format!("http://{address}"))
        .await
        .unwrap()
}

/// Every value of every table that holds one of these texts, by table and column.
async fn found_in(database: &TestDatabase, texts: &[&str]) -> Vec<String> {
    let sqlite = database.store.kind() == DatabaseKind::Sqlite;
    let columns = if sqlite {
        "SELECT m.name || ' ' || c.name AS b FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
    } else {
        "SELECT CONCAT(table_name, ' ', column_name) AS b FROM information_schema.columns WHERE table_schema = DATABASE()"
    };
    let columns = database.all_bytes(columns).await;
    assert!(columns.len() > 200, "{} columns", columns.len());
    let mut found = Vec::new();
    for column in columns {
        let column = String::from_utf8(column).unwrap();
        let (table, name) = column.split_once(' ').unwrap();
        let (quote, binary) = if sqlite {
            ('"', "BLOB")
        } else {
            ('`', "BINARY")
        };
        let sql = format!(
            "SELECT CAST({quote}{name}{quote} AS {binary}) AS b FROM {quote}{table}{quote} WHERE {quote}{name}{quote} IS NOT NULL"
        );
        for value in database.all_bytes(&sql).await {
            let text = String::from_utf8_lossy(&value);
            for wanted in texts {
                if text.contains(wanted) {
                    found.push(format!("{table}.{name}: {wanted}"));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

pub(crate) fn request() -> v1::CreateOrderRequest {
    order_builder()
        .with(|order| {
            order.customer = format!("customers/{CODE}");
            let contact = order.contact.as_mut().unwrap();
            contact.display_name = NAME.to_owned();
            contact.email = EMAIL.to_owned();
            contact.phone = PHONE.to_owned();
            let delivery = order.delivery.as_mut().unwrap();
            delivery.consignee = NAME.to_owned();
            delivery.phone = PHONE.to_owned();
            delivery.wishes = WORDS.to_owned();
            delivery.address.as_mut().unwrap().address_lines = vec![STREET.to_owned()];
            order
                .annotations
                .insert("note".to_owned(), WORDS.to_owned());
            order.lines[0].customization = WORDS.to_owned();
        })
        .request()
}

/// One that the customer objects to and calls off, with words at every step.
async fn cancelled(system: &System) -> v1::Order {
    let mut client = system.orders().await;
    let order = client.create_order(request()).await.unwrap().into_inner();
    let no = v1::RejectConfirmationRequest {
        name: order.name.clone(),
        request_id: fresh_id("no"),
        objection: Some(v1::Objection {
            category: v1::ObjectionCategory::Address.into(),
            text: WORDS.to_owned(),
            line_numbers: Vec::new(),
        }),
        answered_by: "customer".to_owned(),
        ..v1::RejectConfirmationRequest::default()
    };
    client.reject_confirmation(no).await.unwrap();
    let contact = v1::CreateOrderContactRequest {
        parent: order.name.clone(),
        request_id: fresh_id("contact"),
        contact: Some(v1::OrderContact {
            direction: v1::ContactDirection::Inbound.into(),
            channel: "PHONE".to_owned(),
            agent: "mei".to_owned(),
            summary: WORDS.to_owned(),
            ..v1::OrderContact::default()
        }),
    };
    client.create_order_contact(contact).await.unwrap();
    client.cancel_order(cancel(&order.name)).await.unwrap();
    system.order(&order.name).await
}

/// An order is cancelled in the customer's own words.
pub(crate) fn cancel(name: &str) -> v1::CancelOrderRequest {
    v1::CancelOrderRequest {
        name: name.to_owned(),
        request_id: fresh_id("cancel"),
        reason: v1::CancelReason::Other.into(),
        reason_text: WORDS.to_owned(),
        initiator: v1::CancelInitiator::Customer.into(),
        ..v1::CancelOrderRequest::default()
    }
}

/// One that arrives, is spoken about, and completes.
async fn delivered(system: &System) -> v1::Order {
    let mut client = system.orders().await;
    let order = client.create_order(request()).await.unwrap().into_inner();
    // It looks like the first one, so staff are asked.
    let approve = v1::ApproveOrderRequest {
        name: order.name.clone(),
        request_id: fresh_id("approve"),
        reason: format!("{NAME} wants it twice"),
        ..v1::ApproveOrderRequest::default()
    };
    client.approve_order(approve).await.unwrap();
    system.accept(&order.name).await;
    let now = system.store.now().await.unwrap();
    let track = v1::RecordTrackingEventRequest {
        parent: order.name.clone(),
        request_id: fresh_id("track"),
        event: Some(v1::TrackingEvent {
            source: "carrier".to_owned(),
            source_event_id: fresh_id("event"),
            status: v1::TrackingStatus::Delivered.into(),
            report_time: Some(timestamp(now)),
            place: STREET.to_owned(),
            note: format!("handed to {NAME}"),
            ..v1::TrackingEvent::default()
        }),
    };
    client.record_tracking_event(track).await.unwrap();
    let address = system.replicas[0].address;
    let mut feedback =
        v1::feedback_service_client::FeedbackServiceClient::connect(format!("http://{address}"))
            .await
            .unwrap();
    let said = v1::RecordFeedbackRequest {
        parent: order.name.clone(),
        request_id: fresh_id("feedback"),
        feedback: Some(v1::Feedback {
            stars: 5,
            words: WORDS.to_owned(),
            source: v1::FeedbackSource::Page.into(),
            given_by: "customer".to_owned(),
            ..v1::Feedback::default()
        }),
        ..v1::RecordFeedbackRequest::default()
    };
    feedback.record_feedback(said).await.unwrap();
    system.order(&order.name).await
}

fn erase(id: &str) -> v1::EraseCustomerRequest {
    v1::EraseCustomerRequest {
        name: format!("customers/{CODE}"),
        request_id: id.to_owned(),
        validate_only: false,
        reason: "asked for by letter 12".to_owned(),
        actor: "wang".to_owned(),
    }
}

/// What came back in words, about an order and about none, and was settled.
async fn replies(system: &System, order: &v1::Order) {
    let inbox = Inbox::new(system.store.clone(), Arc::new(Ids::from_system()));
    let about = OrderId::in_name(&order.name).unwrap();
    for (at, of) in [Some(about), None].into_iter().enumerate() {
        let said = ReplyInput {
            source: "SMS_GATEWAY",
            source_event_id: format!("canary-{at}"),
            order: of,
            content: ReplyContent::Words {
                channel: "SMS".to_owned(),
                text: format!("{WORDS}, ring {PHONE}"),
            },
        };
        inbox.receive(said).await.unwrap();
    }
    let mut pending = 2;
    for _ in 0..300 {
        let sql = "SELECT COUNT(*) AS n FROM replies WHERE state = 'PENDING'";
        pending = system.database.number(sql).await;
        if pending == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(pending, 0, "the replies are settled");
}

/// Messages that were given up, of which staff have one sent once more; retention takes what stands behind it.
async fn dead_letters(stand: &Stand, order: &v1::Order) {
    let system = &stand.system;
    let id = OrderId::in_name(&order.name).unwrap();
    let hex = id.as_uuid().simple().to_string().to_uppercase();
    let own = format!("HEX(order_id) = '{hex}'");
    let unsent =
        format!("SELECT COUNT(*) AS n FROM deliveries WHERE seq = 1 AND state <> 'SENT' AND {own}");
    let mut waiting = 1;
    for _ in 0..300 {
        waiting = system.database.number(&unsent).await;
        if waiting == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(waiting, 0, "the first message is sent");
    let dead = format!(
        "UPDATE deliveries SET state = 'DEAD', last_error = 'MESSAGE_REFUSED: {WORDS}' \
         WHERE seq = 1 AND {own}"
    );
    system.database.execute(&dead).await;
    let all = system.store.list_deliveries(id).await.unwrap();
    let first = &all[0].delivery;
    assert_eq!((first.seq, first.state), (1, DeliveryState::Dead));
    let mut staff = Notifications::connect(format!("http://{}", stand.worker))
        .await
        .unwrap();
    let listed = staff
        .list_dead_letters(v1::ListDeadLettersRequest {
            page_size: 10,
            ..v1::ListDeadLettersRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(listed.get_ref().deliveries.len(), 1);
    let requeue = v1::RequeueDeliveryRequest {
        name: first.id.resource_name(),
        request_id: fresh_id("requeue"),
        actor: "wang".to_owned(),
        reason: format!("{NAME} says: {WORDS}"),
    };
    staff.requeue_delivery(requeue).await.unwrap();
}

/// The message goes for good, and what staff said about it stays behind.
async fn forget_messages(system: &System, order: &v1::Order) {
    let id = OrderId::in_name(&order.name).unwrap();
    let mut gone = 0;
    for _ in 0..600 {
        let all = system.store.list_deliveries(id).await.unwrap();
        if all.iter().all(|it| it.delivery.state.is_finished()) {
            let store = &system.store;
            gone = store
                .purge_of_orders(Retained::Deliveries, &[id], false)
                .await
                .unwrap();
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(gone > 0, "retention takes messages");
    let left = "SELECT COUNT(*) AS n FROM operator_acts a WHERE a.order_id IS NOT NULL \
                AND LENGTH(a.reason) > 0";
    assert_eq!(system.database.number(left).await, 1);
}

/// Asks until no message is under way any more.
async fn erased(client: &mut Customers<Channel>, request: v1::EraseCustomerRequest) -> v1::Erasure {
    for _ in 0..600 {
        match client.erase_customer(request.clone()).await {
            Ok(answer) if answer.get_ref().state == "DONE" => return answer.into_inner(),
            Ok(_) => {}
            Err(status) => assert_eq!(reason(&status), "MESSAGES_UNDER_WAY", "{status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the erasure does not come to its end");
}

pub(crate) async fn chain_is_whole(store: &Store) {
    while store.sequence_events().await.unwrap() > 0 {}
    let found = store.verify_chain(1, Vec::new(), &|_| {}).await.unwrap();
    assert_eq!(found.faults, [], "{:?}", store.kind());
    assert!(found.erased > 5, "{}", found.erased);
}

fn code_of(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

#[tokio::test]
async fn j_09_a_customer_is_erased_everywhere_and_the_chain_is_whole() {
    for database in TestDatabase::all().await {
        let folder = tempfile::tempdir().unwrap();
        let anchors = folder.path().join("anchors.jsonl");
        let file = anchors.clone();
        let stand = Stand::on(System::start(database).await, |config| {
            config.audit.anchor_file = Some(file);
            config.audit.anchor_interval_seconds = 1;
        })
        .await;
        let system = &stand.system;
        let mut client = customers(system).await;
        let record = v1::CreateCustomerRequest {
            customer_id: CODE.to_owned(),
            customer: Some(v1::Customer {
                display_name: NAME.to_owned(),
                email: EMAIL.to_owned(),
                phone: PHONE.to_owned(),
                delivery_notes: WORDS.to_owned(),
                ..v1::Customer::default()
            }),
            request_id: fresh_id("customer"),
        };
        client.create_customer(record.clone()).await.unwrap();
        let first = cancelled(system).await;
        let second = delivered(system).await;
        // Somebody else's order, which must stay as it is.
        let other = stand.order("en").await;

        // Not while an order is open: it is named.
        let refused = client.erase_customer(erase("early")).await.unwrap_err();
        assert_eq!(
            code_of(&refused),
            (Code::FailedPrecondition, "ORDERS_OPEN".to_owned())
        );
        assert!(refused.message().contains(&second.name), "{refused:?}");
        let nobody = v1::EraseCustomerRequest {
            name: "customers/NOBODY".to_owned(),
            ..erase("nobody")
        };
        let unknown = client.erase_customer(nobody).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        let bad = v1::EraseCustomerRequest {
            reason: String::new(),
            ..erase("bad")
        };
        let bad = client.erase_customer(bad).await.unwrap_err();
        assert_eq!(bad.code(), Code::InvalidArgument);

        replies(system, &second).await;
        dead_letters(&stand, &second).await;
        system.store.shift_clock(TimeDelta::days(40));
        system.until(&second.name, v1::OrderState::Completed).await;
        let before = format!("{:?}", system.trace(&first.name).await);
        assert!(before.contains(EMAIL) && before.contains(WORDS), "{before}");
        forget_messages(system, &second).await;
        let only = v1::EraseCustomerRequest {
            validate_only: true,
            ..erase("only")
        };
        if let Ok(possible) = client.erase_customer(only).await {
            assert_eq!(possible.into_inner(), v1::Erasure::default());
        }
        assert!(
            client
                .get_customer(v1::GetCustomerRequest {
                    name: format!("customers/{CODE}")
                })
                .await
                .is_ok()
        );

        let done = erased(&mut client, erase("letter-12")).await;
        assert_eq!(done.order_count, 2);
        for table in &done.tables {
            assert_eq!(table.left_count, 0, "{table:?}");
        }
        for table in [
            "orders",
            "order_events",
            "deliveries",
            "delivery_notes",
            "requests",
        ] {
            let looked = done.tables.iter().find(|it| it.table == table);
            assert!(looked.is_some_and(|it| it.looked_at_count > 0), "{table}");
        }
        // Until when backups hold it is told with it.
        let seconds = |time: Option<prost_types::Timestamp>| time.unwrap().seconds;
        assert_eq!(
            seconds(done.backups_expire_time) - seconds(done.finish_time),
            30 * 86_400
        );
        // The same call again is the same erasure, and looking once more finds nothing either.
        let again = client.erase_customer(erase("letter-12")).await.unwrap();
        assert_eq!(again.into_inner(), done);
        let verify = v1::VerifyErasureRequest {
            name: format!("customers/{CODE}"),
        };
        let looked = client.verify_erasure(verify).await.unwrap().into_inner();
        assert_eq!(looked.name, done.name);
        assert!(looked.tables.iter().all(|table| table.left_count == 0));

        // The proof: nothing in any column of any table.
        let left = found_in(&system.database, &TRACES).await;
        assert_eq!(left, [] as [String; 0], "{:?}", system.store.kind());
        chain_is_whole(&system.store).await;

        // What is left can be read everywhere.
        for name in [&first.name, &second.name] {
            let order = system.order(name).await;
            assert!(order.erase_time.is_some());
            assert_eq!(order.contact.unwrap().display_name, "erased");
            assert_eq!(order.lines.len(), first.lines.len());
            let trace = system.trace(name).await;
            assert_eq!(trace.events.last().unwrap().kind, "order.erased");
            let order = system.order(name).await;
            let page = reqwest_status(&stand.link(&order)).await;
            assert_eq!(page, 404);
            let cancel = v1::CancelOrderRequest {
                name: name.clone(),
                request_id: fresh_id("cancel"),
                reason: v1::CancelReason::Other.into(),
                reason_text: WORDS.to_owned(),
                initiator: v1::CancelInitiator::Customer.into(),
                ..v1::CancelOrderRequest::default()
            };
            let refused = system.orders().await.cancel_order(cancel).await;
            assert_eq!(reason(&refused.unwrap_err()), "ORDER_ERASED");
        }
        assert!(system.all_orders().await.len() >= 3);
        let untouched = system.order(&other.name).await;
        assert_eq!(untouched.contact, other.contact);
        // A remembered call is not carried out once more.
        let replayed = client.create_customer(record).await.unwrap_err();
        assert_eq!(reason(&replayed), "IDEMPOTENCY_KEY_REUSED");

        // The list of erasures is told outside, without saying who it was.
        let wanted = link_key().customer_hash(CODE);
        let mut told = String::new();
        for _ in 0..300 {
            told = std::fs::read_to_string(&anchors).unwrap_or_default();
            let lines = AnchorLine::read_all(&told).unwrap();
            if lines.iter().any(|line| line.as_erased() == Some(wanted)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let lines = AnchorLine::read_all(&told).unwrap();
        assert!(lines.iter().any(|line| line.as_erased() == Some(wanted)));
        assert!(!told.contains(CODE));
        let anchors = lines.iter().filter_map(AnchorLine::as_anchor).collect();
        let found = system.store.verify_chain(1, anchors, &|_| {}).await;
        assert_eq!(found.unwrap().faults, []);
    }
}

async fn reqwest_status(url: &str) -> u16 {
    reqwest::get(url).await.unwrap().status().as_u16()
}
