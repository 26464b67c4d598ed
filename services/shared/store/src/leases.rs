//! Leases on deliveries: made longer, given back, and taken from workers that were not heard of again.

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::DeliveryId,
    message::{AttemptOutcome, DeliveryState},
    order::Channel,
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, LockBehavior, LockType},
};
use uuid::Uuid;

use crate::{
    Store,
    attempt_results::hurry,
    bulk::JsonType,
    data_keys::DataKeys,
    delivery_rows::{end_deliveries, lock_standings, padded},
    entity::{attempts, deliveries},
    error::{During, StoreError},
    gates::open_gates,
    joined::JoinedUpdate,
    rows::time_text,
};

/// Workers that may be lost with a delivery before it is taken for what kills them (RELIABILITY, H-02).
const LOSSES_MAX: i32 = 3;

/// What [`Store::recover_deliveries`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Made due again.
    pub due: usize,
    /// Given up, because each of the workers that had them was lost.
    pub poisoned: usize,
}

/// Deliveries that go back into the queue, each for its own time.
const POSTPONE: JoinedUpdate = JoinedUpdate {
    table: "deliveries",
    columns: &[("id", JsonType::Key), ("new_due", JsonType::Key)],
    on: "t.id = UNHEX(n.id)",
    set: &[
        ("state", "'READY'"),
        ("due_time", "n.new_due"),
        ("lease_token", "NULL"),
    ],
};

