//! Writing what warehouses hold.

use std::collections::{HashMap, hash_map::Entry};

use chrono::{DateTime, Utc};
use countersign_domain::catalog::StockLevel;
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value,
};

use super::PutOptions;
use crate::{
    Store,
    bulk::Bulk,
    catalog::Put,
    entity::stock,
    error::{During, StoreError},
    requests::{RequestRecord, insert_request},
};

const STOCK: Bulk = Bulk {
    operation: "put stock",
    table: "stock",
    columns: &["sku", "warehouse", "on_hand", "reserved"],
};

/// What is done to a stock level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockChange {
    /// So many were counted.
    Counted(i64),
    /// So many came in, or negative: were lost.
    Added(i64),
}

impl Store {
    /// Sets what was counted, in sequence: warehouse, SKU and units. [`Put::Conflict`] where less was counted than is
    /// promised to orders; that row stays as it is, the others are written.
    pub async fn put_stock_levels(
        &self,
        given: &[(&str, &str, i64)],
    ) -> Result<Vec<Put>, StoreError> {
        self.again(|| async {
            let transaction = self.begin_write().await?;
            let result = self.put_stock_in(&transaction, given).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn put_stock_in(
        &self,
        transaction: &DatabaseTransaction,
        given: &[(&str, &str, i64)],
    ) -> Result<Vec<Put>, StoreError> {
        let found = stock::Entity::find()
            .filter(stock::Column::Sku.is_in(given.iter().map(|(_, sku, _)| *sku)))
            .order_by_asc(stock::Column::Sku)
            .order_by_asc(stock::Column::Warehouse)
            .lock_exclusive()
            .all(transaction)
            .await
            .during("put stock")?;
        let mut there: HashMap<(String, String), (i64, i64)> = found
            .into_iter()
            .map(|row| ((row.warehouse, row.sku), (row.on_hand, row.reserved)))
            .collect();
        let (mut puts, mut values) = (Vec::with_capacity(given.len()), Vec::new());
        for (warehouse, sku, counted) in given {
            let put = match there.entry(((*warehouse).to_owned(), (*sku).to_owned())) {
                Entry::Vacant(place) => {
                    place.insert((*counted, 0));
                    Put::Created
                }
                Entry::Occupied(old) if old.get().1 > *counted => Put::Conflict,
                Entry::Occupied(old) if old.get().0 == *counted => Put::Unchanged,
                Entry::Occupied(mut old) => {
                    old.get_mut().0 = *counted;
                    Put::Replaced
                }
            };
            puts.push(put);
            if matches!(put, Put::Created | Put::Replaced) {
                values.extend::<[Value; 4]>([
                    (*sku).into(),
                    (*warehouse).into(),
                    (*counted).into(),
                    0_i64.into(),
                ]);
            }
        }
        let options = PutOptions::default();
        self.upsert(
            &STOCK,
            transaction,
            "sku, warehouse",
            &["on_hand"],
            options,
            values,
        )
        .await?;
        Ok(puts)
    }

    /// Sets what was counted or adds what came in, and remembers the call. Nothing when less would be there than is
    /// promised; then the call is not remembered either.
    pub async fn change_stock_level(
        &self,
        warehouse: &str,
        sku: &str,
        change: StockChange,
        remember: &(dyn Fn(&StockLevel) -> RequestRecord + Sync),
        now: DateTime<Utc>,
    ) -> Result<Option<StockLevel>, StoreError> {
        const DOING: &str = "change a stock level";
        self.again(|| async {
            let transaction = self.begin_write().await?;
            let work = async {
                let row = stock::Entity::find_by_id((sku.to_owned(), warehouse.to_owned()))
                    .lock_exclusive()
                    .one(&transaction)
                    .await
                    .during(DOING)?;
                let (on_hand, reserved) = row.map_or((0, 0), |row| (row.on_hand, row.reserved));
                let after = match change {
                    StockChange::Counted(units) => Some(units),
                    StockChange::Added(units) => on_hand.checked_add(units),
                };
                let Some(after) = after.filter(|after| *after >= reserved) else {
                    return Ok(None);
                };
                let level = StockLevel {
                    warehouse: warehouse.to_owned(),
                    sku: sku.to_owned(),
                    on_hand: after,
                    reserved,
                };
                insert_request(&transaction, &self.keys, &remember(&level), now).await?;
                let values = vec![sku.into(), warehouse.into(), after.into(), 0_i64.into()];
                let options = PutOptions::default();
                self.upsert(
                    &STOCK,
                    &transaction,
                    "sku, warehouse",
                    &["on_hand"],
                    options,
                    values,
                )
                .await?;
                Ok(Some(level))
            };
            let result = work.await;
            self.conclude(transaction, result).await
        })
        .await
    }
}
