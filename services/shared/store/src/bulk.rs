//! Multi-row statements. Rows are cut into chunks of a few sizes, so that a handful of prepared statements a table
//! serves every batch, and none carries more than fits into one TLS record: the driver does not switch Nagle's algorithm
//! off, so what goes out in a second write waits for the server's delayed acknowledgement, 40 ms.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, Value};
use serde::Serialize;

use crate::{
    connection::DatabaseKind,
    error::{During, StoreError},
    rows::json_text,
};

/// Rows of a chunk. Each size is one more statement that the server keeps prepared for each connection.
const CHUNK_ROWS: [usize; 9] = [48, 32, 24, 16, 12, 8, 4, 2, 1];
/// Bytes of parameters of a chunk, as far as more than one row goes into it. A TLS record holds 16 KiB.
const CHUNK_BYTES: usize = 15_000;

/// Columns of one table to be filled many rows at a time.
pub(crate) struct Bulk {
    pub(crate) operation: &'static str,
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [&'static str],
}

impl Bulk {
    /// Inserts rows whose values stand one row after the other.
    pub(crate) async fn insert(
        &self,
        transaction: &DatabaseTransaction,
        backend: DbBackend,
        mut values: Vec<Value>,
    ) -> Result<(), StoreError> {
        let width = self.columns.len();
        while !values.is_empty() {
            let chunk = chunk_rows(&values, width);
            let rest = values.split_off(chunk * width);
            transaction
                .execute_raw(Statement::from_sql_and_values(
                    backend,
                    self.sql(chunk),
                    values,
                ))
                .await
                .during(self.operation)?;
            values = rest;
        }
        Ok(())
    }

    /// Like [`Self::insert`]; rows whose key is there already are left out.
    pub(crate) async fn insert_new(
        &self,
        transaction: &DatabaseTransaction,
        kind: DatabaseKind,
        backend: DbBackend,
        mut values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let width = self.columns.len();
        let mut inserted = 0;
        while !values.is_empty() {
            let chunk = chunk_rows(&values, width);
            let rest = values.split_off(chunk * width);
            let sql = match (kind, self.columns.first()) {
                (DatabaseKind::MySql | DatabaseKind::MariaDb, Some(first)) => format!(
                    "{} ON DUPLICATE KEY UPDATE {first} = {}.{first}",
                    self.sql(chunk),
                    self.table
                ),
                _ => format!("{} ON CONFLICT DO NOTHING", self.sql(chunk)),
            };
            let result = transaction
                .execute_raw(Statement::from_sql_and_values(backend, sql, values))
                .await
                .during(self.operation)?;
            inserted += result.rows_affected();
            values = rest;
        }
        Ok(inserted)
    }

    /// Inserts rows; where the key is taken, the columns named get the new values.
    pub(crate) async fn upsert(
        &self,
        transaction: &DatabaseTransaction,
        kind: DatabaseKind,
        key: &str,
        changed: &[&str],
        values: Vec<Value>,
    ) -> Result<(), StoreError> {
        let (head, backend) = match kind {
            DatabaseKind::Sqlite => (
                format!("ON CONFLICT ({key}) DO UPDATE SET "),
                DbBackend::Sqlite,
            ),
            DatabaseKind::MySql | DatabaseKind::MariaDb => {
                ("ON DUPLICATE KEY UPDATE ".to_owned(), DbBackend::MySql)
            }
        };
        let set: Vec<String> = changed
            .iter()
            .map(|column| match kind {
                DatabaseKind::Sqlite => format!("{column} = excluded.{column}"),
                // MariaDB knows no row alias, the newer way of MySQL.
                DatabaseKind::MySql | DatabaseKind::MariaDb => {
                    format!("{column} = VALUES({column})")
                }
            })
            .collect();
        let tail = format!("{head}{}", set.join(", "));
        self.upsert_by(transaction, backend, &tail, values).await
    }

    /// Inserts rows; where the key is taken, `tail` says what becomes of the row.
    pub(crate) async fn upsert_by(
        &self,
        transaction: &DatabaseTransaction,
        backend: DbBackend,
        tail: &str,
        mut values: Vec<Value>,
    ) -> Result<(), StoreError> {
        let width = self.columns.len();
        while !values.is_empty() {
            let chunk = chunk_rows(&values, width);
            let rest = values.split_off(chunk * width);
            transaction
                .execute_raw(Statement::from_sql_and_values(
                    backend,
                    format!("{} {tail}", self.sql(chunk)),
                    values,
                ))
                .await
                .during(self.operation)?;
            values = rest;
        }
        Ok(())
    }

