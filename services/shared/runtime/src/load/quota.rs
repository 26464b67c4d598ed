//! What one caller may have, counted by this process alone.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::refusal::Refused;
use crate::config::Limits;

/// Callers that are counted apart. Names beyond them share one count: whoever makes names up gains nothing.
const CALLERS_MAX: usize = 10_000;
/// The name under which the others are counted.
const OTHERS: &str = "";

/// Something that a caller has a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Calls of any method.
    CallsPerSecond,
    /// Orders that come in, one at a time, in batches or by an import.
    OrdersPerMinute,
}

impl Quota {
    /// For people: `60 orders a minute`.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::CallsPerSecond => "calls a second",
            Self::OrdersPerMinute => "orders a minute",
        }
    }

    /// For figures.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallsPerSecond => "calls_per_second",
            Self::OrdersPerMinute => "orders_per_minute",
        }
    }

    const fn span(self) -> Duration {
        match self {
            Self::CallsPerSecond => Duration::from_secs(1),
            Self::OrdersPerMinute => Duration::from_mins(1),
        }
    }

    fn allowed(self, limits: &Limits, caller: &str) -> u32 {
        let of = limits.of(caller);
        match self {
            Self::CallsPerSecond => of.calls_per_second,
            Self::OrdersPerMinute => of.orders_per_minute,
        }
    }
}

/// One quota of every caller.
#[derive(Debug)]
pub struct Quotas {
    quota: Quota,
    limits: Limits,
    /// When each caller's share would be whole again, had it taken nothing more. Absent: it is whole.
    whole_at: Mutex<HashMap<String, Instant>>,
}

impl Quotas {
    /// Nobody has taken anything yet.
    pub fn new(quota: Quota, limits: &Limits) -> Self {
        Self {
            quota,
            limits: limits.clone(),
            whole_at: Mutex::new(HashMap::new()),
        }
    }

    /// Takes so much of a caller's share, or nothing when that is more than is left. A share grows back evenly; one that nobody
    /// has touched for its span is whole. More than a whole share at once is let through when the share is whole, and waited off
    /// afterwards, or a batch could never go.
    pub fn take(&self, caller: &str, count: u32, now: Instant) -> Result<(), Refused> {
        let allowed = self.quota.allowed(&self.limits, caller);
        if allowed == 0 {
            return Ok(());
        }
        let (span, count) = (self.quota.span(), count.max(1));
        let each = span / allowed;
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if whole_at.len() >= CALLERS_MAX && !whole_at.contains_key(caller) {
            whole_at.retain(|_, at| *at > now);
        }
        let known = whole_at.len() < CALLERS_MAX || whole_at.contains_key(caller);
        let name = if known { caller } else { OTHERS };
        let whole = whole_at.get(name).copied().map_or(now, |at| at.max(now));
        // At this moment enough of the share is there, or all of it.
        let enough = whole
            .checked_sub(span.saturating_sub(each * count))
            .unwrap_or(now);
        if enough > now {
            return Err(Refused::OverQuota {
                quota: self.quota,
                caller: caller.to_owned(),
                allowed,
                after: enough - now,
            });
        }
        whole_at.insert(name.to_owned(), whole + each * count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CallerLimits;

    fn orders_per_minute(count: u32) -> Quotas {
        let mut limits = Limits::default();
        limits.default.orders_per_minute = count;
        limits.callers.insert(
            "erp".into(),
            CallerLimits {
                orders_per_minute: 0,
                ..CallerLimits::default()
            },
        );
        Quotas::new(Quota::OrdersPerMinute, &limits)
    }

    #[test]
    fn a_share_is_taken_and_grows_back_evenly() {
        let quotas = orders_per_minute(60);
        let start = Instant::now();
        for _ in 0..60 {
            quotas.take("shop", 1, start).unwrap();
        }
        let refused = quotas.take("shop", 1, start).unwrap_err();
        assert_eq!(refused.after(), Duration::from_secs(1));
        let later = start + Duration::from_secs(3);
        for _ in 0..3 {
            quotas.take("shop", 1, later).unwrap();
        }
        assert!(quotas.take("shop", 1, later).is_err());
    }

    #[test]
    fn one_caller_uses_up_nothing_of_another_and_whoever_has_no_limit_has_none() {
        let quotas = orders_per_minute(1);
        let now = Instant::now();
        quotas.take("shop", 1, now).unwrap();
        assert!(quotas.take("shop", 1, now).is_err());
        quotas.take("market", 1, now).unwrap();
        for _ in 0..1_000 {
            quotas.take("erp", 100, now).unwrap();
        }
    }

    #[test]
    fn a_batch_greater_than_the_share_goes_once_and_is_waited_off() {
        let quotas = orders_per_minute(10);
        let start = Instant::now();
        quotas.take("shop", 30, start).unwrap();
        let refused = quotas.take("shop", 1, start).unwrap_err();
        assert!(refused.after() > Duration::from_mins(2));
        quotas
            .take("shop", 10, start + Duration::from_mins(3))
            .unwrap();
    }

    #[test]
    fn names_without_end_take_no_memory_without_end_and_gain_nothing() {
        let quotas = orders_per_minute(5);
        let now = Instant::now();
        let taken = (0..CALLERS_MAX + 500)
            .filter(|number| quotas.take(&format!("made-up-{number}"), 1, now).is_ok())
            .count();
        assert!(quotas.whole_at.lock().unwrap().len() <= CALLERS_MAX + 1);
        assert_eq!(taken, CALLERS_MAX + 5);
    }
}
