//! Papers of the formal order, and goods on their way out of the warehouse.

use countersign_domain::customer::{Customer, CustomerProfile};
use countersign_e2e::{
    System, counters, fresh_id, order_builder, reason, refused, violated_fields,
};
use countersign_proto::v1::{
    self, OrderState as S, ProgressStage as P, fulfillment_service_client::FulfillmentServiceClient,
};
use tonic::{Code, transport::Channel};

type Fulfillment = FulfillmentServiceClient<Channel>;

async fn fulfillment(system: &System) -> Fulfillment {
    let address = system.replicas[0].address;
    Fulfillment::connect(format!("http://{address}"))
        .await
        .unwrap()
}

async fn confirmed(system: &System, order: v1::CreateOrderRequest) -> v1::Order {
    let mut orders = system.orders().await;
    let placed = orders.create_order(order).await.unwrap().into_inner();
    assert_eq!(placed.state(), S::AwaitingConfirmation, "{placed:?}");
    orders
        .accept_confirmation(v1::AcceptConfirmationRequest {
            name: placed.name,
            request_id: fresh_id("yes"),
            ..v1::AcceptConfirmationRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
}

fn progress(order: &v1::Order, stage: P) -> v1::RecordOrderProgressRequest {
    v1::RecordOrderProgressRequest {
        name: order.name.clone(),
        request_id: fresh_id("progress"),
        stage: stage.into(),
        ..v1::RecordOrderProgressRequest::default()
    }
}

#[tokio::test]
async fn a_confirmed_order_has_a_note_to_read_and_to_print_in_two_languages() {
    let system = System::sqlite().await;
    let mut client = fulfillment(&system).await;
    let order = order_builder()
        .with(|order| {
            order.lines[0].goods_name = "Kettle <script>alert(1)</script>".to_owned();
            order.lines[0].accessories = vec!["lid".to_owned()];
            order.locale = "zh-CN".to_owned();
        })
        .request();
    let order = confirmed(&system, order).await;

    let name = format!("{}/deliveryNotes/-", order.name);
    let note = client
        .get_delivery_note(v1::GetDeliveryNoteRequest { name: name.clone() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(note.name, format!("{}/deliveryNotes/1", order.name));
    assert_eq!(note.order_number, order.order_number);
    assert_eq!(note.consignee, "Zhang Wei");
    assert_eq!(note.phone, countersign_e2e::PHONE);
    assert_eq!((note.lines.len(), note.lines[0].quantity), (2, 2));
    assert_eq!(note.lines[0].accessories, ["lid"]);
    assert_eq!(note.collect.as_ref().unwrap().units, 0);
    assert!(!note.superseded);

    let by_number = format!("orders/{}", order.order_number);
    let listed = client
        .list_delivery_notes(v1::ListDeliveryNotesRequest { parent: by_number })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.delivery_notes, [note]);

    for (locale, lang, title) in [
        ("", "zh-CN", "送货单"),
        ("zh-Hant-TW", "zh-CN", "送货单"),
        ("en-GB", "en", "Delivery note"),
    ] {
        let html = client
            .render_delivery_note(v1::RenderDeliveryNoteRequest {
                name: name.clone(),
                locale: locale.to_owned(),
            })
            .await
            .unwrap()
            .into_inner()
            .html;
        assert!(html.contains(&format!("<html lang=\"{lang}\">")), "{html}");
        assert!(html.contains(title), "{html}");
        assert!(html.contains(&order.order_number), "{html}");
        assert!(html.contains("Tea &amp; Kettles"), "{html}");
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("Kettle &lt;script&gt;alert(1)"), "{html}");
    }

    let missing = client
        .get_delivery_note(v1::GetDeliveryNoteRequest {
            name: format!("{}/deliveryNotes/2", order.name),
        })
        .await;
    assert_eq!(refused(missing, Code::NotFound).code(), Code::NotFound);
}

#[tokio::test]
async fn after_sales_gets_terms_warranties_and_where_returns_go() {
    let system = System::sqlite().await;
    let order = confirmed(&system, order_builder().request()).await;
    let pack = fulfillment(&system)
        .await
        .get_service_pack(v1::GetServicePackRequest {
            name: format!("{}/servicePack", order.name),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(pack.order_number, order.order_number);
    assert_eq!(pack.terms.len(), 2);
    assert_eq!(pack.warranties.len(), 1);
    assert_eq!(pack.warranties[0].months, 24);
    assert_eq!(pack.return_days, 7);
    assert!(pack.return_instructions.contains(&order.order_number));
    assert_eq!(pack.return_address, "Returns, 1 Dock Road, Shanghai");
    assert_eq!(
        pack.contacts,
        ["Tea & Kettles", "+862160000000", "help@shop.example"]
    );
}

#[tokio::test]
async fn goods_go_from_the_shelf_to_the_customer_and_leave_the_stock() {
    let system = System::sqlite().await;
    let mut client = fulfillment(&system).await;
    let order = confirmed(&system, order_builder().request()).await;
    assert_eq!(order.state(), S::Allocated);
    let (on_hand, reserved) = system.stock("KETTLE-17").await;
    assert_eq!((on_hand, reserved), (10_000, 2));

    let mut some = progress(&order, P::Picked);
    some.units = vec![v1::ProgressUnits {
        line_number: 1,
        quantity: 1,
    }];
    let picking = client
        .record_order_progress(some.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(picking.state(), S::Picking);
    let again = client.record_order_progress(some).await.unwrap();
    assert!(again.metadata().get("idempotent-replayed").is_some());
    assert_eq!(counters(again.get_ref(), 1).picked, 1);

    for (stage, state) in [
        (P::Picked, S::Picking),
        (P::Packed, S::Packed),
        (P::Shipped, S::Dispatched),
        (P::Delivered, S::Delivered),
    ] {
        let after = client
            .record_order_progress(progress(&order, stage))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(after.state(), state, "{stage:?}");
    }
    assert_eq!(system.stock("KETTLE-17").await, (9_998, 0));
    assert_eq!(system.stock("CUP-4").await, (9_999, 0));
    system.stock_agrees_with_orders().await;

    let returned = client
        .record_order_progress(progress(&order, P::Returned))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(counters(&returned, 1).returned, 2);
    let nothing_left = client
        .record_order_progress(progress(&order, P::Returned))
        .await;
    let status = refused(nothing_left, Code::FailedPrecondition);
    assert_eq!(reason(&status), "PRECONDITION");
}

#[tokio::test]
async fn a_progress_report_that_cannot_be_is_refused() {
    let system = System::sqlite().await;
    let mut client = fulfillment(&system).await;
    let order = confirmed(&system, order_builder().request()).await;

    let no_stage = client
        .record_order_progress(progress(&order, P::Unspecified))
        .await;
    let status = refused(no_stage, Code::InvalidArgument);
    assert_eq!(violated_fields(&status), ["stage"]);

    let mut too_many = progress(&order, P::Picked);
    too_many.units = vec![v1::ProgressUnits {
        line_number: 1,
        quantity: 3,
    }];
    let status = refused(
        client.record_order_progress(too_many).await,
        Code::InvalidArgument,
    );
    assert_eq!(violated_fields(&status), ["units[0]"]);

    let mut outdated = progress(&order, P::Picked);
    outdated.etag = "\"1\"".to_owned();
    let status = refused(client.record_order_progress(outdated).await, Code::Aborted);
    assert_eq!(reason(&status), "ETAG_MISMATCH");
}

#[tokio::test]
async fn a_wholesale_order_gets_its_goods_when_allocation_is_asked_for() {
    let system = System::sqlite().await;
    let mut client = fulfillment(&system).await;
    let customer = Customer {
        code: fresh_id("W"),
        version: 1,
        credit_limit: None,
        credit_exposure_minor: 0,
        blocked: false,
        profile: CustomerProfile::default(),
    };
    let now = system.store.now().await.unwrap();
    system
        .store
        .put_customer(&customer, None, now)
        .await
        .unwrap();
    let wholesale = order_builder()
        .with(|order| {
            order.order_type = "WHOLESALE".to_owned();
            order.customer.clone_from(&customer.code);
        })
        .request();
    let order = confirmed(&system, wholesale).await;
    assert_eq!(order.state(), S::Confirmed);

    let request = v1::AllocateOrderRequest {
        name: order.name.clone(),
        request_id: fresh_id("allocate"),
        etag: order.etag.clone(),
    };
    let allocated = client.allocate_order(request).await.unwrap().into_inner();
    assert_eq!(allocated.state(), S::Allocated);
    assert_eq!(counters(&allocated, 1).reserved, 2);
    assert_eq!(system.stock("KETTLE-17").await, (10_000, 2));
}
