//! All that is wrong with an order is named at once.

use countersign_e2e::{System, cny, order_builder, reason, refused, violated_fields, violations};
use countersign_proto::{common::Money, v1};
use tonic::Code;

#[tokio::test]
async fn twelve_wrong_fields_are_named_at_once_and_nothing_is_stored() {
    let system = System::sqlite().await;
    let request = order_builder()
        .with(|order| {
            order.client_reference = String::new();
            order.source_channel = "w".repeat(33);
            order.customer = " C-1".to_owned();
            order.locale = "not a locale".to_owned();
            order.time_zone = "Mars/Olympus".to_owned();
            order.payment_method = 0;
            order.freight = Some(Money {
                currency_code: "USD".to_owned(),
                units: 1,
                nanos: 0,
            });
            let contact = order.contact.as_mut().unwrap();
            contact.email = "nobody at example".to_owned();
            contact.phone = "12".to_owned();
            order.lines[0].quantity = 0;
            order.lines[1].sku = "two\nlines".to_owned();
            order.lines[1].unit_price = Some(cny(-1));
        })
        .total(cny(10_000))
        .request();
    let request_id = request.request_id.clone();
    let mut client = system.orders().await;
    let status = refused(client.create_order(request).await, Code::InvalidArgument);
    assert_eq!(reason(&status), "INVALID_FIELDS");
    let mut expected = [
        "order.client_reference",
        "order.contact.email",
        "order.contact.phone",
        "order.customer",
        "order.freight",
        "order.lines[0].quantity",
        "order.lines[1].sku",
        "order.lines[1].unit_price",
        "order.locale",
        "order.payment_method",
        "order.source_channel",
        "order.time_zone",
    ];
    expected.sort_unstable();
    assert_eq!(violated_fields(&status), expected);
    assert!(
        violations(&status)
            .iter()
            .all(|(_, description)| !description.is_empty())
    );

    assert_eq!(system.all_orders().await, []);
    for table in [
        "orders",
        "order_lines",
        "order_events",
        "outbox",
        "requests",
        "timers",
    ] {
        let rows = system
            .database
            .number(&format!("SELECT COUNT(*) AS n FROM {table}"))
            .await;
        assert_eq!(rows, 0, "{table}");
    }
    // The id of a refused call is free.
    client
        .create_order(v1::CreateOrderRequest {
            request_id,
            ..order_builder().request()
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn an_order_without_anything_names_what_it_lacks() {
    let system = System::sqlite().await;
    let status = refused(
        system
            .orders()
            .await
            .create_order(v1::CreateOrderRequest::default())
            .await,
        Code::InvalidArgument,
    );
    let fields = violated_fields(&status);
    assert!(fields.contains(&"request_id".to_owned()), "{fields:?}");
    assert!(
        fields.iter().any(|field| field.starts_with("order")),
        "{fields:?}"
    );
}

#[tokio::test]
async fn a_look_at_what_would_happen_stores_nothing() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let mut request = order_builder().request();
    request.validate_only = true;
    let preview = client
        .create_order(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(preview.state(), v1::OrderState::AwaitingConfirmation);
    assert_eq!(system.stock("KETTLE-17").await.1, 0);
    assert_eq!(system.all_orders().await, []);
    request.validate_only = false;
    client.create_order(request).await.unwrap();
    assert_eq!(system.all_orders().await.len(), 1);
}
