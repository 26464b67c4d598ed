//! Until when an answer is of any use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The header in which gRPC tells how long the caller waits.
const HEADER: &str = "grpc-timeout";
/// Digits of the header at most, as gRPC says.
const DIGITS_MAX: usize = 8;
/// The answer must reach the caller before the caller stops waiting, and be ours, not the transport's. A tenth of the time that is
/// left, and no more than this.
const WAY_BACK_MAX: Duration = Duration::from_millis(20);

tokio::task_local! {
    static CURRENT: Deadline;
    static EXPIRY: Expiry;
}

/// What a call is doing whose time may pass: that it has passed is found at two places, and counted at one. Clones are the
/// same call.
#[derive(Clone, Debug, Default)]
pub struct Expiry(Arc<AtomicU8>);

/// It is carried out.
const RUNNING: u8 = 0;
/// It waits for its turn among the orders.
const QUEUED: u8 = 1;
/// Somebody has counted it.
const COUNTED: u8 = 2;

impl Expiry {
    /// Of the call that is being carried out; of nobody's call outside of one.
    pub fn current() -> Self {
        EXPIRY.try_with(Clone::clone).unwrap_or_default()
    }

    /// It begins to wait among the orders.
    pub fn queued(&self) {
        self.turn(RUNNING, QUEUED);
    }

    /// It has waited; from now on it costs the database something.
    pub fn taken(&self) {
        self.turn(QUEUED, RUNNING);
    }

    fn turn(&self, from: u8, to: u8) {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .ok();
    }

    /// Its time is over: what it was doing, for whoever asks first.
    pub fn count(&self) -> Option<&'static str> {
        match self.0.swap(COUNTED, Ordering::AcqRel) {
            COUNTED => None,
            QUEUED => Some("intake"),
            _ => Some("running"),
        }
    }

    /// Work whose [`Self::current`] is this one.
    pub(super) fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        EXPIRY.scope(self, work)
    }
}

/// The moment after which nobody waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// What the caller says, never more than `most`; `most` when it says nothing that can be read.
    pub fn of(headers: &HeaderMap, arrived: Instant, most: Duration) -> Self {
        let told = headers
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(parse);
        let left = told.map_or(most, |told| told.min(most));
        Self(arrived + left.saturating_sub((left / 10).min(WAY_BACK_MAX)))
    }

    /// The deadline of the call that is being carried out. Streams that have begun have none, and nor has work of our own.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// The moment.
    pub const fn at(self) -> Instant {
        self.0
    }

    /// How long it is until then.
    pub fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether nobody waits any more.
    pub fn has_passed(self, now: Instant) -> bool {
        self.0 <= now
    }

    /// Work whose [`Self::current`] is this one.
    pub(super) fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }
}

/// What a call is told whose time is over. It may have been carried out; the same `request_id` tells.
pub fn exceeded() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("DEADLINE_EXCEEDED", super::refusal::DOMAIN, []);
    Status::with_error_details(
        Code::DeadlineExceeded,
        "the call's time is over; ask again with the same request_id",
        details,
    )
}

/// `1500m` and the like: up to eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().next_back()?;
    let digits = &text[..at];
    if digits.is_empty()
        || digits.len() > DIGITS_MAX
        || !digits.bytes().all(|it| it.is_ascii_digit())
    {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3_600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(10);

    fn told(value: &str) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, value.parse().unwrap());
        let now = Instant::now();
        Deadline::of(&headers, now, MOST).left(now)
    }

    #[test]
    fn what_the_caller_says_counts_up_to_the_most() {
        assert_eq!(told("1S"), Duration::from_millis(980));
        assert_eq!(told("100m"), Duration::from_millis(90));
        assert_eq!(told("500000u"), Duration::from_millis(480));
        assert_eq!(told("1H"), Duration::from_millis(9_980));
        assert_eq!(told("0m"), Duration::ZERO);
    }

    #[test]
    fn nothing_or_nonsense_counts_as_the_most() {
        let now = Instant::now();
        let all = Duration::from_millis(9_980);
        assert_eq!(Deadline::of(&HeaderMap::new(), now, MOST).left(now), all);
        for nonsense in [
            "",
            "S",
            "1",
            "-1S",
            "1.5S",
            "123456789m",
            "1s",
            "1秒",
            "+5S",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                HEADER,
                http::HeaderValue::from_bytes(nonsense.as_bytes()).unwrap(),
            );
            assert_eq!(
                Deadline::of(&headers, now, MOST).left(now),
                all,
                "{nonsense}"
            );
        }
    }

    #[tokio::test]
    async fn k_03_a_call_whose_time_is_over_is_counted_once_and_as_what_it_was_doing() {
        let expiry = Expiry::default();
        let seen = expiry.clone().scope(async { Expiry::current() }).await;
        seen.queued();
        assert_eq!(expiry.count(), Some("intake"));
        assert_eq!(seen.count(), None);
        let expiry = Expiry::default();
        expiry.queued();
        expiry.taken();
        assert_eq!(expiry.count(), Some("running"));
        // Whatever comes later changes nothing.
        expiry.queued();
        assert_eq!(expiry.count(), None);
        assert_eq!(
            Expiry::current().count(),
            Some("running"),
            "a call of its own"
        );
    }

    #[tokio::test]
    async fn the_work_of_a_call_knows_its_deadline_and_other_work_has_none() {
        assert_eq!(Deadline::current(), None);
        let deadline = Deadline(Instant::now() + MOST);
        let seen = deadline.scope(async { Deadline::current() }).await;
        assert_eq!(seen, Some(deadline));
        assert_eq!(Deadline::current(), None);
    }
}
