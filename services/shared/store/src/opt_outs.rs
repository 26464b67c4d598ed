//! Recipients that do not want to be written to, known by keyed hashes only.

use std::{convert::Infallible, fmt::Write as _};

use chrono::{DateTime, Utc};
use countersign_domain::{
    message::OptOutReason,
    operator::{ActKind, ActOutcome},
    order::Channel,
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, sea_query::Expr,
};

use crate::{
    ActCall, Acted, Store,
    bulk::Bulk,
    connection::DatabaseKind,
    entity::opt_outs,
    error::{During, StoreError},
    operator_acts::{Acts, Earlier, Entry, earlier},
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
    /// From now on the recipient is spared what the reason stops on the channel. The first reason stays, unless the new one
    /// stops more.
    pub async fn insert_opt_out(
        &self,
        recipient_hash: &[u8; 32],
        channel: Channel,
        reason: OptOutReason,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (kind, backend, hash) = (self.kind, self.backend(), recipient_hash.to_vec());
        self.write(|transaction| {
            let hash = hash.clone();
            Box::pin(
                async move { stop(transaction, kind, backend, hash, channel, reason, now).await },
            )
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
        match earlier::<Channel>(transaction, &self.keys, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same(_, outcome) => return Ok(Acted::Answered((), outcome)),
            Earlier::None => {}
        }
        let key = (recipient_hash.to_vec(), channel.as_str().to_owned());
        let before = opt_outs::Entity::find_by_id(key.clone())
            .one(transaction)
            .await
            .during("find an opt-out")?;
        let already = match &before {
            None => allowed,
            // The link in a letter stopped courtesy only.
            Some(row) => !allowed && row.reason != OptOutReason::Unsubscribed.as_str(),
        };
        if allowed {
            opt_outs::Entity::delete_by_id(key)
                .exec(transaction)
                .await
                .during("delete an opt-out")?;
        } else {
            stop(
                transaction,
                self.kind,
                self.backend(),
                key.0,
                channel,
                OptOutReason::Staff,
                now,
            )
            .await?;
        }
        let outcome = if already {
            ActOutcome::Already
        } else {
            ActOutcome::Done
        };
        let subject = recipient_subject(recipient_hash.as_slice());
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
        let mut acts = Acts::default();
        call.push(&mut acts, &self.keys, &entry, now)?;
        self.insert_acts(transaction, acts).await?;
        Ok(Acted::Answered((), outcome))
    }
}

/// What acts about a recipient are filed under.
pub(crate) fn recipient_subject(hash: &[u8]) -> String {
    let mut subject = "recipients/".to_owned();
    for byte in hash {
        write!(subject, "{byte:02x}").ok();
    }
    subject
}

/// Puts a reason on record. One that stops everything takes the place of one that stops courtesy only.
async fn stop(
    transaction: &DatabaseTransaction,
    kind: DatabaseKind,
    backend: DbBackend,
    recipient_hash: Vec<u8>,
    channel: Channel,
    reason: OptOutReason,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let values = vec![
        recipient_hash.clone().into(),
        channel.as_str().into(),
        reason.as_str().into(),
        now.into(),
    ];
    OPT_OUTS
        .insert_new(transaction, kind, backend, values)
        .await?;
    if reason == OptOutReason::Unsubscribed {
        return Ok(());
    }
    opt_outs::Entity::update_many()
        .col_expr(opt_outs::Column::Reason, Expr::value(reason.as_str()))
        .col_expr(opt_outs::Column::CreateTime, Expr::value(now))
        .filter(opt_outs::Column::RecipientHash.eq(recipient_hash))
        .filter(opt_outs::Column::Channel.eq(channel.as_str()))
        .filter(opt_outs::Column::Reason.eq(OptOutReason::Unsubscribed.as_str()))
        .exec(transaction)
        .await
        .during("widen an opt-out")?;
    Ok(())
}
