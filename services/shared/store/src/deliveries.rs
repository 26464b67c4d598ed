//! The queue of deliveries: claims and leases. Nobody holds a transaction open while he sends; a lease says whose turn it
//! is, and its token keeps those out who come too late.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::{DeliveryId, OrderId},
    message::{AttemptOutcome, Delivery, DeliveryState},
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
    sea_query::{LockBehavior, LockType},
};
use uuid::Uuid;

use crate::{
    Store,
    attempts::{AttemptRecord, records},
    connection::DatabaseKind,
    delivery_rows::{delivery, padded},
    entity::{attempts, deliveries},
    error::{During, StoreError},
};

/// A delivery that its claimer may now send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// What to send.
    pub delivery: Delivery,
    /// Tries so far, first to last.
    pub history: Vec<AttemptRecord>,
}

/// The claim. WHERE and ORDER BY are both answered by the index: with a sort `InnoDB` would lock every candidate, and a
/// second worker would find nothing although work is waiting (RELIABILITY, finding 5).
pub(crate) fn claim_sql(kind: DatabaseKind, limit: u64) -> String {
    let (hint, lock) = match kind {
        DatabaseKind::Sqlite => ("", ""),
        DatabaseKind::MySql | DatabaseKind::MariaDb => (
            " FORCE INDEX (ix_deliveries_claim)",
            " FOR UPDATE SKIP LOCKED",
        ),
    };
    format!(
        "SELECT * FROM deliveries{hint} WHERE state = ? AND due_time <= ? ORDER BY due_time, id LIMIT {limit}{lock}"
    )
}

impl Store {
    /// Takes at most `limit` deliveries that are due, oldest first, for the time of the lease. `token` must be new for
    /// every call: everything that follows is refused once somebody else has the delivery.
    pub async fn claim_deliveries(
        &self,
        token: Uuid,
        now: DateTime<Utc>,
        lease: Duration,
        limit: u64,
    ) -> Result<Vec<Claimed>, StoreError> {
        let rows = self
            .again(|| async move {
                let transaction = self.begin_write().await?;
                let result = self
                    .claim_in(&transaction, token, now, now + lease, limit)
                    .await;
                self.conclude(transaction, result).await
            })
            .await?;
        let tried = rows
            .iter()
            .filter(|row| row.attempts > 0)
            .map(|row| row.id)
            .collect();
        let mut histories = self.histories(tried).await?;
        rows.into_iter()
            .map(|row| {
                Ok(Claimed {
                    history: histories.remove(&row.id).unwrap_or_default(),
                    delivery: delivery(row)?,
                })
            })
            .collect()
    }

