//! Databases for tests: a fresh one each, migrated, and gone afterwards.

pub mod dump;
pub mod shop;

use std::{fs, path::PathBuf};

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::DeliveryId,
    message::{Delivery, DeliveryState},
    order::Channel,
};
use countersign_migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter,
    Statement,
};
use uuid::Uuid;

use crate::{
    DataKeys, Settings, Store, StoreError,
    claims::claim_sql,
    delivery_rows::{DELIVERIES, delivery, push_delivery},
    entity::deliveries,
    error::During as _,
};

/// The keys of every test, as the configuration has them: see [`data_keys`].
pub const DATA_KEYS: &str = "lookup:CwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCws= 1:DAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw=";

/// The keys of every test.
pub fn data_keys() -> DataKeys {
    DataKeys::new(&[11; 32], &[(1, [12; 32])]).expect("keys")
}

/// What a recipient is recognised by in every test.
pub fn recipient_hash(address: &str) -> [u8; 32] {
    data_keys().lookup().recipient_hash(address)
}

/// A fresh database for one test. Dropping it leaves nothing behind but, on a server, a database that the next
/// [`TestDatabase::all`] sweeps away.
#[derive(Debug)]
pub struct TestDatabase {
    /// Connected and migrated.
    pub store: Store,
    /// For a second connection.
    pub url: String,
    folder: Option<PathBuf>,
}

impl TestDatabase {
    /// On SQLite, in a folder of its own.
    pub async fn sqlite() -> Self {
        let folder = std::env::temp_dir().join(format!("countersign-{}", fresh()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let url = format!("sqlite://{}/test.db", folder.display());
        Self::migrated(url, Some(folder)).await
    }

    /// On SQLite and on every server that `TEST_MYSQL_URL` and `TEST_MARIADB_URL` name, for tests that hold on all of
    /// them. The URLs end without a database: `mysql://root@127.0.0.1:3306`.
    pub async fn all() -> Vec<Self> {
        let mut databases = vec![Self::sqlite().await];
        for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
            if let Some(database) = Self::server(variable).await {
                databases.push(database);
            }
        }
        databases
    }

    /// On the server that a variable names, if it is set; else that something is left out is said.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told by the environment where servers are"
    )]
    pub async fn server(variable: &str) -> Option<Self> {
        let server = std::env::var(variable).ok().filter(|url| !url.is_empty());
        let Some(server) = server else {
            eprintln!("!!! {variable} is not set: what needs that server is not tested");
            return None;
        };
        Some(Self::at(&server).await)
    }

    /// On the server of a URL, which ends without a database.
    pub async fn at(server: &str) -> Self {
        let server = server.trim_end_matches('/');
        let name = format!("t_{}", fresh());
        let admin = Store::connect(&Settings {
            connections_max: 1,
            ..Settings::new(format!("{server}/mysql"), data_keys())
        })
        .await
        .expect("the test server answers");
        admin
            .connection()
            .execute_raw(Statement::from_string(
                DbBackend::MySql,
                format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"),
            ))
            .await
            .expect("a database of our own");
        Self::migrated(format!("{server}/{name}"), None).await
    }

    /// The same database for somebody else. What it is kept in goes with the first.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self {
            store: self.store.clone(),
            url: self.url.clone(),
            folder: None,
        }
    }

    /// The number that a query of one row and one column `n` answers.
    pub async fn number(&self, sql: &str) -> i64 {
        let store = &self.store;
        store
            .connection()
            .query_one_raw(Statement::from_string(store.backend(), sql))
            .await
            .expect("the query runs")
            .expect("one row")
            .try_get("", "n")
            .expect("a number named n")
    }

    /// The bytes that a query of one row and one column `b` answers.
    pub async fn bytes(&self, sql: &str) -> Vec<u8> {
        let store = &self.store;
        store
            .connection()
            .query_one_raw(Statement::from_string(store.backend(), sql))
            .await
            .expect("the query runs")
            .expect("one row")
            .try_get("", "b")
            .expect("bytes named b")
    }

    /// The bytes that a query of one column `b` answers, row by row; rows without are left out.
    pub async fn all_bytes(&self, sql: &str) -> Vec<Vec<u8>> {
        let store = &self.store;
        store
            .connection()
            .query_all_raw(Statement::from_string(store.backend(), sql))
            .await
            .expect("the query runs")
            .iter()
            .filter_map(|row| {
                let bytes = row.try_get::<Vec<u8>>("", "b");
                bytes
                    .or_else(|_| row.try_get::<String>("", "b").map(String::into_bytes))
                    .ok()
            })
            .collect()
    }

    /// Makes so many more of each order's dead letter.
    pub async fn multiply_dead_letters(&self, times: u16) {
        let (store, keys) = (&self.store, &self.store.keys);
        let rows = deliveries::Entity::find()
            .filter(deliveries::Column::State.eq(DeliveryState::Dead.as_str()))
            .filter(deliveries::Column::Seq.eq(1))
            .all(store.connection())
            .await
            .expect("dead letters");
        for row in rows {
            let first = delivery(keys, row).expect("a readable row");
            let mut values = Vec::new();
            for number in 1..=times {
                let id = first.id.as_uuid().as_u128() ^ (u128::from(number) << 1);
                let again = Delivery {
                    id: DeliveryId::from_uuid(Uuid::from_u128(id)),
                    seq: 100 + u32::from(number),
                    ..first.clone()
                };
                push_delivery(&mut values, keys, &again).expect("a row");
            }
            let transaction = store.begin_write().await.expect("a transaction");
            DELIVERIES
                .insert(&transaction, store.backend(), values)
                .await
                .expect("rows");
            transaction.commit().await.expect("a commit");
        }
    }

    /// Changes rows as no repository would. Whoever holds what it needs at that moment is waited for.
    pub async fn execute(&self, sql: &str) {
        let store = &self.store;
        store
            .again(|| async move {
                store
                    .connection()
                    .execute_unprepared(sql)
                    .await
                    .during("change rows")
                    .map(|_| ())
            })
            .await
            .expect("the statement runs");
    }

    /// Keeps all rows aside, as a backup does.
    pub async fn save(&self) {
        for table in self.tables().await {
            self.execute(&format!(
                "CREATE TABLE saved_{table} AS SELECT * FROM {table}"
            ))
            .await;
        }
    }

    /// Puts everything back as it was at [`Self::save`], at one stroke, whoever is at work.
    pub async fn restore(&self) {
        let tables = self.tables().await;
        let tables = &tables;
        self.store
            .again(|| async move {
                let transaction = self.store.begin_write().await?;
                let result = put_back(&transaction, tables).await;
                self.store.conclude(transaction, result).await
            })
            .await
            .expect("the rows are put back");
    }

    async fn tables(&self) -> Vec<String> {
        let sql = match self.store.backend() {
            DbBackend::Sqlite => {
                "SELECT name AS n FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            }
            _ => {
                "SELECT CAST(table_name AS CHAR) AS n FROM information_schema.tables \
                 WHERE table_schema = DATABASE()"
            }
        };
        let rows = self
            .store
            .connection()
            .query_all_raw(Statement::from_string(self.store.backend(), sql))
            .await
            .expect("tables are listed");
        rows.iter()
            .map(|row| row.try_get("", "n").expect("a name"))
            .filter(|name: &String| !name.starts_with("saved_") && !name.starts_with("seaql"))
            .collect()
    }

    /// Keeps what a claim of letters would take, its transaction still open. Answers the ids, too, and how many rows the
    /// server read for them. For servers only.
    pub async fn open_claim(
        &self,
        now: DateTime<Utc>,
        limit: u64,
    ) -> (Locked, Vec<DeliveryId>, u64) {
        let store = &self.store;
        let transaction = store.begin_write().await.expect("a transaction");
        // Asking is counted as well: it is asked twice before, to know by how much.
        let asked = rows_read(&transaction).await;
        let before = rows_read(&transaction).await;
        let claim = Statement::from_sql_and_values(
            store.backend(),
            claim_sql(store.kind, limit),
            [
                DeliveryState::Ready.as_str().into(),
                Channel::Email.as_str().into(),
                now.into(),
            ],
        );
        let rows = transaction.query_all_raw(claim).await.expect("a claim");
        let after = rows_read(&transaction).await;
        let ids = rows
            .iter()
            .map(|row| DeliveryId::from_uuid(row.try_get("", "id").expect("an id")))
            .collect();
        let read = (after - before).saturating_sub(before - asked);
        (Locked(transaction), ids, read)
    }

    /// Keeps what a statement locks (on SQLite: the whole database) until the answer is dropped or released.
    pub async fn lock(&self, sql: &str) -> Locked {
        let transaction = self.store.begin_write().await.expect("a transaction");
        transaction
            .query_all_raw(Statement::from_string(self.store.backend(), sql))
            .await
            .expect("the rows can be locked");
        Locked(transaction)
    }

    async fn migrated(url: String, folder: Option<PathBuf>) -> Self {
        let store = Store::connect(&Settings::new(url.clone(), data_keys()))
            .await
            .expect("the database answers");
        Migrator::up(store.connection(), None)
            .await
            .expect("migrations run");
        Self { store, url, folder }
    }
}

