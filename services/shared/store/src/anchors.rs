//! Telling the end of the audit chain to an outside place: one replica at a time, not more often than wanted.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, EntityTrait, Statement};

use crate::{
    Store,
    bulk::Bulk,
    entity::sequences,
    error::{During, StoreError},
};

const DOING: &str = "claim an anchor";
/// Name of the row that holds when the last anchor was made, in milliseconds since 1970.
const LAST: &str = "audit_anchor";

const COUNTER: Bulk = Bulk {
    operation: DOING,
    table: "sequences",
    columns: &["name", "value"],
};

/// Whoever holds it makes the next anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorClaim {
    before_ms: i64,
    now_ms: i64,
}

impl AnchorClaim {
    /// When the anchor before was made; none when there was none.
    pub fn last_time(&self) -> Option<DateTime<Utc>> {
        time_of(self.before_ms)
    }
}

fn time_of(ms: i64) -> Option<DateTime<Utc>> {
    (ms > 0)
        .then(|| DateTime::from_timestamp_millis(ms))
        .flatten()
}

impl Store {
    /// When the last anchor was made.
    pub async fn last_anchor_time(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row = sequences::Entity::find_by_id(LAST)
            .one(&self.db)
            .await
            .during("read when the last anchor was made")?;
        Ok(row.and_then(|row| time_of(row.value)))
    }

    /// Takes the next anchor upon this process, when it is time for one and nobody else did so.
    pub async fn claim_anchor(
        &self,
        interval: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<Option<AnchorClaim>, StoreError> {
        let last = sequences::Entity::find_by_id(LAST)
            .one(&self.db)
            .await
            .during(DOING)?;
        let claim = AnchorClaim {
            before_ms: last.as_ref().map_or(0, |row| row.value),
            now_ms: now.timestamp_millis(),
        };
        if claim.now_ms - claim.before_ms < interval.num_milliseconds() {
            return Ok(None);
        }
        let (kind, backend) = (self.kind, self.backend());
        if last.is_none() {
            self.write(|transaction| {
                Box::pin(async move {
                    let row = vec![LAST.into(), 0_i64.into()];
                    COUNTER.insert_new(transaction, kind, backend, row).await
                })
            })
            .await?;
        }
        let claimed = self.move_anchor(claim.before_ms, claim.now_ms).await?;
        Ok(claimed.then_some(claim))
    }

    /// Gives an anchor back that could not be made, so that it is tried again.
    pub async fn give_anchor_back(&self, claim: AnchorClaim) -> Result<(), StoreError> {
        self.move_anchor(claim.now_ms, claim.before_ms).await?;
        Ok(())
    }

    async fn move_anchor(&self, from_ms: i64, to_ms: i64) -> Result<bool, StoreError> {
        let moved = self
            .db
            .execute_raw(Statement::from_sql_and_values(
                self.backend(),
                "UPDATE sequences SET value = ? WHERE name = ? AND value = ?",
                [to_ms.into(), LAST.into(), from_ms.into()],
            ))
            .await
            .during(DOING)?;
        Ok(moved.rows_affected() == 1)
    }
}