impl Store {
    /// Makes leases last until `until`. Answers how many of the deliveries are still held under one of the tokens.
    pub async fn extend_leases(
        &self,
        held: &[(DeliveryId, Uuid)],
        until: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        if held.is_empty() {
            return Ok(0);
        }
        let ids = padded(held.iter().map(|(id, _)| id.as_uuid()).collect());
        let mut tokens: Vec<Uuid> = held.iter().map(|(_, token)| *token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let tokens = padded(tokens);
        self.write(|transaction| {
            let (ids, tokens) = (ids.clone(), tokens.clone());
            Box::pin(async move {
                let updated = deliveries::Entity::update_many()
                    .col_expr(deliveries::Column::DueTime, until.into())
                    .filter(deliveries::Column::Id.is_in(ids))
                    .filter(deliveries::Column::LeaseToken.is_in(tokens))
                    .filter(deliveries::Column::State.eq(DeliveryState::Leased.as_str()))
                    .exec(transaction)
                    .await
                    .during("extend leases")?;
                Ok(updated.rows_affected)
            })
        })
        .await
    }

    /// Gives deliveries back that were claimed and not begun. A try that is on record nevertheless, because the database
    /// carried out what it did not confirm, was never made.
    pub async fn release_deliveries(
        &self,
        token: Uuid,
        ids: &[DeliveryId],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let ids = padded(ids.iter().map(DeliveryId::as_uuid).collect());
        self.write(|transaction| {
            let ids = ids.clone();
            Box::pin(async move {
                attempts::Entity::update_many()
                    .col_expr(
                        attempts::Column::Outcome,
                        AttemptOutcome::NotSent.as_str().into(),
                    )
                    .col_expr(attempts::Column::FinishTime, Some(now).into())
                    .col_expr(
                        attempts::Column::Error,
                        "the database did not confirm the try, so it was not made".into(),
                    )
                    .filter(attempts::Column::DeliveryId.is_in(ids.clone()))
                    .filter(attempts::Column::LeaseToken.eq(token))
                    .filter(attempts::Column::Outcome.eq(AttemptOutcome::Sending.as_str()))
                    .exec(transaction)
                    .await
                    .during("release deliveries")?;
                let updated = give_back(now)
                    .filter(deliveries::Column::Id.is_in(ids))
                    .filter(deliveries::Column::LeaseToken.eq(token))
                    .filter(deliveries::Column::State.eq(DeliveryState::Leased.as_str()))
                    .exec(transaction)
                    .await
                    .during("release deliveries")?;
                Ok(updated.rows_affected)
            })
        })
        .await
    }

    /// Gives deliveries back that were claimed and are not to go before a time of their own. No try is counted.
    pub async fn postpone_deliveries(
        &self,
        token: Uuid,
        postponed: &[(DeliveryId, DateTime<Utc>)],
    ) -> Result<u64, StoreError> {
        if postponed.is_empty() {
            return Ok(0);
        }
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self.postpone_in(&transaction, token, postponed).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn postpone_in(
        &self,
        transaction: &DatabaseTransaction,
        token: Uuid,
        postponed: &[(DeliveryId, DateTime<Utc>)],
    ) -> Result<u64, StoreError> {
        const DOING: &str = "postpone deliveries";
        let ids = postponed.iter().map(|(id, _)| id.as_uuid()).collect();
        let held: Vec<Uuid> = deliveries::Entity::find()
            .select_only()
            .column(deliveries::Column::Id)
            .filter(deliveries::Column::Id.is_in(padded(ids)))
            .filter(deliveries::Column::LeaseToken.eq(token))
            .filter(deliveries::Column::State.eq(DeliveryState::Leased.as_str()))
            .lock_exclusive()
            .into_tuple()
            .all(transaction)
            .await
            .during(DOING)?;
        let rows: Vec<(String, String)> = postponed
            .iter()
            .filter(|(id, _)| held.contains(&id.as_uuid()))
            .map(|(id, due_time)| {
                (
                    id.as_uuid().simple().to_string(),
                    time_text(self.kind, *due_time),
                )
            })
            .collect();
        if !rows.is_empty() {
            self.update_joined(transaction, &POSTPONE, DOING, &rows, &[])
                .await?;
        }
        Ok(rows.len() as u64)
    }

    /// Makes deliveries due again whose worker has not been heard of until its lease ended. A try that it had begun may
    /// have reached the customer: it is in doubt. A delivery with which one worker after the other is lost is given up.
    pub async fn recover_deliveries(
        &self,
        now: DateTime<Utc>,
        limit: u64,
    ) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered::default();
        for channel in Channel::ALL {
            let done = self
                .write(|transaction| {
                    let keys = self.keys.clone();
                    Box::pin(recover_in(transaction, keys, *channel, now, limit))
                })
                .await?;
            recovered.due += done.due;
            recovered.poisoned += done.poisoned;
        }
        Ok(recovered)
    }
}

async fn recover_in(
    transaction: &DatabaseTransaction,
    keys: DataKeys,
    channel: Channel,
    now: DateTime<Utc>,
    limit: u64,
) -> Result<Recovered, StoreError> {
    const DOING: &str = "recover deliveries";
    let rows: Vec<(Uuid, Uuid, i32, i32, i32)> = deliveries::Entity::find()
        .select_only()
        .column(deliveries::Column::Id)
        .column(deliveries::Column::OrderId)
        .column(deliveries::Column::Seq)
        .column(deliveries::Column::Step)
        .column(deliveries::Column::Losses)
        .filter(deliveries::Column::State.eq(DeliveryState::Leased.as_str()))
        .filter(deliveries::Column::Channel.eq(channel.as_str()))
        .filter(deliveries::Column::DueTime.lte(now))
        .order_by_asc(deliveries::Column::DueTime)
        .order_by_asc(deliveries::Column::Id)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_tuple()
        .all(transaction)
        .await
        .during(DOING)?;
    if rows.is_empty() {
        return Ok(Recovered::default());
    }
    let ids = padded(rows.iter().map(|row| row.0).collect());
    attempts::Entity::update_many()
        .col_expr(
            attempts::Column::Outcome,
            AttemptOutcome::InDoubt.as_str().into(),
        )
        .col_expr(attempts::Column::FinishTime, Some(now).into())
        .col_expr(
            attempts::Column::Error,
            "WORKER_LOST: the worker was not heard of again".into(),
        )
        .filter(attempts::Column::DeliveryId.is_in(ids.clone()))
        .filter(attempts::Column::Outcome.eq(AttemptOutcome::Sending.as_str()))
        .exec(transaction)
        .await
        .during(DOING)?;
    // On the way back, so that it is counted even when this very program dies of it next.
    give_back(now)
        .col_expr(deliveries::Column::Losses, Expr::cust("losses + 1"))
        .filter(deliveries::Column::Id.is_in(ids))
        .exec(transaction)
        .await
        .during(DOING)?;
    let mut poisoned = Vec::new();
    for row in rows.iter().filter(|row| row.4 > 0) {
        if row.4 + 1 >= LOSSES_MAX {
            poisoned.push(row);
        } else {
            // Those that were lost together come back one by one: the one that kills takes no innocent along again.
            let apart = Duration::milliseconds(i64::from(row.0.as_bytes()[15]) * 150);
            give_back(now + apart)
                .filter(deliveries::Column::Id.eq(row.0))
                .exec(transaction)
                .await
                .during(DOING)?;
        }
    }
    let recovered = Recovered {
        due: rows.len() - poisoned.len(),
        poisoned: poisoned.len(),
    };
    if poisoned.is_empty() {
        return Ok(recovered);
    }
    end_deliveries(
        transaction,
        poisoned.iter().map(|row| row.0).collect(),
        DeliveryState::Dead,
        "POISON: three workers were lost while they had it",
        now,
    )
    .await?;
    let failed: Vec<(Uuid, i32, i32)> = poisoned
        .iter()
        .map(|(_, order, seq, step, _)| (*order, *seq, *step))
        .collect();
    let mut orders: Vec<Uuid> = failed.iter().map(|(order, _, _)| *order).collect();
    orders.sort_unstable();
    orders.dedup();
    let all = lock_standings(transaction, orders).await?;
    hurry(transaction, &all, &failed, now).await?;
    open_gates(transaction, &keys, &all, now).await?;
    Ok(recovered)
}

/// Ready again, nobody's.
pub(crate) fn give_back(now: DateTime<Utc>) -> sea_orm::UpdateMany<deliveries::Entity> {
    deliveries::Entity::update_many()
        .col_expr(
            deliveries::Column::State,
            DeliveryState::Ready.as_str().into(),
        )
        .col_expr(deliveries::Column::LeaseToken, Option::<Uuid>::None.into())
        .col_expr(deliveries::Column::DueTime, now.into())
}
