//! Whatever is asked of the database comes to an end: a server that vanished without a word answers nothing, not even no.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, entity::prelude::async_trait::async_trait,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{Store, error::StoreError};

/// Longer than any statement or transaction of ours takes, waits for locks included.
const PATIENCE: Duration = Duration::from_secs(30);

/// For statements over whole tables that only people ask for, by a command.
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_hours(1);

/// A moment before which no connection may have been made, if there is one. Who waits for an answer over such a connection
/// waits no longer.
#[derive(Clone, Debug)]
pub(crate) struct Retired(Arc<watch::Sender<Option<Instant>>>);

impl Default for Retired {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Retired {
    /// Connections made before this moment are not used again.
    pub(crate) fn now(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Whether a connection of this age is one of them.
    pub(crate) fn is(&self, age: Duration) -> bool {
        self.0.borrow().is_some_and(|moment| moment.elapsed() < age)
    }

    /// Waits for an answer until nobody can expect one any more. Given up, it may have been carried out nevertheless.
    async fn bounded<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
        lost: impl FnOnce(DbErr) -> E,
    ) -> Result<T, E> {
        let mut retired = self.0.subscribe();
        let why = tokio::select! {
            biased;
            result = work => return result,
            _ = retired.changed() => "the database has another primary",
            () = sleep(PATIENCE) => "the database has not answered for thirty seconds",
        };
        Err(lost(DbErr::Conn(RuntimeErr::Internal(why.to_owned()))))
    }
}

impl Store {
    /// Runs a whole transaction that must come to its end.
    pub(crate) async fn bounded<T, E: From<StoreError>>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let lost = |source| StoreError::Database { operation, source }.into();
        self.db.retired.bounded(work, lost).await
    }
}

/// A connection over which each statement comes to its end.
#[derive(Clone, Debug)]
pub(crate) struct Bounded {
    pub(crate) inner: DatabaseConnection,
    pub(crate) retired: Retired,
}

impl Bounded {
    /// Carries out what reads whole tables and only people ask for: it has an hour.
    pub(crate) async fn query_at_leisure(
        &self,
        statement: Statement,
    ) -> Result<Vec<QueryResult>, DbErr> {
        match timeout(PATIENCE_WITH_PEOPLE, self.inner.query_all_raw(statement)).await {
            Ok(result) => result,
            Err(_) => Err(DbErr::Conn(RuntimeErr::Internal(
                "the database has not answered for an hour".to_owned(),
            ))),
        }
    }

    async fn statement<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        self.retired.bounded(work, |error| error).await
    }
}

#[async_trait]
impl ConnectionTrait for Bounded {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.statement(self.inner.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.statement(self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.statement(self.inner.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.statement(self.inner.query_all_raw(statement)).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_server_that_was_left_waits_no_longer() {
        let retired = Retired::default();
        let waiting = retired.bounded(pending::<Result<(), DbErr>>(), |error| error);
        let (answer, ()) = tokio::join!(waiting, async { retired.now() });
        let error = answer.unwrap_err().to_string();
        assert!(error.contains("another primary"), "{error}");
        // What is begun afterwards goes over new connections.
        let answer = retired.bounded(async { Ok::<_, DbErr>(1) }, |error| error);
        assert_eq!(answer.await.unwrap(), 1);
    }
}
