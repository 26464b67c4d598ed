//! Gateways that fail, are held, or are slow: what happens to their messages and to everybody else's.

use countersign_domain::message::{AttemptOutcome, GatewayState};

use super::*;
use crate::testkit::{Act, Answer, Figures, MailSink, Stage as At};

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

fn with_two_gateways(config: &mut Config, first: &GatewayStub, second: &GatewayStub) {
    with_gateway(config, first);
    config.sms.fallback = Some(Box::new(countersign_runtime::config::Gateway {
        transport: GatewayTransport::Gateway,
        base_url: Some(second.base()),
        secret: Some(SecretString::from(OTHER_SECRET)),
        ..countersign_runtime::config::Gateway::default()
    }));
}

const OTHER_SECRET: &str = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg==";

/// The first message of an order: how it stands, and through which accounts it was tried.
async fn tries_of_first(stage: &Stage, order: OrderId) -> (DeliveryState, Vec<String>) {
    let all = stage.store().list_deliveries(order).await.unwrap();
    let Some(first) = all.first() else {
        return (DeliveryState::Waiting, Vec::new());
    };
    let through = first.history.iter().map(|it| it.gateway.clone()).collect();
    (first.delivery.state, through)
}

#[tokio::test]
async fn d_22_m_10_while_one_account_is_down_its_channel_goes_by_the_other_and_each_message_once() {
    for database in TestDatabase::all().await {
        let (first, second) = (
            GatewayStub::start(SECRET).await,
            GatewayStub::start(OTHER_SECRET).await,
        );
        // Nobody listens there any more.
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let mut stage = Stage::on(database, |config| {
            with_two_gateways(config, &first, &second);
            config.sms.base_url = Some(format!("http://{closed}/v1"));
        })
        .await;
        let mut orders = Vec::new();
        for _ in 0..8 {
            orders.push(stage.shop.order(None, PHONE).await.id);
        }
        // What was not sent through the first is due again after some seconds.
        let mut done = 0;
        for _ in 0..20 {
            stage.store().shift_clock(seconds(10));
            tokio::time::sleep(Duration::from_millis(500)).await;
            done = 0;
            for order in &orders {
                let (how, _) = tries_of_first(&stage, *order).await;
                done += usize::from(how == DeliveryState::Sent);
            }
            if done == orders.len() {
                break;
            }
        }
        let first_one = stage.store().list_deliveries(orders[0]).await.unwrap();
        assert_eq!(
            done,
            orders.len(),
            "all go by the second account: {:?} {} seen",
            first_one.first(),
            second.seen().len()
        );
        let mut keys: Vec<String> = second.accepted().into_iter().map(|it| it.key).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "each message once");
        let mut both = 0;
        for order in &orders {
            let (_, through) = tries_of_first(&stage, *order).await;
            assert_eq!(
                through.last().map(String::as_str),
                Some("sms-gateway-fallback")
            );
            both += usize::from(through.iter().any(|it| it == "sms-gateway"));
        }
        assert!(both > 0, "some had been tried by the first");
        assert!(first.seen().is_empty());
        stage.end().await;
    }
}

#[tokio::test]
async fn d_22_a_message_in_doubt_goes_by_no_other_account_before_the_first_has_been_asked() {
    let (first, second) = (
        GatewayStub::start(SECRET).await,
        GatewayStub::start(OTHER_SECRET).await,
    );
    // The first message is accepted without an answer; then it answers nothing but nonsense.
    first.once(Answer::AcceptAndDrop);
    first.always(Answer::Status(500, String::new(), String::new()));
    let mut stage = Stage::new(|config| with_two_gateways(config, &first, &second)).await;
    let doubtful = stage.shop.order(None, PHONE).await.id;
    eventually(async || {
        let found = attempts(&stage, doubtful).await;
        (found == [AttemptOutcome::InDoubt])
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    })
    .await;
    let key = first.accepted()[0].key.clone();
    // The first account is left alone from now on; everything new goes by the second.
    let now = stage.store().now().await.unwrap();
    let store = stage.store();
    let held = store
        .hold_gateway("sms-gateway", "down", None, "wang", now)
        .await;
    assert!(held.unwrap());
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let fresh = stage.shop.order(None, PHONE).await.id;
    eventually(async || {
        let (how, through) = tries_of_first(&stage, fresh).await;
        (how == DeliveryState::Sent && through == ["sms-gateway-fallback"])
            .then_some(())
            .ok_or_else(|| format!("{how} {through:?}"))
    })
    .await;
    stage.store().shift_clock(seconds(70));
    eventually(async || {
        let asked = first.seen().iter().any(|it| it.method == "GET");
        asked.then_some(()).ok_or_else(String::new)
    })
    .await;
    assert!(second.accepted().iter().all(|it| it.key != key));
    // Once it tells what it has, the message is known to be sent.
    first.behave();
    for _ in 0..20 {
        stage.store().shift_clock(seconds(70));
        tokio::time::sleep(Duration::from_millis(300)).await;
        if tries_of_first(&stage, doubtful).await.0 == DeliveryState::Sent {
            break;
        }
    }
    let (how, through) = tries_of_first(&stage, doubtful).await;
    assert_eq!(how, DeliveryState::Sent);
    assert_eq!(through, ["sms-gateway"]);
    assert!(second.accepted().iter().all(|it| it.key != key));
    stage.end().await;
}

