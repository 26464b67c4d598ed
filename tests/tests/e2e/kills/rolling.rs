//! Workers and order services that are replaced one after the other while orders come in: by the same version, and by the
//! next one on tables that have grown meanwhile, and back. A hundred times there and back:
//! `COUNTERSIGN_UPGRADE_ROUNDS=100 cargo test -p countersign-e2e --test e2e b_19_l_03`.

use std::{collections::BTreeMap, time::Duration};

use countersign_domain::{ids::OrderId, message::AttemptOutcome, order::Channel};
use countersign_e2e::{WAREHOUSE, seed, setting, texts_at_any_hour};
use countersign_store::testing::TestDatabase;

use super::{
    history::{History, ledger},
    stage::{Stage, Stop, Worker},
};
use crate::rolling::{Service, under_load};

/// Everything ends, each message went exactly as often as it should without any doubt: once.
async fn judge(stage: &mut Stage, mut worker: Worker) {
    assert_eq!(
        stage.watch(&mut worker).await,
        Stop::Done,
        "{}",
        stage.log()
    );
    assert!(worker.ended().await, "{}", stage.log());
    let mut history = History::default();
    history.judge(stage).await;
    assert!(history.problems.is_empty(), "{:#?}", history.problems);
    let figures = history.figures;
    assert_eq!(figures.lost, 0);
    assert_eq!(
        (
            figures.letters_again,
            figures.texts_again,
            figures.calls_again
        ),
        (0, 0, 0)
    );
    let all = stage.deliveries().await;
    let tries = all.iter().flat_map(|it| &it.history);
    let doubts = tries.filter(|it| it.outcome == AttemptOutcome::InDoubt);
    assert_eq!(doubts.count(), 0, "nobody was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_01_l_02_workers_restarted_one_by_one_under_load_send_everything_once() {
    for database in TestDatabase::all().await {
        let mut stage = Stage::on(database).await;
        let mut workers = vec![stage.worker(None), stage.worker(None)];
        for round in 0..12 {
            stage.order(round % 3 != 1, round % 3 != 2).await;
            tokio::time::sleep(Duration::from_millis(120)).await;
            if round % 2 == 0 {
                let next = stage.worker(None);
                let ended = workers.remove(0).ended().await;
                assert!(ended, "{}", stage.log());
                workers.push(next);
            }
        }
        let last = workers.pop().unwrap();
        for worker in workers {
            assert!(worker.ended().await, "{}", stage.log());
        }
        judge(&mut stage, last).await;
    }
}

/// What a later version's migration does: adds, and nothing else.
const LATER_STEPS: [&str; 6] = [
    "ALTER TABLE orders ADD COLUMN later_step VARCHAR(20) NOT NULL DEFAULT ''",
    "CREATE INDEX ix_orders_later_step ON orders (later_step, id)",
    "ALTER TABLE deliveries ADD COLUMN later_step INT NOT NULL DEFAULT 0",
    "CREATE INDEX ix_deliveries_later_step ON deliveries (later_step, id)",
    "CREATE TABLE later_step (id INT NOT NULL PRIMARY KEY)",
    "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later_step', 0)",
];

/// The settings that stand for the next version.
const NEXT_VERSION: [(&str, &str); 3] = [
    ("COUNTERSIGN__ORDER__COMMITTERS", "3"),
    ("COUNTERSIGN__ORDER__BATCH_ORDERS_MAX", "16"),
    ("COUNTERSIGN__DATABASE__MAX_CONNECTIONS", "12"),
];

/// A shop with more than enough of everything, for services that are started from outside.
pub(super) async fn open_shop(database: TestDatabase) -> Stage {
    let stage = Stage::bare(database).await;
    let store = &stage.database.store;
    seed(store).await;
    texts_at_any_hour(store).await;
    for sku in ["KETTLE-17", "CUP-4"] {
        let stocked = store.put_stock(WAREHOUSE, sku, 1_000_000).await.unwrap();
        assert!(stocked.is_some());
    }
    stage
}

/// Every acknowledged order is there, no other is, and each message about each went once; nobody complained of anything.
pub(super) async fn judge_orders(
    mut stage: Stage,
    mut worker: Worker,
    acknowledged: &BTreeMap<String, String>,
) {
    stage.orders = acknowledged
        .values()
        .map(|name| OrderId::from_resource_name(name).unwrap())
        .collect();
    let orders = i64::try_from(acknowledged.len()).unwrap();
    let count = stage
        .database
        .number("SELECT COUNT(*) AS n FROM orders")
        .await;
    assert_eq!(count, orders, "acknowledged and there");
    stage.second_channels_fall_due(&mut worker).await;
    judge(&mut stage, worker).await;
    let letters = ledger(&stage.gateways, Channel::Email);
    assert_eq!(letters.len(), 2 * acknowledged.len());
    assert!(!stage.log().contains("ERROR"), "{}", stage.log());
}

async fn upgrade_and_back(database: TestDatabase) {
    let stage = open_shop(database).await;
    let folder = tempfile::tempdir().unwrap();
    let url = stage.database.url.clone();
    let mut first = Service::start(&url, folder.path(), &[]).await;
    let mut second = Service::start(&url, folder.path(), &[]).await;
    let addresses = [first.address, second.address];
    let mut worker = stage.worker(None);
    let rounds = setting("COUNTERSIGN_UPGRADE_ROUNDS", 1);
    let acknowledged = Box::pin(under_load(&addresses, Duration::from_millis(700), async {
        let pause = || tokio::time::sleep(Duration::from_millis(300));
        // The tables grow once; programs change as often as they like.
        for step in LATER_STEPS {
            pause().await;
            stage.database.execute(step).await;
        }
        for round in 0..rounds {
            for settings in [&NEXT_VERSION[..], &[]] {
                for service in [&mut first, &mut second] {
                    pause().await;
                    service.restart(settings).await;
                }
                let next = stage.worker(None);
                let ended = std::mem::replace(&mut worker, next).ended().await;
                assert!(ended, "round {round}: {}", stage.log());
            }
        }
    }))
    .await;
    first.end().await;
    second.end().await;
    judge_orders(stage, worker, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_19_l_03_an_upgrade_and_the_way_back_under_load_lose_nothing_on_sqlite() {
    upgrade_and_back(TestDatabase::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_19_l_03_an_upgrade_and_the_way_back_under_load_lose_nothing_on_mysql() {
    if let Some(database) = TestDatabase::server("TEST_MYSQL_URL").await {
        upgrade_and_back(database).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_19_l_03_an_upgrade_and_the_way_back_under_load_lose_nothing_on_mariadb() {
    if let Some(database) = TestDatabase::server("TEST_MARIADB_URL").await {
        upgrade_and_back(database).await;
    }
}
