//! One HTTP exchange with a gateway, bounded in time and size.

use chrono::{DateTime, Utc};
use http::{HeaderMap, header::RETRY_AFTER};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode};
use std::{
    error::Error,
    time::{Duration, SystemTime},
};
use tokio::time::timeout;

use super::{Reason, ReasonCode};
use crate::{
    failpoint,
    webhooks::guard::{ForbiddenAddress, Guard},
};

/// Most bytes read of an answer.
const MAX_BODY: usize = 64 * 1024;
/// Longest wait that a gateway may ask for.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

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

/// The one way to make an HTTP client for gateways: no redirects, no retries of its own, no proxies from the
/// environment, no referer.
pub fn http_client(timeouts: &GatewayTimeouts) -> reqwest::Result<Client> {
    builder(timeouts).build()
}

/// The same for addresses that partners gave us: names lead only to where the guard lets them.
pub(crate) fn guarded_client(timeouts: &GatewayTimeouts, guard: Guard) -> reqwest::Result<Client> {
    builder(timeouts).dns_resolver(guard).build()
}

/// The same, trusting nothing but one certificate.
#[cfg(test)]
pub(super) fn trusting_client(
    timeouts: &GatewayTimeouts,
    certificate: &rustls::pki_types::CertificateDer<'_>,
) -> reqwest::Result<Client> {
    let certificate = reqwest::Certificate::from_der(certificate)?;
    builder(timeouts).tls_certs_only([certificate]).build()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one client that all outbound calls go through"
)]
fn builder(timeouts: &GatewayTimeouts) -> ClientBuilder {
    Client::builder()
        .connect_timeout(timeouts.connect)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
}

/// An answer with as much of its body as we read.
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(super) headers: HeaderMap,
    /// `Err` tells why there is no whole body.
    pub(crate) body: Result<Vec<u8>, &'static str>,
}

/// Why there is no answer.
pub(crate) enum Unanswered {
    /// Proven not sent.
    NotSent(Reason),
    /// May have been read by the gateway.
    InDoubt(&'static str),
}

/// Sends a request and reads its answer, all of it within `total`.
pub(crate) async fn exchange(
    request: RequestBuilder,
    total: Duration,
    now: DateTime<Utc>,
) -> Result<Answer, Unanswered> {
    let deadline = tokio::time::Instant::now() + total;
    let sending = async {
        let (client, request) = request.build_split();
        client.execute(failpoint::in_parts(request?)).await
    };
    let response = match tokio::time::timeout_at(deadline, sending).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(unanswered(&error)),
        // Connecting has its own, shorter limit: the request was on its way.
        Err(_) => return Err(Unanswered::InDoubt("no answer in time")),
    };
    let status = response.status();
    let headers = response.headers().clone();
    let retry_after = retry_after(&headers, now);
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    let body = match timeout(left, read_body(response)).await {
        Ok(body) => body,
        Err(_) => Err("the answer did not end in time"),
    };
    Ok(Answer {
        status,
        retry_after,
        headers,
        body,
    })
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
    let reason = if is_forbidden(error) {
        Reason::new(ReasonCode::ForbiddenAddress, ForbiddenAddress.to_string())
    } else if error.is_timeout() {
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

fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    error.is::<ForbiddenAddress>() || error.source().is_some_and(is_forbidden)
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
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        at.duration_since(SystemTime::from(now)).ok()?
    };
    Some(wait.min(MAX_RETRY_AFTER))
}
