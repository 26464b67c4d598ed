//! How a call is told to come again later: a code, and when.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::timeout;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Body as _, Bytes},
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, QuotaViolation, StatusExt as _};

use super::quota::Quota;

/// `ErrorInfo.domain` of all reasons.
pub const DOMAIN: &str = "countersign";
/// Tells a client that repeats calls by itself when to do so, in milliseconds; below zero: not at all (gRPC A6).
pub const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// Whoever would have to wait longer than this is told not to repeat the call by itself.
const PUSHBACK_MAX: Duration = Duration::from_mins(1);

/// When calls that found no place are to come again: about this.
const PAUSE: Duration = Duration::from_secs(1);
/// Pauses that they are told. Refused calls come at moments of their own, so few are enough that they do not come back together;
/// and HTTP/2 says the headers of so few answers by their numbers.
const PAUSES: u32 = 6;

/// How long the rest of a call is waited for that found no place. It comes in the same packet, nearly always; but a process that has
/// too little processor time looks at its clock before it reads what has come.
pub(super) const HEARING: Duration = Duration::from_millis(250);
/// How much of it is read.
const HEARD_BYTES_MAX: usize = 256 * 1024;

/// Reads what the caller sends with a call that is refused. Left unread, it would arrive at a stream that is over: HTTP/2 takes
/// that for a breach of the protocol, and a connection on which many calls were refused would be ended.
pub(crate) async fn hear_out(body: Body, hearing: Duration) {
    let mut body = pin!(body);
    let heard = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > HEARD_BYTES_MAX {
                return;
            }
        }
    };
    // Whoever sends slowly is not waited for.
    timeout(hearing, heard).await.ok();
}

/// The library calls a request that is too large `OUT_OF_RANGE`; gRPC's own word for it is `RESOURCE_EXHAUSTED`. No method of
/// ours answers the former.
pub(super) fn in_words_of_grpc(mut response: http::Response<Body>) -> http::Response<Body> {
    const STATUS: &str = "grpc-status";
    let headers = response.headers_mut();
    if headers.get(STATUS).is_some_and(|code| code == "11") {
        headers.insert(STATUS, http::HeaderValue::from_static("8"));
    }
    response
}

/// Why a call is refused although nothing is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More is asked for than can be done.
    Overloaded {
        /// When to come again.
        after: Duration,
    },
    /// The caller has had its share.
    OverQuota {
        /// Of what.
        quota: Quota,
        /// Whose.
        caller: String,
        /// How much that is.
        allowed: u32,
        /// When to come again.
        after: Duration,
    },
}

impl Refused {
    /// More is asked for than can be done.
    pub const fn overloaded(after: Duration) -> Self {
        Self::Overloaded { after }
    }

    /// When to come again.
    pub const fn after(&self) -> Duration {
        match self {
            Self::Overloaded { after } | Self::OverQuota { after, .. } => *after,
        }
    }

    /// What the caller is told: `RESOURCE_EXHAUSTED`, with `RetryInfo`, `QuotaFailure` where there is a quota, and the
    /// pushback that gRPC's own clients obey.
    pub fn status(&self) -> Status {
        let after = self.after();
        let seconds = after.as_secs_f64();
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(after));
        let message = match self {
            Self::Overloaded { .. } => {
                details.set_error_info("OVERLOADED", DOMAIN, []);
                format!("too many calls at once; come again in {seconds:.1} s")
            }
            Self::OverQuota {
                quota,
                caller,
                allowed,
                ..
            } => {
                let description = format!("{allowed} {}", quota.words());
                let message =
                    format!("{caller} is allowed {description}; come again in {seconds:.1} s");
                details
                    .set_error_info("OVER_QUOTA", DOMAIN, [])
                    .set_quota_failure(vec![QuotaViolation::new(
                        format!("callers/{caller}"),
                        description,
                    )]);
                message
            }
        };
        let mut metadata = MetadataMap::new();
        metadata.insert(PUSHBACK, pushback(after));
        Status::with_error_details_and_metadata(Code::ResourceExhausted, message, details, metadata)
    }
}

fn pushback(after: Duration) -> MetadataValue<tonic::metadata::Ascii> {
    if after > PUSHBACK_MAX {
        return MetadataValue::from_static("-1");
    }
    let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    MetadataValue::from(millis.max(1))
}

