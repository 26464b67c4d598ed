//! An order's way from the shop to the customer's door.

use countersign_domain::number::OrderNumber;
use countersign_e2e::{
    CATALOG, EMAIL, PHONE, System, WAREHOUSE, cny, counters, fresh_id, kinds, minor,
    names_of_states, order_builder, refused, timestamp, violated_fields,
};
use countersign_proto::v1::{self, OrderState as S};
use countersign_store::testing::TestDatabase;
use tonic::Code;

fn tracking(
    parent: &str,
    event_id: &str,
    status: v1::TrackingStatus,
    report_time: chrono::DateTime<chrono::Utc>,
) -> v1::RecordTrackingEventRequest {
    v1::RecordTrackingEventRequest {
        parent: parent.to_owned(),
        request_id: fresh_id("track"),
        event: Some(v1::TrackingEvent {
            source: "carrier-one".to_owned(),
            source_event_id: event_id.to_owned(),
            status: status.into(),
            place: "Hongqiao hub".to_owned(),
            report_time: Some(timestamp(report_time)),
            tracking_number: "SF1234567890".to_owned(),
            ..v1::TrackingEvent::default()
        }),
    }
}

#[tokio::test]
async fn an_order_goes_from_the_shop_to_the_door_on_every_database() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        Box::pin(walk(&system)).await;
        system.stock_agrees_with_orders().await;
    }
}

async fn walk(system: &System) {
    let mut client = system.orders().await;
    let request = order_builder().request();
    let sent = request.order.clone().unwrap();
    let order = client.create_order(request).await.unwrap().into_inner();
    let name = order.name.clone();

    // Taken in, judged, goods promised, customer asked: all in one answer.
    assert_eq!(
        order.state(),
        S::AwaitingConfirmation,
        "{:?}",
        order.findings
    );
    assert_eq!(
        names_of_states(&order),
        ["ORDER_STATE_RECEIVED", "ORDER_STATE_AWAITING_CONFIRMATION"]
    );
    assert!(order.findings.is_empty(), "{:?}", order.findings);
    assert_eq!(order.policy_version, "ECOMMERCE@1");
    assert_eq!((order.revision, order.order_number.as_str()), (1, ""));
    assert_eq!(order.contact.as_ref().unwrap().phone, PHONE);
    assert_eq!(order.contact.as_ref().unwrap().email, EMAIL);
    assert_eq!(order.locale, "zh-CN");
    assert_eq!(order.time_zone, "Asia/Shanghai");
    assert_eq!(order.total, sent.total);
    assert_eq!(order.delivery.as_ref().unwrap().consignee, "Zhang Wei");
    assert_eq!(order.customer, format!("customers/{}", sent.customer));
    for (line, number) in order.lines.iter().zip(1..) {
        assert_eq!(line.line_number, number);
        assert_eq!(line.counters.unwrap().reserved, line.quantity);
        assert_eq!(line.warehouse, WAREHOUSE);
    }
    let priority = order.priority.clone().unwrap();
    let sum: i32 = priority.components.iter().map(|part| part.points).sum();
    assert!(!priority.components.is_empty());
    assert_eq!(priority.score, sum.clamp(0, 1000), "{priority:?}");
    assert!(
        priority
            .components
            .iter()
            .all(|part| !part.explanation.is_empty())
    );
    assert_eq!(
        system.order(&name).await,
        order,
        "what was answered is what is stored"
    );
    assert_eq!(system.stock("KETTLE-17").await, (CATALOG[0].on_hand, 2));

    let rounds = system.trace(&name).await.confirmations;
    assert_eq!(rounds.len(), 1);
    assert_eq!(rounds[0].state(), v1::ConfirmationState::Open);
    assert_eq!(rounds[0].mode(), v1::ConfirmationMode::Tacit);
    assert_eq!(rounds[0].channel_plan, ["EMAIL", "SMS"]);
    assert_eq!(rounds[0].revision, 1);
    let window = rounds[0].expire_time.unwrap().seconds - rounds[0].create_time.unwrap().seconds;
    assert_eq!(window, 86_400);

    let accepted = accept_with_amount(system, &mut client, &order).await;
    documents(system, &accepted).await;
    deliver(system, &mut client, &accepted).await;
}

