//! The generic JSON gateway for text messages and calls, as GATEWAY.md describes it to those who build one.
//!
//! What decides the class of a result: a connection that was never made proves that nothing was sent;
//! from the moment the request may have been written, only an answer that can be read counts, and
//! everything else is in doubt. A gateway that keeps the contract recognises a repeated message by
//! its idempotency key, and tells by GET whether it has it.

use chrono::{DateTime, SecondsFormat, Utc};
use futures::{FutureExt, future::BoxFuture};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    time::{Duration, SystemTime},
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    CallScript, Content, Outcome, Outgoing, Reason, ReasonCode, Sender,
    answer::classify,
    callback::DeliveryStatus,
    signature::{SignatureError, SigningKeys},
};

/// Most bytes read of an answer.
const MAX_BODY: usize = 64 * 1024;
/// Longest wait that a gateway may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Time limits (RELIABILITY section 3.7).
#[derive(Clone, Debug)]
pub struct GatewayTimeouts {
    /// Name lookup, TCP and TLS.
    pub connect: Duration,
    /// The whole exchange with the body of the answer.
    pub total: Duration,
}

impl Default for GatewayTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(15),
        }
    }
}

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

/// The one way to make an HTTP client for gateways: no redirects, no retries of its own, no proxies from the
/// environment, no referer.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one client that all outbound calls go through"
)]
pub fn http_client(timeouts: &GatewayTimeouts) -> Result<Client, GatewayConfigError> {
    Client::builder()
        .connect_timeout(timeouts.connect)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(GatewayConfigError::Client)
}

/// What a gateway says about a message that we are not sure of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// It has the message.
    Accepted {
        /// The gateway's id.
        provider_id: String,
        /// How it fares.
        status: DeliveryStatus,
    },
    /// It has never taken it: safe to send again.
    NotFound,
    /// No answer that tells; ask again later.
    Unknown {
        /// Why.
        reason: Reason,
    },
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
struct Found {
    id: String,
    status: DeliveryStatus,
}

/// An answer with as much of its body as we read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    /// `Err` tells why there is no whole body.
    pub(super) body: Result<Vec<u8>, &'static str>,
}

enum Unanswered {
    /// Proven not sent.
    NotSent(Reason),
    /// May have been read by the gateway.
    InDoubt(&'static str),
}

impl GatewaySender {
    /// Checks the set-up. Does not connect.
    pub fn try_new(config: GatewayConfig) -> Result<Self, GatewayConfigError> {
        let client = http_client(&config.timeouts)?;
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

    /// Asks whether the gateway has a message of which we are in doubt.
    pub async fn reconcile(
        &self,
        message_id: Uuid,
        generation: u32,
        now: DateTime<Utc>,
    ) -> Reconciled {
        let key = format!("{message_id}-{generation}");
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
        let answer = match self.exchange(request, now).await {
            Ok(answer) => answer,
            Err(Unanswered::NotSent(reason)) => return Reconciled::Unknown { reason },
            Err(Unanswered::InDoubt(text)) => return unknown(ReasonCode::Unconfirmed, text),
        };
        match (answer.status.as_u16(), &answer.body) {
            (200, Ok(body)) => match serde_json::from_slice::<Found>(body) {
                Ok(found) if is_provider_id(&found.id) => Reconciled::Accepted {
                    provider_id: found.id,
                    status: found.status,
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
        match self.exchange(request, now).await {
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

    async fn exchange(
        &self,
        request: RequestBuilder,
        now: DateTime<Utc>,
    ) -> Result<Answer, Unanswered> {
        let deadline = tokio::time::Instant::now() + self.total;
        let response = match tokio::time::timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unanswered(&error)),
            // Connecting has its own, shorter limit: the request was on its way.
            Err(_) => return Err(Unanswered::InDoubt("no answer in time")),
        };
        let status = response.status();
        let retry_after = retry_after(response.headers(), now);
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let body = match timeout(left, read_body(response)).await {
            Ok(body) => body,
            Err(_) => Err("the answer did not end in time"),
        };
        Ok(Answer {
            status,
            retry_after,
            body,
        })
    }
}

impl Sender for GatewaySender {
    fn send<'a>(&'a self, message: &'a Outgoing, now: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        self.attempt(message, now).boxed()
    }
}

/// Message id and generation of an idempotency key that we made.
pub(super) fn parse_key(key: &str) -> Option<(Uuid, u32)> {
    let (id, generation) = key.rsplit_once('-')?;
    Some((id.parse().ok()?, generation.parse().ok()?))
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                return Err("the answer is longer than 64 KiB");
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(_) => return Err("the answer broke off"),
        }
    }
}

fn unanswered(error: &reqwest::Error) -> Unanswered {
    if error.is_builder() {
        let text = "the request cannot be made";
        return Unanswered::NotSent(Reason::new(ReasonCode::Misconfigured, text));
    }
    if !error.is_connect() {
        return Unanswered::InDoubt("the connection broke before an answer came");
    }
    let reason = if error.is_timeout() {
        Reason::new(ReasonCode::Unreachable, "no connection in time")
    } else if has_tls_error(error) {
        Reason::new(
            ReasonCode::TlsFailed,
            "the gateway's certificate or TLS was refused",
        )
    } else {
        Reason::new(ReasonCode::Unreachable, "no connection")
    };
    Unanswered::NotSent(reason)
}

fn has_tls_error(error: &(dyn Error + 'static)) -> bool {
    // io::Error hides its inner error from source(), but not from get_ref().
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || inner.is_some_and(|inner| has_tls_error(inner))
        || error.source().is_some_and(has_tls_error)
}

/// Seconds or a date, not beyond an hour. Anything else is as if it were not there.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        at.duration_since(SystemTime::from(now)).ok()?
    };
    Some(wait.min(MAX_RETRY_AFTER))
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

fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(super) fn is_provider_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn safe_url(field: &'static str, text: &str) -> Result<Url, GatewayConfigError> {
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
