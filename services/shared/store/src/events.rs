//! The history of orders, and positions for those who watch all of it.
//!
//! Rows do not become visible in the order of any number that is given before the commit, so none is used to page by.
//! Instead each transaction that writes events leaves a row in `commits` without a position; whoever sequences gives
//! positions to what is committed, under the lock of one counter. A position is therefore visible only after all smaller
//! ones are, and a watcher that asks for "greater than the last" misses nothing. One position serves the whole batch of a
//! group commit, so sequencing costs a fraction of a row per order.

use chrono::{DateTime, Utc};
use countersign_domain::{event::OrderEvent, ids::OrderId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
};
use uuid::Uuid;

use crate::{
    Store,
    catalog::Page,
    connection::DatabaseKind,
    entity::{commits, order_events, sequences},
    error::{During, StoreError},
    order_rows,
};

/// Where an event stands among all events: the commit's position, then the place within the commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Of the commit; the first is 1.
    pub commit: i64,
    /// Within the commit; the first is 0.
    pub ordinal: i32,
}

impl Position {
    /// Before everything.
    pub const START: Self = Self {
        commit: 0,
        ordinal: i32::MAX,
    };
}

/// An event and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionedEvent {
    /// Where.
    pub position: Position,
    /// What.
    pub event: OrderEvent,
}

/// Name of the counter of positions.
const SEQUENCE: &str = "event_positions";
/// Commits that one run gives positions to.
const COMMITS_MAX: u64 = 500;

impl Store {
    /// Gives positions to commits that have none. Answers how many got one.
    pub async fn sequence_events(&self) -> Result<u64, StoreError> {
        const DOING: &str = "sequence events";
        let unsequenced = commits::Entity::find()
            .filter(commits::Column::Position.is_null())
            .limit(1)
            .one(&self.db)
            .await
            .during(DOING)?;
        if unsequenced.is_none() {
            return Ok(0);
        }
        let (kind, backend) = (self.kind, self.backend());
        self.write(|transaction| {
            Box::pin(async move {
                let lock = match kind {
                    DatabaseKind::Sqlite => {
                        "INSERT INTO sequences (name, value) VALUES (?, 0) ON CONFLICT (name) DO UPDATE SET value = value"
                    }
                    DatabaseKind::MySql | DatabaseKind::MariaDb => {
                        "INSERT INTO sequences (name, value) VALUES (?, 0) ON DUPLICATE KEY UPDATE value = value"
                    }
                };
                transaction
                    .execute_raw(Statement::from_sql_and_values(backend, lock, [SEQUENCE.into()]))
                    .await
                    .during(DOING)?;
                let counter = sequences::Entity::find_by_id(SEQUENCE)
                    .lock_exclusive()
                    .one(transaction)
                    .await
                    .during(DOING)?
                    .map_or(0, |row| row.value);
                let mut open: Vec<Uuid> = commits::Entity::find()
                    .select_only()
                    .column(commits::Column::Id)
                    .filter(commits::Column::Position.is_null())
                    .limit(COMMITS_MAX)
                    .into_tuple()
                    .all(transaction)
                    .await
                    .during(DOING)?;
                if open.is_empty() {
                    return Ok(0);
                }
                open.sort_unstable();
                let count = i64::try_from(open.len()).unwrap_or(i64::MAX);
                let cases = "WHEN ? THEN ? ".repeat(open.len());
                let marks = vec!["?"; open.len()].join(",");
                let mut values: Vec<sea_orm::Value> = Vec::with_capacity(open.len() * 3);
                for (position, id) in (counter + 1..).zip(&open) {
                    values.push((*id).into());
                    values.push(position.into());
                }
                values.extend(open.iter().map(|id| sea_orm::Value::from(*id)));
                transaction
                    .execute_raw(Statement::from_sql_and_values(
                        backend,
                        format!("UPDATE commits SET position = CASE id {cases}END WHERE id IN ({marks})"),
                        values,
                    ))
                    .await
                    .during(DOING)?;
                transaction
                    .execute_raw(Statement::from_sql_and_values(
                        backend,
                        "UPDATE sequences SET value = ? WHERE name = ?",
                        [(counter + count).into(), SEQUENCE.into()],
                    ))
                    .await
                    .during(DOING)?;
                Ok(open.len() as u64)
            })
        })
        .await
    }

    /// The last position given so far.
    pub async fn last_position(&self) -> Result<Position, StoreError> {
        let row = sequences::Entity::find_by_id(SEQUENCE)
            .one(&self.db)
            .await
            .during("read the last position")?;
        Ok(row.map_or(Position::START, |row| Position {
            commit: row.value,
            ordinal: i32::MAX,
        }))
    }

    /// Events after a position, in sequence: all of at most `commits_max` commits.
    pub async fn find_events_after(
        &self,
        after: Position,
        commits_max: u64,
    ) -> Result<Vec<PositionedEvent>, StoreError> {
        const DOING: &str = "find events";
        // The commit of `after` may have more events behind it.
        let batch = commits::Entity::find()
            .filter(commits::Column::Position.gte(after.commit))
            .order_by_asc(commits::Column::Position)
            .limit(commits_max + 1)
            .all(&self.db)
            .await
            .during(DOING)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let positions: std::collections::HashMap<Uuid, i64> = batch
            .iter()
            .filter_map(|row| row.position.map(|position| (row.id, position)))
            .collect();
        let rows = order_events::Entity::find()
            .filter(order_events::Column::CommitId.is_in(positions.keys().copied()))
            .all(&self.db)
            .await
            .during(DOING)?;
        let mut events = rows
            .iter()
            .filter_map(|row| {
                let position = Position {
                    commit: *positions.get(&row.commit_id)?,
                    ordinal: row.ordinal,
                };
                (position > after).then_some((position, row))
            })
            .map(|(position, row)| {
                Ok(PositionedEvent {
                    position,
                    event: order_rows::event(row)?,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        events.sort_unstable_by_key(|event| event.position);
        Ok(events)
    }

    /// A page of an order's history, first to last.
    pub async fn list_order_events(
        &self,
        order: OrderId,
        after_version: i64,
        limit: u64,
    ) -> Result<Page<OrderEvent>, StoreError> {
        let rows = order_events::Entity::find()
            .filter(order_events::Column::OrderId.eq(order.as_uuid()))
            .filter(order_events::Column::Version.gt(after_version))
            .order_by_asc(order_events::Column::Version)
            .limit(limit + 1)
            .all(&self.db)
            .await
            .during("list order events")?;
        let page = Page::cut(rows, limit, |row| order_rows::event(&row));
        Ok(Page {
            items: page.items.into_iter().collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    /// When the oldest commit without a position was written, for a gauge of how far watchers are behind.
    pub async fn oldest_unsequenced(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row = commits::Entity::find()
            .filter(commits::Column::Position.is_null())
            .order_by_asc(commits::Column::Id)
            .one(&self.db)
            .await
            .during("find the oldest unsequenced commit")?;
        Ok(row.map(|row| row.create_time))
    }
}
