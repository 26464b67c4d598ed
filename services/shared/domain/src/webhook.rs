//! Events for partners' systems: what they are told, when it is tried again, and when we stop (Standard Webhooks).

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

mod health;

pub use health::EndpointHealth;

use crate::{
    code::codes,
    event::{EventKind, OrderEvent},
    hold::HoldReason,
    ids::WebhookEndpointId,
};

codes! {
    /// Whether a partner is told.
    pub enum WebhookEndpointState {
        /// It is.
        Enabled = "ENABLED",
        /// Nothing is sent; what happens meanwhile is kept for later.
        Disabled = "DISABLED",
        /// It is gone as soon as its rows are.
        Deleted = "DELETED",
    }
}

codes! {
    /// Why a partner is told nothing.
    pub enum WebhookDisabledReason {
        /// A member of staff wanted it so.
        Staff = "STAFF",
        /// The partner answered 410: do not call here any more.
        Gone = "GONE",
        /// Nothing but failures for five days.
        Failing = "FAILING",
    }
}

codes! {
    /// How one event for one partner stands.
    pub enum WebhookDeliveryState {
        /// To be sent, now or later.
        Pending = "PENDING",
        /// The partner took it.
        Delivered = "DELIVERED",
        /// Given up; it may be replayed.
        Failed = "FAILED",
    }
}

codes! {
    /// Why a try did not succeed.
    pub enum WebhookFailure {
        /// The partner answered with a failure.
        Refused = "REFUSED",
        /// The partner answered 410.
        Gone = "GONE",
        /// The partner answered with another address, which is not followed.
        Redirected = "REDIRECTED",
        /// The partner, or a proxy before it, has too much to do: 429, 502 or 504.
        Throttled = "THROTTLED",
        /// No connection came about.
        Unreachable = "UNREACHABLE",
        /// The connection broke or no answer came in time.
        NoAnswer = "NO_ANSWER",
        /// The name leads to an address that is not public.
        ForbiddenAddress = "FORBIDDEN_ADDRESS",
        /// The request cannot be made.
        Unsendable = "UNSENDABLE",
    }
}

/// What a customer whom no channel reaches is told to partners as; it is a hold in the order's history.
pub const UNREACHABLE: &str = "order.unreachable";
/// The type of trial events.
pub const TEST: &str = "webhook.test";
/// How long an old key goes on signing beside its successor.
pub const KEY_OVERLAP: TimeDelta = TimeDelta::hours(24);
/// Keys that sign at the same time at most; receivers look at no more than ten signatures.
pub const KEYS_MAX: usize = 5;
/// Before the second try, the third and so on: the example schedule of the specification, 75 hours and 35 minutes.
pub const SCHEDULE: [TimeDelta; 9] = [
    TimeDelta::seconds(5),
    TimeDelta::minutes(5),
    TimeDelta::minutes(30),
    TimeDelta::hours(2),
    TimeDelta::hours(5),
    TimeDelta::hours(10),
    TimeDelta::hours(14),
    TimeDelta::hours(20),
    TimeDelta::hours(24),
];
/// An endpoint that only failed for so long is disabled.
pub const FAILING_MAX: TimeDelta = TimeDelta::days(5);
/// After so long without any try an endpoint's failures are counted anew: longer than any wait of [`SCHEDULE`].
pub const STREAK_GAP: TimeDelta = TimeDelta::hours(36);
/// An endpoint that is throttled is left alone for so long at least.
const THROTTLE: TimeDelta = TimeDelta::seconds(60);
/// Longest pause of an endpoint that fails without asking for one.
const PAUSE_MAX_SECONDS: i64 = 60;

/// A key of an endpoint. The key itself is made of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookKey {
    /// 1, 2, 3 …
    pub number: u32,
    /// When it stops signing; the newest has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<DateTime<Utc>>,
}

impl WebhookKey {
    /// The key of a new endpoint.
    pub const FIRST: Self = Self {
        number: 1,
        expire_time: None,
    };
}

/// The keys that sign now, the newest first.
pub fn signing_keys(keys: &[WebhookKey], now: DateTime<Utc>) -> Vec<WebhookKey> {
    let mut signing: Vec<WebhookKey> = keys
        .iter()
        .filter(|key| key.expire_time.is_none_or(|end| end > now))
        .copied()
        .collect();
    signing.sort_by_key(|key| std::cmp::Reverse(key.number));
    signing
}

/// The keys after a new one was made; the others sign for [`KEY_OVERLAP`] more. Nothing when too many are in use.
pub fn rotate(keys: &[WebhookKey], now: DateTime<Utc>) -> Option<Vec<WebhookKey>> {
    let mut keys = signing_keys(keys, now);
    if keys.len() >= KEYS_MAX {
        return None;
    }
    let newest = keys.first().map_or(0, |key| key.number);
    for key in &mut keys {
        key.expire_time.get_or_insert(now + KEY_OVERLAP);
    }
    keys.insert(
        0,
        WebhookKey {
            number: newest + 1,
            expire_time: None,
        },
    );
    Some(keys)
}

