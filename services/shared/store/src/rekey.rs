//! Sealing old values anew after a new key has come into use. Every value tells its key, so a run that was cut off is simply
//! begun again; a value that a service changes meanwhile is left to the service.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Statement, Value};
use uuid::Uuid;

use crate::{
    Store,
    data_keys::{DataKeys, HEAD_BYTES},
    error::{During, StoreError},
    sealed::{ALL, KeyColumn, SealedColumn},
};

const DOING: &str = "seal values anew";
/// Values of one transaction: it holds their rows for some milliseconds.
const PAGE: u64 = 200;

/// How many values of a column are sealed with which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedCount {
    /// Where.
    pub table: &'static str,
    /// Where.
    pub column: &'static str,
    /// By the number of their key.
    pub by_key: BTreeMap<u16, u64>,
}

/// How far it has come in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RekeyProgress {
    /// Where.
    pub table: &'static str,
    /// Where.
    pub column: &'static str,
    /// Values sealed anew by the last transaction.
    pub values: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Values sealed anew.
    pub values: u64,
    /// Values that are still sealed with an old key: a service writes with it.
    pub left: u64,
    /// Keys that seal nothing any more and may be taken out of the configuration.
    pub done_with: Vec<u16>,
}

impl Store {
    /// Counts all sealed values. Reads whole tables, so it is for people.
    pub async fn count_sealed(&self) -> Result<Vec<SealedCount>, StoreError> {
        const DOING: &str = "count sealed values";
        let mut counts = Vec::with_capacity(ALL.len());
        for SealedColumn { table, column, .. } in ALL {
            let sql = format!(
                "SELECT HEX(SUBSTR({column}, 1, {HEAD_BYTES})) AS head, COUNT(*) AS many FROM {table} \
                 WHERE LENGTH({column}) > 0 GROUP BY HEX(SUBSTR({column}, 1, {HEAD_BYTES}))"
            );
            let rows = self
                .db
                .query_at_leisure(Statement::from_string(self.backend(), sql))
                .await
                .during(DOING)?;
            let mut by_key = BTreeMap::new();
            for row in rows {
                let head: String = row.try_get("", "head").during(DOING)?;
                let many: i64 = row.try_get("", "many").during(DOING)?;
                let number = head
                    .get(2..)
                    .and_then(|digits| u16::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| StoreError::Inconsistent {
                        table,
                        column,
                        row: String::new(),
                        problem: "holds values that are not sealed".to_owned(),
                    })?;
                by_key.insert(number, many.unsigned_abs());
            }
            counts.push(SealedCount {
                table,
                column,
                by_key,
            });
        }
        Ok(counts)
    }

    /// Seals every value with the key that writes, some at a time, and forgets the keys that seal nothing any more.
    pub async fn rekey(
        &self,
        told: &(dyn Fn(RekeyProgress) + Send + Sync),
    ) -> Result<Rekeyed, StoreError> {
        let mut done = Rekeyed::default();
        for column in ALL {
            let mut after: Option<Vec<Value>> = None;
            loop {
                let page = self
                    .again(|| self.rekey_page(column, after.as_deref()))
                    .await?;
                done.values += page.sealed;
                told(RekeyProgress {
                    table: column.table,
                    column: column.column,
                    values: page.sealed,
                });
                let Some(last) = page.last else { break };
                after = Some(last);
            }
        }
        let counts = self.count_sealed().await?;
        for number in self.proven_keys().await? {
            if number == self.keys.writing() {
                continue;
            }
            let left: u64 = counts.iter().filter_map(|it| it.by_key.get(&number)).sum();
            done.left += left;
            if left == 0 {
                self.forget_key(number).await?;
                done.done_with.push(number);
            }
        }
        Ok(done)
    }

