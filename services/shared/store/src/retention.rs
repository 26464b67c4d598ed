//! Takes away what is old, oldest first, a batch at a time: by ranges of keys that are in order of time, or by orders that
//! are closed.

mod messages;

use chrono::{DateTime, Utc};
use countersign_domain::{ids::OrderId, order::OrderState, reply::ReplyState, retention::Retained};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement, Value,
};
use uuid::Uuid;

use crate::{
    Store,
    delivery_rows::padded,
    entity::{access_refusals, mailbox, orders, replies, requests, tracking_events},
    error::{During, StoreError},
};

const DOING: &str = "take away what is old";
/// Keys of one statement: with more of them the server would rather read the whole table.
const KEYS_MAX: usize = 128;

/// What one step took away, and where the next one begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many rows.
    pub rows: u64,
    /// The last key that was looked at; absent when there is nothing more.
    pub next: Option<Uuid>,
}

/// Orders of one look, by the time at which they were made.
#[derive(Clone, Debug, Default)]
pub struct ClosedOrders {
    /// Those that are closed, with the time of their last change.
    pub closed: Vec<(OrderId, DateTime<Utc>)>,
    /// The last order that was looked at; absent when there is nothing more.
    pub next: Option<OrderId>,
}

/// The smallest key that a row of this moment can have.
pub(crate) fn first_key(time: DateTime<Utc>) -> Uuid {
    let millis = time.timestamp_millis().max(0).unsigned_abs();
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

impl Store {
    /// Takes at most `limit` rows from before a time away, of what stands by the time at which it was written. What an open
    /// order needs stays. With `dry_run` they are counted only.
    pub async fn purge_by_time(
        &self,
        retained: Retained,
        before: DateTime<Utc>,
        after: Option<Uuid>,
        limit: u64,
        dry_run: bool,
    ) -> Result<Purged, StoreError> {
        let (table, settled) = match retained {
            Retained::Requests => ("requests", String::new()),
            Retained::Mailbox => ("mailbox", String::new()),
            Retained::Replies => ("replies", settled_replies()),
            Retained::Refusals => ("access_refusals", String::new()),
            _ => return Ok(Purged::default()),
        };
        let sql = format!(
            "SELECT t.id AS id FROM {table} t WHERE t.id > ? AND t.id < ?{settled} ORDER BY t.id LIMIT {limit}"
        );
        let range: [Value; 2] = [
            after.unwrap_or(Uuid::nil()).into(),
            first_key(before).into(),
        ];
        let rows = self
            .db
            .query_all_raw(Statement::from_sql_and_values(self.backend(), sql, range))
            .await
            .during(DOING)?;
        let ids = rows
            .iter()
            .map(|row| row.try_get("", "id").during(DOING))
            .collect::<Result<Vec<Uuid>, StoreError>>()?;
        let full = ids.len() as u64 == limit;
        let next = ids.last().copied().filter(|_| full);
        let rows = if dry_run {
            ids.len() as u64
        } else {
            self.delete_by_id(retained, &ids).await?
        };
        Ok(Purged { rows, next })
    }

    async fn delete_by_id(&self, retained: Retained, ids: &[Uuid]) -> Result<u64, StoreError> {
        let mut gone = 0;
        for part in ids.chunks(KEYS_MAX) {
            gone += self
                .write(|transaction| {
                    let keys = padded(part.to_vec());
                    Box::pin(async move {
                        let deleted = match retained {
                            Retained::Requests => {
                                requests::Entity::delete_many()
                                    .filter(requests::Column::Id.is_in(keys))
                                    .exec(transaction)
                                    .await
                            }
                            Retained::Refusals => {
                                access_refusals::Entity::delete_many()
                                    .filter(access_refusals::Column::Id.is_in(keys))
                                    .exec(transaction)
                                    .await
                            }
                            Retained::Mailbox => {
                                mailbox::Entity::delete_many()
                                    .filter(mailbox::Column::Id.is_in(keys))
                                    .exec(transaction)
                                    .await
                            }
                            _ => {
                                replies::Entity::delete_many()
                                    .filter(replies::Column::Id.is_in(keys))
                                    .filter(replies::Column::State.ne(ReplyState::Pending.as_str()))
                                    .exec(transaction)
                                    .await
                            }
                        };
                        Ok(deleted.during(DOING)?.rows_affected)
                    })
                })
                .await?;
        }
        Ok(gone)
    }

    /// The next orders that were made before a time, at most `limit`, and which of them are closed.
    pub async fn list_closed_orders(
        &self,
        before: DateTime<Utc>,
        after: Option<OrderId>,
        limit: u64,
    ) -> Result<ClosedOrders, StoreError> {
        let after = after.map_or(Uuid::nil(), |id| id.as_uuid());
        let rows: Vec<(Uuid, String, DateTime<Utc>)> = orders::Entity::find()
            .select_only()
            .columns([
                orders::Column::Id,
                orders::Column::State,
                orders::Column::UpdateTime,
            ])
            .filter(orders::Column::Id.gt(after))
            .filter(orders::Column::Id.lt(first_key(before)))
            .order_by_asc(orders::Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await
            .during(DOING)?;
        let full = rows.len() as u64 == limit;
        let next = rows.last().map(|row| OrderId::from_uuid(row.0));
        Ok(ClosedOrders {
            next: next.filter(|_| full),
            closed: rows
                .into_iter()
                .filter(|(_, state, _)| is_closed(state))
                .map(|(id, _, update_time)| (OrderId::from_uuid(id), update_time))
                .collect(),
        })
    }

    /// Takes away what hangs on closed orders. With `dry_run` it is counted only.
    pub async fn purge_of_orders(
        &self,
        retained: Retained,
        closed: &[OrderId],
        dry_run: bool,
    ) -> Result<u64, StoreError> {
        let mut rows = 0;
        for part in closed.chunks(KEYS_MAX) {
            let of = padded(part.iter().map(OrderId::as_uuid).collect());
            rows += match retained {
                Retained::Tracking => self.purge_tracking(of, dry_run).await?,
                Retained::Attempts => {
                    let messages = self.messages_of(of).await?;
                    // Of a message that staff have just sent once more, the tries tell what may have arrived.
                    let finished = messages.iter().filter(|it| it.state.is_finished());
                    let ids = finished.map(|it| it.id).collect();
                    self.purge_attempts(ids, dry_run).await?
                }
                Retained::Deliveries => {
                    let messages = self.messages_of_closed(of, dry_run).await?;
                    self.purge_messages(&messages::superfluous(messages), dry_run)
                        .await?
                }
                _ => 0,
            };
        }
        Ok(rows)
    }

    async fn purge_tracking(&self, of: Vec<Uuid>, dry_run: bool) -> Result<u64, StoreError> {
        use tracking_events::Column as C;
        if dry_run {
            let found = tracking_events::Entity::find().filter(C::OrderId.is_in(of));
            return found.count(&self.db).await.during(DOING);
        }
        self.write(|transaction| {
            let of = of.clone();
            Box::pin(async move {
                let deleted = tracking_events::Entity::delete_many()
                    .filter(C::OrderId.is_in(of))
                    .exec(transaction)
                    .await
                    .during(DOING)?;
                Ok(deleted.rows_affected)
            })
        })
        .await
    }

    /// When the oldest row was written of what stands by the time at which it was written.
    pub async fn oldest_retained(
        &self,
        retained: Retained,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let oldest = match retained {
            Retained::Requests => {
                requests::Entity::find()
                    .select_only()
                    .column(requests::Column::CreateTime)
                    .order_by_asc(requests::Column::Id)
                    .limit(1)
                    .into_tuple()
                    .one(&self.db)
                    .await
            }
            Retained::Mailbox => {
                mailbox::Entity::find()
                    .select_only()
                    .column(mailbox::Column::CreateTime)
                    .order_by_asc(mailbox::Column::Id)
                    .limit(1)
                    .into_tuple()
                    .one(&self.db)
                    .await
            }
            _ => Ok(None),
        };
        oldest.during("find the oldest row")
    }
}

/// Replies that are settled, and not about an order that is open.
fn settled_replies() -> String {
    let closed: Vec<String> = OrderState::ALL
        .iter()
        .filter(|state| state.is_terminal())
        .map(|state| format!("'{state}'"))
        .collect();
    format!(
        " AND t.state <> '{}' AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = t.order_id AND o.state NOT IN ({}))",
        ReplyState::Pending,
        closed.join(", ")
    )
}

/// What a newer version of the program calls a state is not taken for closed.
fn is_closed(state: &str) -> bool {
    state
        .parse::<OrderState>()
        .is_ok_and(OrderState::is_terminal)
}
