//! Brings events to partners: fans them out, claims what is due, posts it, writes down how it went.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use countersign_domain::{
    ids::{WebhookDeliveryId, WebhookEndpointId},
    secrets::LinkKey,
    webhook::{WebhookEndpointState, WebhookOutcome, pause},
};
use countersign_store::{Store, StoreError, WebhookEndpoint, WebhookTry};
use futures::future::join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    guard::Guard,
    post::{Poster, keys_of},
};
use crate::{
    alive::Alive,
    channel::{exchange::guarded_client, gateway::GatewayTimeouts},
    ids::Ids,
    metrics::Metrics,
    poll::Poll,
};

/// Commits that are fanned out at once.
const COMMITS_MAX: u64 = 100;
/// Events that an endpoint is told at once.
const POSTS_AT_ONCE: u64 = 16;
/// Endpoints that are told something at once.
const ENDPOINTS_AT_ONCE: usize = 32;
/// For one exchange, the body of the answer included (the specification: 15 to 30 s).
const TOTAL: Duration = Duration::from_secs(20);
/// Longer than any exchange takes; what a dead worker had is told by another one then.
const LEASE: TimeDelta = TimeDelta::seconds(30);
/// Before a result is written again that the database did not take, and how often.
const PAUSE: Duration = Duration::from_millis(500);
const WRITES_MAX: u32 = 5;

/// Tells partners.
#[derive(Debug)]
pub(crate) struct WebhookCourier {
    store: Store,
    /// Whether anything may be sent.
    alive: Arc<Alive>,
    ids: Arc<Ids>,
    link_key: LinkKey,
    metrics: Metrics,
    poster: Poster,
    poll: Poll,
    /// Endpoints that are being told something.
    busy: Mutex<HashSet<WebhookEndpointId>>,
}

impl WebhookCourier {
    pub(crate) fn new(
        store: Store,
        alive: Arc<Alive>,
        ids: Arc<Ids>,
        link_key: LinkKey,
        metrics: Metrics,
        guard: Guard,
        poll: Poll,
    ) -> reqwest::Result<Self> {
        let timeouts = GatewayTimeouts {
            total: TOTAL,
            ..GatewayTimeouts::default()
        };
        let client = guarded_client(&timeouts, guard.clone())?;
        Ok(Self {
            store,
            alive,
            ids,
            link_key,
            metrics,
            poster: Poster {
                client,
                guard,
                total: timeouts.total,
            },
            poll,
            busy: Mutex::default(),
        })
    }

    /// Fans events out until the soft stage.
    pub(crate) async fn fan_out(self: Arc<Self>, soft: CancellationToken) {
        while !soft.is_cancelled() {
            let looked_at = async {
                let now = self.store.now().await?;
                let id = || self.ids.make(now, WebhookDeliveryId::new_v7);
                self.store.fan_out_webhooks(COMMITS_MAX, now, id).await
            };
            match looked_at.await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(error = %error, "fanning events out failed; it is tried again");
                }
            }
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(self.poll.get()) => {}
            }
        }
    }

    /// Posts what is due until the soft stage; what is under way then is brought to its end.
    pub(crate) async fn deliver(self: Arc<Self>, soft: CancellationToken) {
        let mut rounds = JoinSet::new();
        while !soft.is_cancelled() {
            match self.due().await {
                Ok(due) => {
                    for endpoint in due {
                        let room = rounds.len() < ENDPOINTS_AT_ONCE;
                        if room && self.busy().insert(endpoint.id) {
                            rounds.spawn(Arc::clone(&self).tell(endpoint.id, soft.clone()));
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "looking for due webhooks failed; it is tried again");
                }
            }
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(self.poll.get()) => {}
                Some(_) = rounds.join_next() => {}
            }
        }
        while rounds.join_next().await.is_some() {}
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<WebhookEndpointId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn due(&self) -> Result<Vec<WebhookEndpoint>, StoreError> {
        match self.alive.may_send().await? {
            Some(now) => self.store.due_webhook_endpoints(now).await,
            None => Ok(Vec::new()),
        }
    }

    /// Tells one endpoint everything that is due, until it fails. Before each round it is read anew: staff may have disabled
    /// it, moved it or changed its keys.
    async fn tell(self: Arc<Self>, id: WebhookEndpointId, soft: CancellationToken) {
        while !soft.is_cancelled() {
            let told = async {
                let found = self.store.find_webhook_endpoint(id).await?;
                let enabled = |it: &WebhookEndpoint| it.state == WebhookEndpointState::Enabled;
                match found.filter(enabled) {
                    Some(endpoint) => self.round(&endpoint).await,
                    None => Ok(false),
                }
            };
            match told.await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(error = %error, endpoint = %id, "telling a partner failed; it is tried again");
                    break;
                }
            }
        }
        self.busy().remove(&id);
    }

    /// One claim and its posts; whether there may be more to do at once.
    async fn round(&self, endpoint: &WebhookEndpoint) -> Result<bool, StoreError> {
        let Some(now) = self.alive.may_send().await? else {
            return Ok(false);
        };
        let token = self.ids.token();
        let claimed = self
            .store
            .claim_webhook_deliveries(endpoint.id, token, now, LEASE, POSTS_AT_ONCE)
            .await?;
        if claimed.is_empty() {
            return Ok(false);
        }
        let Ok(keys) = keys_of(&self.link_key, endpoint.id, &endpoint.keys, now) else {
            tracing::error!(endpoint = %endpoint.id, "no key signs for the endpoint");
            return Ok(false);
        };
        let posts = claimed.iter().map(async |delivery| {
            let (outcome, http_status) =
                self.poster.post(&endpoint.url, &keys, delivery, now).await;
            self.metrics.webhook(match outcome {
                WebhookOutcome::Delivered => "DELIVERED",
                WebhookOutcome::Failed { failure, .. } => failure.as_str(),
            });
            WebhookTry {
                delivery: delivery.id,
                outcome,
                http_status,
                jitter: self.ids.jitter(),
            }
        });
        let tries = join_all(posts).await;
        self.write(endpoint, token, &tries).await;
        let well = tries.iter().all(|it| pause(it.outcome, 1).is_zero());
        Ok(well && claimed.len() as u64 == POSTS_AT_ONCE)
    }

    async fn write(&self, endpoint: &WebhookEndpoint, token: uuid::Uuid, tries: &[WebhookTry]) {
        for _ in 0..WRITES_MAX {
            let written = async {
                let now = self.store.now().await?;
                self.store
                    .finish_webhook_tries(endpoint.id, token, tries, now)
                    .await
            };
            match written.await {
                Ok(done) => {
                    if let Some(reason) = done.disabled {
                        tracing::error!(endpoint = %endpoint.id, reason = %reason, "an endpoint is disabled; its events are kept");
                        self.metrics.webhook_disabled(reason.as_str());
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = %error, endpoint = %endpoint.id, "writing how webhooks went failed");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // The lease ends, and the partner is told once more under the same ids.
    }
}
