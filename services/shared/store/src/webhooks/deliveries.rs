//! What partners are told: claims and lists.

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    ids::{OrderId, WebhookDeliveryId, WebhookEndpointId},
    webhook::{WebhookDeliveryState, WebhookEndpointState, WebhookFailure},
};
use sea_orm::{
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, ExprTrait as _, QueryFilter,
    QueryOrder, QuerySelect, Statement, sea_query::Expr,
};
use uuid::Uuid;

use super::{WebhookEndpoint, endpoints::read};
use crate::{
    Page, Store,
    connection::DatabaseKind,
    delivery_rows::padded,
    entity::{webhook_deliveries, webhook_endpoints},
    error::{During, StoreError},
    rows::{At, columns},
};

/// One event for one partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// Which.
    pub id: WebhookDeliveryId,
    /// Whom it is for.
    pub endpoint: WebhookEndpointId,
    /// What names the event to the partner, the same on every try.
    pub webhook_id: String,
    /// `order.confirmed` …
    pub event_type: String,
    /// About which order; a trial event is about none.
    pub order: Option<OrderId>,
    /// The body.
    pub payload: String,
    /// How it stands.
    pub state: WebhookDeliveryState,
    /// Tries so far, one that is under way included.
    pub tries: u32,
    /// When it is due; of a finished one, when it ended.
    pub due_time: DateTime<Utc>,
    /// Why the last try did not succeed.
    pub failure: Option<WebhookFailure>,
    /// What the partner last answered.
    pub http_status: Option<u16>,
    /// When the event was handed to the endpoint.
    pub create_time: DateTime<Utc>,
    /// When it was taken or given up.
    pub finish_time: Option<DateTime<Utc>>,
}

/// Place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebhookDeliveryKey {
    /// See [`WebhookDelivery::due_time`].
    pub due_time: DateTime<Utc>,
    /// Which.
    pub id: WebhookDeliveryId,
}

impl WebhookDelivery {
    /// Its place in the list.
    pub const fn key(&self) -> WebhookDeliveryKey {
        WebhookDeliveryKey {
            due_time: self.due_time,
            id: self.id,
        }
    }
}

/// WHERE and ORDER BY are both answered by the index, as for messages.
fn claim_sql(kind: DatabaseKind, limit: u64) -> String {
    let (hint, lock) = match kind {
        DatabaseKind::Sqlite => ("", ""),
        DatabaseKind::MySql | DatabaseKind::MariaDb => (
            " FORCE INDEX (ix_webhook_deliveries_due)",
            " FOR UPDATE SKIP LOCKED",
        ),
    };
    format!(
        "SELECT {} FROM webhook_deliveries{hint} WHERE endpoint_id = ? AND state = ? AND due_time <= ? \
         ORDER BY due_time, id LIMIT {limit}{lock}",
        columns::<webhook_deliveries::Entity>("")
    )
}

