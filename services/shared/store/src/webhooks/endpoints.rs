//! Endpoints of partners: made, changed and removed by staff, with the record of it.

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::WebhookEndpointId,
    operator::{ActKind, ActOutcome},
    webhook::{EndpointHealth, WebhookDisabledReason, WebhookEndpointState, WebhookKey, rotate},
};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel as _, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};

use crate::{
    ActCall, Acted, Store,
    entity::webhook_endpoints,
    error::{During, StoreError},
    operator_acts::{Acts, Earlier, Entry, earlier},
    rows::{At, int, json_text},
};

/// Where a partner hears of orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// Which.
    pub id: WebhookEndpointId,
    /// Where events are posted to.
    pub url: String,
    /// For staff.
    pub description: String,
    /// What the partner is told of; everything when empty.
    pub event_types: Vec<String>,
    /// Whether it is told.
    pub state: WebhookEndpointState,
    /// Why not.
    pub disabled_reason: Option<WebhookDisabledReason>,
    /// The keys that sign.
    pub keys: Vec<WebhookKey>,
    /// How it fares.
    pub health: EndpointHealth,
    /// When it was made.
    pub create_time: DateTime<Utc>,
    /// When staff last changed it.
    pub update_time: DateTime<Utc>,
    /// Events up to this commit happened before it was made.
    pub(crate) from_position: i64,
}

/// An endpoint to be made.
#[derive(Clone, Debug)]
pub struct NewWebhookEndpoint {
    /// A new id.
    pub id: WebhookEndpointId,
    /// See [`WebhookEndpoint::url`].
    pub url: String,
    /// See [`WebhookEndpoint::description`].
    pub description: String,
    /// See [`WebhookEndpoint::event_types`].
    pub event_types: Vec<String>,
}

/// New values; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct WebhookEdit {
    /// See [`WebhookEndpoint::url`].
    pub url: Option<String>,
    /// See [`WebhookEndpoint::description`].
    pub description: Option<String>,
    /// See [`WebhookEndpoint::event_types`].
    pub event_types: Option<Vec<String>>,
    /// Enable (and forget old failures) or disable.
    pub enabled: Option<bool>,
}

/// What staff do to an endpoint.
#[derive(Clone, Debug)]
pub enum WebhookChange {
    /// Change its values.
    Edit(WebhookEdit),
    /// Make a new key.
    Rotate,
    /// Remove it.
    Delete,
}

/// Too many keys sign already; an old one must end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyKeys;

/// What is remembered of a change.
#[derive(Serialize, Deserialize)]
struct Touched {
    endpoint: WebhookEndpointId,
}

