//! Write transactions: the isolation level is chosen, not inherited, and a victim of a conflict is run again whole.

use std::{sync::LazyLock, time::Duration};

use futures::future::BoxFuture;
use opentelemetry::{global, metrics::Counter};
use rand::Rng;
use sea_orm::{DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};

use crate::{
    connection::{DatabaseKind, Store},
    error::{During, StoreError},
};

/// How often a transaction is run before its conflict is reported.
const RUNS_MAX: u32 = 5;

impl Store {
    /// Opens a write transaction: READ COMMITTED on the servers, as every connection was set, IMMEDIATE on SQLite (no
    /// upgrade that could fail half-way).
    pub(crate) async fn begin_write(&self) -> Result<DatabaseTransaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.kind == DatabaseKind::Sqlite)
                .then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = async {
            let begun = self.db.inner.begin_with_options(options).await;
            begun.during("begin")
        };
        self.bounded("begin", begun).await
    }

    /// Runs `work` in a write transaction and commits it. After a deadlock or a lock wait timeout everything is rolled
    /// back and run again, at most five times, 10 to 200 ms apart: 1205 rolls back only its statement, so going on would
    /// commit half of it.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send,
        F: for<'t> Fn(&'t DatabaseTransaction) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + Sync,
    {
        let mut run = 1;
        loop {
            match self.write_once(&work).await {
                Err(error) if error.is_retryable() && run < RUNS_MAX => {
                    tracing::debug!(run, error = %error, "transaction is run again");
                    wait_to_run_again(run).await;
                    run += 1;
                }
                result => return result,
            }
        }
    }

    /// Ends a transaction that [`Self::begin_write`] began: commits what succeeded, rolls back what did not.
    pub(crate) async fn conclude<T>(
        &self,
        transaction: DatabaseTransaction,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match result {
            Ok(value) => {
                self.commit(transaction, "commit").await?;
                Ok(value)
            }
            Err(error) => {
                self.give_up(transaction, &error).await;
                Err(error)
            }
        }
    }

    /// Commits. A member of a group may learn only now that it is none any more.
    pub(crate) async fn commit(
        &self,
        transaction: DatabaseTransaction,
        operation: &'static str,
    ) -> Result<(), StoreError> {
        let result = transaction.commit().await.during(operation);
        if result.as_ref().is_err_and(StoreError::is_elsewhere) {
            self.retire_connections();
        }
        result
    }

    /// Rolls back what failed.
    pub(crate) async fn give_up(&self, transaction: DatabaseTransaction, error: &StoreError) {
        if error.is_elsewhere() {
            self.retire_connections();
        }
        if let Err(rollback) = transaction.rollback().await {
            tracing::warn!(error = %rollback, "rollback failed; the connection is given up");
        }
    }

    /// Runs a whole transaction of the caller's again when it was the victim of a conflict, as [`Self::write`] does.
    pub(crate) async fn again<T, F, W>(&self, work: F) -> Result<T, StoreError>
    where
        F: Fn() -> W + Send + Sync,
        W: Future<Output = Result<T, StoreError>> + Send,
    {
        let mut run = 1;
        loop {
            match self.bounded("run a transaction", Box::pin(work())).await {
                Err(error) if error.is_retryable() && run < RUNS_MAX => {
                    tracing::debug!(run, error = %error, "transaction is run again");
                    wait_to_run_again(run).await;
                    run += 1;
                }
                result => return result,
            }
        }
    }

    async fn write_once<T, F>(&self, work: &F) -> Result<T, StoreError>
    where
        T: Send,
        F: for<'t> Fn(&'t DatabaseTransaction) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + Sync,
    {
        let whole = async {
            let transaction = self.begin_write().await?;
            let result = work(&transaction).await;
            self.conclude(transaction, result).await
        };
        self.bounded("run a transaction", Box::pin(whole)).await
    }
}

/// Transactions that are run again. One that is given up is told to its caller.
static RUN_AGAIN: LazyLock<Counter<u64>> = LazyLock::new(|| {
    global::meter("countersign-store")
        .u64_counter("transactions_again_total")
        .with_description("Transactions that were run again after a conflict with others")
        .build()
});

/// Waits a moment before a transaction that lost a conflict is run once more, and counts it. `run` says how often it has
/// been run. For those who decide anew on other facts; everything else in the store does so itself.
pub async fn wait_to_run_again(run: u32) {
    RUN_AGAIN.add(1, &[]);
    tokio::time::sleep(Duration::from_millis(rand_wait_ms(run))).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "jitter between rivals; nothing is decided by it"
)]
fn rand_wait_ms(run: u32) -> u64 {
    rand::rng().random_range(10..=50 * u64::from(run.min(4)))
}
