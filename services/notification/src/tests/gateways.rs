//! Gateways that fail, are held, or are slow: what happens to their messages and to everybody else's.

use countersign_domain::message::{AttemptOutcome, GatewayState};

use super::*;
use crate::testkit::Answer;

fn seconds(count: i64) -> chrono::Duration {
    chrono::Duration::seconds(count)
}

/// What came of the tries of the order's first message.
async fn attempts(stage: &Stage, order: OrderId) -> Vec<AttemptOutcome> {
    let all = stage.store().list_deliveries(order).await.unwrap();
    let first = all.first().map(|it| it.history.as_slice());
    first
        .unwrap_or_default()
        .iter()
        .map(|attempt| attempt.outcome)
        .collect()
}

#[tokio::test]
async fn d_15_a_gateway_that_refuses_us_is_held_for_all_replicas_and_no_try_is_lost() {
    for database in TestDatabase::all().await {
        let gateway = GatewayStub::start("whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg==").await;
        let mut stage = Stage::on(database, |config| with_gateway(config, &gateway)).await;
        let order = stage.shop.order(None, PHONE).await;
        eventually(async || {
            let all = stage.store().list_gateways().await.unwrap();
            let held = all.iter().find(|it| it.state == GatewayState::Held);
            held.map(|it| {
                assert_eq!(
                    (it.name.as_str(), it.changed_by.as_str()),
                    ("sms-gateway", "system")
                );
                assert!(it.reason.starts_with("AUTH_REFUSED"), "{}", it.reason);
                assert!(it.until_time.is_some());
            })
            .ok_or_else(|| format!("{all:?}"))
        })
        .await;
        eventually(async || {
            let found = attempts(&stage, order.id).await;
            (found == [AttemptOutcome::Config])
                .then_some(())
                .ok_or_else(|| format!("{found:?}"))
        })
        .await;
        // Letters go on; texts are not even claimed.
        let other = stage.shop.order(MAIL, None).await;
        let sent = [
            (1, Channel::Email, DeliveryState::Sent),
            (2, Channel::Email, DeliveryState::Sent),
        ];
        stage.until_states(other.id, &sent).await;
        assert_eq!(gateway.seen().len(), 1);
        assert_eq!(stage.states(order.id).await[0].2, DeliveryState::Ready);
        stage.end().await;
    }
}

