//! The inbox of replies on every database.

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    confirmation::AnswerChannel,
    ids::ReplyId,
    reply::{GatewayStatus, Reply, ReplyContent, ReplyState},
};
use countersign_store::testing::TestDatabase;
use rand::{SeedableRng, rngs::StdRng};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

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
async fn what_customers_said_is_known_to_wait_and_news_of_messages_are_not() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        let ago = |minutes| now - Duration::minutes(minutes);
        assert_eq!(store.oldest_answer_time().await.unwrap(), None);
        let news = Reply {
            content: ReplyContent::StatusById {
                provider_id: "unknown".to_owned(),
                status: GatewayStatus::Delivered,
                code: None,
            },
            ..reply(ago(90), 1, "e-1")
        };
        store.insert_reply(&news).await.unwrap();
        assert_eq!(store.oldest_answer_time().await.unwrap(), None);
        let (younger, older) = (reply(ago(5), 2, "e-2"), reply(ago(20), 3, "e-3"));
        for said in [&younger, &older] {
            store.insert_reply(said).await.unwrap();
        }
        assert_eq!(store.oldest_answer_time().await.unwrap(), Some(ago(20)));
        store
            .finish_reply(older.id, ReplyState::Applied, "OK")
            .await
            .unwrap();
        assert_eq!(store.oldest_answer_time().await.unwrap(), Some(ago(5)));
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

/// What only people ask for may read the whole table: no index tells what could not be read.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a lock that no transaction of ours takes, and a question that waits beside the test"
)]
async fn f_08_a_list_of_what_could_not_be_read_is_waited_for_longer_than_other_answers() {
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        let Some(database) = TestDatabase::server(variable).await else {
            continue;
        };
        let busy = database.store.connection().begin().await.unwrap();
        let lock = busy.execute_unprepared("LOCK TABLES replies WRITE");
        lock.await.unwrap();
        let store = database.store.clone();
        let asked = tokio::spawn(async move { store.list_unreadable(20).await });
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_mins(10)).await;
        tokio::time::resume();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert!(!asked.is_finished(), "{:?}", asked.await);
        busy.execute_unprepared("UNLOCK TABLES").await.unwrap();
        busy.rollback().await.unwrap();
        assert_eq!(asked.await.unwrap().unwrap(), []);
    }
}
