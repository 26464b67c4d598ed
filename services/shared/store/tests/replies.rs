//! The inbox of replies on every database.

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    confirmation::AnswerChannel,
    ids::ReplyId,
    reply::{Reply, ReplyContent, ReplyState},
};
use countersign_store::testing::TestDatabase;
use rand::{SeedableRng, rngs::StdRng};

fn reply(now: DateTime<Utc>, seed: u64, event: &str) -> Reply {
    Reply {
        id: ReplyId::new_v7(now, &mut StdRng::seed_from_u64(seed)),
        source: "PAGE".to_owned(),
        source_event_id: event.to_owned(),
        order_id: None,
        content: ReplyContent::Accept {
            round: Some(1),
            answer_channel: AnswerChannel::Link,
            amount: None,
        },
        state: ReplyState::Pending,
        due_time: now,
        attempts: 0,
        result: String::new(),
        receive_time: now,
    }
}

#[tokio::test]
async fn the_same_event_of_a_source_is_the_same_reply() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        let first = reply(now, 1, "e-1");
        assert_eq!(store.insert_reply(&first).await.unwrap(), first.id);
        let again = reply(now, 2, "e-1");
        assert_eq!(store.insert_reply(&again).await.unwrap(), first.id);
        let other = reply(now, 3, "e-2");
        assert_eq!(store.insert_reply(&other).await.unwrap(), other.id);
    }
}

#[tokio::test]
async fn a_reply_comes_again_until_it_is_settled() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        let stored = reply(now, 1, "e-1");
        store.insert_reply(&stored).await.unwrap();
        let lease = Duration::seconds(30);
        let claimed = store.claim_replies(now, lease, 10).await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].content, stored.content);
        assert_eq!(claimed[0].attempts, 1);
        assert_eq!(store.claim_replies(now, lease, 10).await.unwrap(), []);
        // The taker died.
        let later = now + Duration::seconds(31);
        assert_eq!(
            store.claim_replies(later, lease, 10).await.unwrap().len(),
            1
        );
        store
            .retry_reply(stored.id, later + Duration::minutes(5), "UNAVAILABLE")
            .await
            .unwrap();
        let soon = later + Duration::minutes(1);
        assert_eq!(store.claim_replies(soon, lease, 10).await.unwrap(), []);
        store
            .finish_reply(stored.id, ReplyState::Applied, "OK")
            .await
            .unwrap();
        let much_later = now + Duration::days(1);
        assert_eq!(
            store.claim_replies(much_later, lease, 10).await.unwrap(),
            []
        );
        // What is settled stays settled.
        store
            .finish_reply(stored.id, ReplyState::Refused, "late")
            .await
            .unwrap();
        let found = store.find_reply(stored.id).await.unwrap().unwrap();
        assert_eq!(
            (found.state, found.result.as_str()),
            (ReplyState::Applied, "OK")
        );
    }
}
