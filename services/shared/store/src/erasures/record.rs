//! Erasures as they stand on record.

use chrono::{DateTime, Utc};
use countersign_domain::{erasure::ErasureState, ids::ErasureId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};

use crate::{
    Store,
    entity::{erasures, orders},
    error::{During, StoreError},
    rows::At,
};

/// An erasure as it stands. Nothing in it tells who the customer was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Which.
    pub id: ErasureId,
    /// Keyed hash of the customer's code.
    pub customer_hash: [u8; 32],
    /// How far it has come.
    pub state: ErasureState,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What was found by the check at the end.
    pub report: ErasureReport,
    /// When it was asked for.
    pub create_time: DateTime<Utc>,
    /// When nothing was left.
    pub finish_time: Option<DateTime<Utc>>,
}

/// What an erasure came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureReport {
    /// Orders that were erased.
    pub orders: u64,
    /// Rows that were looked at afterwards, and those in which something was left.
    pub tables: Vec<TableReport>,
}

impl ErasureReport {
    /// Rows in which something was left.
    pub fn left(&self) -> u64 {
        self.tables.iter().map(|table| table.left).sum()
    }
}

/// What was found in a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// Which.
    pub table: String,
    /// Rows that were looked at.
    pub looked_at: u64,
    /// Rows in which something was left.
    pub left: u64,
}

impl Store {
    /// One erasure.
    pub async fn find_erasure(&self, id: ErasureId) -> Result<Option<Erasure>, StoreError> {
        erasures::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during("find an erasure")?
            .map(erasure)
            .transpose()
    }

    /// The last erasure of a customer.
    pub async fn find_last_erasure(
        &self,
        customer_hash: &[u8; 32],
    ) -> Result<Option<Erasure>, StoreError> {
        erasures::Entity::find()
            .filter(erasures::Column::CustomerHash.eq(customer_hash.to_vec()))
            .order_by_desc(erasures::Column::Id)
            .one(&self.db)
            .await
            .during("find an erasure")?
            .map(erasure)
            .transpose()
    }

    /// Erasures that are not done, oldest first.
    pub async fn list_unfinished_erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        erasures::Entity::find()
            .filter(erasures::Column::State.ne(ErasureState::Done.as_str()))
            .order_by_asc(erasures::Column::Id)
            .limit(100)
            .all(&self.db)
            .await
            .during("list erasures")?
            .into_iter()
            .map(erasure)
            .collect()
    }

    /// Erasures that were done since a time.
    pub async fn list_erasures_since(
        &self,
        since: Option<DateTime<Utc>>,
    ) -> Result<Vec<Erasure>, StoreError> {
        let since = since.unwrap_or(DateTime::UNIX_EPOCH);
        erasures::Entity::find()
            .filter(erasures::Column::FinishTime.gte(since))
            .order_by_asc(erasures::Column::Id)
            .all(&self.db)
            .await
            .during("list erasures")?
            .into_iter()
            .map(erasure)
            .collect()
    }

    /// Codes of customers that have orders, in their order.
    pub async fn list_order_customers(
        &self,
        after: &str,
        limit: u64,
    ) -> Result<Vec<String>, StoreError> {
        orders::Entity::find()
            .select_only()
            .column(orders::Column::Customer)
            .distinct()
            .filter(orders::Column::Customer.gt(after))
            .order_by_asc(orders::Column::Customer)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await
            .during("list customers of orders")
    }
}

pub(super) fn erasure(row: erasures::Model) -> Result<Erasure, StoreError> {
    let at = At {
        table: "erasures",
        row: &row.id,
    };
    Ok(Erasure {
        id: ErasureId::from_uuid(row.id),
        customer_hash: at.hash("customer_hash", &row.customer_hash)?,
        state: at.word("state", &row.state)?,
        report: at.json("report", &row.report)?,
        actor: row.actor,
        reason: row.reason,
        create_time: row.create_time,
        finish_time: row.finish_time,
    })
}
