//! The yardstick of `bench claim`: one row at a time, as most queues on SQL take them. Nothing else uses it. It also fills the
//! queue that both are measured on.

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{ids::DeliveryId, message::DeliveryState, order::Channel};
use sea_orm::{ConnectionTrait, Statement, TryGetable as _, Value};
use uuid::Uuid;

use crate::{
    Store,
    claims::claim_sql,
    error::{During, StoreError},
};

/// Rows of a queue without orders.
#[derive(Clone, Debug)]
pub struct QueueRows<'a> {
    /// Number of the first; ids are made of the numbers.
    pub first: u64,
    /// How many, two hundred thousand at most.
    pub count: u64,
    /// How they stand.
    pub state: DeliveryState,
    /// When the first is due, `2020-01-01 00:00:00`; each next one a microsecond later.
    pub due_from: String,
    /// The details of all of them.
    pub details: &'a str,
}

impl Store {
    /// Writes letters to nobody, all by one statement. For servers only.
    pub async fn insert_queue_rows(&self, rows: &QueueRows<'_>) -> Result<(), StoreError> {
        let (first, count) = (rows.first, rows.count);
        let sql = format!(
            "INSERT INTO deliveries (id, order_id, seq, kind, revision, round, channel, step, generation, \
             recipient, recipient_hash, state, due_time, attempts, last_error, details, create_time) \
             WITH RECURSIVE part (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM part WHERE n < 499) \
             SELECT UNHEX(LPAD(HEX(nr), 32, '0')), UNHEX(LPAD(HEX(nr), 32, '0')), 1, 'ACKNOWLEDGEMENT', 1, 0, 'EMAIL', 1, 1, \
             'nobody@example.com', UNHEX(LPAD(HEX(nr), 64, '0')), ?, \
             TIMESTAMPADD(MICROSECOND, nr, ?), 0, '', ?, ? \
             FROM (SELECT {first} + one.n * 500 + two.n AS nr FROM part AS one CROSS JOIN part AS two) AS numbers \
             WHERE nr < {first} + {count}"
        );
        let values: [Value; 4] = [
            rows.state.as_str().into(),
            rows.due_from.as_str().into(),
            rows.details.into(),
            DateTime::<Utc>::UNIX_EPOCH.into(),
        ];
        self.db
            .execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await
            .during("fill a queue")
            .map(|_| ())
    }

    /// Takes the oldest due row in a transaction of its own.
    pub async fn claim_delivery_plainly(
        &self,
        channel: Channel,
        token: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<DeliveryId>, StoreError> {
        const DOING: &str = "claim a delivery plainly";
        let transaction = self.begin_write().await?;
        let found = transaction
            .query_one_raw(Statement::from_sql_and_values(
                self.backend(),
                claim_sql(self.kind, 1),
                [
                    DeliveryState::Ready.as_str().into(),
                    channel.as_str().into(),
                    now.into(),
                ],
            ))
            .await
            .during(DOING)?;
        let Some(row) = found else {
            transaction.commit().await.during(DOING)?;
            return Ok(None);
        };
        let id = Uuid::try_get(&row, "", "id")
            .map_err(sea_orm::DbErr::from)
            .during(DOING)?;
        transaction
            .execute_raw(Statement::from_sql_and_values(
                self.backend(),
                "UPDATE deliveries SET state = ?, lease_token = ?, due_time = ? WHERE id = ?",
                [
                    DeliveryState::Leased.as_str().into(),
                    token.into(),
                    (now + TimeDelta::seconds(30)).into(),
                    id.into(),
                ],
            ))
            .await
            .during(DOING)?;
        transaction.commit().await.during(DOING)?;
        Ok(Some(DeliveryId::from_uuid(id)))
    }

    /// Completes it, unless somebody else has it by now.
    pub async fn complete_delivery_plainly(
        &self,
        id: DeliveryId,
        token: Uuid,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.db
            .execute_raw(Statement::from_sql_and_values(
                self.backend(),
                "UPDATE deliveries SET state = ?, lease_token = NULL, finish_time = ?, due_time = ?, provider_id = ? \
                 WHERE id = ? AND lease_token = ?",
                [
                    DeliveryState::Sent.as_str().into(),
                    now.into(),
                    now.into(),
                    id.to_string().into(),
                    id.as_uuid().into(),
                    token.into(),
                ],
            ))
            .await
            .during("complete a delivery plainly")
            .map(|_| ())
    }
}
