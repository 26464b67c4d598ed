//! From the history of orders to what each partner is to be told: one row for each event and endpoint that wants it.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::WebhookDeliveryId,
    number::OrderNumber,
    webhook::{WebhookDeliveryState, WebhookEndpointState, event_type, payload, webhook_id},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
    Statement, Value,
};
use uuid::Uuid;

use super::{WebhookEndpoint, endpoints::read};
use crate::{
    Position, PositionedEvent, Store,
    bulk::Bulk,
    delivery_rows::padded,
    entity::{orders, sequences, webhook_deliveries, webhook_endpoints},
    error::{During, StoreError},
};

const DOING: &str = "fan events out to webhooks";
/// Name of the counter of commits that were looked at.
const SEQUENCE: &str = "webhook_position";
/// Rows that one tidying takes away.
const TIDY_MAX: u64 = 500;

pub(super) const DELIVERIES: Bulk = Bulk {
    operation: "insert webhook deliveries",
    table: "webhook_deliveries",
    columns: &[
        "id",
        "endpoint_id",
        "webhook_id",
        "event_type",
        "order_id",
        "payload",
        "state",
        "tries",
        "due_time",
        "failure",
        "create_time",
    ],
};

impl Store {
    /// Looks at the events of the next commits, at most `commits_max`, and answers how many there were. Several workers
    /// may do so at once: the one that comes first to the counter does it, and no event is passed over or told twice.
    pub async fn fan_out_webhooks(
        &self,
        commits_max: u64,
        now: DateTime<Utc>,
        new_id: impl Fn() -> WebhookDeliveryId,
    ) -> Result<usize, StoreError> {
        let endpoints = self.list_webhook_endpoints().await?;
        let Some(first) = endpoints.iter().map(|it| it.from_position).min() else {
            return Ok(0);
        };
        self.sequence_events().await?;
        let seen = sequences::Entity::find_by_id(SEQUENCE)
            .one(&self.db)
            .await
            .during(DOING)?
            .map_or(0, |row| row.value);
        let after = Position {
            commit: seen.max(first),
            ordinal: i32::MAX,
        };
        let page = self.find_events_after(after, commits_max).await?;
        if page.through == after {
            return Ok(0);
        }
        let (events, last) = (page.events, page.through.commit);
        let numbers = self.order_numbers(&events).await?;
        let mut rows: Vec<Value> = Vec::new();
        for PositionedEvent { position, event } in &events {
            for endpoint in &endpoints {
                let wanted = event_type(event, &endpoint.event_types)
                    .filter(|_| position.commit > endpoint.from_position);
                if let Some(event_type) = wanted {
                    let number = numbers.get(&event.order_id.as_uuid()).map(String::as_str);
                    push(
                        &mut rows,
                        &Told {
                            id: new_id(),
                            endpoint,
                            webhook_id: &webhook_id(event),
                            event_type,
                            order: Some(event.order_id.as_uuid()),
                            payload: payload(event, event_type, number),
                        },
                        now,
                    );
                }
            }
        }
        let rows = &rows;
        let done = self
            .again(|| async move {
                let transaction = self.begin_write().await?;
                let result = async {
                    if !self.move_on(&transaction, seen, last).await? {
                        return Ok(false);
                    }
                    DELIVERIES
                        .insert_new(&transaction, self.kind, self.backend(), rows.clone())
                        .await?;
                    Ok(true)
                }
                .await;
                self.conclude(transaction, result).await
            })
            .await?;
        Ok(if done { events.len() } else { 0 })
    }

