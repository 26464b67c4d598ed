//! What can go wrong with the database, and what may be tried again.

use sea_orm::{DbErr, RuntimeErr, SqlErr};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement failed.
    #[error("{operation} failed in the database")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// The driver's error.
        #[source]
        source: DbErr,
    },
    /// A row does not fit the domain: it was written by something else, or by a newer version.
    #[error("table {table}, column {column}, row {row}: {problem}")]
    Inconsistent {
        /// Where.
        table: &'static str,
        /// Where.
        column: &'static str,
        /// Key of the row.
        row: String,
        /// What does not fit.
        problem: String,
    },
    /// The settings do not fit.
    #[error("database settings: {0}")]
    Settings(String),
    /// Something the store was given cannot be stored.
    #[error("{operation}: {problem}")]
    Unstorable {
        /// What was being done.
        operation: &'static str,
        /// Why not.
        problem: String,
    },
}

/// Adds what was being done to a driver's error.
pub(crate) trait During<T> {
    /// Names the operation.
    fn during(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for Result<T, DbErr> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { operation, source })
    }
}

impl StoreError {
    /// The transaction was the victim of a conflict and may be run again as a whole: deadlock (1213), lock wait timeout
    /// (1205), a busy SQLite, and the certification failure that Group Replication reports at COMMIT (3101).
    pub fn is_retryable(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        if let Some("40001" | "1213" | "1205" | "HY000/1205" | "3101" | "5" | "6" | "517" | "261") =
            code(source).as_deref()
        {
            return true;
        }
        // The driver gives the SQLSTATE, which 1205 and 3101 share with everything else.
        let text = source.to_string();
        text.contains("1205 (") || text.contains("3101 (") || text.contains("database is locked")
    }

    /// A row with the same key is there already.
    pub fn is_unique_violation(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        matches!(source.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
    }

    /// There is no room: SQLite's file system is full (13), a table is (1114), or the server's disk is (1021, 1030 and 3
    /// with the system's 28). The statement was rolled back.
    pub fn is_full(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        if code(source).as_deref() == Some("13") {
            return true;
        }
        let text = source.to_string();
        ["1114 (", "1021 ("].iter().any(|code| text.contains(code))
            || text.contains("errno: 28")
            || text.contains("database or disk is full")
    }

    /// The server takes no writes: it has become a replica, or its connection's transactions are read-only (1290, 1792,
    /// 1836). Another server is the primary by now.
    pub(crate) fn is_read_only(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        let text = source.to_string();
        ["1290 (", "1792 (", "1836 ("]
            .iter()
            .any(|code| text.contains(code))
    }

    /// The connection broke, so that nobody knows whether the last statement was carried out; or it leads to a server that
    /// takes no writes.
    pub fn is_connection_lost(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        if self.is_read_only() {
            return true;
        }
        match source {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => {
                matches!(
                    **error,
                    sqlx::Error::Io(_)
                        | sqlx::Error::PoolTimedOut
                        | sqlx::Error::PoolClosed
                        | sqlx::Error::WorkerCrashed
                        | sqlx::Error::Protocol(_)
                )
            }
            _ => false,
        }
    }
}

/// The database's own code of an error.
fn code(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(RuntimeErr::SqlxError(inner))
    | DbErr::Query(RuntimeErr::SqlxError(inner))
    | DbErr::Conn(RuntimeErr::SqlxError(inner))) = error
    else {
        return None;
    };
    inner
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .map(std::borrow::Cow::into_owned)
}
