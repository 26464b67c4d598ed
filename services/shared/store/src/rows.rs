//! From rows to types of the domain, naming the table, column and row when something does not fit.

use std::{fmt::Display, str::FromStr};

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::{EntityTrait, IdenStatic as _, Iterable as _};
use serde::{Serialize, de::DeserializeOwned};

use crate::{connection::DatabaseKind, error::StoreError};

/// The columns of a table as this program knows them, each behind the prefix. A star would mean another list to the server
/// than to a prepared statement that was made before a newer program added a column.
pub(crate) fn columns<E: EntityTrait>(prefix: &str) -> String {
    let names: Vec<String> = E::Column::iter()
        .map(|column| format!("{prefix}`{}`", column.as_str()))
        .collect();
    names.join(", ")
}

/// Where a value was read.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a dyn Display,
}

impl At<'_> {
    pub(crate) fn wrong(&self, column: &'static str, problem: impl Display) -> StoreError {
        StoreError::Inconsistent {
            table: self.table,
            column,
            row: self.row.to_string(),
            problem: problem.to_string(),
        }
    }

    /// A word of a closed vocabulary.
    pub(crate) fn word<T>(&self, column: &'static str, word: &str) -> Result<T, StoreError>
    where
        T: FromStr,
        T::Err: Display,
    {
        word.parse()
            .map_err(|error: T::Err| self.wrong(column, error))
    }

    /// A JSON document.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        column: &'static str,
        text: &str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| self.wrong(column, error))
    }

    /// A number that the column's type does not keep positive.
    pub(crate) fn unsigned(&self, column: &'static str, value: i32) -> Result<u32, StoreError> {
        u32::try_from(value).map_err(|error| self.wrong(column, error))
    }

    /// A hash of 32 bytes.
    pub(crate) fn hash(&self, column: &'static str, bytes: &[u8]) -> Result<[u8; 32], StoreError> {
        bytes
            .try_into()
            .map_err(|_| self.wrong(column, format!("{} bytes, not 32", bytes.len())))
    }
}

/// A JSON document for a column.
pub(crate) fn json_text<T: Serialize>(
    operation: &'static str,
    value: &T,
) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unstorable {
        operation,
        problem: error.to_string(),
    })
}

/// A time as the driver writes it, for JSON parameters.
pub(crate) fn time_text(kind: DatabaseKind, time: DateTime<Utc>) -> String {
    match kind {
        DatabaseKind::Sqlite => time.to_rfc3339_opts(SecondsFormat::AutoSi, false),
        DatabaseKind::MySql | DatabaseKind::MariaDb => {
            time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
        }
    }
}

/// Cuts a text to what its column holds.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// A counter for an `INT` column.
pub(crate) fn int(operation: &'static str, value: u32) -> Result<i32, StoreError> {
    i32::try_from(value).map_err(|error| StoreError::Unstorable {
        operation,
        problem: error.to_string(),
    })
}
