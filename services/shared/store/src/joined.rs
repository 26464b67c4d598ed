//! An UPDATE of many rows, each with values of its own.

use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement, Value};
use serde::Serialize;

use crate::{
    Store,
    bulk::{JsonType, json_parts, json_rows},
    connection::DatabaseKind,
    error::{During, StoreError},
};

/// An UPDATE of many rows, each with values of its own, by few statements with one JSON parameter each.
pub(crate) struct JoinedUpdate {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [(&'static str, JsonType)],
    /// Of the table's columns as `t.`, of the given ones as `n.`.
    pub(crate) on: &'static str,
    /// Column and expression.
    pub(crate) set: &'static [(&'static str, &'static str)],
}

impl JoinedUpdate {
    fn sql(&self, kind: DatabaseKind) -> String {
        let rows = json_rows(kind, self.columns);
        let table = self.table;
        let on = self.on;
        let set = |prefix: &str| {
            self.set
                .iter()
                .map(|(column, value)| format!("{prefix}{column} = {value}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        match kind {
            DatabaseKind::Sqlite => {
                format!("UPDATE {table} AS t SET {} FROM {rows} WHERE {on}", set(""))
            }
            // The rows were locked in sequence before; the join only finds them by their keys.
            DatabaseKind::MySql | DatabaseKind::MariaDb => format!(
                "UPDATE {rows} STRAIGHT_JOIN {table} AS t ON {on} SET {}",
                set("t.")
            ),
        }
    }
}

impl Store {
    /// `shared` are the values of the question marks in the update.
    pub(crate) async fn update_joined<T: Serialize + Sync>(
        &self,
        transaction: &DatabaseTransaction,
        update: &JoinedUpdate,
        operation: &'static str,
        rows: &[T],
        shared: &[Value],
    ) -> Result<(), StoreError> {
        for part in json_parts(operation, rows)? {
            let mut values = shared.to_vec();
            match self.kind {
                DatabaseKind::Sqlite => values.push(part.into()),
                DatabaseKind::MySql | DatabaseKind::MariaDb => values.insert(0, part.into()),
            }
            transaction
                .execute_raw(Statement::from_sql_and_values(
                    self.backend(),
                    update.sql(self.kind),
                    values,
                ))
                .await
                .during(operation)?;
        }
        Ok(())
    }
}