/// Every type of event that a partner may want.
pub fn event_types() -> impl Iterator<Item = &'static str> {
    let kinds = EventKind::ALL.iter().map(|kind| kind.as_str());
    kinds.chain([UNREACHABLE])
}

/// As what an event is told to a partner who wants these types, all when there are none.
pub fn event_type(event: &OrderEvent, wanted: &[String]) -> Option<&'static str> {
    let wants = |word: &str| wanted.is_empty() || wanted.iter().any(|it| it == word);
    let unreachable = event.kind == EventKind::Held
        && event.details.changes.iter().any(|change| {
            change.field == "holds" && change.after == HoldReason::CustomerUnreachable.as_str()
        });
    if unreachable && wants(UNREACHABLE) {
        return Some(UNREACHABLE);
    }
    Some(event.kind.as_str()).filter(|word| wants(word))
}

/// What names an event to every partner, on every try: order and version, which together name it to us.
pub fn webhook_id(event: &OrderEvent) -> String {
    format!(
        "evt_{}_{}",
        event.order_id.as_uuid().simple(),
        event.version
    )
}

/// The body. Neither who did it nor why stands in it: both may be personal data.
pub fn payload(event: &OrderEvent, event_type: &str, order_number: Option<&str>) -> String {
    json!({
        "id": webhook_id(event),
        "type": event_type,
        "timestamp": told_time(event.create_time),
        "data": {
            "order": event.order_id.resource_name(),
            "order_number": order_number,
            "stage": event.to_state,
            "previous_stage": event.from_state,
            "revision": event.revision,
            "version": event.version,
        },
    })
    .to_string()
}

/// The body of a trial event.
pub fn test_payload(id: &str, endpoint: WebhookEndpointId, now: DateTime<Utc>) -> String {
    json!({
        "id": id,
        "type": TEST,
        "timestamp": told_time(now),
        "data": { "endpoint": endpoint.resource_name() },
    })
    .to_string()
}

fn told_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// The partner took it.
    Delivered,
    /// It did not.
    Failed {
        /// Why.
        failure: WebhookFailure,
        /// How long the partner wants to be left alone.
        retry_after: Option<TimeDelta>,
    },
}

impl WebhookOutcome {
    /// What an answer's status means.
    pub const fn of_status(status: u16, retry_after: Option<TimeDelta>) -> Self {
        let failure = match status {
            200..=299 => return Self::Delivered,
            300..=399 => WebhookFailure::Redirected,
            410 => WebhookFailure::Gone,
            429 | 502 | 504 => WebhookFailure::Throttled,
            _ => WebhookFailure::Refused,
        };
        Self::Failed {
            failure,
            retry_after,
        }
    }
}

/// What becomes of a delivery after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookNext {
    /// Done.
    Delivered,
    /// Tried again after this wait.
    Again(TimeDelta),
    /// Given up.
    Failed,
}

/// What follows from the `tries`-th try of a delivery. `jitter` is a factor around 1.
pub fn next(outcome: WebhookOutcome, tries: u32, jitter: f64) -> WebhookNext {
    let WebhookOutcome::Failed {
        failure,
        retry_after,
    } = outcome
    else {
        return WebhookNext::Delivered;
    };
    if failure == WebhookFailure::Gone {
        return WebhookNext::Failed;
    }
    let at = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(wait) = SCHEDULE.get(at) else {
        return WebhookNext::Failed;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a day has few milliseconds"
    )]
    let wait = TimeDelta::milliseconds((wait.num_milliseconds() as f64 * jitter) as i64);
    let least = match failure {
        WebhookFailure::Throttled => retry_after.unwrap_or(THROTTLE).max(THROTTLE),
        _ => retry_after.unwrap_or_default(),
    };
    WebhookNext::Again(wait.max(least))
}

/// How long an endpoint is left alone after its `failures`-th failure without a success in between: one that is down is
/// not run into by everything that waits for it.
pub fn pause(outcome: WebhookOutcome, failures: u32) -> TimeDelta {
    match outcome {
        WebhookOutcome::Delivered => TimeDelta::zero(),
        WebhookOutcome::Failed {
            failure,
            retry_after,
        } => {
            let doubled = 1_i64 << failures.saturating_sub(1).min(6);
            let own = match failure {
                WebhookFailure::Throttled => THROTTLE,
                _ => TimeDelta::seconds(doubled.min(PAUSE_MAX_SECONDS)),
            };
            retry_after.unwrap_or_default().max(own)
        }
    }
}

#[cfg(test)]
mod tests;
