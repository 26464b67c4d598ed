//! Figures of the worker: how much is sent, how often it fails, how far behind it is.

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge},
};

/// The worker's instruments.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    sent: Counter<u64>,
    attempts: Counter<u64>,
    possible_duplicates: Counter<u64>,
    oldest_due_age: Gauge<f64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = global::meter("countersign-notification");
        Self {
            sent: meter
                .u64_counter("sent_total")
                .with_description("Messages that a relay or gateway took over")
                .build(),
            attempts: meter
                .u64_counter("attempts_total")
                .with_description("Tries to send, by outcome")
                .build(),
            possible_duplicates: meter
                .u64_counter("possible_duplicate_total")
                .with_description(
                    "Messages sent again although an earlier try may have reached the customer",
                )
                .build(),
            oldest_due_age: meter
                .f64_gauge("oldest_due_age_seconds")
                .with_unit("s")
                .with_description("How long the oldest message that could go has been due")
                .build(),
        }
    }

    pub(crate) fn attempt(&self, channel: &'static str, outcome: &'static str) {
        let channel = KeyValue::new("channel", channel);
        if outcome == "SENT" {
            self.sent.add(1, std::slice::from_ref(&channel));
        }
        self.attempts
            .add(1, &[channel, KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn possible_duplicate(&self, channel: &'static str) {
        self.possible_duplicates
            .add(1, &[KeyValue::new("channel", channel)]);
    }

    pub(crate) fn oldest_due_age(&self, seconds: f64) {
        self.oldest_due_age.record(seconds, &[]);
    }
}
