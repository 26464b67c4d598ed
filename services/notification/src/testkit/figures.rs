//! Counters and gauges as a collector would be told of them. They are the process's: one test each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::http_talk::lock;
use opentelemetry::{KeyValue, global};
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

/// The counters and gauges of this process, from now on.
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

    /// How far a counter is, or where a gauge stands, with its labels as `name{one=1,two=2}`; nothing counted is nought.
    pub fn of(&self, name: &str) -> u64 {
        self.provider.force_flush().unwrap();
        let counted = lock(&self.counted);
        counted.get(name).copied().unwrap_or_default()
    }
}

/// The name of one series.
fn labelled<'a>(name: &str, labels: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut labels: Vec<String> = labels
        .map(|it| format!("{}={}", it.key, it.value))
        .collect();
    labels.sort();
    if labels.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", labels.join(","))
    }
}

struct Exporter(Counted);

impl PushMetricExporter for Exporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut counted = lock(&self.0);
        for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
            let name = metric.name();
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => counted.extend(
                    sum.data_points()
                        .map(|point| (labelled(name, point.attributes()), point.value())),
                ),
                AggregatedMetrics::U64(MetricData::Gauge(gauge)) => counted.extend(
                    gauge
                        .data_points()
                        .map(|point| (labelled(name, point.attributes()), point.value())),
                ),
                // Of seconds, the whole ones.
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                    counted.extend(gauge.data_points().map(|point| {
                        let span = Duration::try_from_secs_f64(point.value());
                        let series = labelled(name, point.attributes());
                        (series, span.unwrap_or_default().as_secs())
                    }));
                }
                _ => {}
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
