//! Figures of the worker: how much is sent, how often it fails, how far behind it is.

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge},
};

use crate::channel::ReasonCode;

/// The worker's instruments.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    sent: Counter<u64>,
    attempts: Counter<u64>,
    possible_duplicates: Counter<u64>,
    dead_letters: Counter<u64>,
    oldest_due_age: Gauge<f64>,
    oldest_answer_age: Gauge<f64>,
    breaker: Gauge<u64>,
    unreadable_reports: Counter<u64>,
    unknown_messages: Counter<u64>,
    bounces: Counter<u64>,
    webhook_tries: Counter<u64>,
    webhooks_disabled: Counter<u64>,
    safe_mode: Gauge<u64>,
    retention_overdue: Gauge<f64>,
    sendings_refused: Counter<u64>,
    chain_behind: Gauge<f64>,
    anchor_overdue: Gauge<f64>,
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
                .with_description("Tries to send, by outcome and reason")
                .build(),
            possible_duplicates: meter
                .u64_counter("possible_duplicate_total")
                .with_description(
                    "Messages sent again although an earlier try may have reached the customer",
                )
                .build(),
            dead_letters: meter
                .u64_counter("dead_letters_total")
                .with_description("Messages that were given up, by the code of the last failure")
                .build(),
            breaker: meter
                .u64_gauge("gateway_breaker_state")
                .with_description("0 in use, 1 being tried out, 2 left alone")
                .build(),
            bounces: meter
                .u64_counter("bounces_total")
                .with_description("What came back for letters, by kind")
                .build(),
            webhook_tries: meter
                .u64_counter("webhook_tries_total")
                .with_description("Posts of events to partners, by outcome")
                .build(),
            webhooks_disabled: meter
                .u64_counter("webhook_endpoints_disabled_total")
                .with_description("Partners' endpoints that were given up, by reason")
                .build(),
            safe_mode: meter
                .u64_gauge("safe_mode")
                .with_description("1 while nothing is sent until staff switch safe mode off")
                .build(),
            retention_overdue: meter
                .f64_gauge("retention_overdue_seconds")
                .with_unit("s")
                .with_description(
                    "By how much the oldest row is older than rows of its kind are kept",
                )
                .build(),
            sendings_refused: meter
                .u64_counter("sendings_refused_total")
                .with_description(
                    "Texts and calls that were more than may be sent, by channel and reason",
                )
                .build(),
            oldest_due_age: meter
                .f64_gauge("oldest_due_age_seconds")
                .with_unit("s")
                .with_description("How long the oldest message that could go has been due")
                .build(),
            oldest_answer_age: meter
                .f64_gauge("oldest_answer_age_seconds")
                .with_unit("s")
                .with_description(
                    "How long the oldest of customers' answers has waited for the order service",
                )
                .build(),
            chain_behind: meter
                .f64_gauge("audit_chain_behind_seconds")
                .with_unit("s")
                .with_description(
                    "How long the oldest commit has waited for its place in the audit chain",
                )
                .build(),
            anchor_overdue: meter
                .f64_gauge("audit_anchor_overdue_seconds")
                .with_unit("s")
                .with_description("For how long the next anchor of the audit chain has been due")
                .build(),
            unreadable_reports: meter
                .u64_counter("unreadable_reports_total")
                .with_description("Elements of carriers' pushes that could not be read")
                .build(),
            unknown_messages: meter
                .u64_counter("unknown_messages_total")
                .with_description("News of messages that nobody here has sent")
                .build(),
        }
    }

    /// `reason` is of the closed list, so that a share of refused letters (spam, policy) can be alarmed upon; empty when sent.
    pub(crate) fn attempt(
        &self,
        channel: &'static str,
        outcome: &'static str,
        reason: &'static str,
    ) {
        let channel = KeyValue::new("channel", channel);
        self.attempts.add(
            1,
            &[
                channel,
                KeyValue::new("outcome", outcome),
                KeyValue::new("reason", reason),
            ],
        );
    }

    /// A try that the gateway took over under the id of another message: its result was written as this, too.
    pub(crate) fn id_taken(&self, channel: &'static str, outcome: &'static str) {
        self.attempt(channel, outcome, ReasonCode::IdTaken.as_str());
    }

    /// A message that was taken over, told at once or only when it was asked for.
    pub(crate) fn sent(&self, channel: &'static str) {
        self.sent.add(1, &[KeyValue::new("channel", channel)]);
    }

    pub(crate) fn possible_duplicate(&self, channel: &'static str) {
        self.possible_duplicates
            .add(1, &[KeyValue::new("channel", channel)]);
    }

    /// A message that was given up. `code` is of a closed list.
    pub(crate) fn dead_letter(&self, channel: &'static str, code: String) {
        self.dead_letters.add(
            1,
            &[
                KeyValue::new("channel", channel),
                KeyValue::new("code", code),
            ],
        );
    }

    /// Messages that were given up together, for a reason that has nothing to do with their channels.
    pub(crate) fn dead_letters(&self, code: &'static str, count: u64) {
        self.dead_letters.add(count, &[KeyValue::new("code", code)]);
    }

    pub(crate) fn oldest_due_age(&self, channel: &'static str, seconds: f64) {
        self.oldest_due_age
            .record(seconds, &[KeyValue::new("channel", channel)]);
    }

    pub(crate) fn oldest_answer_age(&self, seconds: f64) {
        self.oldest_answer_age.record(seconds, &[]);
    }

    pub(crate) fn breaker(&self, gateway: &str, level: u64) {
        self.breaker
            .record(level, &[KeyValue::new("gateway", gateway.to_owned())]);
    }

    pub(crate) fn retention_overdue(&self, kind: &'static str, seconds: f64) {
        self.retention_overdue
            .record(seconds, &[KeyValue::new("kind", kind)]);
    }

    pub(crate) fn safe_mode(&self, on: bool) {
        self.safe_mode.record(u64::from(on), &[]);
    }

    pub(crate) fn unreadable_reports(&self, count: u64) {
        self.unreadable_reports.add(count, &[]);
    }

    /// News that was dropped, since its message did not turn up.
    pub(crate) fn unknown_message(&self) {
        self.unknown_messages.add(1, &[]);
    }

    /// `kind` is of the closed list, `DELIVERED`, or `IGNORED` for what is not about a letter of ours.
    pub(crate) fn bounce(&self, kind: &'static str) {
        self.bounces.add(1, &[KeyValue::new("kind", kind)]);
    }

    /// A post to a partner. `outcome` is of a closed list.
    pub(crate) fn webhook(&self, outcome: &'static str) {
        self.webhook_tries
            .add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn chain_behind(&self, seconds: f64) {
        self.chain_behind.record(seconds, &[]);
    }

    pub(crate) fn anchor_overdue(&self, seconds: f64) {
        self.anchor_overdue.record(seconds, &[]);
    }

    pub(crate) fn webhook_disabled(&self, reason: &'static str) {
        self.webhooks_disabled
            .add(1, &[KeyValue::new("reason", reason)]);
    }

    /// A text or call that was more than may be sent. `reason` is of a closed list.
    pub(crate) fn sending_refused(&self, channel: &'static str, reason: &'static str) {
        self.sendings_refused.add(
            1,
            &[
                KeyValue::new("channel", channel),
                KeyValue::new("reason", reason),
            ],
        );
        self.dead_letter(channel, reason.to_owned());
    }
}
