//! Jobs that one process does for all: whoever takes the turn does the job, and nobody else until the turn is over.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::{
    Store,
    bulk::Bulk,
    entity::turns,
    error::{During, StoreError},
};

const TURNS: Bulk = Bulk {
    operation: "take a turn",
    table: "turns",
    columns: &["job", "holder", "until_time"],
};

impl Store {
    /// Takes the turn of a job for so long, unless somebody has it. A turn that lasts as long as the pause between two runs
    /// is the job's schedule, too.
    pub async fn take_turn(
        &self,
        job: &'static str,
        holder: Uuid,
        lasts: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (kind, backend) = (self.kind, self.backend());
        self.write(|transaction| {
            Box::pin(async move {
                let row = vec![job.into(), Uuid::nil().into(), (now - lasts).into()];
                TURNS.insert_new(transaction, kind, backend, row).await?;
                let taken = turns::Entity::update_many()
                    .col_expr(turns::Column::Holder, holder.into())
                    .col_expr(turns::Column::UntilTime, (now + lasts).into())
                    .filter(turns::Column::Job.eq(job))
                    .filter(turns::Column::UntilTime.lte(now))
                    .exec(transaction)
                    .await
                    .during("take a turn")?;
                Ok(taken.rows_affected == 1)
            })
        })
        .await
    }
}
