//! One process migrates at a time.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Statement};

use crate::{
    Store,
    connection::{DatabaseKind, Settings},
    error::{During, StoreError},
};

/// A lock's name holds for the whole server, so it says which database is meant; at most 64 characters.
/// MD5 is no function of MySQL any more (9.6), SHA2 is one of every server.
const NAME: &str = "CONCAT('countersign.migrate.', LEFT(SHA2(DATABASE(), 256), 32))";

/// The server's lock on migrating, held by a connection of its own: when the process dies the server releases it.
/// SQLite needs none here; its caller locks a file.
#[derive(Debug)]
pub struct MigrationLock {
    holder: Option<Store>,
}

impl MigrationLock {
    /// Waits until no other process migrates, at most `wait`.
    pub async fn acquire(settings: &Settings, wait: Duration) -> Result<Self, StoreError> {
        let alone = Settings {
            connections_max: 1,
            ..settings.clone()
        };
        let holder = Store::connect(&alone).await?;
        if holder.kind == DatabaseKind::Sqlite {
            return Ok(Self { holder: None });
        }
        let sql = format!("SELECT GET_LOCK({NAME}, {}) AS answer", wait.as_secs());
        if answer(&holder, &sql, "lock the schema").await? != Some(1) {
            return Err(StoreError::Settings(format!(
                "another process is still migrating after {} seconds",
                wait.as_secs()
            )));
        }
        Ok(Self {
            holder: Some(holder),
        })
    }

    /// Fails when the connection that held the lock is gone, and the lock with it.
    pub async fn check(&self) -> Result<(), StoreError> {
        let Some(holder) = &self.holder else {
            return Ok(());
        };
        let sql = format!("SELECT IS_USED_LOCK({NAME}) = CONNECTION_ID() AS answer");
        if answer(holder, &sql, "look at the lock of the schema").await? == Some(1) {
            return Ok(());
        }
        Err(StoreError::Settings(
            "the connection that held the migration lock is gone".into(),
        ))
    }

    /// Lets the next process migrate.
    pub async fn release(self) -> Result<(), StoreError> {
        let Some(holder) = &self.holder else {
            return Ok(());
        };
        let sql = format!("SELECT RELEASE_LOCK({NAME}) AS answer");
        answer(holder, &sql, "unlock the schema").await.map(|_| ())
    }
}

async fn answer(holder: &Store, sql: &str, doing: &'static str) -> Result<Option<i64>, StoreError> {
    // Waiting for the lock takes as long as was said.
    holder
        .db
        .inner
        .query_one_raw(Statement::from_string(holder.backend(), sql))
        .await
        .during(doing)?
        .map(|row| row.try_get("", "answer").during(doing))
        .transpose()
        .map(Option::flatten)
}
