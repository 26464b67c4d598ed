//! What is seen of a process from outside: log lines on standard error, and traces, metrics and logs for an
//! OpenTelemetry collector when one is configured.

use std::{fmt, io::IsTerminal as _, sync::Arc, time::Duration};

use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::{
    Resource, error::OTelSdkResult, logs::SdkLoggerProvider, metrics::SdkMeterProvider,
    trace::SdkTracerProvider,
};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::ParseError,
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::config::{LogFormat, Telemetry as Settings};

mod propagation;
mod stderr;

pub use self::propagation::{
    current_traceparent, inject_into_headers, inject_into_metadata, set_parent_from_headers,
    set_parent_from_metadata, set_parent_from_traceparent,
};

/// How long one export, and the last one at the end, may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// These carry the export itself: exporting what they say would make something new to export, without end.
const CARRIERS: [&str; 5] = ["h2", "hyper", "tonic", "tower", "opentelemetry"];

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log_filter` cannot be understood.
    #[error("read telemetry.log_filter")]
    Filter(#[source] ParseError),
    /// The exporter refuses `telemetry.otlp_endpoint`. A collector that is down is not an error.
    #[error("prepare the export to telemetry.otlp_endpoint")]
    Exporter(#[source] ExporterBuildError),
    /// Telemetry was started before in this process.
    #[error("install the log subscriber")]
    Install(#[source] TryInitError),
}

/// What must be flushed before the process ends.
#[derive(Debug)]
#[must_use = "call shutdown at the end, or the last spans and log lines are lost"]
pub struct Telemetry {
    export: Option<Export>,
    log_filter: LogFilter,
}

/// Sets one layer's filter anew.
type SetFilter = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// `telemetry.log_filter` of a process that runs. Clones are the same.
#[derive(Clone, Default)]
pub struct LogFilter(Arc<Vec<SetFilter>>);

impl LogFilter {
    /// Filters nothing, as in tests.
    pub fn none() -> Self {
        Self::default()
    }

    /// Lets other log lines through from now on.
    pub fn set(&self, directives: &str) -> Result<(), String> {
        self.0.iter().try_for_each(|set| set(directives))
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogFilter")
    }
}

#[derive(Debug, Clone)]
struct Export {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    logs: SdkLoggerProvider,
}

impl Telemetry {
    /// Starts telemetry for the whole process, once. `service` is the name of the role, such as `order-service`.
    /// Must be called inside the Tokio runtime, which then carries the export.
    pub fn start(settings: &Settings, service: &'static str) -> Result<Self, TelemetryError> {
        let export = settings
            .otlp_endpoint
            .as_deref()
            .map(|endpoint| Export::new(endpoint, service))
            .transpose()
            .map_err(TelemetryError::Exporter)?;
        let filter =
            |quiet: &[&str]| filter(&settings.log_filter, quiet).map_err(TelemetryError::Filter);
        let mut filters: Vec<SetFilter> = Vec::new();
        let (chosen, handle) = reload::Layer::new(filter(&[])?);
        filters.push(set_by(handle, &[]));
        let stderr = lines(settings.log_format).with_filter(chosen);
        let traces = match &export {
            Some(export) => {
                let (chosen, handle) = reload::Layer::new(filter(&CARRIERS)?);
                filters.push(set_by(handle, &CARRIERS));
                Some(
                    tracing_opentelemetry::layer()
                        .with_tracer(export.traces.tracer("countersign"))
                        .with_filter(chosen),
                )
            }
            None => None,
        };
        let logs = match &export {
            Some(export) => {
                let (chosen, handle) = reload::Layer::new(filter(&CARRIERS)?);
                filters.push(set_by(handle, &CARRIERS));
                Some(OpenTelemetryTracingBridge::new(&export.logs).with_filter(chosen))
            }
            None => None,
        };
        Registry::default()
            .with(stderr)
            .with(traces)
            .with(logs)
            .try_init()
            .map_err(TelemetryError::Install)?;
        if let Some(export) = &export {
            global::set_meter_provider(export.metrics.clone());
            stderr::export_lost_lines();
        }
        Ok(Self {
            export,
            log_filter: LogFilter(Arc::new(filters)),
        })
    }

    /// For another `telemetry.log_filter` while the process runs.
    pub fn log_filter(&self) -> LogFilter {
        self.log_filter.clone()
    }

    /// Sends what is still waiting. A collector that cannot be reached costs a few seconds and a log line, never the
    /// exit code.
    pub async fn shutdown(self) {
        let Some(export) = self.export else { return };
        // The last export waits for this runtime, so it must not stand on one of its threads.
        let flushed = tokio::task::spawn_blocking(move || {
            [
                (
                    "traces",
                    export.traces.shutdown_with_timeout(EXPORT_TIMEOUT),
                ),
                (
                    "metrics",
                    export.metrics.shutdown_with_timeout(EXPORT_TIMEOUT),
                ),
                ("logs", export.logs.shutdown_with_timeout(EXPORT_TIMEOUT)),
            ]
        })
        .await;
        match flushed {
            Ok(results) => results
                .into_iter()
                .for_each(|(kind, result)| report(kind, result)),
            Err(error) => tracing::warn!(%error, "telemetry was not flushed"),
        }
    }
}

fn report(kind: &'static str, result: OTelSdkResult) {
    if let Err(error) = result {
        tracing::warn!(kind, %error, "the last telemetry was not delivered");
    }
}

impl Export {
    fn new(endpoint: &str, service: &'static str) -> Result<Self, ExporterBuildError> {
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.namespace", "countersign"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let spans = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let metrics = MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let logs = LogExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        Ok(Self {
            traces: SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_batch_exporter(spans)
                .build(),
            metrics: SdkMeterProvider::builder()
                .with_resource(resource.clone())
                .with_periodic_exporter(metrics)
                .build(),
            logs: SdkLoggerProvider::builder()
                .with_resource(resource)
                .with_batch_exporter(logs)
                .build(),
        })
    }
}

/// The configured filter, with some targets silenced whatever it says.
fn filter(directives: &str, quiet: &[&str]) -> Result<EnvFilter, ParseError> {
    quiet
        .iter()
        .try_fold(EnvFilter::try_new(directives)?, |filter, target| {
            Ok(filter.add_directive(format!("{target}=off").parse()?))
        })
}

/// Sets a layer's filter through its handle.
fn set_by<S: 'static>(
    handle: reload::Handle<EnvFilter, S>,
    quiet: &'static [&'static str],
) -> SetFilter {
    Box::new(move |directives| {
        let filter = filter(directives, quiet).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    })
}

/// The layer that writes log lines to standard error.
fn lines<S>(format: LogFormat) -> Box<dyn tracing_subscriber::Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(|| stderr::Stderr)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    }
}
