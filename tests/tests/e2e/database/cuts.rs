//! The server hangs up, or refuses, at every statement of a transaction.

use std::time::{Duration, Instant};

use countersign_e2e::{Orders, Replica, System, order_builder};
use countersign_notification::testkit::Figures;
use countersign_proto::v1;
use countersign_store::{
    Settings, Store, StoreError,
    testing::{TestDatabase, data_keys},
};
use tonic::{Code, Status};

use super::proxy::{Fault, Proxy};

/// A service that reaches its database through a proxy; the test looks at the same database directly.
struct Broken {
    system: System,
    proxy: Proxy,
    replica: Replica,
    client: Orders,
}

impl Broken {
    async fn on(database: TestDatabase) -> Self {
        let url = database.url.clone();
        let system = System::start(database).await;
        let proxy = Proxy::start(&url).await;
        let store = Store::connect(&Settings::new(proxy.url(&url), data_keys()))
            .await
            .unwrap();
        let replica = Replica::start(store).await;
        let client = replica.orders("shop").await;
        Self {
            system,
            proxy,
            replica,
            client,
        }
    }

    /// On every server that there is.
    async fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
            if let Some(database) = TestDatabase::server(variable).await {
                all.push(Self::on(database).await);
            }
        }
        all
    }

    async fn create(&mut self, request: &v1::CreateOrderRequest) -> Result<v1::Order, Status> {
        let answer = self.client.create_order(request.clone()).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) AS n FROM {table}");
        self.system.database.number(&sql).await
    }

    /// So many orders, each with its history, its remembered call and its two messages.
    async fn holds(&self, orders: i64) {
        assert_eq!(self.count("orders").await, orders);
        assert_eq!(self.count("order_events").await, orders);
        assert_eq!(self.count("requests").await, orders);
        assert_eq!(self.count("outbox").await, 2 * orders);
        self.system.stock_agrees_with_orders().await;
    }

    /// The statements of one intake, from the first insert to the commit.
    async fn statements(&mut self) -> Vec<String> {
        self.proxy.said();
        self.create(&order_builder().request()).await.unwrap();
        let said = self.proxy.said();
        // What others ask meanwhile, by connections of their own, is none of it.
        let intake = said
            .iter()
            .find(|said| said.text.starts_with("INSERT INTO orders"))
            .unwrap();
        let mut all: Vec<String> = said
            .iter()
            .filter(|said| said.connection == intake.connection)
            .map(|said| said.text.clone())
            .skip_while(|text| !text.starts_with("INSERT"))
            .filter(|text| {
                text.starts_with("INSERT") || text.starts_with("UPDATE") || text == "COMMIT"
            })
            .collect();
        let commit = all.iter().position(|text| text == "COMMIT").unwrap();
        all.truncate(commit + 1);
        all.dedup();
        assert!(all.len() > 6, "{all:?}");
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_01_cut_before_the_commit_there_is_nothing_and_the_call_may_be_made_again() {
    for mut it in Broken::all().await {
        it.proxy
            .breaks("INSERT INTO orders", "COMMIT", Fault::CutBefore, 1);
        let request = order_builder().request();
        let first = it.create(&request).await;
        assert_eq!(it.proxy.broken(), 1);
        if let Err(status) = first {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            it.holds(0).await;
        }
        it.create(&request).await.unwrap();
        it.holds(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_02_cut_after_the_commit_the_order_is_looked_up_and_never_written_twice() {
    for mut it in Broken::all().await {
        it.proxy
            .breaks("INSERT INTO orders", "COMMIT", Fault::CutAfter, 1);
        it.proxy.said();
        let request = order_builder().request();
        let order = it.create(&request).await.unwrap();
        assert_eq!(it.proxy.broken(), 1);
        it.holds(1).await;
        let again = it.create(&request).await.unwrap();
        assert_eq!(again.name, order.name);
        it.holds(1).await;
        let said = it.proxy.said();
        let inserts = said.iter().map(|said| said.text.as_str());
        let inserts = inserts.filter(|text| text.starts_with("INSERT INTO orders"));
        assert_eq!(inserts.count(), 1, "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_02_cut_after_the_commit_of_a_change_the_answer_is_the_remembered_one() {
    for mut it in Broken::all().await {
        let order = it.create(&order_builder().request()).await.unwrap();
        let request = v1::AcceptConfirmationRequest {
            name: order.name.clone(),
            request_id: "cut-after-commit".to_owned(),
            answer_channel: v1::AnswerChannel::Link.into(),
            answered_by: "customer".to_owned(),
            ..v1::AcceptConfirmationRequest::default()
        };
        it.proxy
            .breaks("UPDATE `orders`", "COMMIT", Fault::CutAfter, 1);
        let first = it.client.accept_confirmation(request.clone()).await;
        assert_eq!(it.proxy.broken(), 1);
        if let Err(status) = &first {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        }
        it.client.accept_confirmation(request).await.unwrap();
        let accepted = "confirmations WHERE state = 'ACCEPTED'";
        assert_eq!(it.count(accepted).await, 1);
        let trace = it.system.trace(&order.name).await;
        assert_eq!(trace.events.len(), 2, "{:?}", trace.events);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_03_b_04_after_a_deadlock_at_any_statement_or_the_commit_the_whole_is_run_again() {
    let figures = Figures::start();
    let counted = || figures.of("transactions_again_total");
    for mut it in Broken::all().await {
        let statements = it.statements().await;
        assert_eq!(statements.last().map(String::as_str), Some("COMMIT"));
        let mut orders = 1;
        for statement in &statements {
            let after = if statement == "COMMIT" {
                "INSERT INTO orders"
            } else {
                ""
            };
            it.proxy.breaks(after, statement, Fault::Deadlock, 1);
            let before = counted();
            it.create(&order_builder().request())
                .await
                .unwrap_or_else(|status| unreachable!("{statement}: {status:?}"));
            assert_eq!(it.proxy.broken(), 1, "{statement}");
            assert!(counted() > before, "{statement}");
            orders += 1;
            it.holds(orders).await;
        }
        // Again and again: it is run five times more, after 10 to 200 ms each, then the caller hears that he may try later.
        let (before, begun) = (counted(), Instant::now());
        it.proxy
            .breaks("INSERT INTO orders", "COMMIT", Fault::Deadlock, 1_000);
        let status = it.create(&order_builder().request()).await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted, "{status:?}");
        assert_eq!(it.proxy.broken(), 6);
        assert!(
            begun.elapsed() >= Duration::from_millis(50),
            "{:?}",
            begun.elapsed()
        );
        assert!(counted() >= before + 5);
        it.holds(orders).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_20_a_server_that_would_cut_text_is_not_connected_to() {
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        let Some(database) = TestDatabase::server(variable).await else {
            continue;
        };
        let proxy = Proxy::start(&database.url).await;
        let settings = Settings::new(proxy.url(&database.url), data_keys());
        Store::connect(&settings).await.unwrap();
        proxy.breaks(
            "",
            "SET SESSION innodb_lock_wait_timeout",
            Fault::Lax,
            1_000,
        );
        let refused = Store::connect(&settings).await.unwrap_err();
        assert!(proxy.broken() > 0);
        assert!(
            matches!(&refused, StoreError::Settings(why) if why.contains("STRICT_TRANS_TABLES")),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_05_after_a_lock_wait_timeout_nothing_of_the_transaction_is_committed() {
    for mut it in Broken::all().await {
        it.proxy.breaks(
            "INSERT INTO orders",
            "INSERT INTO outbox",
            Fault::LockWaitTimeout,
            1,
        );
        it.proxy.said();
        it.create(&order_builder().request()).await.unwrap();
        assert_eq!(it.proxy.broken(), 1);
        let said = it.proxy.said();
        let refused = said
            .iter()
            .position(|said| said.text.starts_with("INSERT INTO outbox"))
            .unwrap();
        let next = said[refused + 1..]
            .iter()
            .find(|next| next.connection == said[refused].connection)
            .unwrap();
        assert!(next.text.starts_with("ROLLBACK"), "{said:?}");
        it.holds(1).await;
        it.proxy.breaks(
            "INSERT INTO orders",
            "INSERT INTO outbox",
            Fault::LockWaitTimeout,
            1_000,
        );
        let status = it.create(&order_builder().request()).await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted, "{status:?}");
        it.proxy.broken();
        it.holds(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_16_a_commit_that_a_group_refused_is_run_again_and_one_that_it_lost_sight_of_is_looked_up()
 {
    for mut it in Broken::all().await {
        let order = it.create(&order_builder().request()).await.unwrap();
        let accept = |id: &str| v1::AcceptConfirmationRequest {
            name: order.name.clone(),
            request_id: id.to_owned(),
            answer_channel: v1::AnswerChannel::Link.into(),
            answered_by: "customer".to_owned(),
            ..v1::AcceptConfirmationRequest::default()
        };
        for fault in [Fault::GroupConflict, Fault::Unwatched] {
            it.proxy.breaks("INSERT INTO orders", "COMMIT", fault, 1);
            it.create(&order_builder().request()).await.unwrap();
            assert_eq!(it.proxy.broken(), 1, "{fault:?}");
        }
        it.holds(3).await;
        // A change of one order.
        it.proxy
            .breaks("UPDATE `orders`", "COMMIT", Fault::GroupConflict, 1);
        let accepted = it.client.accept_confirmation(accept("group-1")).await;
        assert_eq!(it.proxy.broken(), 1);
        accepted.unwrap();
        let again = it.client.accept_confirmation(accept("group-1")).await;
        again.unwrap();
        assert_eq!(it.count("confirmations WHERE state = 'ACCEPTED'").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_15_b_16_a_server_that_takes_nothing_any_more_is_left_for_a_new_connection() {
    for mut it in Broken::all().await {
        it.create(&order_builder().request()).await.unwrap();
        let mut orders = 1;
        for code in [1290, 1792, 1836, 1047] {
            let before = it.proxy.connections();
            it.proxy
                .breaks("", "INSERT INTO orders", Fault::Refuses(code), 1);
            let request = order_builder().request();
            let first = it.create(&request).await;
            assert_eq!(it.proxy.broken(), 1, "{code}");
            if let Err(status) = first {
                assert_eq!(status.code(), Code::Unavailable, "{code}: {status:?}");
                it.create(&request).await.unwrap();
            }
            orders += 1;
            it.holds(orders).await;
            assert!(
                it.proxy.connections() > before,
                "{code}: the name was asked again where the server is"
            );
        }
        // It is still the same process.
        it.replica.orders("shop").await;
    }
}
