//! Recipients that do not want to be written to, known by keyed hashes only.

use std::{convert::Infallible, fmt::Write as _};

use chrono::{DateTime, Utc};
use countersign_domain::{
    message::OptOutReason,
    operator::{ActKind, ActOutcome},
    order::Channel,
};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};

use crate::{
    ActCall, Acted, Store,
    bulk::Bulk,
    entity::opt_outs,
    error::{During, StoreError},
    operator_acts::{Earlier, Entry, earlier},
    rows::At,
};

/// A channel by which a recipient does not want to be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptOut {
    /// Which.
    pub channel: Channel,
    /// Why not.
    pub reason: OptOutReason,
    /// Since when not.
    pub create_time: DateTime<Utc>,
}

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

    /// All channels by which the recipient does not want to be written to.
    pub async fn list_opt_outs(
        &self,
        recipient_hash: &[u8; 32],
    ) -> Result<Vec<OptOut>, StoreError> {
        opt_outs::Entity::find()
            .filter(opt_outs::Column::RecipientHash.eq(recipient_hash.to_vec()))
            .all(&self.db)
            .await
            .during("list opt-outs")?
            .into_iter()
            .map(|row| {
                let at = At {
                    table: "opt_outs",
                    row: &row.channel,
                };
                Ok(OptOut {
                    channel: at.word("channel", &row.channel)?,
                    reason: at.word("reason", &row.reason)?,
                    create_time: row.create_time,
                })
            })
            .collect()
    }

    /// What a recipient told a member of staff, with the record of it.
    pub async fn set_contact_preference(
        &self,
        recipient_hash: &[u8; 32],
        channel: Channel,
        allowed: bool,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<(), Infallible>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .prefer_in(&transaction, recipient_hash, channel, allowed, call, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn prefer_in(
        &self,
        transaction: &DatabaseTransaction,
        recipient_hash: &[u8; 32],
        channel: Channel,
        allowed: bool,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<(), Infallible>, StoreError> {
        match earlier::<Channel>(transaction, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same(_, outcome) => return Ok(Acted::Answered((), outcome)),
            Earlier::None => {}
        }
        let key = (recipient_hash.to_vec(), channel.as_str().to_owned());
        let was_allowed = opt_outs::Entity::find_by_id(key.clone())
            .one(transaction)
            .await
            .during("find an opt-out")?
            .is_none();
        if allowed {
            opt_outs::Entity::delete_by_id(key)
                .exec(transaction)
                .await
                .during("delete an opt-out")?;
        } else {
            let values = vec![
                recipient_hash.to_vec().into(),
                channel.as_str().into(),
                OptOutReason::Staff.as_str().into(),
                now.into(),
            ];
            OPT_OUTS
                .insert_new(transaction, self.kind, self.backend(), values)
                .await?;
        }
        let outcome = if was_allowed == allowed {
            ActOutcome::Already
        } else {
            ActOutcome::Done
        };
        let mut subject = "recipients/".to_owned();
        for byte in recipient_hash {
            write!(subject, "{byte:02x}").ok();
        }
        let entry = Entry {
            subject: &subject,
            action: if allowed {
                ActKind::AllowContact
            } else {
                ActKind::DenyContact
            },
            generation: 0,
            outcome,
            result: &channel,
        };
        let mut values = Vec::new();
        call.push(&mut values, &entry, now)?;
        self.insert_acts(transaction, values).await?;
        Ok(Acted::Answered((), outcome))
    }
}
