//! Stock levels. What is promised is a conditional UPDATE: it can never promise more than there is.

use countersign_domain::catalog::{StockDelta, StockLevel};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement, sea_query::ExprTrait,
};

use crate::{
    Store,
    bulk::{JsonType, json_rows},
    catalog::Page,
    connection::DatabaseKind,
    entity::stock,
    error::{During, StoreError},
    rows::json_text,
};

impl Store {
    /// Levels of these SKUs in all warehouses.
    pub async fn find_stock(&self, skus: &[&str]) -> Result<Vec<StockLevel>, StoreError> {
        const DOING: &str = "find stock";
        let rows_of = json_rows(self.kind, &[("sku", JsonType::Key)]);
        let keys: Vec<[&str; 1]> = skus.iter().map(|sku| [*sku]).collect();
        let rows = self
            .db
            .query_all_raw(Statement::from_sql_and_values(
                self.backend(),
                format!(
                    "SELECT s.sku, s.warehouse, s.on_hand, s.reserved FROM {rows_of} JOIN stock AS s ON s.sku = n.sku"
                ),
                [json_text(DOING, &keys)?.into()],
            ))
            .await
            .during(DOING)?;
        rows.iter()
            .map(|row| {
                Ok(StockLevel {
                    sku: row.try_get("", "sku").during(DOING)?,
                    warehouse: row.try_get("", "warehouse").during(DOING)?,
                    on_hand: row.try_get("", "on_hand").during(DOING)?,
                    reserved: row.try_get("", "reserved").during(DOING)?,
                })
            })
            .collect()
    }

    /// A page of levels by SKU and warehouse, of one warehouse or of all.
    pub async fn list_stock(
        &self,
        warehouse: Option<&str>,
        after: Option<(&str, &str)>,
        limit: u64,
    ) -> Result<Page<StockLevel>, StoreError> {
        let mut query = stock::Entity::find()
            .order_by_asc(stock::Column::Sku)
            .order_by_asc(stock::Column::Warehouse)
            .limit(limit + 1);
        if let Some(warehouse) = warehouse {
            query = query.filter(stock::Column::Warehouse.eq(warehouse));
        }
        if let Some((sku, place)) = after {
            query = query.filter(
                stock::Column::Sku.gt(sku).or(stock::Column::Sku
                    .eq(sku)
                    .and(stock::Column::Warehouse.gt(place))),
            );
        }
        let rows = query.all(&self.db).await.during("list stock")?;
        Ok(Page::cut(rows, limit, |row| StockLevel {
            warehouse: row.warehouse,
            sku: row.sku,
            on_hand: row.on_hand,
            reserved: row.reserved,
        }))
    }

    /// Sets what was counted, on condition that it covers what is promised. Answers the level afterwards, or nothing when
    /// the count is below what is promised.
    pub async fn put_stock(
        &self,
        warehouse: &str,
        sku: &str,
        on_hand: i64,
    ) -> Result<Option<StockLevel>, StoreError> {
        const DOING: &str = "set stock";
        let (warehouse, sku) = (warehouse.to_owned(), sku.to_owned());
        let (kind, backend) = (self.kind, self.backend());
        self.write(|transaction| {
            let (warehouse, sku) = (warehouse.clone(), sku.clone());
            Box::pin(async move {
                let insert = match kind {
                    DatabaseKind::Sqlite => {
                        "INSERT INTO stock (sku, warehouse, on_hand, reserved) VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING"
                    }
                    DatabaseKind::MySql | DatabaseKind::MariaDb => {
                        "INSERT INTO stock (sku, warehouse, on_hand, reserved) VALUES (?, ?, 0, 0) \
                         ON DUPLICATE KEY UPDATE on_hand = on_hand"
                    }
                };
                transaction
                    .execute_raw(Statement::from_sql_and_values(
                        backend,
                        insert,
                        [sku.as_str().into(), warehouse.as_str().into()],
                    ))
                    .await
                    .during(DOING)?;
                let updated = transaction
                    .execute_raw(Statement::from_sql_and_values(
                        backend,
                        "UPDATE stock SET on_hand = ? WHERE sku = ? AND warehouse = ? AND reserved <= ?",
                        [
                            on_hand.into(),
                            sku.as_str().into(),
                            warehouse.as_str().into(),
                            on_hand.into(),
                        ],
                    ))
                    .await
                    .during(DOING)?;
                if updated.rows_affected() == 0 {
                    return Ok(None);
                }
                let row = stock::Entity::find_by_id((sku.clone(), warehouse.clone()))
                    .one(transaction)
                    .await
                    .during(DOING)?;
                Ok(row.map(|row| StockLevel {
                    warehouse: row.warehouse,
                    sku: row.sku,
                    on_hand: row.on_hand,
                    reserved: row.reserved,
                }))
            })
        })
        .await
    }

