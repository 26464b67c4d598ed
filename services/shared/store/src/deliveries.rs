//! Deliveries as they stand, with their tries.

use std::collections::HashMap;

use countersign_domain::{
    ids::{DeliveryId, OrderId},
    message::Delivery,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::{
    Store,
    attempts::{AttemptRecord, records},
    data_keys::DataKeys,
    delivery_rows::{delivery, padded},
    entity::{attempts, deliveries},
    error::{During, StoreError},
};

/// A delivery with its tries; of what was claimed, the claimer may now send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// What to send.
    pub delivery: Delivery,
    /// Tries so far, first to last.
    pub history: Vec<AttemptRecord>,
}

impl Store {
    /// One delivery.
    pub async fn find_delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        deliveries::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during("find a delivery")?
            .map(|row| delivery(&self.keys, row))
            .transpose()
    }

    /// The delivery that a gateway or relay knows by this id.
    pub async fn find_delivery_by_provider_id(
        &self,
        provider_id: &str,
    ) -> Result<Option<Delivery>, StoreError> {
        deliveries::Entity::find()
            .filter(deliveries::Column::ProviderId.eq(provider_id))
            .order_by_desc(deliveries::Column::Id)
            .one(&self.db)
            .await
            .during("find a delivery by the gateway's id")?
            .map(|row| delivery(&self.keys, row))
            .transpose()
    }

    /// The last deliveries to a recipient, newest first.
    pub async fn find_deliveries_to(
        &self,
        recipient_hash: &[u8; 32],
        limit: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = deliveries::Entity::find()
            .filter(deliveries::Column::RecipientHash.eq(recipient_hash.to_vec()))
            .order_by_desc(deliveries::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await
            .during("find deliveries to a recipient")?;
        Ok(rows
            .into_iter()
            .filter_map(|row| readable(&self.keys, row))
            .collect())
    }

    /// All deliveries about an order with their tries, in the order's sequence.
    pub async fn list_deliveries(&self, order: OrderId) -> Result<Vec<Claimed>, StoreError> {
        let rows = deliveries::Entity::find()
            .filter(deliveries::Column::OrderId.eq(order.as_uuid()))
            .order_by_asc(deliveries::Column::Seq)
            .order_by_asc(deliveries::Column::Step)
            .order_by_asc(deliveries::Column::Generation)
            .all(&self.db)
            .await
            .during("list deliveries")?;
        let mut histories = self
            .histories(rows.iter().map(|row| row.id).collect())
            .await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                Some(Claimed {
                    history: histories.remove(&row.id).unwrap_or_default(),
                    delivery: readable(&self.keys, row)?,
                })
            })
            .collect())
    }

    pub(crate) async fn histories(
        &self,
        ids: Vec<Uuid>,
    ) -> Result<HashMap<Uuid, Vec<AttemptRecord>>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = attempts::Entity::find()
            .filter(attempts::Column::DeliveryId.is_in(padded(ids)))
            .order_by_asc(attempts::Column::DeliveryId)
            .order_by_asc(attempts::Column::Number)
            .all(&self.db)
            .await
            .during("find attempts")?;
        records(rows)
    }
}

/// Nothing for what a newer version of the program has written: the rest is shown all the same.
fn readable(keys: &DataKeys, row: deliveries::Model) -> Option<Delivery> {
    delivery(keys, row)
        .inspect_err(|error| tracing::warn!(error = %error, "a delivery is not shown"))
        .ok()
}
