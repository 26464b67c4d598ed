//! Numbers pumped by text messages (RELIABILITY J-04): what goes out, and what becomes of the rest.

use countersign_proto::v1;
use countersign_runtime::config::{CallerLimits, Sending};

use super::*;

fn guarded(config: &mut Config, gateway: &GatewayStub, sending: Sending) {
    with_gateway(config, gateway);
    config.sending = sending;
}

/// Looks until nothing more is about to be sent: all of these stand otherwise than ready or waiting for less than a minute.
async fn settled(stage: &Stage, orders: &[OrderId]) {
    eventually(async || {
        let now = stage.store().now().await.unwrap();
        for order in orders {
            let all = stage.store().list_deliveries(*order).await.unwrap();
            let texts = all.iter().filter(|it| it.delivery.channel == Channel::Sms);
            if texts.count() < 2 {
                return Err(format!("{order} has not been dispatched"));
            }
            let open = all.iter().map(|it| &it.delivery).find(|it| {
                it.channel == Channel::Sms
                    && (it.state == DeliveryState::Leased
                        || it.state == DeliveryState::Ready
                            && it.due_time < now + chrono::Duration::minutes(1))
            });
            if let Some(open) = open {
                return Err(format!("{} of {order} is {}", open.id, open.state));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn j_04_one_number_gets_three_texts_in_ten_minutes_whoever_asks_for_more() {
    for database in TestDatabase::all().await {
        let gateway = GatewayStub::start(SECRET).await;
        let mut stage = Stage::on(database, |config| {
            guarded(config, &gateway, Sending::default());
        })
        .await;
        let mut orders = Vec::new();
        for _ in 0..12 {
            orders.push(stage.shop.order(None, PHONE).await.id);
        }
        settled(&stage, &orders).await;
        assert_eq!(gateway.accepted().len(), 3);
        // The others wait, no try is used up, and nothing is lost.
        let waiting = stage
            .database
            .number(
                "SELECT COUNT(*) AS n FROM deliveries WHERE channel = 'SMS' AND state = 'READY' AND attempts = 0",
            )
            .await;
        assert!(waiting >= 9, "{waiting}");
        stage.end().await;
    }
}

#[tokio::test]
async fn j_04_what_is_too_much_for_a_range_goes_by_the_next_channel_or_before_staff() {
    for database in TestDatabase::all().await {
        let gateway = GatewayStub::start(SECRET).await;
        let mut stage = Stage::on(database, |config| {
            let sending = Sending {
                prefix_per_10_minutes: 6,
                ..Sending::default()
            };
            guarded(config, &gateway, sending);
        })
        .await;
        let mut orders = Vec::new();
        for last in 0..12 {
            let number = format!("+86139123400{last:02}");
            orders.push(stage.shop.order(None, Some(&number)).await.id);
        }
        settled(&stage, &orders).await;
        assert_eq!(gateway.accepted().len(), 6);
        let refused = stage
            .database
            .number(
                "SELECT COUNT(*) AS n FROM deliveries WHERE channel = 'SMS' AND state = 'DEAD' AND last_error LIKE 'PREFIX_LIMIT:%'",
            )
            .await;
        assert_eq!(refused, 18, "two texts of each order, but for six");
        // Staff see them, with the reason.
        let mut client = NotificationServiceClient::connect(format!("http://{}", stage.grpc))
            .await
            .unwrap();
        let asked = v1::ListDeadLettersRequest {
            states: vec!["DEAD".to_owned()],
            channels: vec!["SMS".to_owned()],
            page_size: 100,
            ..v1::ListDeadLettersRequest::default()
        };
        let listed = client.list_dead_letters(asked).await.unwrap().into_inner();
        assert_eq!(listed.deliveries.len(), 18);
        let told = &listed.deliveries[0].last_error;
        assert!(
            told.contains("too many messages to numbers that begin alike"),
            "{told}"
        );
        // Those who were to be asked by text are rung up at once.
        let asked_by_phone = async || {
            let rung = stage
                .database
                .number(
                    "SELECT COUNT(*) AS n FROM deliveries WHERE channel = 'PHONE' AND state = 'SENT'",
                )
                .await;
            (rung >= 6).then_some(()).ok_or_else(|| format!("{rung}"))
        };
        eventually(asked_by_phone).await;
        stage.end().await;
    }
}

#[tokio::test]
async fn j_04_countries_that_are_not_served_and_money_that_is_spent_end_it() {
    let gateway = GatewayStub::start(SECRET).await;
    let mut stage = Stage::new(|config| {
        let mut sending = Sending::default();
        sending.sms.countries = vec!["CN".to_owned()];
        sending.sms.prices_minor.insert("CN".to_owned(), 5);
        guarded(config, &gateway, sending);
        config.limits.default = CallerLimits {
            spend_per_day_minor: 22,
            ..CallerLimits::default()
        };
    })
    .await;
    let abroad = stage.shop.order(None, Some("+447911123456")).await.id;
    settled(&stage, &[abroad]).await;
    assert_eq!(gateway.accepted().len(), 0);
    let store = stage.store().clone();
    let reasons = async |order: OrderId| {
        let all = store.list_deliveries(order).await.unwrap();
        let errors = all.iter().map(|it| it.delivery.last_error.clone());
        errors.filter(|it| !it.is_empty()).collect::<Vec<_>>()
    };
    assert!(reasons(abroad).await[0].starts_with("COUNTRY_NOT_ALLOWED"));
    let mut orders = Vec::new();
    for last in 0..6 {
        let number = format!("+86139{last}2345678");
        orders.push(stage.shop.order(None, Some(&number)).await.id);
    }
    settled(&stage, &orders).await;
    // Four at five make twenty; a fifth would be too much.
    assert_eq!(gateway.accepted().len(), 4);
    let mut refused = 0;
    for order in orders {
        let found = reasons(order).await;
        refused += found
            .iter()
            .filter(|it| it.starts_with("CALLER_SPEND"))
            .count();
    }
    assert_eq!(refused, 8);
    stage.end().await;
}

#[tokio::test]
async fn j_04_the_switch_stops_a_channel_within_five_seconds_and_nothing_is_lost() {
    let gateway = GatewayStub::start(SECRET).await;
    let mut stage = Stage::new(|config| {
        guarded(config, &gateway, Sending::default());
    })
    .await;
    let mut client = NotificationServiceClient::connect(format!("http://{}", stage.grpc))
        .await
        .unwrap();
    let hold = v1::HoldGatewayRequest {
        name: "gateways/every-sms".to_owned(),
        request_id: "stop-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "pumped".to_owned(),
        until_time: None,
    };
    // The accounts are made known when the worker has begun.
    eventually(async || {
        let mut client = client.clone();
        let answer = client.hold_gateway(hold.clone()).await;
        answer.map(|_| ()).map_err(|status| status.to_string())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let order = stage.shop.order(None, PHONE).await;
    let letter = stage.shop.order(MAIL, None).await;
    // Letters go on.
    let sent = [
        (1, Channel::Email, DeliveryState::Sent),
        (2, Channel::Email, DeliveryState::Sent),
    ];
    stage.until_states(letter.id, &sent).await;
    assert_eq!(gateway.seen().len(), 0);
    assert_eq!(stage.states(order.id).await[0].2, DeliveryState::Ready);
    let release = v1::ReleaseGatewayRequest {
        name: "gateways/every-sms".to_owned(),
        request_id: "resume-1".to_owned(),
        actor: "wang".to_owned(),
        reason: "over".to_owned(),
    };
    client.release_gateway(release).await.unwrap();
    eventually(async || {
        let found = gateway.accepted().len();
        (found == 2).then_some(()).ok_or_else(|| format!("{found}"))
    })
    .await;
    stage.end().await;
}
