//! Recipients that do not want to be written to, known by keyed hashes only.

use chrono::{DateTime, Utc};
use countersign_domain::{message::OptOutReason, order::Channel};
use sea_orm::EntityTrait;

use crate::{
    Store,
    bulk::Bulk,
    entity::opt_outs,
    error::{During, StoreError},
};

const OPT_OUTS: Bulk = Bulk {
    operation: "insert an opt-out",
    table: "opt_outs",
    columns: &["recipient_hash", "channel", "reason", "create_time"],
};

impl Store {
    /// From now on nothing is sent to the recipient by the channel. The first reason stays.
    pub async fn insert_opt_out(
        &self,
        recipient_hash: &[u8; 32],
        channel: Channel,
        reason: OptOutReason,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (kind, backend, hash) = (self.kind, self.backend(), recipient_hash.to_vec());
        self.write(|transaction| {
            let values = vec![
                hash.clone().into(),
                channel.as_str().into(),
                reason.as_str().into(),
                now.into(),
            ];
            Box::pin(async move {
                OPT_OUTS
                    .insert_new(transaction, kind, backend, values)
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    /// The recipient wants to be written to again.
    pub async fn delete_opt_out(
        &self,
        recipient_hash: &[u8; 32],
        channel: Channel,
    ) -> Result<(), StoreError> {
        let hash = recipient_hash.to_vec();
        self.write(|transaction| {
            let key = (hash.clone(), channel.as_str().to_owned());
            Box::pin(async move {
                opt_outs::Entity::delete_by_id(key)
                    .exec(transaction)
                    .await
                    .during("delete an opt-out")?;
                Ok(())
            })
        })
        .await
    }

    /// Whether the recipient does not want to be written to by the channel.
    pub async fn is_opted_out(
        &self,
        recipient_hash: &[u8; 32],
        channel: Channel,
    ) -> Result<bool, StoreError> {
        let key = (recipient_hash.to_vec(), channel.as_str().to_owned());
        let row = opt_outs::Entity::find_by_id(key)
            .one(&self.db)
            .await
            .during("find an opt-out")?;
        Ok(row.is_some())
    }
}
