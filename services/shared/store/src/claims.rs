//! The queue of deliveries: claims and leases. Nobody holds a transaction open while he sends; a lease says whose turn it
//! is, and its token keeps those out who come too late. Each channel is claimed for itself: one that stands still keeps
//! no other waiting.

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::DeliveryId,
    message::{AttemptOutcome, Delivery, DeliveryState},
    order::Channel,
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
    sea_query::{Expr, LockBehavior, LockType},
};
use uuid::Uuid;

use crate::{
    Claimed, Store,
    attempt_results::{JoinedUpdate, hurry},
    bulk::JsonType,
    connection::DatabaseKind,
    delivery_rows::{delivery, end_deliveries, lock_orders_deliveries, open_gates, padded},
    entity::{attempts, deliveries},
    error::{During, StoreError},
    rows::{json_text, time_text},
};

/// Workers that may be lost with a delivery before it is taken for what kills them (RELIABILITY, H-02).
const LOSSES_MAX: i32 = 3;
/// How long a row that this program cannot read is left to a newer one (RELIABILITY, H-03).
pub(crate) const UNREADABLE: Duration = Duration::minutes(15);
/// Before such a row is looked at again.
const UNREADABLE_WAIT: Duration = Duration::minutes(1);

/// What [`Store::recover_deliveries`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Made due again.
    pub due: usize,
    /// Given up, because each of the workers that had them was lost.
    pub poisoned: usize,
}

/// The claim. WHERE and ORDER BY are both answered by the index: with a sort `InnoDB` would lock every candidate, and a
/// second worker would find nothing although work is waiting (RELIABILITY, finding 5).
pub(crate) fn claim_sql(kind: DatabaseKind, limit: u64) -> String {
    let (hint, lock) = match kind {
        DatabaseKind::Sqlite => ("", ""),
        DatabaseKind::MySql | DatabaseKind::MariaDb => (
            " FORCE INDEX (ix_deliveries_channel)",
            " FOR UPDATE SKIP LOCKED",
        ),
    };
    format!(
        "SELECT * FROM deliveries{hint} WHERE state = ? AND channel = ? AND due_time <= ? ORDER BY due_time, id LIMIT {limit}{lock}"
    )
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
    /// Takes at most `limit` deliveries of a channel that are due, oldest first, for the time of the lease. `token` must
    /// be new for every call: everything that follows is refused once somebody else has the delivery.
    pub async fn claim_deliveries(
        &self,
        token: Uuid,
        channel: Channel,
        now: DateTime<Utc>,
        lease: Duration,
        limit: u64,
    ) -> Result<Vec<Claimed>, StoreError> {
        let claimed = self
            .again(|| async move {
                let transaction = self.begin_write().await?;
                let result = self
                    .claim_in(&transaction, token, channel, now, now + lease, limit)
                    .await;
                self.conclude(transaction, result).await
            })
            .await?;
        let tried = claimed
            .iter()
            .filter(|delivery| delivery.attempts > 0)
            .map(|delivery| delivery.id.as_uuid())
            .collect();
        let mut histories = self.histories(tried).await?;
        Ok(claimed
            .into_iter()
            .map(|delivery| Claimed {
                history: histories.remove(&delivery.id.as_uuid()).unwrap_or_default(),
                delivery,
            })
            .collect())
    }

    async fn claim_in(
        &self,
        transaction: &DatabaseTransaction,
        token: Uuid,
        channel: Channel,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        const DOING: &str = "claim deliveries";
        let rows = deliveries::Entity::find()
            .from_raw_sql(Statement::from_sql_and_values(
                self.backend(),
                claim_sql(self.kind, limit),
                [
                    DeliveryState::Ready.as_str().into(),
                    channel.as_str().into(),
                    now.into(),
                ],
            ))
            .all(transaction)
            .await
            .during(DOING)?;
        let mut claimed = Vec::with_capacity(rows.len());
        let mut unreadable = Vec::new();
        for mut row in rows {
            DeliveryState::Leased.as_str().clone_into(&mut row.state);
            row.due_time = until;
            let (id, order, create_time) = (row.id, row.order_id, row.create_time);
            match delivery(row) {
                Ok(delivery) => claimed.push(delivery),
                Err(error) => {
                    tracing::warn!(error = %error, "a message is left to a newer version of the program");
                    unreadable.push((id, order, create_time));
                }
            }
        }
        self.set_unreadable_aside(transaction, &unreadable, now)
            .await?;
        if claimed.is_empty() {
            return Ok(claimed);
        }
        let ids = claimed.iter().map(|it| it.id.as_uuid()).collect();
        deliveries::Entity::update_many()
            .col_expr(
                deliveries::Column::State,
                DeliveryState::Leased.as_str().into(),
            )
            .col_expr(deliveries::Column::LeaseToken, Some(token).into())
            .col_expr(deliveries::Column::DueTime, until.into())
            .filter(deliveries::Column::Id.is_in(padded(ids)))
            .exec(transaction)
            .await
            .during(DOING)?;
        Ok(claimed)
    }

    /// Rows of a newer program: left alone for a while, then dead, so that none lies for ever unseen.
    async fn set_unreadable_aside(
        &self,
        transaction: &DatabaseTransaction,
        rows: &[(Uuid, Uuid, DateTime<Utc>)],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (dead, left): (Vec<_>, Vec<_>) = rows
            .iter()
            .partition(|(_, _, create_time)| *create_time + UNREADABLE <= now);
        let left = left.iter().map(|(id, _, _)| *id).collect::<Vec<_>>();
        if !left.is_empty() {
            give_back(now + UNREADABLE_WAIT)
                .filter(deliveries::Column::Id.is_in(padded(left)))
                .exec(transaction)
                .await
                .during("leave deliveries to a newer version")?;
        }
        if dead.is_empty() {
            return Ok(());
        }
        end_deliveries(
            transaction,
            dead.iter().map(|(id, _, _)| *id).collect(),
            DeliveryState::Dead,
            "UNREADABLE: no version of the program that is running knows this kind of message",
            now,
        )
        .await?;
        let mut orders: Vec<Uuid> = dead.iter().map(|(_, order, _)| *order).collect();
        orders.sort_unstable();
        orders.dedup();
        let rows = lock_orders_deliveries(transaction, orders).await?;
        open_gates(transaction, &rows, now).await
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
            self.update_joined(transaction, &POSTPONE, json_text(DOING, &rows)?)
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
                .write(|transaction| Box::pin(recover_in(transaction, *channel, now, limit)))
                .await?;
            recovered.due += done.due;
            recovered.poisoned += done.poisoned;
        }
        Ok(recovered)
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
                [
                    DeliveryState::Ready.as_str().into(),
                    Channel::Email.as_str().into(),
                    now.into(),
                ],
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

    /// When the oldest delivery of a channel that could go was due, for a gauge.
    pub async fn oldest_due_time(
        &self,
        channel: Channel,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        deliveries::Entity::find()
            .select_only()
            .column(deliveries::Column::DueTime)
            .filter(deliveries::Column::State.eq(DeliveryState::Ready.as_str()))
            .filter(deliveries::Column::Channel.eq(channel.as_str()))
            .filter(deliveries::Column::DueTime.lte(now))
            .order_by_asc(deliveries::Column::DueTime)
            .into_tuple()
            .one(&self.db)
            .await
            .during("find the oldest due delivery")
    }
}

async fn recover_in(
    transaction: &DatabaseTransaction,
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
    let all = lock_orders_deliveries(transaction, orders).await?;
    hurry(transaction, &all, &failed, now).await?;
    open_gates(transaction, &all, now).await?;
    Ok(recovered)
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
