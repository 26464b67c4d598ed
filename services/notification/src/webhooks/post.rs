//! One POST to a partner.

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    ids::WebhookEndpointId,
    secrets::LinkKey,
    webhook::{WebhookFailure, WebhookKey, WebhookOutcome, signing_keys},
};
use countersign_store::WebhookDelivery;
use http::header::CONTENT_TYPE;
use reqwest::Client;
use secrecy::SecretString;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use tokio::time::Duration;

use super::guard::Guard;
use crate::channel::{
    ReasonCode,
    exchange::{Unanswered, exchange},
    signature::{SignatureError, SigningKeys},
};

/// Receivers look at no more signatures.
const SIGNATURES_MAX: usize = 10;

/// The keys of an endpoint that sign now: a secret that was shown to the partner while another link key was the first stays
/// good as long as that key is there.
pub(super) fn keys_of(
    link_key: &LinkKey,
    endpoint: WebhookEndpointId,
    keys: &[WebhookKey],
    now: DateTime<Utc>,
) -> Result<SigningKeys, SignatureError> {
    let secrets: Vec<SecretString> = signing_keys(keys, now)
        .iter()
        .flat_map(|key| {
            link_key
                .each()
                .map(|it| it.webhook_secret(endpoint, key.number))
        })
        .take(SIGNATURES_MAX)
        .map(SecretString::from)
        .collect();
    SigningKeys::parse(&secrets)
}

/// How posts are made.
#[derive(Clone, Debug)]
pub(super) struct Poster {
    pub(super) client: Client,
    pub(super) guard: Guard,
    /// For the whole exchange.
    pub(super) total: Duration,
}

impl Poster {
    /// Posts an event; what came of it, and the status when there was an answer. What the answer says counts for nothing.
    pub(super) async fn post(
        &self,
        url: &str,
        keys: &SigningKeys,
        delivery: &WebhookDelivery,
        now: DateTime<Utc>,
    ) -> (WebhookOutcome, Option<u16>) {
        let failed = |failure| {
            let outcome = WebhookOutcome::Failed {
                failure,
                retry_after: None,
            };
            (outcome, None)
        };
        // The rules may have become stricter since it was saved.
        let Ok(url) = self.guard.read(url) else {
            return failed(WebhookFailure::ForbiddenAddress);
        };
        let timestamp = now.timestamp();
        let body = delivery.payload.as_bytes();
        let Ok(signature) = keys.sign(&delivery.webhook_id, timestamp, body) else {
            return failed(WebhookFailure::Unsendable);
        };
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, &delivery.webhook_id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(body.to_vec());
        match exchange(request, self.total, now).await {
            Ok(answer) => {
                let status = answer.status.as_u16();
                let retry_after = answer
                    .retry_after
                    .and_then(|wait| TimeDelta::from_std(wait).ok());
                (WebhookOutcome::of_status(status, retry_after), Some(status))
            }
            Err(Unanswered::NotSent(reason)) => failed(match reason.code {
                ReasonCode::ForbiddenAddress => WebhookFailure::ForbiddenAddress,
                ReasonCode::Misconfigured => WebhookFailure::Unsendable,
                _ => WebhookFailure::Unreachable,
            }),
            Err(Unanswered::InDoubt(_)) => failed(WebhookFailure::NoAnswer),
        }
    }
}
