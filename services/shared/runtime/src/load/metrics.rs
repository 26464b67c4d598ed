//! Figures of what was refused and what came too late.

use std::sync::OnceLock;

use opentelemetry::{KeyValue, global, metrics::Counter};

use super::quota::Quota;

/// The instruments; one set for all servers of a process.
#[derive(Clone, Debug)]
pub struct LoadMetrics {
    shed: Counter<u64>,
    over_quota: Counter<u64>,
    expired: Counter<u64>,
    connections_refused: Counter<u64>,
}

impl LoadMetrics {
    fn new() -> Self {
        let meter = global::meter("countersign-load");
        Self {
            shed: meter
                .u64_counter("calls_shed_total")
                .with_description("Calls that were refused because the server had no place for them, by reason")
                .build(),
            over_quota: meter
                .u64_counter("calls_over_quota_total")
                .with_description("Calls that were refused because their caller has had its share, by quota")
                .build(),
            expired: meter
                .u64_counter("deadlines_exceeded_total")
                .with_description("Calls whose time was over, by what they were doing")
                .build(),
            connections_refused: meter
                .u64_counter("connections_refused_total")
                .with_description("Connections that were closed at once because there were too many, or could not be accepted")
                .build(),
        }
    }

    /// The set of this process.
    pub fn shared() -> Self {
        static SHARED: OnceLock<LoadMetrics> = OnceLock::new();
        SHARED.get_or_init(Self::new).clone()
    }

    /// A call found no place. `reason` is of a closed list.
    pub fn shed(&self, reason: &'static str) {
        self.shed.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// A caller has had its share.
    pub fn over_quota(&self, quota: Quota) {
        self.over_quota
            .add(1, &[KeyValue::new("quota", quota.as_str())]);
    }

    /// A call's time was over. `stage` is `waiting`, `intake` or `running`; the first two cost the database nothing.
    pub fn expired(&self, stage: &'static str) {
        self.expired.add(1, &[KeyValue::new("stage", stage)]);
    }

    /// A connection was turned away.
    pub fn connection_refused(&self) {
        self.connections_refused.add(1, &[]);
    }
}