    async fn claim_in(
        &self,
        transaction: &DatabaseTransaction,
        token: Uuid,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<deliveries::Model>, StoreError> {
        const DOING: &str = "claim deliveries";
        let mut rows = deliveries::Entity::find()
            .from_raw_sql(Statement::from_sql_and_values(
                self.backend(),
                claim_sql(self.kind, limit),
                [DeliveryState::Ready.as_str().into(), now.into()],
            ))
            .all(transaction)
            .await
            .during(DOING)?;
        if rows.is_empty() {
            return Ok(rows);
        }
        deliveries::Entity::update_many()
            .col_expr(
                deliveries::Column::State,
                DeliveryState::Leased.as_str().into(),
            )
            .col_expr(deliveries::Column::LeaseToken, Some(token).into())
            .col_expr(deliveries::Column::DueTime, until.into())
            .filter(deliveries::Column::Id.is_in(padded(rows.iter().map(|row| row.id).collect())))
            .exec(transaction)
            .await
            .during(DOING)?;
        for row in &mut rows {
            DeliveryState::Leased.as_str().clone_into(&mut row.state);
            row.lease_token = Some(token);
            row.due_time = until;
        }
        Ok(rows)
    }

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

    /// Gives deliveries back that were claimed and not begun.
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

    /// Makes deliveries due again whose worker has not been heard of until its lease ended. A try that it had begun may
    /// have reached the customer: it is in doubt.
    pub async fn recover_deliveries(
        &self,
        now: DateTime<Utc>,
        limit: u64,
    ) -> Result<usize, StoreError> {
        const DOING: &str = "recover deliveries";
        self.write(|transaction| {
            Box::pin(async move {
                let ids: Vec<Uuid> = deliveries::Entity::find()
                    .select_only()
                    .column(deliveries::Column::Id)
                    .filter(deliveries::Column::State.eq(DeliveryState::Leased.as_str()))
                    .filter(deliveries::Column::DueTime.lte(now))
                    .order_by_asc(deliveries::Column::DueTime)
                    .order_by_asc(deliveries::Column::Id)
                    .limit(limit)
                    .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
                    .into_tuple()
                    .all(transaction)
                    .await
                    .during(DOING)?;
                if ids.is_empty() {
                    return Ok(0);
                }
                let count = ids.len();
                let ids = padded(ids);
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
                give_back(now)
                    .filter(deliveries::Column::Id.is_in(ids))
                    .exec(transaction)
                    .await
                    .during(DOING)?;
                Ok(count)
            })
        })
        .await
    }

    /// How the server would find the rows of a claim, for the test of the index.
    #[cfg(feature = "testing")]
    pub async fn explain_claim(&self) -> Result<String, StoreError> {
        use sea_orm::ConnectionTrait;
        const DOING: &str = "explain the claim";
        let now = self.now().await?;
        let rows = self
            .db
            .query_all_raw(Statement::from_sql_and_values(
                self.backend(),
                format!("EXPLAIN FORMAT=TRADITIONAL {}", claim_sql(self.kind, 100)),
                [DeliveryState::Ready.as_str().into(), now.into()],
            ))
            .await
            .during(DOING)?;
        rows.iter()
            .map(|row| {
                let key: Option<String> = row.try_get("", "key").during(DOING)?;
                let extra: Option<String> = row.try_get("", "Extra").during(DOING)?;
                Ok(format!("{key:?} {extra:?}\n"))
            })
            .collect()
    }

    /// When the oldest delivery that could go was due, for a gauge.
    pub async fn oldest_due_time(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row: Option<DateTime<Utc>> = deliveries::Entity::find()
            .select_only()
            .column(deliveries::Column::DueTime)
            .filter(deliveries::Column::State.eq(DeliveryState::Ready.as_str()))
            .filter(deliveries::Column::DueTime.lte(now))
            .order_by_asc(deliveries::Column::DueTime)
            .into_tuple()
            .one(&self.db)
            .await
            .during("find the oldest due delivery")?;
        Ok(row)
    }

    /// One delivery.
    pub async fn find_delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        deliveries::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during("find a delivery")?
            .map(delivery)
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
            .map(delivery)
            .transpose()
    }

    /// The last deliveries to a recipient, newest first.
    pub async fn find_deliveries_to(
        &self,
        recipient_hash: &[u8; 32],
        limit: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        deliveries::Entity::find()
            .filter(deliveries::Column::RecipientHash.eq(recipient_hash.to_vec()))
            .order_by_desc(deliveries::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await
            .during("find deliveries to a recipient")?
            .into_iter()
            .map(delivery)
            .collect()
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
        rows.into_iter()
            .map(|row| {
                Ok(Claimed {
                    history: histories.remove(&row.id).unwrap_or_default(),
                    delivery: delivery(row)?,
                })
            })
            .collect()
    }

    async fn histories(
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

/// Ready again, nobody's.
fn give_back(now: DateTime<Utc>) -> sea_orm::UpdateMany<deliveries::Entity> {
    deliveries::Entity::update_many()
        .col_expr(
            deliveries::Column::State,
            DeliveryState::Ready.as_str().into(),
        )
        .col_expr(deliveries::Column::LeaseToken, Option::<Uuid>::None.into())
        .col_expr(deliveries::Column::DueTime, now.into())
}
