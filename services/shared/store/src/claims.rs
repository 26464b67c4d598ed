//! The queue of deliveries: claims and leases. Nobody holds a transaction open while he sends; a lease says whose turn it
//! is, and its token keeps those out who come too late. Each channel is claimed for itself: one that stands still keeps
//! no other waiting.

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    message::{Delivery, DeliveryState},
    order::Channel,
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
};
use uuid::Uuid;

use crate::{
    Claimed, Store,
    connection::DatabaseKind,
    delivery_rows::{delivery, end_deliveries, lock_standings, padded},
    entity::deliveries,
    error::{During, StoreError},
    gates::open_gates,
    leases::give_back,
    rows::columns,
};

/// How long a row that this program cannot read is left to a newer one (RELIABILITY, H-03).
pub(crate) const UNREADABLE: Duration = Duration::minutes(15);
/// Before such a row is looked at again.
const UNREADABLE_WAIT: Duration = Duration::minutes(1);

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
        "SELECT {} FROM deliveries{hint} WHERE state = ? AND channel = ? AND due_time <= ? ORDER BY due_time, id LIMIT {limit}{lock}",
        columns::<deliveries::Entity>("")
    )
}

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
            match delivery(&self.keys, row) {
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
        let rows = lock_standings(transaction, orders).await?;
        open_gates(transaction, &self.keys, &rows, now).await
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
