//! The history of orders, and positions for those who watch all of it.
//!
//! Rows do not become visible in the order of any number that is given before the commit, so none is used to page by.
//! Instead each transaction that writes events leaves a row in `commits` without a position; whoever sequences gives
//! positions to what is committed, under the lock of one counter. A position is therefore visible only after all smaller
//! ones are, and a watcher that asks for "greater than the last" misses nothing. One position serves the whole batch of a
//! group commit, so sequencing costs a fraction of a row per order.

use std::collections::HashMap;

use countersign_domain::{event::OrderEvent, ids::OrderId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::{
    Store,
    catalog::Page,
    entity::{commits, order_events},
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

/// Events of some commits. There may be none: what staff did stands among the commits, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// In sequence.
    pub events: Vec<PositionedEvent>,
    /// Where to go on: everything up to here was looked at.
    pub through: Position,
}

impl Store {
    /// Events after a position, in sequence: all of at most `commits_max` commits.
    pub async fn find_events_after(
        &self,
        after: Position,
        commits_max: u64,
    ) -> Result<EventPage, StoreError> {
        const DOING: &str = "find events";
        // The commit of `after` may have more events behind it.
        let batch = commits::Entity::find()
            .select_only()
            .column(commits::Column::Id)
            .column(commits::Column::Position)
            .filter(commits::Column::Position.gte(after.commit))
            .order_by_asc(commits::Column::Position)
            .limit(commits_max + 1)
            .into_tuple::<(Uuid, i64)>()
            .all(&self.db)
            .await
            .during(DOING)?;
        let Some((_, last)) = batch.last().copied() else {
            return Ok(EventPage {
                events: Vec::new(),
                through: after,
            });
        };
        let positions: HashMap<Uuid, i64> = batch.into_iter().collect();
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
                    event: order_rows::event(&self.keys, row)?,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        events.sort_unstable_by_key(|event| event.position);
        let through = Position {
            commit: last,
            ordinal: i32::MAX,
        };
        Ok(EventPage {
            events,
            through: through.max(after),
        })
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
        let page = Page::cut(rows, limit, |row| order_rows::event(&self.keys, &row));
        Ok(Page {
            items: page.items.into_iter().collect::<Result<_, _>>()?,
            more: page.more,
        })
    }
}
