//! What an operator sees at a glance.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use countersign_domain::message::DeliveryState;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::{
    Store,
    entity::{deliveries, orders, outbox, replies, timers},
    error::{During, StoreError},
};

/// Counts of rows and the oldest times among those that wait. Reads whole indexes, so it is for people, not for probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Orders by state.
    pub orders: BTreeMap<String, u64>,
    /// Changes whose messages are not yet made.
    pub outbox: u64,
    /// When the oldest of them was written.
    pub outbox_oldest: Option<DateTime<Utc>>,
    /// Messages by state.
    pub deliveries: BTreeMap<String, u64>,
    /// When the oldest message that is to be sent was due.
    pub deliveries_oldest_due: Option<DateTime<Utc>>,
    /// What came back from customers, by state.
    pub replies: BTreeMap<String, u64>,
    /// Deadlines that are set.
    pub timers: u64,
    /// When the next of them falls due, or fell due without being looked after.
    pub timers_next: Option<DateTime<Utc>>,
}

macro_rules! by_state {
    ($store:expr, $table:ident, $doing:literal) => {
        $table::Entity::find()
            .select_only()
            .column($table::Column::State)
            .column_as($table::Column::State.count(), "many")
            .group_by($table::Column::State)
            .into_tuple::<(String, i64)>()
            .all(&$store.db)
            .await
            .during($doing)?
            .into_iter()
            .map(|(state, many)| (state, u64::try_from(many).unwrap_or_default()))
            .collect()
    };
}

impl Store {
    /// Counts everything.
    pub async fn overview(&self) -> Result<Overview, StoreError> {
        let pending = DeliveryState::ALL
            .iter()
            .filter(|state| !state.is_finished())
            .map(|state| state.as_str());
        Ok(Overview {
            orders: by_state!(self, orders, "count orders"),
            outbox: outbox::Entity::find()
                .count(&self.db)
                .await
                .during("count the outbox")?,
            outbox_oldest: self.oldest_outbox_time().await?,
            deliveries: by_state!(self, deliveries, "count messages"),
            deliveries_oldest_due: deliveries::Entity::find()
                .select_only()
                .column_as(deliveries::Column::DueTime.min(), "oldest")
                .filter(deliveries::Column::State.is_in(pending))
                .into_tuple::<Option<DateTime<Utc>>>()
                .one(&self.db)
                .await
                .during("read the oldest message")?
                .flatten(),
            replies: by_state!(self, replies, "count replies"),
            timers: timers::Entity::find()
                .count(&self.db)
                .await
                .during("count deadlines")?,
            timers_next: timers::Entity::find()
                .order_by_asc(timers::Column::DueTime)
                .one(&self.db)
                .await
                .during("read the next deadline")?
                .map(|row| row.due_time),
        })
    }
}