    /// Moves the counter, unless somebody else did so.
    async fn move_on(
        &self,
        transaction: &DatabaseTransaction,
        seen: i64,
        last: i64,
    ) -> Result<bool, StoreError> {
        const COUNTER: Bulk = Bulk {
            operation: DOING,
            table: "sequences",
            columns: &["name", "value"],
        };
        let first = vec![SEQUENCE.into(), 0_i64.into()];
        COUNTER
            .insert_new(transaction, self.kind, self.backend(), first)
            .await?;
        let moved = transaction
            .execute_raw(Statement::from_sql_and_values(
                self.backend(),
                "UPDATE sequences SET value = ? WHERE name = ? AND value = ?",
                [last.into(), SEQUENCE.into(), seen.into()],
            ))
            .await
            .during(DOING)?;
        Ok(moved.rows_affected() == 1)
    }

    async fn order_numbers(
        &self,
        events: &[PositionedEvent],
    ) -> Result<HashMap<Uuid, String>, StoreError> {
        let ids: BTreeSet<Uuid> = events
            .iter()
            .map(|it| it.event.order_id.as_uuid())
            .collect();
        let found: Vec<(Uuid, Option<String>)> = orders::Entity::find()
            .select_only()
            .column(orders::Column::Id)
            .column(orders::Column::OrderNumber)
            .filter(orders::Column::Id.is_in(padded(ids.into_iter().collect())))
            .into_tuple()
            .all(&self.db)
            .await
            .during(DOING)?;
        Ok(found
            .into_iter()
            .filter_map(|(id, digits)| {
                // A row that cannot be read keeps no partner from hearing of the order.
                let number: OrderNumber = digits?.parse().ok()?;
                Some((id, number.to_string()))
            })
            .collect())
    }

    /// Takes away what was due before a time, and what belongs to endpoints that were removed; some at a time. Answers how
    /// many rows.
    pub async fn tidy_webhooks(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        const DOING: &str = "tidy webhooks up";
        use webhook_deliveries::Column as C;
        let mut gone = 0;
        for row in webhook_endpoints::Entity::find()
            .all(&self.db)
            .await
            .during(DOING)?
        {
            let endpoint = read(row)?;
            let removed = endpoint.state == WebhookEndpointState::Deleted;
            let mut ids: Vec<Uuid> = Vec::new();
            for state in WebhookDeliveryState::ALL {
                let mut old = webhook_deliveries::Entity::find()
                    .select_only()
                    .column(C::Id)
                    .filter(C::EndpointId.eq(endpoint.id.as_uuid()))
                    .filter(C::State.eq(state.as_str()))
                    .limit(TIDY_MAX);
                if !removed {
                    if *state == WebhookDeliveryState::Pending {
                        continue;
                    }
                    old = old.filter(C::DueTime.lt(before));
                }
                ids.extend(old.into_tuple::<Uuid>().all(&self.db).await.during(DOING)?);
            }
            if !ids.is_empty() {
                let deleted = webhook_deliveries::Entity::delete_many()
                    .filter(C::Id.is_in(padded(ids)))
                    .exec(&self.db)
                    .await
                    .during(DOING)?;
                gone += deleted.rows_affected;
            } else if removed && endpoint.update_time < before {
                // A fan-out that had read it before would have written its last rows by now.
                webhook_endpoints::Entity::delete_by_id(endpoint.id.as_uuid())
                    .exec(&self.db)
                    .await
                    .during(DOING)?;
            }
        }
        Ok(gone)
    }
}

/// Something that a partner is to be told.
pub(super) struct Told<'a> {
    pub(super) id: WebhookDeliveryId,
    pub(super) endpoint: &'a WebhookEndpoint,
    pub(super) webhook_id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) order: Option<Uuid>,
    pub(super) payload: String,
}

pub(super) fn push(rows: &mut Vec<Value>, told: &Told<'_>, now: DateTime<Utc>) {
    rows.extend([
        told.id.as_uuid().into(),
        told.endpoint.id.as_uuid().into(),
        told.webhook_id.into(),
        told.event_type.into(),
        told.order.into(),
        told.payload.as_str().into(),
        WebhookDeliveryState::Pending.as_str().into(),
        0_i32.into(),
        now.into(),
        "".into(),
        now.into(),
    ]);
}