#[tokio::test]
async fn staff_hold_a_gateway_and_release_it() {
    let gateway = GatewayStub::start(SECRET).await;
    let mut stage = Stage::new(|config| with_gateway(config, &gateway)).await;
    eventually(async || {
        let now = stage.store().now().await.unwrap();
        let held = stage
            .store()
            .hold_gateway("sms-gateway", "costs", None, "wang", now);
        held.await.unwrap().then_some(()).ok_or(String::new())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    let order = stage.shop.order(None, PHONE).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(gateway.seen().len(), 0);
    assert_eq!(stage.states(order.id).await[0].2, DeliveryState::Ready);
    let now = stage.store().now().await.unwrap();
    assert!(
        stage
            .store()
            .release_gateway("sms-gateway", "wang", now)
            .await
            .unwrap()
    );
    eventually(async || {
        let found = gateway.accepted().len();
        (found == 2).then_some(()).ok_or_else(|| format!("{found}"))
    })
    .await;
    stage.end().await;
}

#[tokio::test]
async fn d_22_a_gateway_that_is_down_is_left_alone_and_uses_up_no_tries() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = GatewayStub::start(SECRET).await;
    let mut stage = Stage::new(|config| {
        with_gateway(config, &gateway);
        config.sms.base_url = Some(format!("http://{closed}/v1"));
    })
    .await;
    let mut orders = Vec::new();
    for _ in 0..8 {
        orders.push(stage.shop.order(None, PHONE).await.id);
    }
    let count = async || {
        let mut count = 0;
        for order in &orders {
            count += attempts(&stage, *order).await.len();
        }
        count
    };
    eventually(async || {
        let found = count().await;
        (found >= 5).then_some(()).ok_or_else(|| format!("{found}"))
    })
    .await;
    // Those that were under way together may be more than the five that it takes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = count().await;
    assert!(before <= 8, "{before}");
    // By the schedule they would be due after five seconds.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(count().await, before);
    stage.end().await;
}

#[tokio::test]
async fn d_24_a_gateway_that_does_not_answer_takes_no_room_from_others() {
    let gateway = GatewayStub::start(SECRET).await;
    gateway.always(Answer::Stall);
    let mut stage = Stage::new(|config| {
        with_gateway(config, &gateway);
        config.notification.texts_at_once = 4;
        config.shutdown.grace_seconds = 3;
    })
    .await;
    for _ in 0..20 {
        stage.shop.order(None, PHONE).await;
    }
    eventually(async || {
        let found = gateway.seen().len();
        (found == 4).then_some(()).ok_or_else(|| format!("{found}"))
    })
    .await;
    let mut letters = Vec::new();
    for _ in 0..20 {
        letters.push(stage.shop.order(MAIL, None).await.id);
    }
    let sent = [
        (1, Channel::Email, DeliveryState::Sent),
        (2, Channel::Email, DeliveryState::Sent),
    ];
    for order in letters {
        stage.until_states(order, &sent).await;
    }
    assert_eq!(gateway.seen().len(), 4, "the account's own room is taken");
    stage.end().await;
}

#[tokio::test]
async fn l_02_what_is_unanswered_at_the_end_is_in_doubt_and_nobodys() {
    let gateway = GatewayStub::start(SECRET).await;
    gateway.always(Answer::Stall);
    let mut stage = Stage::new(|config| {
        with_gateway(config, &gateway);
        config.shutdown.grace_seconds = 3;
    })
    .await;
    let order = stage.shop.order(None, PHONE).await;
    eventually(async || {
        let found = gateway.seen().len();
        (found == 1).then_some(()).ok_or_else(|| format!("{found}"))
    })
    .await;
    stage.lifecycle.shutdown();
    let late = stage.shop.order(None, PHONE).await;
    let ended = stage.lifecycle.clone().run().await.unwrap();
    assert_eq!(ended, countersign_runtime::lifecycle::Ended::Clean);
    assert_eq!(attempts(&stage, order.id).await, [AttemptOutcome::InDoubt]);
    assert_eq!(stage.states(order.id).await[0].2, DeliveryState::Ready);
    assert!(
        stage
            .states(late.id)
            .await
            .iter()
            .all(|it| it.2 != DeliveryState::Leased)
    );
    assert_eq!(
        gateway.seen().len(),
        1,
        "nothing was begun after the signal"
    );
}

#[tokio::test]
async fn h_01_a_message_that_makes_the_renderer_panic_is_dead_after_three_tries() {
    let mut stage = Stage::new(|_| {}).await;
    let poison = stage.shop.order(Some(POISON), None).await;
    for tries in 1..=3 {
        eventually(async || {
            let found = attempts(&stage, poison.id).await;
            (found == vec![AttemptOutcome::NotSent; tries])
                .then_some(())
                .ok_or_else(|| format!("{found:?}"))
        })
        .await;
        if tries < 3 {
            stage.store().shift_clock(seconds(40));
        }
    }
    let dead = stage
        .store()
        .list_deliveries(poison.id)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(dead.delivery.state, DeliveryState::Dead);
    // H-04: class, code and history stay.
    assert!(
        dead.delivery.last_error.starts_with("POISON: "),
        "{}",
        dead.delivery.last_error
    );
    assert_eq!(dead.history.len(), 3);
    // The worker is still there.
    let order = stage.shop.order(MAIL, None).await;
    let sent = [
        (1, Channel::Email, DeliveryState::Sent),
        (2, Channel::Email, DeliveryState::Sent),
    ];
    stage.until_states(order.id, &sent).await;
    stage.end().await;
}

#[tokio::test]
async fn f_13_a_yes_from_a_number_with_two_open_orders_is_left_to_staff() {
    let gateway = GatewayStub::start(SECRET).await;
    let mut stage = Stage::new(|config| with_gateway(config, &gateway)).await;
    for _ in 0..2 {
        stage.shop.order(None, PHONE).await;
    }
    eventually(async || {
        let accepted = gateway.accepted().len();
        (accepted == 4)
            .then_some(())
            .ok_or_else(|| accepted.to_string())
    })
    .await;
    let now = stage.store().now().await.unwrap();
    let yes = json!({"type": "sms.received", "data": {
        "id": "in-1", "from": "+8613912345678", "to": "+8610", "text": "好的", "at": now.to_rfc3339()}});
    let reply = format!("http://{}/callbacks/sms/reply", stage.http);
    let code = gateway
        .send_callback(&reply, "cb-1", now.timestamp(), &yes)
        .await;
    assert_eq!(code, 204);
    let told = eventually(async || stage.orders.told().pop().ok_or(String::new())).await;
    assert_ne!(told.method, "AcceptConfirmation");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let all = stage.orders.told();
    assert!(
        all.iter().all(|call| call.method != "AcceptConfirmation"),
        "{all:?}"
    );
    stage.end().await;
}