    /// Adds what came in, or takes off what was lost, as far as what is promised stays covered. False when it does not.
    pub async fn adjust_stock(&self, delta: &StockDelta) -> Result<bool, StoreError> {
        let deltas = std::slice::from_ref(delta);
        let kind = self.kind;
        let backend = self.backend();
        let deltas = deltas.to_vec();
        self.write(|transaction| {
            let deltas = deltas.clone();
            Box::pin(async move { change_stock(transaction, kind, backend, &deltas).await })
        })
        .await
    }
}

/// Applies all changes with one statement joined to the batch's needs. False when one of them would promise more than
/// there is, or there is no such level: the caller rolls back.
pub(crate) async fn change_stock(
    transaction: &DatabaseTransaction,
    kind: DatabaseKind,
    backend: sea_orm::DbBackend,
    deltas: &[StockDelta],
) -> Result<bool, StoreError> {
    for chunk in deltas.chunks(DELTAS_MAX) {
        if !change_some(transaction, kind, backend, chunk).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Changes of one statement: its parameter stays within a TLS record (see `bulk`).
const DELTAS_MAX: usize = 256;

async fn change_some(
    transaction: &DatabaseTransaction,
    kind: DatabaseKind,
    backend: sea_orm::DbBackend,
    deltas: &[StockDelta],
) -> Result<bool, StoreError> {
    const DOING: &str = "change stock";
    let rows: Vec<(&str, &str, i64, i64)> = deltas
        .iter()
        .map(|delta| {
            (
                delta.sku.as_str(),
                delta.warehouse.as_str(),
                delta.reserved,
                delta.on_hand,
            )
        })
        .collect();
    let rows_of = json_rows(
        kind,
        &[
            ("sku", JsonType::Key),
            ("warehouse", JsonType::Key),
            ("reserved", JsonType::Long),
            ("on_hand", JsonType::Long),
        ],
    );
    let sql = match kind {
        DatabaseKind::Sqlite => format!(
            "UPDATE stock SET reserved = stock.reserved + n.reserved, on_hand = stock.on_hand + n.on_hand FROM {rows_of} \
             WHERE stock.sku = n.sku AND stock.warehouse = n.warehouse \
             AND stock.reserved + n.reserved >= 0 AND stock.reserved + n.reserved <= stock.on_hand + n.on_hand"
        ),
        // STRAIGHT_JOIN: rows are locked in the order of the batch, which is sorted, so that two batches cannot cross.
        DatabaseKind::MySql | DatabaseKind::MariaDb => format!(
            "UPDATE {rows_of} STRAIGHT_JOIN stock AS s ON s.sku = n.sku AND s.warehouse = n.warehouse \
             SET s.reserved = s.reserved + n.reserved, s.on_hand = s.on_hand + n.on_hand \
             WHERE s.reserved + n.reserved >= 0 AND s.reserved + n.reserved <= s.on_hand + n.on_hand"
        ),
    };
    let result = transaction
        .execute_raw(Statement::from_sql_and_values(
            backend,
            sql,
            [json_text(DOING, &rows)?.into()],
        ))
        .await
        .during(DOING)?;
    Ok(usize::try_from(result.rows_affected()).is_ok_and(|rows| rows == deltas.len()))
}