/// The yes: a wrong amount first, then the right one, then once more.
async fn accept_with_amount(
    system: &System,
    client: &mut countersign_e2e::Orders,
    order: &v1::Order,
) -> v1::Order {
    let name = order.name.clone();
    let total = minor(order.total.as_ref().unwrap());
    let accept = |amount, request_id: &str| v1::AcceptConfirmationRequest {
        name: format!("{name}/confirmations/1"),
        request_id: request_id.to_owned(),
        answer_channel: v1::AnswerChannel::Link.into(),
        amount: Some(cny(amount)),
        answered_by: "customer".to_owned(),
        receive_time: None,
    };
    let status = refused(
        client.accept_confirmation(accept(total - 1, "wrong")).await,
        Code::InvalidArgument,
    );
    assert_eq!(violated_fields(&status), ["amount"]);

    let first_id = fresh_id("yes");
    let accepted = client
        .accept_confirmation(accept(total, &first_id))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(accepted.state(), S::Allocated);
    assert_eq!(
        names_of_states(&accepted),
        [
            "ORDER_STATE_RECEIVED",
            "ORDER_STATE_AWAITING_CONFIRMATION",
            "ORDER_STATE_CONFIRMED",
            "ORDER_STATE_ALLOCATED"
        ]
    );
    let agreement = accepted.price_agreement.clone().unwrap();
    assert_eq!(agreement.amount, order.total);
    assert_eq!(agreement.revision, 1);
    assert_eq!(agreement.agreed_by, "customer");
    assert_eq!(agreement.answer_channel(), v1::AnswerChannel::Link);
    assert!(accepted.confirm_time.is_some() && accepted.promised_delivery_time.is_some());
    assert_ne!(accepted.etag, order.etag);

    // The formal number finds the order.
    assert!(!accepted.order_number.is_empty());
    assert_eq!(system.order(&accepted.order_number).await, accepted);

    // The same answer again, by the same call or another, changes nothing.
    let replay = client
        .accept_confirmation(accept(total, &first_id))
        .await
        .unwrap();
    assert_eq!(
        replay.metadata().get("idempotent-replayed").unwrap(),
        "true"
    );
    assert_eq!(replay.into_inner(), accepted);
    let again = client
        .accept_confirmation(accept(total, &fresh_id("yes")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, accepted);
    accepted
}

async fn documents(system: &System, order: &v1::Order) {
    let name = &order.name;
    let trace = system.trace(name).await;
    assert_eq!(trace.order.as_ref(), Some(order));
    assert_eq!(trace.delivery_notes, [format!("{name}/deliveryNotes/1")]);
    assert_eq!(trace.service_pack, format!("{name}/servicePack"));
    assert_eq!(
        trace.confirmations[0].state(),
        v1::ConfirmationState::Accepted
    );
    assert_eq!(kinds(&trace.events), ["order.received", "order.confirmed"]);
    let id = countersign_domain::ids::OrderId::in_name(name).unwrap();
    let notes = system.store.list_delivery_notes(id).await.unwrap();
    assert_eq!(notes.len(), 1);
    let pack = system.store.find_service_pack(id).await.unwrap();
    assert!(pack.is_some());

    let mut client = system.orders().await;
    let events = client
        .list_order_events(v1::ListOrderEventsRequest {
            parent: name.clone(),
            page_size: 1,
            page_token: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kinds(&events.events), ["order.received"]);
    assert_eq!(events.events[0].decided_by, "ECOMMERCE@1");
    assert_eq!(events.events[0].actor, "shop");
    let rest = client
        .list_order_events(v1::ListOrderEventsRequest {
            parent: name.clone(),
            page_size: 10,
            page_token: events.next_page_token,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kinds(&rest.events), ["order.confirmed"]);
    assert_eq!(rest.next_page_token, "");
}

/// The carrier's reports, in no good order, then the end.
async fn deliver(system: &System, client: &mut countersign_e2e::Orders, order: &v1::Order) {
    let name = &order.name;
    let now = system.store.now().await.unwrap();
    let at = |seconds| now + chrono::Duration::seconds(seconds);
    let out = client
        .record_tracking_event(tracking(
            &order.order_number,
            "e-3",
            v1::TrackingStatus::OutForDelivery,
            at(30),
        ))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(out.anomalies, [""; 0]);
    let on_the_way = system.order(name).await;
    assert_eq!(on_the_way.state(), S::Dispatched);
    assert_eq!(counters(&on_the_way, 1).shipped, 2);
    assert_eq!(system.stock("KETTLE-17").await, (CATALOG[0].on_hand - 2, 0));

    // An older report that comes later changes nothing; the same report twice is one report.
    for _ in 0..2 {
        let late = client
            .record_tracking_event(tracking(name, "e-1", v1::TrackingStatus::PickedUp, at(10)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(late.source_event_id, "e-1");
    }
    assert_eq!(system.order(name).await.state(), S::Dispatched);
    client
        .record_tracking_event(tracking(name, "e-4", v1::TrackingStatus::Delivered, at(40)))
        .await
        .unwrap();
    let delivered = system.order(name).await;
    assert_eq!(delivered.state(), S::Delivered);
    assert_eq!(delivered.deliver_time, Some(timestamp(at(40))));
    let events = client
        .list_tracking_events(v1::ListTrackingEventsRequest {
            parent: name.clone(),
        })
        .await
        .unwrap()
        .into_inner()
        .events;
    let statuses: Vec<_> = events.iter().map(v1::TrackingEvent::status).collect();
    assert_eq!(
        statuses,
        [
            v1::TrackingStatus::PickedUp,
            v1::TrackingStatus::OutForDelivery,
            v1::TrackingStatus::Delivered
        ]
    );

    // For the agent on the phone.
    let lookup = |digits: &str| v1::LookupOrderStatusRequest {
        order_number: order.order_number.clone(),
        phone_last_digits: digits.to_owned(),
    };
    let found = client
        .lookup_order_status(lookup("5678"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.state(), S::Delivered);
    assert_eq!(found.tracking_status(), v1::TrackingStatus::Delivered);
    assert_eq!(found.place, "Hongqiao hub");
    let wrong_digits = refused(
        client.lookup_order_status(lookup("5679")).await,
        Code::NotFound,
    );
    let unused = OrderNumber::new(now, 9_999_999).unwrap();
    let wrong_number = refused(
        client
            .lookup_order_status(v1::LookupOrderStatusRequest {
                order_number: unused.to_string(),
                phone_last_digits: "5678".to_owned(),
            })
            .await,
        Code::NotFound,
    );
    assert_eq!(wrong_digits.message(), wrong_number.message());

    system.store.shift_clock(chrono::Duration::days(8));
    let done = system.until(name, S::Completed).await;
    assert!(
        done.allowed_actions
            .iter()
            .all(|action| !action.allowed && !action.reason.is_empty())
    );
    let trace = system.trace(name).await;
    let messages: Vec<&str> = trace
        .messages
        .iter()
        .map(|message| message.kind.as_str())
        .collect();
    assert!(messages.is_empty(), "no worker runs here: {messages:?}");
    // The customer is asked how it was about then, too.
    let told = kinds(&trace.events);
    assert!(told.contains(&"order.completed"), "{told:?}");
}
