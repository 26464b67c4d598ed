//! What can go wrong with the database, and what may be tried again.

use sea_orm::{DbErr, RuntimeErr, SqlErr};
use sqlx::{error::DatabaseError, mysql::MySqlDatabaseError};

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

/// Numbers of MySQL's and MariaDB's errors; what both share they mean alike.
mod number {
    /// Of a transaction that was rolled back and may be run again: lock wait timeout, deadlock, and the conflict with another
    /// member's change that Group Replication finds at COMMIT.
    pub(super) const CONFLICTS: [u16; 3] = [1205, 1213, 3101];
    /// Of a server that takes no writes, or nothing at all: not ready (1047, Galera), read-only (1290, 1792, 1836), offline
    /// (3032), or on its way out of its group (3100, 3796 to 3799).
    pub(super) const ELSEWHERE: [u16; 10] =
        [1047, 1290, 1792, 1836, 3032, 3100, 3796, 3797, 3798, 3799];
    /// Of a connection that ends: shutting down (1053), an error in the midst of COMMIT (1180), the statement or the
    /// connection killed (1317, 1927), not available (3168), idle too long (4031).
    pub(super) const ENDING: [u16; 6] = [1053, 1180, 1317, 1927, 3168, 4031];
}

impl StoreError {
    /// The transaction was the victim of a conflict and may be run again as a whole: deadlock (1213), lock wait timeout
    /// (1205), a busy SQLite, and the certification failure that Group Replication reports at COMMIT (3101).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database { source, .. } => {
                is_one_of(source, &number::CONFLICTS)
                    || matches!(
                        code(source).as_deref(),
                        Some("40001" | "5" | "6" | "517" | "261")
                    )
                    || source.to_string().contains("database is locked")
            }
            _ => false,
        }
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

    /// The server takes no writes: it has become a replica, or is no member of its group any more. Another server is the
    /// primary by now.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Database { source, .. } if is_one_of(source, &number::ELSEWHERE))
    }

    /// The connection broke, or the server was leaving, so that nobody knows whether the last statement was carried out; or it
    /// leads to a server that takes no writes. A COMMIT of which the plugin of Group Replication says that it could not
    /// watch it (3100) is such a one, too: the other members may have it.
    pub fn is_connection_lost(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        if is_one_of(source, &number::ELSEWHERE) || is_one_of(source, &number::ENDING) {
            return true;
        }
        match source {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => {
                matches!(
                    **error,
                    sqlx::Error::Io(_)
                        | sqlx::Error::Tls(_)
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

/// The driver's error, where it comes from the database.
fn database_error(error: &DbErr) -> Option<&dyn DatabaseError> {
    let (DbErr::Exec(RuntimeErr::SqlxError(inner))
    | DbErr::Query(RuntimeErr::SqlxError(inner))
    | DbErr::Conn(RuntimeErr::SqlxError(inner))) = error
    else {
        return None;
    };
    inner.as_database_error()
}

fn is_one_of(error: &DbErr, numbers: &[u16]) -> bool {
    database_error(error)
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .is_some_and(|error| numbers.contains(&error.number()))
}

/// The database's own code of an error: the SQLSTATE on servers, a number on SQLite.
fn code(error: &DbErr) -> Option<String> {
    database_error(error)
        .and_then(DatabaseError::code)
        .map(std::borrow::Cow::into_owned)
}
