//! Counters that are given out in blocks: a process takes many with one statement and uses them up; those that it did not
//! use when it stops are never used, so numbers have gaps but never repeat.

use sea_orm::{ConnectionTrait, EntityTrait, Statement};

use crate::{
    Store,
    connection::DatabaseKind,
    entity::sequences,
    error::{During, StoreError},
};

impl Store {
    /// Takes `count` numbers of a sequence; answers the first.
    pub async fn take_numbers(&self, sequence: &str, count: i64) -> Result<i64, StoreError> {
        const DOING: &str = "take numbers";
        let (kind, backend) = (self.kind, self.backend());
        let sequence = sequence.to_owned();
        self.write(|transaction| {
            let sequence = sequence.clone();
            Box::pin(async move {
                let sql = match kind {
                    DatabaseKind::Sqlite => {
                        "INSERT INTO sequences (name, value) VALUES (?, ?) \
                         ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
                    }
                    DatabaseKind::MySql | DatabaseKind::MariaDb => {
                        "INSERT INTO sequences (name, value) VALUES (?, ?) \
                         ON DUPLICATE KEY UPDATE value = value + VALUES(value)"
                    }
                };
                transaction
                    .execute_raw(Statement::from_sql_and_values(
                        backend,
                        sql,
                        [sequence.as_str().into(), count.into()],
                    ))
                    .await
                    .during(DOING)?;
                // The row is locked by this transaction, so what is read is what was written.
                let row = sequences::Entity::find_by_id(sequence)
                    .one(transaction)
                    .await
                    .during(DOING)?;
                Ok(row.map_or(0, |row| row.value - count) + 1)
            })
        })
        .await
    }
}
