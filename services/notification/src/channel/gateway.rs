//! The generic JSON gateway for text messages and calls, as GATEWAY.md describes it to those who build one.
//!
//! What decides the class of a result: a connection that was never made proves that nothing was sent;
//! from the moment the request may have been written, only an answer that can be read counts, and
//! everything else is in doubt. A gateway that keeps the contract recognises a repeated message by
//! its idempotency key, and tells by GET whether it has it.

use chrono::{DateTime, SecondsFormat, Utc};
use futures::{FutureExt, future::BoxFuture};
use http::{
    HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};
use reqwest::{Client, Method, RequestBuilder, Url};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

use super::{
    CallScript, Content, DeliveryStatus, Doubtful, Outcome, Outgoing, Reason, ReasonCode,
    Reconciled, Sender,
    answer::classify,
    exchange::{Unanswered, exchange},
    signature::{SignatureError, SigningKeys},
};

pub use super::exchange::{GatewayTimeouts, http_client};

/// How one gateway is reached.
#[derive(Debug)]
pub struct GatewayConfig {
    /// `https://gateway.example/v1`. Plain http is taken on this machine only.
    pub base: String,
    /// The keys shared with the gateway.
    pub keys: SigningKeys,
    /// Our address for status callbacks; the attempt is added as `attempt=`.
    pub status_callback: String,
    /// Our address for replies and pressed keys.
    pub reply_callback: String,
    /// Time limits.
    pub timeouts: GatewayTimeouts,
}

/// Why a gateway cannot be used with this set-up.
#[derive(Debug, thiserror::Error)]
pub enum GatewayConfigError {
    /// Not an https URL.
    #[error("{field} must be an https URL (http only for this machine) without login data")]
    Url {
        /// The setting.
        field: &'static str,
    },
    /// The HTTP client cannot be made.
    #[error("setting up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Sends text messages and places calls. Share it by `Arc`.
#[derive(Debug)]
pub struct GatewaySender {
    client: Client,
    messages: Url,
    keys: SigningKeys,
    status_callback: Url,
    reply_callback: String,
    total: Duration,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    idempotency_key: &'a str,
    attempt_id: Uuid,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a CallScript>,
    status_callback: &'a str,
    reply_callback: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Found {
    id: String,
    status: DeliveryStatus,
}

impl GatewaySender {
    /// Checks the set-up. Does not connect.
    pub fn try_new(config: GatewayConfig) -> Result<Self, GatewayConfigError> {
        let client = http_client(&config.timeouts).map_err(GatewayConfigError::Client)?;
        let base = safe_url("base", &config.base)?;
        let messages = Url::parse(&format!("{}/messages", base.as_str().trim_end_matches('/')))
            .map_err(|_| GatewayConfigError::Url { field: "base" })?;
        Ok(Self {
            client,
            messages,
            keys: config.keys,
            status_callback: safe_url("status_callback", &config.status_callback)?,
            reply_callback: safe_url("reply_callback", &config.reply_callback)?.into(),
            total: config.timeouts.total,
        })
    }

    /// With another client.
    #[cfg(test)]
    pub(super) fn with_client(self, client: Client) -> Self {
        Self { client, ..self }
    }

    async fn ask(&self, message: &Doubtful, now: DateTime<Utc>) -> Reconciled {
        let key = format!("{}-{}", message.message_id, message.generation);
        let unknown = |code, text| Reconciled::Unknown {
            reason: Reason::new(code, text),
        };
        let Ok(url) = Url::parse(&format!("{}/{key}", self.messages)) else {
            return unknown(
                ReasonCode::Misconfigured,
                "the gateway's address cannot be made",
            );
        };
        let request = self.client.request(Method::GET, url);
        let Ok(request) = self.signed(request, &key, b"", now) else {
            return unknown(ReasonCode::Misconfigured, "the request cannot be signed");
        };
        let answer = match exchange(request, self.total, now).await {
            Ok(answer) => answer,
            Err(Unanswered::NotSent(reason)) => return Reconciled::Unknown { reason },
            Err(Unanswered::InDoubt(text)) => return unknown(ReasonCode::Unconfirmed, text),
        };
        match (answer.status.as_u16(), &answer.body) {
            (200, Ok(body)) => match read_found(body) {
                Ok(found) if is_provider_id(&found.id) => Reconciled::Accepted {
                    provider_id: found.id,
                    status: found.status,
                    by_our_key: true,
                },
                _ => unknown(ReasonCode::UnreadableAnswer, "the answer cannot be read"),
            },
            (404, Ok(body)) if super::answer::error_code(body) == "not_found" => {
                Reconciled::NotFound
            }
            (status, _) => {
                let text = format!("http {status} to a question about a message");
                Reconciled::Unknown {
                    reason: Reason::new(ReasonCode::GatewayFailed, text),
                }
            }
        }
    }