    pub(crate) fn sql(&self, rows: usize) -> String {
        let one = format!("({})", vec!["?"; self.columns.len()].join(","));
        format!(
            "INSERT INTO {} ({}) VALUES {}",
            self.table,
            self.columns.join(","),
            vec![one.as_str(); rows].join(",")
        )
    }
}

/// How many of the rows go next: the greatest chunk that fits.
fn chunk_rows(values: &[Value], width: usize) -> usize {
    let mut bytes = 0;
    let fitting = values
        .chunks(width)
        .take(CHUNK_ROWS[0])
        .take_while(|row| {
            bytes += row.iter().map(wire_bytes).sum::<usize>();
            bytes <= CHUNK_BYTES
        })
        .count();
    CHUNK_ROWS
        .into_iter()
        .find(|rows| *rows <= fitting)
        .unwrap_or(1)
}

/// What a parameter takes on the wire at most: its type, its length and itself.
const fn wire_bytes(value: &Value) -> usize {
    match value {
        Value::String(Some(text)) => text.len() + 5,
        Value::Bytes(Some(bytes)) => bytes.len() + 5,
        Value::Uuid(Some(_)) => 19,
        Value::Int(Some(_)) => 6,
        Value::BigInt(Some(_)) => 10,
        Value::String(None)
        | Value::Bytes(None)
        | Value::Uuid(None)
        | Value::Int(None)
        | Value::BigInt(None)
        | Value::ChronoDateTimeUtc(None) => 3,
        _ => 14,
    }
}

/// A derived table `n` of one JSON parameter: an array of arrays whose items become columns. One prepared statement
/// serves any number of rows. Text columns are named with the collation of the keys they meet, else every row would be a
/// full scan.
pub(crate) fn json_rows(kind: DatabaseKind, columns: &[(&str, JsonType)]) -> String {
    let parts: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, (name, ty))| match kind {
            DatabaseKind::Sqlite => format!("json_extract(value, '$[{index}]') AS {name}"),
            DatabaseKind::MySql | DatabaseKind::MariaDb => {
                let ty = match ty {
                    JsonType::Text => "VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                    JsonType::Key => "VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                    JsonType::Long => "BIGINT",
                };
                format!("{name} {ty} PATH '$[{index}]'")
            }
        })
        .collect();
    match kind {
        DatabaseKind::Sqlite => format!("(SELECT {} FROM json_each(?)) AS n", parts.join(", ")),
        DatabaseKind::MySql | DatabaseKind::MariaDb => {
            format!("JSON_TABLE(?, '$[*]' COLUMNS ({})) AS n", parts.join(", "))
        }
    }
}

/// The parameters of [`json_rows`] for these rows: as few as fit into one TLS record each.
pub(crate) fn json_parts<T: Serialize>(
    operation: &'static str,
    rows: &[T],
) -> Result<Vec<String>, StoreError> {
    let mut parts: Vec<String> = Vec::new();
    for row in rows {
        let text = json_text(operation, row)?;
        match parts.last_mut() {
            Some(part) if part.len() + text.len() + 1 < CHUNK_BYTES => part.push(','),
            _ => parts.push("[".to_owned()),
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(&text);
        }
    }
    for part in &mut parts {
        part.push(']');
    }
    Ok(parts)
}

/// Type of a column of [`json_rows`].
#[derive(Clone, Copy)]
pub(crate) enum JsonType {
    Key,
    Long,
    /// Up to 512 characters; what is longer would become NULL.
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_parted_so_that_each_part_fits_and_none_is_lost() {
        let rows: Vec<(u32, String)> = (0..300).map(|number| (number, "x".repeat(100))).collect();
        let parts = json_parts("test", &rows).unwrap();
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| part.len() <= CHUNK_BYTES + 1));
        let read: Vec<(u32, String)> = parts
            .iter()
            .flat_map(|part| serde_json::from_str::<Vec<(u32, String)>>(part).unwrap())
            .collect();
        assert_eq!(read, rows);
        assert!(json_parts::<u32>("test", &[]).unwrap().is_empty());
        // A row that is longer than a record goes out alone.
        let long = ["y".repeat(CHUNK_BYTES), "z".to_owned()];
        assert_eq!(json_parts("test", &long).unwrap().len(), 2);
    }
}
