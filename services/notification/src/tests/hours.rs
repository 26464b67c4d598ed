//! When messages go: in the customer's hours, at half time, and what happens when no channel is left.

use chrono::{TimeDelta, Timelike as _, Utc};
use countersign_domain::{contact_hours::DailyWindow, message::OptOutReason};

use super::*;
use crate::testkit::Answer;

/// Hours that begin three hours from now in Shanghai and last for one.
pub(super) fn later(now: chrono::DateTime<Utc>) -> DailyWindow {
    let zone = countersign_domain::locale::TimeZone::parse("Asia/Shanghai").unwrap();
    let hour = now.with_timezone(&zone.tz()).hour();
    DailyWindow::hours((hour + 3) % 24, (hour + 4) % 24)
}

#[tokio::test]
async fn g_05_a_text_waits_for_the_morning_without_a_try() {
    for database in TestDatabase::all().await {
        let gateway = GatewayStub::start(SECRET).await;
        let now = database.store.now().await.unwrap();
        let mut stage = Stage::with_policy(
            database,
            |config| with_gateway(config, &gateway),
            |policy| policy.contact_hours.sms = later(now),
        )
        .await;
        let order = stage.shop.order(None, PHONE).await;
        let first = async || {
            let mut all = stage.store().list_deliveries(order.id).await.unwrap();
            (!all.is_empty()).then(|| all.remove(0))
        };
        let waiting = eventually(async || {
            let found = first().await;
            found
                .clone()
                .filter(|it| it.delivery.due_time > now + TimeDelta::hours(1))
                .filter(|it| it.delivery.state == DeliveryState::Ready)
                .ok_or_else(|| format!("{found:?}"))
        })
        .await;
        assert_eq!(waiting.delivery.attempts, 0);
        let opens = waiting.delivery.due_time - now;
        // Full hours: the window begins two to three hours from now, and the spread is ten minutes.
        assert!(opens >= TimeDelta::hours(2), "{opens}");
        assert!(opens <= TimeDelta::minutes(190), "{opens}");
        assert_eq!(gateway.seen().len(), 0);
        stage.end().await;
    }
}

#[tokio::test]
async fn m_03_a_call_after_a_text_that_failed_waits_for_the_hours_of_calls() {
    let gateway = GatewayStub::start(SECRET).await;
    let calls = GatewayStub::start(SECRET).await;
    let database = TestDatabase::sqlite().await;
    let now = database.store.now().await.unwrap();
    let mut stage = Stage::with_policy(
        database,
        |config| {
            with_gateway(config, &gateway);
            config.phone = config.sms.clone();
            config.phone.base_url = Some(calls.base());
        },
        |policy| {
            policy.contact_hours.phone = later(now);
            policy.acknowledge = false;
        },
    )
    .await;
    let refused = r#"{"code":"invalid_recipient","message":"no"}"#;
    gateway.always(Answer::Status(400, String::new(), refused.to_owned()));
    let order = stage.shop.order(None, PHONE).await;
    let call = eventually(async || {
        let all = stage.store().list_deliveries(order.id).await.unwrap();
        let failed = all
            .iter()
            .any(|it| it.delivery.state == DeliveryState::Failed);
        let call = all.iter().find(|it| {
            failed
                && it.delivery.channel == Channel::Phone
                && it.delivery.due_time > now + TimeDelta::hours(1)
        });
        call.cloned().ok_or_else(|| format!("{all:?}"))
    })
    .await;
    assert_eq!(call.delivery.attempts, 0);
    assert_eq!(calls.seen().len(), 0);
    stage.end().await;
}

#[tokio::test]
async fn m_04_staff_are_told_once_that_no_channel_leads_to_the_customer() {
    let mut stage = Stage::new(|_| {}).await;
    let hash = countersign_store::testing::recipient_hash(MAIL.unwrap());
    let now = stage.store().now().await.unwrap();
    stage
        .store()
        .insert_opt_out(&hash, Channel::Email, OptOutReason::BadAddress, now)
        .await
        .unwrap();
    stage.orders.refuse(&[Code::Unavailable]);
    let order = stage.shop.order(MAIL, None).await;
    let told = eventually(async || {
        let told = stage.orders.told();
        (told.len() == 2).then_some(told).ok_or(String::new())
    })
    .await;
    assert!(told.iter().all(|call| call.method == "HoldOrder"));
    assert_eq!(told[0].name, order.id.resource_name());
    assert_eq!(
        told[0].request_id, told[1].request_id,
        "the same call again"
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stage.orders.told().len(), 2);
    stage.end().await;
}

#[tokio::test]
async fn a_reminder_goes_where_the_question_went_and_an_answer_takes_its_sense_away() {
    use DeliveryState::{Ready, Sent, Superseded};
    let mut stage = Stage::new(|_| {}).await;
    let asked = [
        (1, Channel::Email, Sent),
        (2, Channel::Email, Sent),
        (2, Channel::Sms, Ready),
        (2, Channel::Phone, Ready),
    ];
    let order = stage.shop.order(MAIL, PHONE).await;
    stage.until_states(order.id, &asked).await;
    stage.shop.remind(order.id).await;
    let mut reminded = asked.to_vec();
    reminded.push((3, Channel::Email, Sent));
    stage.until_states(order.id, &reminded).await;
    let letters = stage.store().list_mailbox(None, 10).await.unwrap().items;
    assert_eq!(letters.len(), 3);

    // The other customer answers before the reminder is on its way.
    let quick = stage.shop.order(Some("quick@example.com"), None).await;
    let asked = [(1, Channel::Email, Sent), (2, Channel::Email, Sent)];
    stage.until_states(quick.id, &asked).await;
    let now = stage.store().now().await.unwrap();
    let held = stage
        .store()
        .hold_gateway("email-mailbox", "", None, "wang", now);
    assert!(held.await.unwrap());
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    stage.shop.remind(quick.id).await;
    stage.shop.accept(quick.id).await;
    let now = stage.store().now().await.unwrap();
    let released = stage.store().release_gateway("email-mailbox", "wang", now);
    assert!(released.await.unwrap());
    let told = [
        (1, Channel::Email, Sent),
        (2, Channel::Email, Sent),
        (3, Channel::Email, Superseded),
        (4, Channel::Email, Sent),
    ];
    stage.until_states(quick.id, &told).await;
    stage.end().await;
}
