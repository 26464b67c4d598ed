use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    confirmation::{AnswerChannel, Objection, ObjectionCategory},
    ids::OrderId,
    order::Channel,
    reply::{ReplyContent, ReplyState},
};
use countersign_store::{MailboxContent, MailboxItem, testing::TestDatabase};
use uuid::Uuid;

use crate::{
    ids::Ids,
    inbox::Inbox,
    pages::{AnswerSink as _, CustomerAnswer, InboxSink},
};

#[tokio::test]
async fn answers_wait_in_the_inbox_once_each_until_they_are_settled() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let sink = InboxSink::new(
            Inbox::new(store.clone(), Arc::new(Ids::seeded(1))),
            store.clone(),
        );
        let (order, other) = (
            OrderId::from_uuid(Uuid::from_u128(1)),
            OrderId::from_uuid(Uuid::from_u128(2)),
        );
        let yes = CustomerAnswer::Confirm {
            round: 1,
            amount: None,
        };
        let no = CustomerAnswer::Object {
            round: 1,
            objection: Objection {
                category: ObjectionCategory::Price,
                line_numbers: vec![2],
                text: "太贵".into(),
            },
        };
        let question = CustomerAnswer::Ask {
            text: "When?".into(),
        };
        for (event, answer) in [("1", &yes), ("1", &yes), ("2", &no), ("3", &question)] {
            sink.receive(order, event, answer.clone()).await.unwrap();
        }
        assert_eq!(
            sink.pending(order).await.unwrap(),
            [yes, no.clone(), question.clone()]
        );
        assert_eq!(sink.pending(other).await.unwrap(), []);

        let now = store.now().await.unwrap();
        let replies = store
            .claim_replies(now, Duration::seconds(30), 10)
            .await
            .unwrap();
        let first = replies
            .iter()
            .find(|it| it.content.kind() == "ACCEPT")
            .unwrap();
        assert!(matches!(
            first.content,
            ReplyContent::Accept {
                answer_channel: AnswerChannel::Link,
                ..
            }
        ));
        store
            .finish_reply(first.id, ReplyState::Applied, "")
            .await
            .unwrap();
        assert_eq!(sink.pending(order).await.unwrap(), [no, question]);
    }
}

#[tokio::test]
async fn keys_and_texts_of_the_mailbox_come_in_as_a_gateway_would_bring_them() {
    let database = TestDatabase::sqlite().await;
    let store = &database.store;
    let sink = InboxSink::new(
        Inbox::new(store.clone(), Arc::new(Ids::seeded(1))),
        store.clone(),
    );
    let item = MailboxItem {
        id: Uuid::from_u128(7),
        order_id: OrderId::from_uuid(Uuid::from_u128(1)),
        channel: Channel::Sms,
        recipient: "+8613912345678".into(),
        content: MailboxContent::Sms { text: "?".into() },
        create_time: DateTime::<Utc>::UNIX_EPOCH,
    };
    sink.key_pressed(&item, '1').await.unwrap();
    sink.key_pressed(&item, '1').await.unwrap();
    sink.text_received(&item, "7:1", "YES").await.unwrap();
    let replies = store.find_pending_replies(item.order_id).await.unwrap();
    let [key, text] = replies.as_slice() else {
        panic!("{replies:?}");
    };
    assert!(
        matches!(&key.content, ReplyContent::Key { delivery, digit, .. } if *delivery == item.id && digit == "1")
    );
    assert!(
        matches!(&text.content, ReplyContent::Text { from, text, .. } if from.reveal() == item.recipient && text == "YES")
    );
    assert_eq!(sink.pending(item.order_id).await.unwrap(), []);
}
