//! The switch that all replicas obey: whether anything is sent at all.

use chrono::{DateTime, Utc};
use countersign_domain::{
    operator::{ActKind, ActOutcome},
    safe_mode::SafeModeState,
};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect as _};

use crate::{
    ActCall, Store,
    bulk::Bulk,
    entity::safe_mode,
    error::{During, StoreError},
    operator_acts::{Acts, Entry},
    rows::{At, cut},
    sealed::SAFE_MODE_REASON,
};

/// The one row.
const ROW: i32 = 1;
/// What acts on it are kept under.
const SUBJECT: &str = "safe-mode";

const SAFE_MODE: Bulk = Bulk {
    operation: "prepare safe mode",
    table: "safe_mode",
    columns: &["id", "state", "reason", "changed_by", "since_time"],
};

/// How the switch stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeMode {
    /// Whether nothing is sent.
    pub state: SafeModeState,
    /// Why it was last turned.
    pub reason: String,
    /// Who turned it: [`crate::SYSTEM`] or a member of staff.
    pub changed_by: String,
    /// When.
    pub since_time: DateTime<Utc>,
}

impl Store {
    /// How the switch stands; nothing when it was never turned.
    pub async fn find_safe_mode(&self) -> Result<Option<SafeMode>, StoreError> {
        safe_mode::Entity::find_by_id(ROW)
            .one(&self.db)
            .await
            .during("read safe mode")?
            .map(|row| self.read_safe_mode(row))
            .transpose()
    }

    /// Turns the switch, on record. False when it stood so already: nothing is written then.
    pub async fn turn_safe_mode(
        &self,
        state: SafeModeState,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self.turn_in(&transaction, state, call, now).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    /// As [`Self::turn_safe_mode`], within a transaction of the caller's.
    pub(crate) async fn turn_in(
        &self,
        transaction: &DatabaseTransaction,
        state: SafeModeState,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.lock_safe_mode(transaction, now).await?;
        let reason = SAFE_MODE_REASON.seal_text(&self.keys, &ROW, &cut(&call.reason, 500))?;
        let turned = safe_mode::Entity::update_many()
            .col_expr(safe_mode::Column::State, state.as_str().into())
            .col_expr(safe_mode::Column::Reason, "".into())
            .col_expr(safe_mode::Column::SealedReason, reason.into())
            .col_expr(safe_mode::Column::ChangedBy, cut(&call.actor, 100).into())
            .col_expr(safe_mode::Column::SinceTime, now.into())
            .filter(safe_mode::Column::Id.eq(ROW))
            .filter(safe_mode::Column::State.ne(state.as_str()))
            .exec(transaction)
            .await
            .during("turn safe mode")?;
        if turned.rows_affected == 0 {
            return Ok(false);
        }
        let action = match state {
            SafeModeState::On => ActKind::EnterSafeMode,
            SafeModeState::Off => ActKind::LeaveSafeMode,
        };
        let entry = Entry {
            subject: SUBJECT,
            action,
            generation: 0,
            outcome: ActOutcome::Done,
            result: &(),
        };
        let mut acts = Acts::default();
        call.push(&mut acts, &self.keys, &entry, now)?;
        self.insert_acts(transaction, acts).await?;
        Ok(true)
    }

    /// Makes the row if it is not there, and keeps everybody else from it until the end of the transaction.
    pub(crate) async fn lock_safe_mode(
        &self,
        transaction: &DatabaseTransaction,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let row = vec![
            ROW.into(),
            SafeModeState::Off.as_str().into(),
            "".into(),
            crate::SYSTEM.into(),
            now.into(),
        ];
        SAFE_MODE
            .insert_new(transaction, self.kind, self.backend(), row)
            .await?;
        safe_mode::Entity::find_by_id(ROW)
            .lock_exclusive()
            .one(transaction)
            .await
            .during("lock safe mode")?;
        Ok(())
    }

    fn read_safe_mode(&self, row: safe_mode::Model) -> Result<SafeMode, StoreError> {
        let at = At {
            table: "safe_mode",
            row: &row.id,
        };
        Ok(SafeMode {
            state: at.word("state", &row.state)?,
            reason: match &row.sealed_reason {
                // Whoever turned it last was an older program, if there are words in the clear.
                Some(sealed) if row.reason.is_empty() => {
                    SAFE_MODE_REASON.open_text(&self.keys, &row.id, sealed)?
                }
                _ => row.reason,
            },
            changed_by: row.changed_by,
            since_time: row.since_time,
        })
    }
}
