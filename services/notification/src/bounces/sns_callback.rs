//! Amazon SNS brings what SES tells of letters: signed by Amazon, from topics that are named in the configuration.
//!
//! A topic asks once whether it is welcome; that is stored like everything that comes in, and answered from the inbox.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use countersign_domain::reply::ReplyContent;
use countersign_runtime::config::Webhooks;
use futures::future::BoxFuture;
use reqwest::{Client, Url};
use tokio::{sync::Mutex, time::Duration};

use super::{
    sns::{Posted, amazon_url},
    webhook::{MAX_BODY, Taker},
};
use crate::{
    channel::{
        exchange::{exchange, guarded_client},
        gateway::GatewayTimeouts,
    },
    inbox::ReplyInput,
    webhooks::guard::Guard,
};

/// Who brings it, in the inbox.
const SOURCE: &str = "MAIL_SNS";
/// Certificates that are kept. Amazon uses one per region for a year or so.
const KEPT_MAX: usize = 16;
/// SNS gives up after 15 seconds.
const TIMEOUTS: GatewayTimeouts = GatewayTimeouts {
    connect: Duration::from_secs(3),
    total: Duration::from_secs(6),
};

/// Reads pages of Amazon's: certificates, and confirmations.
#[derive(Clone)]
pub(crate) struct Amazon(Arc<dyn Fn(Url) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync>);

impl Amazon {
    /// Over the network. Private addresses are not connected to, whatever a name leads to.
    pub(crate) fn new() -> reqwest::Result<Self> {
        let client = guarded_client(&TIMEOUTS, Guard::new(&Webhooks::default()))?;
        Ok(Self(Arc::new(move |url| {
            Box::pin(get(client.clone(), url))
        })))
    }

    #[cfg(test)]
    pub(crate) fn with(
        read: impl Fn(Url) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(read))
    }

    /// The page, when there is one.
    async fn read(&self, url: Url) -> Option<Vec<u8>> {
        (self.0)(url).await
    }

    /// Tells a topic that it is welcome.
    pub(crate) async fn confirm(&self, topic: &str, url: &str) -> Confirmed {
        let Some(url) = amazon_url(url, topic) else {
            return Confirmed::Never;
        };
        match self.read(url).await {
            Some(_) => Confirmed::Done,
            None => Confirmed::NotNow,
        }
    }
}

/// What came of telling a topic that it is welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmed {
    Done,
    NotNow,
    /// The address is not one of Amazon's.
    Never,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time is only for a header that is not looked at"
)]
async fn get(client: Client, url: Url) -> Option<Vec<u8>> {
    let answer = exchange(client.get(url), TIMEOUTS.total, chrono::Utc::now()).await;
    let answer = answer.ok().filter(|answer| answer.status.is_success())?;
    answer.body.ok()
}

#[derive(Clone)]
struct SnsState {
    taker: Taker,
    topics: Arc<[String]>,
    amazon: Amazon,
    /// By address.
    certificates: Arc<std::sync::Mutex<HashMap<Url, Arc<[u8]>>>>,
    /// One is fetched at a time, and nobody whose certificate is known waits for it.
    fetching: Arc<Mutex<()>>,
}

/// `POST /callbacks/bounces/sns`, for these topics.
pub(crate) fn router(taker: Taker, topics: &[String], amazon: Amazon) -> Router {
    let state = SnsState {
        taker,
        topics: topics.into(),
        amazon,
        certificates: Arc::default(),
        fetching: Arc::default(),
    };
    Router::new()
        .route("/callbacks/bounces/sns", post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

impl SnsState {
    async fn certificate(&self, url: Url) -> Option<Arc<[u8]>> {
        if let Some(certificate) = self.known().get(&url) {
            return Some(certificate.clone());
        }
        let _turn = self.fetching.lock().await;
        if let Some(certificate) = self.known().get(&url) {
            return Some(certificate.clone());
        }
        let certificate: Arc<[u8]> = self.amazon.read(url.clone()).await?.into();
        let mut known = self.known();
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(url, certificate.clone());
        Some(certificate)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Url, Arc<[u8]>>> {
        let known = self.certificates.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(State(state): State<SnsState>, body: Bytes) -> StatusCode {
    let Ok(message) = serde_json::from_slice::<Posted>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    if message.message_id.is_empty() || message.message_id.len() > 128 {
        return StatusCode::BAD_REQUEST;
    }
    if !state.topics.contains(&message.topic_arn) {
        tracing::warn!("a message of a topic that is not in email.bounces.sns_topics was refused");
        return StatusCode::FORBIDDEN;
    }
    let refused = |error| {
        tracing::warn!(error = %error, "a message that claims to be Amazon's was refused");
        StatusCode::FORBIDDEN
    };
    let url = match message.certificate_url() {
        Ok(url) => url,
        Err(error) => return refused(error),
    };
    let Some(certificate) = state.certificate(url).await else {
        tracing::warn!("Amazon's certificate cannot be read; the message is to come again");
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    if let Err(error) = message.verify(&certificate) {
        return refused(error);
    }
    match message.kind.as_str() {
        "Notification" => {
            let event_id = format!("sns:{}", message.message_id);
            let body = message.message.as_bytes();
            match state.taker.take(SOURCE, body, Some(event_id)).await {
                // Amazon's own words, as when a topic is set up.
                StatusCode::BAD_REQUEST => StatusCode::NO_CONTENT,
                status => status,
            }
        }
        "SubscriptionConfirmation" => {
            let Some(url) = message.subscribe_url.clone() else {
                return StatusCode::BAD_REQUEST;
            };
            let input = ReplyInput {
                source: SOURCE,
                source_event_id: format!("sns:{}", message.message_id),
                order: None,
                content: ReplyContent::Subscription {
                    topic: message.topic_arn.clone(),
                    url,
                },
            };
            state.taker.store(input).await
        }
        _ => {
            tracing::warn!(topic = message.topic_arn, "a topic tells us no more");
            StatusCode::NO_CONTENT
        }
    }
}

#[cfg(test)]
mod tests;