    async fn attempt(&self, message: &Outgoing, now: DateTime<Utc>) -> Outcome {
        if message.is_late(now) {
            let reason = Reason::new(ReasonCode::DeadlinePassed, "the message came too late");
            return Outcome::not_sent(reason);
        }
        let key = message.idempotency_key();
        let body = match self.body(message, &key) {
            Ok(body) => body,
            Err(outcome) => return outcome,
        };
        let request = self.client.request(Method::POST, self.messages.clone());
        let Ok(mut request) = self.signed(request, &key, &body, now) else {
            let text = "the request cannot be signed";
            return Outcome::permanent(Reason::new(ReasonCode::MessageInvalid, text));
        };
        if let Some(trace) = message.traceparent.as_deref().and_then(traceparent) {
            request = request.header("traceparent", trace);
        }
        request = request.header(CONTENT_TYPE, "application/json").body(body);
        match exchange(request, self.total, now).await {
            Ok(answer) => classify(&answer),
            Err(Unanswered::NotSent(reason)) => Outcome::not_sent(reason),
            Err(Unanswered::InDoubt(text)) => Outcome::InDoubt {
                reason: Reason::new(ReasonCode::Unconfirmed, text),
            },
        }
    }

    fn body(&self, message: &Outgoing, key: &str) -> Result<Vec<u8>, Outcome> {
        let to = message.to.expose_secret();
        if !is_e164(to) {
            let reason = Reason::new(ReasonCode::BadRecipient, "not an E.164 number");
            return Err(Outcome::Permanent {
                reason,
                bad_recipient: true,
            });
        }
        let invalid = |text| Outcome::permanent(Reason::new(ReasonCode::MessageInvalid, text));
        let (kind, text, call) = match &message.content {
            Content::Sms(sms) => ("sms.send", Some(sms.text.as_str()), None),
            Content::Call(script) => ("call.place", None, Some(script)),
            Content::Email(_) => return Err(invalid("a letter cannot go to a gateway")),
        };
        let mut status_callback = self.status_callback.clone();
        status_callback
            .query_pairs_mut()
            .append_pair("attempt", &message.attempt_id.to_string());
        let request = Request {
            kind,
            idempotency_key: key,
            attempt_id: message.attempt_id,
            to,
            text,
            call,
            status_callback: status_callback.as_str(),
            reply_callback: &self.reply_callback,
            expires_at: message
                .deadline
                .map(|deadline| deadline.to_rfc3339_opts(SecondsFormat::Secs, true)),
        };
        serde_json::to_vec(&request).map_err(|_| invalid("the request cannot be written"))
    }

    fn signed(
        &self,
        request: RequestBuilder,
        key: &str,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<RequestBuilder, SignatureError> {
        let timestamp = now.timestamp();
        let signature = self.keys.sign(key, timestamp, body)?;
        Ok(request
            .header("idempotency-key", key)
            .header("webhook-id", key)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature)
            .header(ACCEPT, "application/json"))
    }
}

impl Sender for GatewaySender {
    fn send<'a>(&'a self, message: &'a Outgoing, now: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        self.attempt(message, now).boxed()
    }

    fn reconcile<'a>(
        &'a self,
        message: &'a Doubtful,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Reconciled> {
        self.ask(message, now).boxed()
    }
}

/// The answer to a question about a message.
pub(super) fn read_found(body: &[u8]) -> serde_json::Result<Found> {
    serde_json::from_slice(body)
}

/// Message id and generation of an idempotency key that we made.
pub(crate) fn parse_key(key: &str) -> Option<(Uuid, u32)> {
    let (id, generation) = key.rsplit_once('-')?;
    Some((id.parse().ok()?, generation.parse().ok()?))
}

/// A well-formed version 00 trace context, or none.
fn traceparent(text: &str) -> Option<HeaderValue> {
    let fits = text.len() == 55
        && text.starts_with("00-")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    fits.then(|| HeaderValue::from_str(text).ok()).flatten()
}

pub(super) fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(super) fn is_provider_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn safe_url(field: &'static str, text: &str) -> Result<Url, GatewayConfigError> {
    let wrong = || GatewayConfigError::Url { field };
    let url = Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    let here = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let encrypted = url.scheme() == "https" || (url.scheme() == "http" && here);
    let open = url.username().is_empty() && url.password().is_none();
    if encrypted && open {
        Ok(url)
    } else {
        Err(wrong())
    }
}