async fn put_back(transaction: &DatabaseTransaction, tables: &[String]) -> Result<(), StoreError> {
    for table in tables {
        for sql in [
            format!("DELETE FROM {table}"),
            format!("INSERT INTO {table} SELECT * FROM saved_{table}"),
        ] {
            transaction
                .execute_unprepared(&sql)
                .await
                .during("put rows back")?;
        }
    }
    Ok(())
}

/// Rows that a connection has read so far, by whatever way.
async fn rows_read(transaction: &DatabaseTransaction) -> u64 {
    let sql = "SHOW SESSION STATUS LIKE 'Handler_read%'";
    let rows = transaction
        .query_all_raw(Statement::from_string(DbBackend::MySql, sql))
        .await
        .expect("the server counts");
    rows.iter()
        .map(|row| row.try_get_by_index::<String>(1).expect("a figure"))
        .map(|figure| figure.parse::<u64>().expect("a number"))
        .sum()
}

/// Says to a server what no repository would.
pub async fn execute(store: &Store, sql: &str) {
    store
        .connection()
        .execute_unprepared(sql)
        .await
        .expect("the statement runs");
}

/// Rows that nobody else may write.
#[derive(Debug)]
pub struct Locked(DatabaseTransaction);

impl Locked {
    /// Lets go.
    pub async fn release(self) {
        self.0.rollback().await.expect("the transaction ends");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            fs::remove_dir_all(folder).ok();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a name that no other test has")]
fn fresh() -> String {
    Uuid::new_v4().simple().to_string()
}
