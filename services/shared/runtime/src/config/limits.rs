//! What a server bears, and what one caller may have of it.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::validate::Problems;

/// What each of the two servers bears. All of these are counted by each process alone, but for
/// [`CallerLimits::messages_per_day`] and [`CallerLimits::spend_per_day_minor`], which all workers count together.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls that are carried out at the same time.
    pub calls_at_once: usize,
    /// Calls that wait for that; more are refused at once.
    pub calls_waiting: usize,
    /// Milliseconds that a call waits at most before it is refused.
    pub call_wait_ms: u64,
    /// Milliseconds after which a call is given up, but for `VerifyErasure`, which has an hour. A caller that waits less long says so.
    pub call_deadline_ms: u64,
    /// Milliseconds that an order waits at most for its commit; when the database is so slow that it would be longer, orders are
    /// refused at once.
    pub intake_wait_ms: u64,
    /// Connections at the same time; more are closed at once. Never more than three quarters of the files that the process may
    /// have open.
    pub connections: usize,
    /// Calls of one connection at the same time.
    pub connection_calls: u32,
    /// Minutes after which a connection is asked to end, give or take a tenth, so that callers spread over new processes.
    pub connection_age_minutes: u64,
    /// What a caller may have that is not named below.
    pub default: CallerLimits,
    /// What callers may have, by their names.
    pub callers: BTreeMap<String, CallerLimits>,
}

/// What one caller may have. 0 means without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallerLimits {
    /// Calls of any method, of each process.
    pub calls_per_second: u32,
    /// Orders that come in, of each process.
    pub orders_per_minute: u32,
    /// Texts and calls to customers that follow from this caller's orders, of all workers together.
    pub messages_per_day: u32,
    /// What these may cost, in minor units of the currency that the prices of `sending` are in.
    pub spend_per_day_minor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_at_once: 512,
            calls_waiting: 512,
            call_wait_ms: 500,
            call_deadline_ms: 10_000,
            intake_wait_ms: 2_000,
            connections: 4_096,
            connection_calls: 1_024,
            connection_age_minutes: 30,
            default: CallerLimits::default(),
            callers: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// What this caller may have.
    pub fn of(&self, caller: &str) -> &CallerLimits {
        self.callers.get(caller).unwrap_or(&self.default)
    }

    /// [`Self::call_wait_ms`] as a duration.
    pub const fn call_wait(&self) -> Duration {
        Duration::from_millis(self.call_wait_ms)
    }

    /// [`Self::call_deadline_ms`] as a duration.
    pub const fn call_deadline(&self) -> Duration {
        Duration::from_millis(self.call_deadline_ms)
    }

    /// [`Self::intake_wait_ms`] as a duration.
    pub const fn intake_wait(&self) -> Duration {
        Duration::from_millis(self.intake_wait_ms)
    }

    /// [`Self::connection_age_minutes`] as a duration.
    pub const fn connection_age(&self) -> Duration {
        Duration::from_secs(self.connection_age_minutes * 60)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let within = |value: u64, least: u64, most: u64| (least..=most).contains(&value);
        for (key, value, least, most) in [
            ("calls_at_once", self.calls_at_once as u64, 1, 100_000),
            ("calls_waiting", self.calls_waiting as u64, 0, 100_000),
            ("call_wait_ms", self.call_wait_ms, 1, 60_000),
            ("call_deadline_ms", self.call_deadline_ms, 100, 600_000),
            ("intake_wait_ms", self.intake_wait_ms, 10, 600_000),
            ("connections", self.connections as u64, 1, 1_000_000),
            (
                "connection_calls",
                u64::from(self.connection_calls),
                1,
                100_000,
            ),
            (
                "connection_age_minutes",
                self.connection_age_minutes,
                1,
                10_000,
            ),
        ] {
            problems.unless(
                within(value, least, most),
                &format!("limits.{key}"),
                &format!("must be from {least} to {most}"),
            );
        }
        problems.unless(
            self.call_wait_ms <= self.call_deadline_ms,
            "limits.call_wait_ms",
            "must not be longer than limits.call_deadline_ms",
        );
        for caller in self.callers.keys() {
            problems.unless(
                crate::callers::is_name(caller),
                &format!("limits.callers.{caller}"),
                "must be the name of a caller: 1 to 64 characters of A–Z a–z 0–9 . _ : @ -",
            );
        }
    }
}