impl Store {
    /// Makes an endpoint. It hears of what happens from now on.
    pub async fn create_webhook_endpoint(
        &self,
        new: &NewWebhookEndpoint,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<WebhookEndpoint, Infallible>, StoreError> {
        // What has no position yet would count as later.
        while self.sequence_events().await? > 0 {}
        let from_position = self.last_position().await?.commit;
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .create_in(&transaction, new, from_position, call, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn create_in(
        &self,
        transaction: &DatabaseTransaction,
        new: &NewWebhookEndpoint,
        from_position: i64,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<WebhookEndpoint, Infallible>, StoreError> {
        const DOING: &str = "create a webhook endpoint";
        match earlier::<Touched>(transaction, &self.keys, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same(Touched { endpoint }, outcome) => {
                let found = lock(transaction, endpoint).await?;
                return Ok(match found {
                    Some(row) => Acted::Answered(read(row)?, outcome),
                    None => Acted::NotFound,
                });
            }
            Earlier::None => {}
        }
        let row = webhook_endpoints::Model {
            id: new.id.as_uuid(),
            url: new.url.clone(),
            description: new.description.clone(),
            event_types: json_text(DOING, &new.event_types)?,
            state: WebhookEndpointState::Enabled.as_str().to_owned(),
            disabled_reason: String::new(),
            signing_keys: json_text(DOING, &[WebhookKey::FIRST])?,
            from_position,
            failures: 0,
            failing_since: None,
            last_try_time: None,
            paused_until: None,
            create_time: now,
            update_time: now,
        };
        webhook_endpoints::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(transaction)
            .await
            .during(DOING)?;
        self.note_webhook(transaction, new.id, ActKind::CreateWebhook, call, now)
            .await?;
        Ok(Acted::Answered(read(row)?, ActOutcome::Done))
    }

    /// Changes an endpoint, makes it a new key, or removes it.
    pub async fn change_webhook_endpoint(
        &self,
        id: WebhookEndpointId,
        change: &WebhookChange,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<WebhookEndpoint, TooManyKeys>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self.change_in(&transaction, id, change, call, now).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn change_in(
        &self,
        transaction: &DatabaseTransaction,
        id: WebhookEndpointId,
        change: &WebhookChange,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<WebhookEndpoint, TooManyKeys>, StoreError> {
        const DOING: &str = "change a webhook endpoint";
        let before = earlier::<Touched>(transaction, &self.keys, call).await?;
        if matches!(before, Earlier::Other) {
            return Ok(Acted::OtherRequest);
        }
        let Some(row) = lock(transaction, id).await? else {
            return Ok(Acted::NotFound);
        };
        if let Earlier::Same(_, outcome) = before {
            return Ok(Acted::Answered(read(row)?, outcome));
        }
        if row.state == WebhookEndpointState::Deleted.as_str() {
            return Ok(Acted::NotFound);
        }
        let mut changed = row.clone().into_active_model();
        let kind = match change {
            WebhookChange::Edit(edit) => {
                apply(&mut changed, edit, DOING)?;
                ActKind::UpdateWebhook
            }
            WebhookChange::Rotate => {
                let Some(keys) = rotate(&read(row)?.keys, now) else {
                    return Ok(Acted::Refused(TooManyKeys));
                };
                changed.signing_keys = Set(json_text(DOING, &keys)?);
                ActKind::RotateWebhook
            }
            WebhookChange::Delete => {
                changed.state = Set(WebhookEndpointState::Deleted.as_str().to_owned());
                ActKind::DeleteWebhook
            }
        };
        changed.update_time = Set(now);
        let row = changed.update(transaction).await.during(DOING)?;
        self.note_webhook(transaction, id, kind, call, now).await?;
        Ok(Acted::Answered(read(row)?, ActOutcome::Done))
    }

    async fn note_webhook(
        &self,
        transaction: &DatabaseTransaction,
        id: WebhookEndpointId,
        action: ActKind,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let entry = Entry {
            subject: &id.resource_name(),
            action,
            generation: 0,
            outcome: ActOutcome::Done,
            result: &Touched { endpoint: id },
        };
        let mut acts = Acts::default();
        call.push(&mut acts, &self.keys, &entry, now)?;
        self.insert_acts(transaction, acts).await
    }

    /// An endpoint that was not removed.
    pub async fn find_webhook_endpoint(
        &self,
        id: WebhookEndpointId,
    ) -> Result<Option<WebhookEndpoint>, StoreError> {
        webhook_endpoints::Entity::find_by_id(id.as_uuid())
            .filter(webhook_endpoints::Column::State.ne(WebhookEndpointState::Deleted.as_str()))
            .one(&self.db)
            .await
            .during("find a webhook endpoint")?
            .map(read)
            .transpose()
    }

    /// All endpoints that were not removed, oldest first. A company has a handful.
    pub async fn list_webhook_endpoints(&self) -> Result<Vec<WebhookEndpoint>, StoreError> {
        webhook_endpoints::Entity::find()
            .filter(webhook_endpoints::Column::State.ne(WebhookEndpointState::Deleted.as_str()))
            .order_by_asc(webhook_endpoints::Column::Id)
            .all(&self.db)
            .await
            .during("list webhook endpoints")?
            .into_iter()
            .map(read)
            .collect()
    }
}

/// The row of an endpoint, for this transaction alone.
pub(super) async fn lock(
    transaction: &DatabaseTransaction,
    id: WebhookEndpointId,
) -> Result<Option<webhook_endpoints::Model>, StoreError> {
    webhook_endpoints::Entity::find_by_id(id.as_uuid())
        .lock_exclusive()
        .one(transaction)
        .await
        .during("lock a webhook endpoint")
}

fn apply(
    row: &mut webhook_endpoints::ActiveModel,
    edit: &WebhookEdit,
    doing: &'static str,
) -> Result<(), StoreError> {
    if let Some(url) = &edit.url {
        row.url = Set(url.clone());
    }
    if let Some(description) = &edit.description {
        row.description = Set(description.clone());
    }
    if let Some(types) = &edit.event_types {
        row.event_types = Set(json_text(doing, types)?);
    }
    match edit.enabled {
        Some(true) => {
            row.state = Set(WebhookEndpointState::Enabled.as_str().to_owned());
            row.disabled_reason = Set(String::new());
            write_health(row, &EndpointHealth::default())?;
        }
        Some(false) => disable(row, WebhookDisabledReason::Staff),
        None => {}
    }
    Ok(())
}

pub(super) fn disable(row: &mut webhook_endpoints::ActiveModel, reason: WebhookDisabledReason) {
    row.state = Set(WebhookEndpointState::Disabled.as_str().to_owned());
    row.disabled_reason = Set(reason.as_str().to_owned());
}

pub(super) fn write_health(
    row: &mut webhook_endpoints::ActiveModel,
    health: &EndpointHealth,
) -> Result<(), StoreError> {
    row.failures = Set(int("note an endpoint's health", health.failures)?);
    row.failing_since = Set(health.failing_since);
    row.last_try_time = Set(health.last_try_time);
    row.paused_until = Set(health.paused_until);
    Ok(())
}

pub(super) fn read(row: webhook_endpoints::Model) -> Result<WebhookEndpoint, StoreError> {
    let at = At {
        table: "webhook_endpoints",
        row: &row.id,
    };
    Ok(WebhookEndpoint {
        id: WebhookEndpointId::from_uuid(row.id),
        event_types: at.json("event_types", &row.event_types)?,
        state: at.word("state", &row.state)?,
        disabled_reason: Some(row.disabled_reason.as_str())
            .filter(|reason| !reason.is_empty())
            .map(|reason| at.word("disabled_reason", reason))
            .transpose()?,
        keys: at.json("signing_keys", &row.signing_keys)?,
        health: EndpointHealth {
            failures: at.unsigned("failures", row.failures)?,
            failing_since: row.failing_since,
            last_try_time: row.last_try_time,
            paused_until: row.paused_until,
        },
        create_time: row.create_time,
        update_time: row.update_time,
        from_position: row.from_position,
        url: row.url,
        description: row.description,
    })
}
