//! What callers were refused, counted by the minute. Rows are added and never changed.

use chrono::{DateTime, Utc};
use countersign_domain::ids::CommitId;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::{
    Store,
    entity::access_refusals,
    error::{During, StoreError},
};

/// Refusals of one kind within one minute, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRefusal {
    /// The minute, at its beginning.
    pub minute: DateTime<Utc>,
    /// The caller's name, or `unauthenticated`.
    pub caller: String,
    /// The path of the method.
    pub method: String,
    /// The code, such as `PERMISSION_DENIED`.
    pub code: String,
    /// Where it came from: `LOOPBACK`, `PRIVATE` or `PUBLIC`.
    pub peer: String,
    /// How often.
    pub count: i64,
}

impl Store {
    /// Puts refusals on record, all with one statement.
    pub async fn insert_access_refusals(
        &self,
        refusals: &[AccessRefusal],
    ) -> Result<(), StoreError> {
        if refusals.is_empty() {
            return Ok(());
        }
        let rows = refusals.iter().map(|refusal| access_refusals::ActiveModel {
            id: Set(fresh_id(refusal.minute)),
            minute: Set(refusal.minute),
            caller: Set(refusal.caller.clone()),
            method: Set(refusal.method.clone()),
            code: Set(refusal.code.clone()),
            peer: Set(refusal.peer.clone()),
            refusals: Set(refusal.count),
        });
        access_refusals::Entity::insert_many(rows)
            .exec_without_returning(&self.db)
            .await
            .during("insert refusals")?;
        Ok(())
    }

    /// The newest refusals, all or one caller's.
    pub async fn list_access_refusals(
        &self,
        caller: Option<&str>,
        limit: u64,
    ) -> Result<Vec<AccessRefusal>, StoreError> {
        let mut select = access_refusals::Entity::find();
        if let Some(caller) = caller {
            select = select.filter(access_refusals::Column::Caller.eq(caller));
        }
        let rows = select
            .order_by_desc(access_refusals::Column::Id)
            .limit(limit)
            .all(&self.db)
            .await
            .during("list refusals")?;
        Ok(rows
            .into_iter()
            .map(|row| AccessRefusal {
                minute: row.minute,
                caller: row.caller,
                method: row.method,
                code: row.code,
                peer: row.peer,
                count: row.refusals,
            })
            .collect())
    }
}

/// In order of time, so that the newest are a range of the key.
#[expect(
    clippy::disallowed_methods,
    reason = "an id that nobody has used before; nothing is decided by it"
)]
fn fresh_id(minute: DateTime<Utc>) -> uuid::Uuid {
    CommitId::new_v7(minute, &mut rand::rng()).as_uuid()
}
