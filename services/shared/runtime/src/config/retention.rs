//! What is forgotten, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::validate::Problems;

/// For how many days what is kept. Orders, their history, papers and feedback are kept for ever; nothing that an open order
/// needs is taken away, however old it is.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Answers for repeated calls: so long the same `request_id` gives the same answer.
    pub requests_days: u32,
    /// What was put into the local mailbox.
    pub mailbox_days: u32,
    /// What customers and gateways said, after it was settled.
    pub replies_days: u32,
    /// What callers were refused, counted by the minute.
    pub refusals_days: u32,
    /// Posts to partners, after they were delivered or given up.
    pub webhooks_days: u32,
    /// Tries to send, after the last change of a closed order.
    pub attempts_days: u32,
    /// Messages, after the last change of a closed order.
    pub deliveries_days: u32,
    /// What carriers said, after the last change of a closed order.
    pub tracking_days: u32,
    /// Rows of one step.
    pub batch_rows: u64,
    /// Milliseconds between two steps, so that intake does not feel it.
    pub pause_ms: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            requests_days: 7,
            mailbox_days: 30,
            replies_days: 90,
            refusals_days: 90,
            webhooks_days: 30,
            attempts_days: 180,
            deliveries_days: 365,
            tracking_days: 365,
            batch_rows: 500,
            pause_ms: 200,
        }
    }
}

impl Retention {
    /// [`Self::pause_ms`] as a duration.
    pub fn pause(&self) -> Duration {
        Duration::from_millis(self.pause_ms)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        for (key, days, least) in [
            ("retention.requests_days", self.requests_days, 7),
            ("retention.mailbox_days", self.mailbox_days, 1),
            ("retention.replies_days", self.replies_days, 30),
            ("retention.refusals_days", self.refusals_days, 7),
            ("retention.webhooks_days", self.webhooks_days, 7),
            ("retention.attempts_days", self.attempts_days, 30),
            ("retention.deliveries_days", self.deliveries_days, 90),
            ("retention.tracking_days", self.tracking_days, 30),
        ] {
            problems.unless(
                (least..=36_500).contains(&days),
                key,
                &format!("must be from {least} to 36500"),
            );
        }
        problems.unless(
            (10..=5_000).contains(&self.batch_rows),
            "retention.batch_rows",
            "must be from 10 to 5000",
        );
        problems.unless(
            self.pause_ms <= 60_000,
            "retention.pause_ms",
            "must be at most 60000",
        );
    }
}
