//! Erasures as they stand on record.

use chrono::{DateTime, Utc};
use countersign_domain::{erasure::ErasureState, ids::ErasureId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Store,
    data_keys::DataKeys,
    entity::{erasures, orders},
    error::{During, StoreError},
    rows::At,
    sealed::ERASURES_REASON,
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
    /// The last answer that has been looked through, of those that belong to no order: where the next piece begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies_after: Option<Uuid>,
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
            .map(|row| erasure(&self.keys, row))
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
            .map(|row| erasure(&self.keys, row))
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
            .map(|row| erasure(&self.keys, row))
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
            .map(|row| erasure(&self.keys, row))
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

/// Why it was asked for: sealed, or in the clear where an older program wrote it down.
pub(crate) fn reason_of(keys: &DataKeys, row: &erasures::Model) -> Result<String, StoreError> {
    match &row.sealed_reason {
        Some(sealed) => ERASURES_REASON.open_text(keys, &row.id, sealed),
        None => Ok(row.reason.clone()),
    }
}

pub(super) fn report_of(row: &erasures::Model) -> Result<ErasureReport, StoreError> {
    let at = At {
        table: "erasures",
        row: &row.id,
    };
    at.json("report", &row.report)
}

pub(super) fn erasure(keys: &DataKeys, row: erasures::Model) -> Result<Erasure, StoreError> {
    let at = At {
        table: "erasures",
        row: &row.id,
    };
    Ok(Erasure {
        id: ErasureId::from_uuid(row.id),
        customer_hash: at.hash("customer_hash", &row.customer_hash)?,
        state: at.word("state", &row.state)?,
        report: report_of(&row)?,
        reason: reason_of(keys, &row)?,
        actor: row.actor,
        create_time: row.create_time,
        finish_time: row.finish_time,
    })
}