impl Store {
    /// Endpoints for which something is due and which are not left alone now.
    pub async fn due_webhook_endpoints(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Vec<WebhookEndpoint>, StoreError> {
        let sql = format!(
            "SELECT {} FROM webhook_endpoints e WHERE e.state = ? \
             AND (e.paused_until IS NULL OR e.paused_until <= ?) \
             AND EXISTS (SELECT 1 FROM webhook_deliveries d \
                         WHERE d.endpoint_id = e.id AND d.state = ? AND d.due_time <= ?)",
            columns::<webhook_endpoints::Entity>("e.")
        );
        webhook_endpoints::Entity::find()
            .from_raw_sql(Statement::from_sql_and_values(
                self.backend(),
                sql,
                [
                    WebhookEndpointState::Enabled.as_str().into(),
                    now.into(),
                    WebhookDeliveryState::Pending.as_str().into(),
                    now.into(),
                ],
            ))
            .all(&self.db)
            .await
            .during("find webhook endpoints with something due")?
            .into_iter()
            .map(read)
            .collect()
    }

    /// Takes what is due for an endpoint, oldest first, for the time of the lease. `token` must be new for every call.
    pub async fn claim_webhook_deliveries(
        &self,
        endpoint: WebhookEndpointId,
        token: Uuid,
        now: DateTime<Utc>,
        lease: TimeDelta,
        limit: u64,
    ) -> Result<Vec<WebhookDelivery>, StoreError> {
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .claim_webhooks_in(&transaction, endpoint, token, now, now + lease, limit)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn claim_webhooks_in(
        &self,
        transaction: &DatabaseTransaction,
        endpoint: WebhookEndpointId,
        token: Uuid,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<WebhookDelivery>, StoreError> {
        const DOING: &str = "claim webhook deliveries";
        use webhook_deliveries::Column as C;
        let rows = webhook_deliveries::Entity::find()
            .from_raw_sql(Statement::from_sql_and_values(
                self.backend(),
                claim_sql(self.kind, limit),
                [
                    endpoint.as_uuid().into(),
                    WebhookDeliveryState::Pending.as_str().into(),
                    now.into(),
                ],
            ))
            .all(transaction)
            .await
            .during(DOING)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids = rows.iter().map(|row| row.id).collect();
        webhook_deliveries::Entity::update_many()
            .col_expr(C::LeaseToken, Some(token).into())
            .col_expr(C::DueTime, until.into())
            .col_expr(C::Tries, Expr::col(C::Tries).add(1))
            .filter(C::Id.is_in(padded(ids)))
            .exec(transaction)
            .await
            .during(DOING)?;
        rows.into_iter()
            .map(|mut row| {
                row.tries += 1;
                row.due_time = until;
                shown(row)
            })
            .collect()
    }

    /// What an endpoint was told and is to be told, the latest first; each state is a range of the index.
    pub async fn list_webhook_deliveries(
        &self,
        endpoint: WebhookEndpointId,
        states: &[WebhookDeliveryState],
        after: Option<WebhookDeliveryKey>,
        limit: u64,
    ) -> Result<Page<WebhookDelivery>, StoreError> {
        use webhook_deliveries::Column as C;
        let mut found = Vec::new();
        for state in states {
            let mut select = webhook_deliveries::Entity::find()
                .filter(C::EndpointId.eq(endpoint.as_uuid()))
                .filter(C::State.eq(state.as_str()));
            if let Some(key) = after {
                // The first part is implied by the second; it is what makes a range of the index.
                select = select.filter(C::DueTime.lte(key.due_time)).filter(
                    Condition::any()
                        .add(C::DueTime.lt(key.due_time))
                        .add(C::Id.lt(key.id.as_uuid())),
                );
            }
            let rows = select
                .order_by_desc(C::DueTime)
                .order_by_desc(C::Id)
                .limit(limit + 1)
                .all(&self.db)
                .await
                .during("list webhook deliveries")?;
            found.extend(rows);
        }
        found.sort_by_key(|row| std::cmp::Reverse((row.due_time, row.id)));
        let page = Page::cut(found, limit, shown);
        Ok(Page {
            items: page.items.into_iter().collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    /// How the server would find the rows of a claim, for the test of the index.
    #[cfg(feature = "testing")]
    pub async fn explain_webhook_claim(
        &self,
        endpoint: WebhookEndpointId,
    ) -> Result<String, StoreError> {
        use sea_orm::ConnectionTrait;
        const DOING: &str = "explain the claim of webhooks";
        let now = self.now().await?;
        let rows = self
            .db
            .query_all_raw(Statement::from_sql_and_values(
                self.backend(),
                format!("EXPLAIN FORMAT=TRADITIONAL {}", claim_sql(self.kind, 16)),
                [
                    endpoint.as_uuid().into(),
                    WebhookDeliveryState::Pending.as_str().into(),
                    now.into(),
                ],
            ))
            .await
            .during(DOING)?;
        rows.iter()
            .map(|row| {
                let key: Option<String> = row.try_get("", "key").during(DOING)?;
                let extra: Option<String> = row.try_get("", "Extra").during(DOING)?;
                Ok(format!("{key:?} {extra:?}\n"))
            })
            .collect()
    }
}

pub(super) fn shown(row: webhook_deliveries::Model) -> Result<WebhookDelivery, StoreError> {
    let at = At {
        table: "webhook_deliveries",
        row: &row.id,
    };
    Ok(WebhookDelivery {
        id: WebhookDeliveryId::from_uuid(row.id),
        endpoint: WebhookEndpointId::from_uuid(row.endpoint_id),
        order: row.order_id.map(OrderId::from_uuid),
        state: at.word("state", &row.state)?,
        tries: at.unsigned("tries", row.tries)?,
        due_time: row.due_time,
        failure: Some(row.failure.as_str())
            .filter(|failure| !failure.is_empty())
            .map(|failure| at.word("failure", failure))
            .transpose()?,
        http_status: row
            .http_status
            .map(u16::try_from)
            .transpose()
            .map_err(|error| at.wrong("http_status", error))?,
        create_time: row.create_time,
        finish_time: row.finish_time,
        webhook_id: row.webhook_id,
        event_type: row.event_type,
        payload: row.payload,
    })
}