    async fn rekey_page(
        &self,
        column: &SealedColumn,
        after: Option<&[Value]>,
    ) -> Result<RekeyedPage, StoreError> {
        let rows = self
            .db
            .query_at_leisure(Statement::from_sql_and_values(
                self.backend(),
                page_sql(column, after.is_some()),
                page_values(&self.keys, after),
            ))
            .await
            .during(DOING)?;
        let mut page = RekeyedPage::default();
        if rows.is_empty() {
            return Ok(page);
        }
        let transaction = self.begin_write().await?;
        let result = self.rekey_rows(&transaction, column, &rows).await;
        page.sealed = self.conclude(transaction, result).await?;
        if rows.len() as u64 == PAGE
            && let Some(last) = rows.last()
        {
            page.last = Some(key_of(column, last)?.0);
        }
        Ok(page)
    }

    async fn rekey_rows(
        &self,
        transaction: &DatabaseTransaction,
        column: &SealedColumn,
        rows: &[QueryResult],
    ) -> Result<u64, StoreError> {
        let name = column.column;
        let of_row: Vec<&str> = column.key.iter().map(KeyColumn::name).collect();
        let of_row = of_row.join(" = ? AND ");
        // On condition of the old value: whoever has written since has written with a key of his own choice.
        let sql = format!(
            "UPDATE {} SET {name} = ? WHERE {of_row} = ? AND {name} = ?",
            column.table
        );
        let mut sealed = 0;
        for row in rows {
            let (key, place) = key_of(column, row)?;
            let old: Vec<u8> = row.try_get("", name).during(DOING)?;
            let plain = column.open(&self.keys, place.as_slice(), &old)?;
            let new = column.seal(&self.keys, place.as_slice(), &plain)?;
            let mut values = vec![Value::from(new)];
            values.extend(key);
            values.push(old.into());
            let updated = transaction
                .execute_raw(Statement::from_sql_and_values(
                    self.backend(),
                    sql.as_str(),
                    values,
                ))
                .await
                .during(DOING)?;
            sealed += updated.rows_affected();
        }
        Ok(sealed)
    }
}

#[derive(Default)]
struct RekeyedPage {
    sealed: u64,
    /// Where to go on.
    last: Option<Vec<Value>>,
}

/// Rows that are sealed with another key than the one that writes, behind a row if there is one.
fn page_sql(column: &SealedColumn, behind: bool) -> String {
    let names: Vec<&str> = column.key.iter().map(KeyColumn::name).collect();
    let keys = names.join(", ");
    let behind = match (behind, names.as_slice()) {
        (false, _) => String::new(),
        // The first part is implied by the second; it is what makes a range of the primary key.
        (true, [first, second]) => {
            format!("{first} >= ? AND ({first} > ? OR {second} > ?) AND ")
        }
        (true, _) => format!("{keys} > ? AND "),
    };
    let name = column.column;
    format!(
        "SELECT {keys}, {name} FROM {} WHERE {behind}LENGTH({name}) > 0 AND SUBSTR({name}, 1, {HEAD_BYTES}) <> ? ORDER BY {keys} LIMIT {PAGE}",
        column.table
    )
}

fn page_values(keys: &DataKeys, after: Option<&[Value]>) -> Vec<Value> {
    let mut values = match after {
        Some([first, second]) => vec![first.clone(), first.clone(), second.clone()],
        Some(key) => key.to_vec(),
        None => Vec::new(),
    };
    values.push(keys.head().to_vec().into());
    values
}

/// The key of a row as parameters, and as what its values are bound to.
fn key_of(column: &SealedColumn, row: &QueryResult) -> Result<(Vec<Value>, Vec<u8>), StoreError> {
    let (mut values, mut place) = (Vec::new(), Vec::new());
    for key in column.key {
        match key {
            KeyColumn::Id(name) => {
                let id: Uuid = row.try_get("", name).during(DOING)?;
                place.extend_from_slice(id.as_bytes());
                values.push(id.into());
            }
            KeyColumn::Number(name) => {
                let number: i32 = row.try_get("", name).during(DOING)?;
                place.extend_from_slice(&number.to_be_bytes());
                values.push(number.into());
            }
            KeyColumn::Text(name) => {
                let text: String = row.try_get("", name).during(DOING)?;
                place.extend_from_slice(text.as_bytes());
                values.push(text.into());
            }
        }
    }
    Ok((values, place))
}