#[tokio::test]
async fn d_21_a_gateway_that_knows_a_message_by_our_key_is_believed_though_its_id_is_anothers() {
    let figures = Figures::start();
    let gateway = GatewayStub::start(SECRET).await;
    let mut stage = Stage::new(|config| with_gateway(config, &gateway)).await;
    stage.shop.order(None, PHONE).await;
    eventually(async || {
        let found = gateway.accepted().len();
        (found == 2).then_some(()).ok_or_else(|| found.to_string())
    })
    .await;
    let taken = gateway.accepted()[0].id.clone();
    // It takes the next message without an answer, and then tells of it under the id of the first.
    gateway.once(Answer::AcceptAndDrop);
    let told = format!(r#"{{"id":"{taken}","status":"sent"}}"#);
    gateway.once(Answer::Status(200, String::new(), told));
    let doubtful = stage.shop.order(None, PHONE).await.id;
    eventually(async || {
        let found = attempts(&stage, doubtful).await;
        (found == [AttemptOutcome::InDoubt])
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    })
    .await;
    let key = gateway.accepted()[2].key.clone();
    stage.store().shift_clock(seconds(120));
    eventually(async || {
        let (how, _) = tries_of_first(&stage, doubtful).await;
        (how == DeliveryState::Sent)
            .then_some(())
            .ok_or_else(|| how.to_string())
    })
    .await;
    assert_eq!(attempts(&stage, doubtful).await, [AttemptOutcome::Sent]);
    let all = stage.store().list_deliveries(doubtful).await.unwrap();
    assert_eq!(all[0].delivery.provider_id, None);
    let of_id = stage.store().find_delivery_by_provider_id(&taken).await;
    assert_ne!(of_id.unwrap().map(|it| it.order_id), Some(doubtful));
    let accepted = gateway.accepted();
    assert_eq!(accepted.iter().filter(|it| it.key == key).count(), 1);
    // Somebody has to ask the gateway why.
    let alarmed = "attempts_total{channel=SMS,outcome=SENT,reason=ID_TAKEN}";
    eventually(async || {
        let found = figures.of(alarmed);
        (found == 1).then_some(()).ok_or_else(|| found.to_string())
    })
    .await;
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

/// Letters a second, of orders that came while the relay was held.
async fn letters_a_second(stage: &mut Stage, sink: &MailSink, troubled: bool) -> f64 {
    const ORDERS: u32 = 40;
    let store = stage.store().clone();
    let now = store.now().await.unwrap();
    // Accounts are made known when the worker starts.
    eventually(async || {
        let held = store.hold_gateway("email-smtp", "counted", None, "wang", now);
        held.await.unwrap().then_some(()).ok_or_else(String::new)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for _ in 0..ORDERS {
        stage.shop.order(MAIL, None).await;
    }
    if troubled {
        for _ in 0..20 {
            stage.shop.order(None, PHONE).await;
        }
    }
    let (before, wanted) = (sink.accepted(), sink.accepted() + u64::from(2 * ORDERS));
    assert!(
        store
            .release_gateway("email-smtp", "wang", now)
            .await
            .unwrap()
    );
    // From the first letter on, so that when the release is noticed does not count.
    while sink.accepted() == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let begun = std::time::Instant::now();
    while sink.accepted() < wanted {
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "{} of {wanted}",
            sink.accepted()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    f64::from(2 * ORDERS) / begun.elapsed().as_secs_f64()
}

#[tokio::test]
async fn d_24_letters_keep_their_rate_while_a_gateway_for_texts_answers_nothing() {
    let gateway = GatewayStub::start(SECRET).await;
    gateway.always(Answer::Stall);
    let sink = MailSink::start();
    // The relay sets the pace, not this machine: four letters at a time, each 100 ms.
    sink.always(At::Dot, Act::Delay(Duration::from_millis(100)));
    let mut stage = Stage::new(|config| {
        with_gateway(config, &gateway);
        super::letters::with_relay(config, &sink);
        config.notification.texts_at_once = 4;
        config.notification.letters_at_once = 4;
        config.shutdown.grace_seconds = 3;
    })
    .await;
    let mut shares = Vec::new();
    // A machine that is busy with something else may hold up either of the two; one fair pair tells.
    for _ in 0..5 {
        let alone = letters_a_second(&mut stage, &sink, false).await;
        let beside = letters_a_second(&mut stage, &sink, true).await;
        shares.push(beside / alone);
        if shares.last().is_some_and(|share| *share >= 0.95) {
            break;
        }
    }
    assert!(
        shares.last().is_some_and(|share| *share >= 0.95),
        "shares of the rate alone: {shares:?}"
    );
    assert!(gateway.accepted().is_empty() && !gateway.seen().is_empty());
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
