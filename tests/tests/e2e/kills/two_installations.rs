//! The product installed twice by mistake on one database, each time with two order services and two workers that know
//! nothing of the others.

use std::time::Duration;

use countersign_store::testing::TestDatabase;

use super::rolling::{judge_orders, open_shop};
use crate::rolling::{Service, under_load};

/// What the second installation sets up otherwise than the first.
const OTHERWISE: [(&str, &str); 2] = [
    ("COUNTERSIGN__ORDER__COMMITTERS", "3"),
    ("COUNTERSIGN__ORDER__BATCH_ORDERS_MAX", "16"),
];

async fn installed_twice(database: TestDatabase) {
    let stage = open_shop(database).await;
    let folder = tempfile::tempdir().unwrap();
    let url = stage.database.url.clone();
    let mut services = Vec::new();
    for settings in [&[], &[], &OTHERWISE[..], &OTHERWISE[..]] {
        services.push(Service::start(&url, folder.path(), settings).await);
    }
    let addresses: Vec<_> = services.iter().map(|service| service.address).collect();
    let mut workers: Vec<_> = (0..4).map(|_| stage.worker(None)).collect();
    let pace = Duration::from_millis(500);
    let acknowledged = under_load(&addresses, pace, async {
        tokio::time::sleep(Duration::from_secs(6)).await;
    });
    let acknowledged = Box::pin(acknowledged).await;
    for service in &mut services {
        service.end().await;
    }
    let last = workers.pop().unwrap();
    for worker in workers {
        assert!(worker.ended().await, "{}", stage.log());
    }
    // Events have one order, and the chain over them no gap, whoever of the four numbered them.
    let store = stage.database.store.clone();
    judge_orders(stage, last, &acknowledged).await;
    while store.sequence_events().await.unwrap() > 0 {}
    let walked = store.verify_chain(1, Vec::new(), &|_| {}).await.unwrap();
    assert_eq!(walked.fault_count, 0, "{:?}", walked.faults);
    assert!(walked.records >= acknowledged.len() as u64, "{walked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_10_two_installations_on_one_database_send_everything_once_on_sqlite() {
    installed_twice(TestDatabase::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_10_two_installations_on_one_database_send_everything_once_on_servers() {
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        if let Some(database) = TestDatabase::server(variable).await {
            installed_twice(database).await;
        }
    }
}