/// What calls are answered that find no place, made beforehand: under overload there are many more of them than calls that are
/// carried out, and what they cost is taken from those.
#[derive(Debug)]
pub(super) struct Overloaded {
    headers: Vec<http::HeaderMap>,
    next: AtomicU32,
}

impl Overloaded {
    pub(super) fn new() -> Self {
        let headers = pauses().map(|pause| {
            let answer = Refused::overloaded(pause).status().into_http::<Body>();
            answer.into_parts().0.headers
        });
        Self {
            headers: headers.collect(),
            next: AtomicU32::new(0),
        }
    }

    /// The next answer: each has another pause than the one before.
    pub(super) fn answer(&self) -> http::Response<Body> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % PAUSES;
        let mut response = http::Response::new(Body::empty());
        if let Some(headers) = self.headers.get(number as usize) {
            response.headers_mut().clone_from(headers);
        }
        response
    }
}

/// Evenly over the pause and half of it.
fn pauses() -> impl Iterator<Item = Duration> {
    (0..PAUSES).map(|number| PAUSE / 2 + PAUSE * number / PAUSES)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use super::*;

    /// What a caller sends who says nothing, or goes on and on.
    struct Unending {
        silent: bool,
        kib: usize,
    }

    impl http_body::Body for Unending {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
            if self.silent {
                return Poll::Pending;
            }
            self.kib += 1;
            assert!(self.kib <= 300, "{} KiB were read", self.kib);
            let frame = http_body::Frame::data(Bytes::from_static(&[0; 1024]));
            Poll::Ready(Some(Ok(frame)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_call_is_heard_out_but_nobody_who_says_nothing_or_goes_on_and_on() {
        let start = tokio::time::Instant::now();
        hear_out(Body::empty(), HEARING).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        for silent in [true, false] {
            hear_out(Body::new(Unending { silent, kib: 0 }), HEARING).await;
            assert_eq!(
                start.elapsed(),
                HEARING,
                "only the silent one is waited for"
            );
        }
    }

    #[test]
    fn calls_that_find_no_place_are_told_to_come_back_at_different_moments() {
        let overloaded = Overloaded::new();
        let told: Vec<Duration> = (0..2 * PAUSES)
            .map(|_| {
                let answer = overloaded.answer();
                let status = Status::from_header_map(answer.headers()).unwrap();
                assert_eq!(status.code(), Code::ResourceExhausted);
                let pushback = status.metadata().get(PUSHBACK).unwrap().to_str().unwrap();
                let pause = status
                    .get_details_retry_info()
                    .unwrap()
                    .retry_delay
                    .unwrap();
                assert_eq!(pushback, pause.as_millis().to_string());
                pause
            })
            .collect();
        assert!(
            told.iter()
                .all(|pause| (500..1_500).contains(&pause.as_millis()))
        );
        assert!(told.windows(PAUSES as usize).all(|some| {
            let apart: std::collections::BTreeSet<&Duration> = some.iter().collect();
            apart.len() == PAUSES as usize
        }));
    }

    #[test]
    fn a_refusal_says_when_to_come_again_in_every_way_that_clients_understand() {
        let status = Refused::overloaded(Duration::from_millis(1_250)).status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get(PUSHBACK).unwrap(), "1250");
        let retry = status.get_details_retry_info().unwrap();
        assert_eq!(retry.retry_delay, Some(Duration::from_millis(1_250)));
        assert_eq!(
            status.get_details_error_info().unwrap().reason,
            "OVERLOADED"
        );
        assert!(status.get_details_quota_failure().is_none());
    }

    #[test]
    fn a_quota_is_named_and_a_long_wait_is_not_for_a_client_to_repeat_by_itself() {
        let refused = Refused::OverQuota {
            quota: Quota::OrdersPerMinute,
            caller: "shop".into(),
            allowed: 60,
            after: Duration::from_secs(90),
        };
        let status = refused.status();
        let failure = status.get_details_quota_failure().unwrap();
        assert_eq!(failure.violations[0].subject, "callers/shop");
        assert_eq!(failure.violations[0].description, "60 orders a minute");
        assert_eq!(status.metadata().get(PUSHBACK).unwrap(), "-1");
        assert!(
            status
                .message()
                .contains("shop is allowed 60 orders a minute")
        );
    }
}
