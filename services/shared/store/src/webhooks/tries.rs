//! How telling partners went: results of tries, and how the endpoint fares.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{WebhookDeliveryId, WebhookEndpointId},
    webhook::{
        WebhookDeliveryState, WebhookDisabledReason, WebhookEndpointState, WebhookNext,
        WebhookOutcome, next,
    },
};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel as _,
    QueryFilter, QuerySelect,
};
use uuid::Uuid;

use super::endpoints::{disable, lock, read, write_health};
use crate::{
    Store,
    bulk::JsonType,
    delivery_rows::padded,
    entity::webhook_deliveries,
    error::{During, StoreError},
    joined::JoinedUpdate,
    rows::time_text,
};

/// How a try went.
#[derive(Clone, Copy, Debug)]
pub struct WebhookTry {
    /// Of which delivery.
    pub delivery: WebhookDeliveryId,
    /// What came of it.
    pub outcome: WebhookOutcome,
    /// What the partner answered.
    pub http_status: Option<u16>,
    /// Factor around 1 by which the next try is earlier or later.
    pub jitter: f64,
}

/// What was made of the tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookTries {
    /// Taken by the partner.
    pub delivered: usize,
    /// Given up.
    pub failed: usize,
    /// Whether the endpoint was disabled by them.
    pub disabled: Option<WebhookDisabledReason>,
}

const RESULTS: JoinedUpdate = JoinedUpdate {
    table: "webhook_deliveries",
    columns: &[
        ("id", JsonType::Key),
        ("token", JsonType::Key),
        ("new_state", JsonType::Key),
        ("new_due", JsonType::Key),
        ("new_finish", JsonType::Key),
        ("new_failure", JsonType::Key),
        ("new_status", JsonType::Long),
    ],
    on: "t.id = UNHEX(n.id) AND t.lease_token = UNHEX(n.token)",
    set: &[
        ("state", "n.new_state"),
        ("due_time", "n.new_due"),
        ("finish_time", "n.new_finish"),
        ("failure", "n.new_failure"),
        ("http_status", "n.new_status"),
        ("lease_token", "NULL"),
    ],
};

impl Store {
    /// Writes how the tries of one claim went, and how the endpoint fares. What somebody else has claimed since is left
    /// alone.
    pub async fn finish_webhook_tries(
        &self,
        endpoint: WebhookEndpointId,
        token: Uuid,
        tries: &[WebhookTry],
        now: DateTime<Utc>,
    ) -> Result<WebhookTries, StoreError> {
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .finish_webhooks_in(&transaction, endpoint, token, tries, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn finish_webhooks_in(
        &self,
        transaction: &DatabaseTransaction,
        endpoint: WebhookEndpointId,
        token: Uuid,
        tries: &[WebhookTry],
        now: DateTime<Utc>,
    ) -> Result<WebhookTries, StoreError> {
        const DOING: &str = "finish webhook tries";
        use webhook_deliveries::Column as C;
        let mut done = WebhookTries::default();
        let Some(row) = lock(transaction, endpoint).await? else {
            return Ok(done);
        };
        let ids = tries.iter().map(|it| it.delivery.as_uuid()).collect();
        let counts: HashMap<Uuid, i32> = webhook_deliveries::Entity::find()
            .select_only()
            .column(C::Id)
            .column(C::Tries)
            .filter(C::Id.is_in(padded(ids)))
            .filter(C::LeaseToken.eq(token))
            .lock_exclusive()
            .into_tuple::<(Uuid, i32)>()
            .all(transaction)
            .await
            .during(DOING)?
            .into_iter()
            .collect();
        let mut outcomes = Vec::new();
        let mut results = Vec::new();
        for it in tries {
            let Some(count) = counts.get(&it.delivery.as_uuid()) else {
                continue;
            };
            outcomes.push(it.outcome);
            let (state, due, finished) = match next(it.outcome, count.unsigned_abs(), it.jitter) {
                WebhookNext::Delivered => (WebhookDeliveryState::Delivered, now, true),
                WebhookNext::Failed => (WebhookDeliveryState::Failed, now, true),
                WebhookNext::Again(wait) => (WebhookDeliveryState::Pending, now + wait, false),
            };
            done.delivered += usize::from(state == WebhookDeliveryState::Delivered);
            done.failed += usize::from(state == WebhookDeliveryState::Failed);
            let failure = match it.outcome {
                WebhookOutcome::Delivered => "",
                WebhookOutcome::Failed { failure, .. } => failure.as_str(),
            };
            results.push((
                it.delivery.as_uuid().simple().to_string(),
                token.simple().to_string(),
                state.as_str(),
                time_text(self.kind, due),
                finished.then(|| time_text(self.kind, now)),
                failure,
                it.http_status,
            ));
        }
        if results.is_empty() {
            return Ok(done);
        }
        self.update_joined(transaction, &RESULTS, DOING, &results, &[])
            .await?;
        let known = read(row.clone())?;
        let (health, disabled) = known.health.after(&outcomes, now);
        let mut changed = row.into_active_model();
        write_health(&mut changed, &health)?;
        if known.state == WebhookEndpointState::Enabled
            && let Some(reason) = disabled
        {
            disable(&mut changed, reason);
            done.disabled = Some(reason);
        }
        changed.update(transaction).await.during(DOING)?;
        Ok(done)
    }
}
