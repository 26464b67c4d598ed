//! Telemetry against a collector on a real socket. One test: telemetry starts once in a process.

#![cfg(test)]

use std::sync::{Arc, Mutex};

use countersign_runtime::{
    config,
    telemetry::{Telemetry, current_traceparent},
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// Keeps the names of what arrives.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<String>>>,
    metrics: Arc<Mutex<Vec<String>>>,
    logs: Arc<Mutex<Vec<String>>>,
    services: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let names = attributes.iter().filter(|it| it.key == "service.name");
            self.services
                .lock()
                .unwrap()
                .extend(names.map(|it| format!("{:?}", it.value)));
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                self.spans.lock().unwrap().push(span.name);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request
            .into_inner()
            .resource_metrics
            .into_iter()
            .flat_map(|it| it.scope_metrics);
        let names = scopes
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name);
        self.metrics.lock().unwrap().extend(names);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let scopes = request
            .into_inner()
            .resource_logs
            .into_iter()
            .flat_map(|it| it.scope_logs);
        let records = scopes.flat_map(|scope| scope.log_records);
        self.logs
            .lock()
            .unwrap()
            .extend(records.map(|record| format!("{:?}", record.body)));
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_metrics_and_logs_reach_the_collector() {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()))
        .add_service(LogsServiceServer::new(collector.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let lifecycle =
        countersign_runtime::lifecycle::Lifecycle::new(std::time::Duration::from_secs(1));
    lifecycle.spawn("collector", server);

    let settings = config::Telemetry {
        otlp_endpoint: Some(endpoint),
        log_filter: "trace".to_owned(),
        log_format: config::LogFormat::Json,
    };
    let telemetry = Telemetry::start(&settings, "order-service").unwrap();
    assert!(
        Telemetry::start(&settings, "order-service").is_err(),
        "once in a process"
    );

    tracing::info_span!("place order").in_scope(|| {
        assert_eq!(current_traceparent().unwrap().len(), 55);
        tracing::info!("order placed");
    });
    tracing::info!(target: "h2::codec", "frame sent");
    opentelemetry::global::meter("countersign")
        .u64_counter("orders.placed")
        .build()
        .add(1, &[]);
    telemetry.shutdown().await;

    assert_eq!(*collector.spans.lock().unwrap(), ["place order"]);
    assert!(collector.services.lock().unwrap()[0].contains("order-service"));
    let metrics = collector.metrics.lock().unwrap();
    assert!(
        metrics.iter().any(|it| it == "orders.placed"),
        "{metrics:?}"
    );
    let logs = collector.logs.lock().unwrap().join("\n");
    assert!(logs.contains("order placed"), "{logs}");
    assert!(!logs.contains("frame sent"), "{logs}");
}
