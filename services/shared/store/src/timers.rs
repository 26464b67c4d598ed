//! Timers: rows that fall due by the time of the database, fired by any replica.

use chrono::{DateTime, Utc};
use countersign_domain::{ids::OrderId, timer::Timer};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value,
};

use crate::{
    Store,
    bulk::Bulk,
    entity::timers,
    error::{During, StoreError},
    rows::{At, int},
};

pub(crate) const TIMERS: Bulk = Bulk {
    operation: "insert timers",
    table: "timers",
    columns: &["due_time", "order_id", "kind", "generation"],
};

/// Appends a row of [`TIMERS`].
pub(crate) fn push_timer(values: &mut Vec<Value>, timer: &Timer) -> Result<(), StoreError> {
    values.extend([
        timer.due_time.into(),
        timer.order_id.as_uuid().into(),
        timer.kind.as_str().into(),
        int("insert timers", timer.generation)?.into(),
    ]);
    Ok(())
}

/// Takes a timer away; it may have been fired already.
pub(crate) async fn delete_timer(
    transaction: &DatabaseTransaction,
    timer: &Timer,
) -> Result<(), StoreError> {
    const DOING: &str = "delete a timer";
    timers::Entity::delete_by_id((
        timer.due_time,
        timer.order_id.as_uuid(),
        timer.kind.as_str().to_owned(),
        int(DOING, timer.generation)?,
    ))
    .exec(transaction)
    .await
    .during(DOING)?;
    Ok(())
}

impl Store {
    /// Timers that are due, oldest first.
    pub async fn find_due_timers(
        &self,
        now: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<Timer>, StoreError> {
        let rows = timers::Entity::find()
            .filter(timers::Column::DueTime.lte(now))
            .order_by_asc(timers::Column::DueTime)
            .order_by_asc(timers::Column::OrderId)
            .limit(limit)
            .all(&self.db)
            .await
            .during("find due timers")?;
        rows.iter()
            .map(|row| {
                let at = At {
                    table: "timers",
                    row: &row.order_id,
                };
                Ok(Timer {
                    due_time: row.due_time,
                    order_id: OrderId::from_uuid(row.order_id),
                    kind: at.word("kind", &row.kind)?,
                    generation: at.unsigned("generation", row.generation)?,
                })
            })
            .collect()
    }

    /// Takes a timer away that has nothing left to do.
    pub async fn clear_timer(&self, timer: &Timer) -> Result<(), StoreError> {
        let timer = *timer;
        self.write(|transaction| Box::pin(async move { delete_timer(transaction, &timer).await }))
            .await
    }

    /// Lets a timer fall due later.
    pub async fn postpone_timer(
        &self,
        timer: &Timer,
        by: chrono::Duration,
    ) -> Result<(), StoreError> {
        let timer = *timer;
        let later = Timer {
            due_time: timer.due_time + by,
            ..timer
        };
        let backend = self.backend();
        self.write(|transaction| {
            Box::pin(async move {
                delete_timer(transaction, &timer).await?;
                let mut values = Vec::new();
                push_timer(&mut values, &later)?;
                TIMERS.insert(transaction, backend, values).await
            })
        })
        .await
    }
}
