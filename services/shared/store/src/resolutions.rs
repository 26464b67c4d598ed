//! Messages in doubt, when staff have found out whether they were sent (RELIABILITY, H-08).

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::DeliveryId,
    message::{Delivery, DeliveryState},
    operator::{ActKind, ActOutcome},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};

use crate::{
    ActCall, Acted, Store,
    attempt_results::hurry,
    delivery_rows::{Standing, delivery, lock_orders_deliveries},
    entity::deliveries,
    error::{During, StoreError},
    gates::open_gates,
    operator_acts::{Acts, Earlier, Entry, earlier, last_act},
};

const DOING: &str = "resolve a delivery";
/// What the row says afterwards.
const NOT_SENT: &str = "NOT_SENT: staff found that it was not sent";

/// What staff found out about a message in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It was sent.
    Sent,
    /// It was not; the next channel's turn comes at once.
    NotSent,
}

impl Resolution {
    const fn act(self) -> ActKind {
        match self {
            Self::Sent => ActKind::ResolveSent,
            Self::NotSent => ActKind::ResolveNotSent,
        }
    }

    const fn state(self) -> DeliveryState {
        match self {
            Self::Sent => DeliveryState::Sent,
            Self::NotSent => DeliveryState::Failed,
        }
    }
}

impl Store {
    /// Ends the doubt. Refused with the state that the message is in when it is in no doubt, unless it was resolved in the
    /// same way before.
    pub async fn resolve_delivery(
        &self,
        id: DeliveryId,
        resolution: Resolution,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<Delivery, DeliveryState>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .resolve_in(&transaction, id, resolution, call, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn resolve_in(
        &self,
        transaction: &DatabaseTransaction,
        id: DeliveryId,
        resolution: Resolution,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<Delivery, DeliveryState>, StoreError> {
        let before = earlier::<()>(transaction, &self.keys, call).await?;
        if matches!(before, Earlier::Other) {
            return Ok(Acted::OtherRequest);
        }
        let found = deliveries::Entity::find_by_id(id.as_uuid())
            .one(transaction)
            .await
            .during(DOING)?;
        let Some(found) = found else {
            return Ok(Acted::NotFound);
        };
        if let Earlier::Same((), outcome) = before {
            return Ok(Acted::Answered(delivery(&self.keys, found)?, outcome));
        }
        let mut rows = lock_orders_deliveries(transaction, vec![found.order_id]).await?;
        let Some(row) = rows.iter_mut().find(|row| row.id == id.as_uuid()) else {
            return Ok(Acted::NotFound);
        };
        let subject = id.resource_name();
        let state: DeliveryState = row.state.parse().unwrap_or(DeliveryState::Dead);
        let outcome = if state == DeliveryState::InDoubt {
            ActOutcome::Done
        } else if last_act(transaction, &subject, resolution.act())
            .await?
            .is_some()
        {
            ActOutcome::Already
        } else {
            return Ok(Acted::Refused(state));
        };
        let entry = Entry {
            subject: &subject,
            action: resolution.act(),
            generation: row.generation.unsigned_abs(),
            outcome,
            result: &(),
        };
        let mut acts = Acts::default();
        call.push(&mut acts, &self.keys, &entry, now)?;
        self.insert_acts(transaction, acts).await?;
        if outcome == ActOutcome::Already {
            return Ok(Acted::Answered(delivery(&self.keys, row.clone())?, outcome));
        }
        resolution.state().as_str().clone_into(&mut row.state);
        row.due_time = now;
        row.finish_time = Some(now);
        if resolution == Resolution::NotSent {
            NOT_SENT.clone_into(&mut row.last_error);
        }
        let written = row.clone();
        let updated = deliveries::Entity::update_many()
            .set(deliveries::ActiveModel {
                state: Set(written.state.clone()),
                due_time: Set(written.due_time),
                finish_time: Set(written.finish_time),
                last_error: Set(written.last_error.clone()),
                ..Default::default()
            })
            .filter(deliveries::Column::Id.eq(written.id))
            .filter(deliveries::Column::State.eq(DeliveryState::InDoubt.as_str()))
            .exec(transaction)
            .await
            .during(DOING)?;
        if updated.rows_affected != 1 {
            return Err(StoreError::Unstorable {
                operation: DOING,
                problem: "the row changed under its lock".to_owned(),
            });
        }
        let rows: Vec<Standing> = rows.iter().map(Standing::from).collect();
        if resolution == Resolution::NotSent {
            let failed = [(written.order_id, written.seq, written.step)];
            hurry(transaction, &rows, &failed, now).await?;
        }
        open_gates(transaction, &self.keys, &rows, now).await?;
        Ok(Acted::Answered(delivery(&self.keys, written)?, outcome))
    }
}
