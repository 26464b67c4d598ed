//! What customers said survives the worker, and is done once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use countersign_domain::{
    confirmation::AnswerChannel,
    ids::OrderId,
    reply::{ReplyContent, ReplyState},
};
use countersign_e2e::{Replica, order_builder, seed};
use countersign_notification::{
    ids::Ids,
    inbox::{Inbox, ReplyInput},
};
use countersign_proto::v1;
use countersign_store::testing::TestDatabase;

use super::stage::{LEASE, PATIENCE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_confirms_once_whichever_step_of_handing_it_on_kills_the_worker() {
    for step in ["reply_claimed", "reply_told", "reply_settled"] {
        let mut stage = Stage::bare(TestDatabase::sqlite().await).await;
        let store = stage.database.store.clone();
        seed(&store).await;
        let replica = Replica::start(store.clone()).await;
        stage.order_service = format!("http://{}", replica.address);
        let mut orders = replica.orders("shop").await;
        let created = orders.create_order(order_builder().request()).await;
        let name = created.unwrap().into_inner().name;
        let order: OrderId = name.strip_prefix("orders/").unwrap().parse().unwrap();

        let inbox = Inbox::new(store.clone(), Arc::new(Ids::seeded(1)));
        let yes = ReplyInput {
            source: "PAGE",
            source_event_id: "form-1".to_owned(),
            order: Some(order),
            content: ReplyContent::Accept {
                round: Some(1),
                answer_channel: AnswerChannel::Link,
                amount: None,
            },
        };
        let reply = inbox.receive(yes).await.unwrap();
        let mut worker = stage.worker(Some((step, 1)));
        let began = Instant::now();
        while !worker.is_dead() {
            assert!(began.elapsed() < PATIENCE, "{step}\n{}", stage.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let found = store.find_reply(reply).await.unwrap().unwrap();
        let applied = found.state == ReplyState::Applied;
        assert_eq!(applied, step == "reply_settled", "{found:?}");
        stage.pass(LEASE, None).await;

        let worker = stage.worker(None);
        loop {
            let found = store.find_reply(reply).await.unwrap().unwrap();
            if found.state == ReplyState::Applied {
                assert_eq!(found.result, "OK", "{step}");
                break;
            }
            let log = || stage.log();
            assert!(began.elapsed() < PATIENCE, "{step} {found:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        worker.kill().await;
        let trace = orders.get_order_trace(v1::GetOrderTraceRequest { name });
        let trace = trace.await.unwrap().into_inner();
        let order = trace.order.unwrap();
        assert!(!order.order_number.is_empty(), "{step}");
        let kinds: Vec<&str> = trace.events.iter().map(|it| it.kind.as_str()).collect();
        let confirmed = kinds.iter().filter(|kind| **kind == "order.confirmed");
        assert_eq!(confirmed.count(), 1, "{step}: {kinds:?}");
    }
}
