//! Counters as a collector would be told of them. They are the process's: one test each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::http_talk::lock;
use opentelemetry::global;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        PeriodicReader, SdkMeterProvider, Temporality,
        data::{AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics},
        exporter::PushMetricExporter,
    },
};

/// What was counted last, by `name{label=value,…}`.
type Counted = Arc<Mutex<BTreeMap<String, u64>>>;

/// The counters of this process, from now on.
#[derive(Debug)]
pub struct Figures {
    counted: Counted,
    provider: SdkMeterProvider,
}

impl Figures {
    /// To be called before anything is counted: instruments that were made before count nothing.
    pub fn start() -> Self {
        let counted = Counted::default();
        let reader = PeriodicReader::builder(Exporter(counted.clone())).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        global::set_meter_provider(provider.clone());
        Self { counted, provider }
    }

    /// How far a counter is, with its labels as `name{one=1,two=2}`; nothing counted is nought.
    pub fn of(&self, name: &str) -> u64 {
        self.provider.force_flush().unwrap();
        let counted = lock(&self.counted);
        counted.get(name).copied().unwrap_or_default()
    }
}

struct Exporter(Counted);

impl PushMetricExporter for Exporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut counted = lock(&self.0);
        for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
            let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else {
                continue;
            };
            for point in sum.data_points() {
                let mut labels: Vec<String> = point
                    .attributes()
                    .map(|it| format!("{}={}", it.key, it.value))
                    .collect();
                labels.sort();
                let name = if labels.is_empty() {
                    metric.name().to_owned()
                } else {
                    format!("{}{{{}}}", metric.name(), labels.join(","))
                };
                counted.insert(name, point.value());
            }
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}
