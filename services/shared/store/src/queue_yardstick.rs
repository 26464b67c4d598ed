//! The yardstick of `bench claim`: one row at a time, as most queues on SQL take them. Nothing else uses it. It also fills the
//! queue that both are measured on.

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{ids::DeliveryId, message::DeliveryState, order::Channel};
use sea_orm::{ConnectionTrait, Statement, TryGetable as _};
use uuid::Uuid;

use crate::{
    Store,
    claims::claim_sql,
    error::{During, StoreError},
    sealed::{DELIVERIES_DETAILS, DELIVERIES_RECIPIENT, hex},
};

/// Rows of a queue without orders.
#[derive(Clone, Debug)]
pub struct QueueRows<'a> {
    /// Number of the first; ids are made of the numbers.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// How they stand.
    pub state: DeliveryState,
    /// When the first is due, `2020-01-01 00:00:00`; each next one a microsecond later.
    pub due_from: String,
    /// The details of all of them.
    pub details: &'a str,
}

/// Rows of one statement.
const ROWS_AT_ONCE: u64 = 1_000;

impl Store {
    /// Writes letters to nobody, many by one statement. For servers only.
    pub async fn insert_queue_rows(&self, rows: &QueueRows<'_>) -> Result<(), StoreError> {
        let last = rows.first + rows.count;
        let mut from = rows.first;
        while from < last {
            let until = last.min(from + ROWS_AT_ONCE);
            let values = (from..until)
                .map(|number| self.queue_row(rows, number))
                .collect::<Result<Vec<_>, StoreError>>()?;
            let sql = format!(
                "INSERT INTO deliveries (id, order_id, seq, kind, revision, round, channel, step, generation, \
                 recipient, recipient_hash, state, due_time, attempts, last_error, details, create_time) VALUES {}",
                values.join(",")
            );
            self.db
                .execute_unprepared(&sql)
                .await
                .during("fill a queue")?;
            from = until;
        }
        Ok(())
    }

    /// Literals: nothing in them comes from outside.
    fn queue_row(&self, rows: &QueueRows<'_>, number: u64) -> Result<String, StoreError> {
        let id = Uuid::from_u128(number.into());
        let recipient = DELIVERIES_RECIPIENT.seal_text(&self.keys, &id, "nobody@example.com")?;
        let details = DELIVERIES_DETAILS.seal_text(&self.keys, &id, rows.details)?;
        Ok(format!(
            "(X'{id:032x}',X'{id:032x}',1,'ACKNOWLEDGEMENT',1,0,'EMAIL',1,1,X'{}',X'{id:064x}','{}',\
             TIMESTAMPADD(MICROSECOND,{number},'{}'),0,'',X'{}','1970-01-01 00:00:00')",
            hex(&recipient),
            rows.state,
            rows.due_from,
            hex(&details),
            id = number,
        ))
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
