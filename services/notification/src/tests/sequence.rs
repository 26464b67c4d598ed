//! What follows a message that was given up (RELIABILITY, M-09).

use countersign_domain::{
    message::DeliveryState::{Dead, Sent, Waiting},
    order::Channel::{self, Sms},
};
use countersign_store::testing::TestDatabase;

use super::{
    PHONE, Stage,
    alarms::rule,
    alibaba::{KEY, SECRET, with_alibaba},
    eventually,
};
use crate::testkit::{AlibabaStub, Figures};

/// The carrier does not know the template: nothing but staff can mend that.
const UNKNOWN_TEMPLATE: &str = "isv.SMS_TEMPLATE_ILLEGAL";

/// A shop whose customers are asked by text message only.
async fn by_text_only(database: TestDatabase, stub: &AlibabaStub) -> Stage {
    Stage::with_policy(
        database,
        |config| with_alibaba(config, stub),
        |policy| {
            policy.channel_plan = vec![Channel::Sms];
            policy.channel_step_seconds = Vec::new();
        },
    )
    .await
}

#[tokio::test]
async fn m_09_after_a_dead_letter_what_stands_for_itself_goes_on() {
    for database in TestDatabase::all().await {
        let stub = AlibabaStub::start(KEY, SECRET).await;
        stub.refuse_once(UNKNOWN_TEMPLATE);
        let mut stage = by_text_only(database, &stub).await;
        let order = stage.shop.order(None, PHONE).await.id;
        // The acknowledgement is dead; the question makes sense without it.
        stage
            .until_states(order, &[(1, Sms, Dead), (2, Sms, Sent)])
            .await;
        assert_eq!(stub.accepted().len(), 1);
        stage.end().await;
    }
}

#[tokio::test]
async fn m_09_a_reminder_of_a_question_that_was_given_up_is_blocked_with_an_alarm_and_no_more_is() {
    let figures = Figures::start();
    for database in TestDatabase::all().await {
        let blocked = figures.of("messages_blocked_total");
        let stub = AlibabaStub::start(KEY, SECRET).await;
        let mut stage = by_text_only(database, &stub).await;
        // Only the question is refused.
        stage.shop.policy.acknowledge = false;
        stub.refuse_once(UNKNOWN_TEMPLATE);
        let order = stage.shop.order(None, PHONE).await.id;
        stage.until_states(order, &[(1, Sms, Dead)]).await;
        stage.shop.remind(order).await;
        stage
            .until_states(order, &[(1, Sms, Dead), (2, Sms, Waiting)])
            .await;
        eventually(async || {
            let found = figures.of("messages_blocked_total");
            (found > blocked)
                .then_some(())
                .ok_or_else(|| found.to_string())
        })
        .await;
        // What stands for itself does not wait for the reminder.
        stage.shop.accept(order).await;
        eventually(async || {
            let states = stage.states(order).await;
            (states.last() == Some(&(3, Sms, Sent)))
                .then_some(())
                .ok_or_else(|| format!("{states:?}"))
        })
        .await;
        assert_eq!(stub.accepted().len(), 1, "and no reminder");
        stage.end().await;
    }
    let rule = rule("CountersignMessageBlocked");
    assert!(rule.contains("messages_blocked_total"), "{rule}");
}
