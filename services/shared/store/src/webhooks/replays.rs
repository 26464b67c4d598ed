//! What staff do about what a partner was told: tell it again, or try the endpoint out.

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{WebhookDeliveryId, WebhookEndpointId},
    operator::{ActKind, ActOutcome},
    webhook::{TEST, WebhookDeliveryState, WebhookEndpointState},
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    WebhookDelivery,
    deliveries::shown,
    endpoints::{lock, read},
    fan_out::{DELIVERIES, Told, push},
};
use crate::{
    ActCall, Acted, Store,
    delivery_rows::padded,
    entity::webhook_deliveries,
    error::{During, StoreError},
    operator_acts::{Acts, Earlier, Entry, earlier},
};

/// Deliveries that one call replays at most.
pub const REPLAY_MAX: u64 = 500;

/// What is to be told again.
#[derive(Clone, Debug)]
pub enum ReplaySelection {
    /// These, delivered or given up.
    These(Vec<WebhookDeliveryId>),
    /// What was given up in this time, oldest first.
    Failed {
        /// From then on.
        start: DateTime<Utc>,
        /// Before then.
        end: DateTime<Utc>,
    },
}

/// What came of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Made due again.
    pub count: u32,
    /// Whether more of the selection is left: call again.
    pub more: bool,
}

/// A trial event.
#[derive(Clone, Debug)]
pub struct TestEvent {
    /// A new id.
    pub id: WebhookDeliveryId,
    /// What names it to the partner.
    pub webhook_id: String,
    /// The body.
    pub payload: String,
}

/// What is remembered of a trial.
#[derive(Serialize, Deserialize)]
struct Tried {
    delivery: WebhookDeliveryId,
}

impl Store {
    /// Tells a partner again, under the same ids: who has heard it knows it by them.
    pub async fn replay_webhooks(
        &self,
        endpoint: WebhookEndpointId,
        selection: &ReplaySelection,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<Replayed, Infallible>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .replay_in(&transaction, endpoint, selection, call, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn replay_in(
        &self,
        transaction: &DatabaseTransaction,
        endpoint: WebhookEndpointId,
        selection: &ReplaySelection,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<Replayed, Infallible>, StoreError> {
        const DOING: &str = "replay webhooks";
        use webhook_deliveries::Column as C;
        match earlier::<Replayed>(transaction, &self.keys, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same(replayed, outcome) => return Ok(Acted::Answered(replayed, outcome)),
            Earlier::None => {}
        }
        let found = lock(transaction, endpoint).await?;
        if found.is_none_or(|row| row.state == WebhookEndpointState::Deleted.as_str()) {
            return Ok(Acted::NotFound);
        }
        let select = webhook_deliveries::Entity::find()
            .select_only()
            .column(C::Id)
            .filter(C::EndpointId.eq(endpoint.as_uuid()));
        let select = match selection {
            ReplaySelection::These(ids) => select
                .filter(C::State.ne(WebhookDeliveryState::Pending.as_str()))
                .filter(C::Id.is_in(padded(ids.iter().map(WebhookDeliveryId::as_uuid).collect()))),
            ReplaySelection::Failed { start, end } => select
                .filter(C::State.eq(WebhookDeliveryState::Failed.as_str()))
                .filter(C::DueTime.gte(*start))
                .filter(C::DueTime.lt(*end))
                .order_by_asc(C::DueTime)
                .order_by_asc(C::Id),
        };
        let mut ids: Vec<Uuid> = select
            .limit(REPLAY_MAX + 1)
            .into_tuple()
            .all(transaction)
            .await
            .during(DOING)?;
        let most = usize::try_from(REPLAY_MAX).unwrap_or(usize::MAX);
        let more = ids.len() > most;
        ids.truncate(most);
        let replayed = Replayed {
            count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            more,
        };
        if !ids.is_empty() {
            webhook_deliveries::Entity::update_many()
                .col_expr(C::State, WebhookDeliveryState::Pending.as_str().into())
                .col_expr(C::Tries, 0_i32.into())
                .col_expr(C::DueTime, now.into())
                .col_expr(C::FinishTime, Option::<DateTime<Utc>>::None.into())
                .filter(C::Id.is_in(padded(ids)))
                .exec(transaction)
                .await
                .during(DOING)?;
        }
        let entry = Entry {
            subject: &endpoint.resource_name(),
            action: ActKind::ReplayWebhook,
            generation: 0,
            outcome: ActOutcome::Done,
            result: &replayed,
        };
        let mut acts = Acts::default();
        call.push(&mut acts, &self.keys, &entry, now)?;
        self.insert_acts(transaction, acts).await?;
        Ok(Acted::Answered(replayed, ActOutcome::Done))
    }

    /// Has an endpoint told a trial event.
    pub async fn test_webhook(
        &self,
        endpoint: WebhookEndpointId,
        event: &TestEvent,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<WebhookDelivery, Infallible>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self.test_in(&transaction, endpoint, event, call, now).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn test_in(
        &self,
        transaction: &DatabaseTransaction,
        endpoint: WebhookEndpointId,
        event: &TestEvent,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<WebhookDelivery, Infallible>, StoreError> {
        let (id, outcome) = match earlier::<Tried>(transaction, &self.keys, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same(tried, outcome) => (tried.delivery, outcome),
            Earlier::None => {
                let Some(row) = lock(transaction, endpoint).await? else {
                    return Ok(Acted::NotFound);
                };
                let found = read(row)?;
                if found.state == WebhookEndpointState::Deleted {
                    return Ok(Acted::NotFound);
                }
                let told = Told {
                    id: event.id,
                    endpoint: &found,
                    webhook_id: &event.webhook_id,
                    event_type: TEST,
                    order: None,
                    payload: event.payload.clone(),
                };
                let mut rows = Vec::new();
                push(&mut rows, &told, now);
                DELIVERIES.insert(transaction, self.backend(), rows).await?;
                let entry = Entry {
                    subject: &endpoint.resource_name(),
                    action: ActKind::TestWebhook,
                    generation: 0,
                    outcome: ActOutcome::Done,
                    result: &Tried { delivery: event.id },
                };
                let mut acts = Acts::default();
                call.push(&mut acts, &self.keys, &entry, now)?;
                self.insert_acts(transaction, acts).await?;
                (event.id, ActOutcome::Done)
            }
        };
        let row = webhook_deliveries::Entity::find_by_id(id.as_uuid())
            .one(transaction)
            .await
            .during("find a trial event")?;
        Ok(match row {
            Some(row) => Acted::Answered(shown(row)?, outcome),
            None => Acted::NotFound,
        })
    }
}
