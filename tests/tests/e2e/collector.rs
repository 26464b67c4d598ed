//! An OpenTelemetry collector that keeps all it is given, to be searched.

use std::sync::{Arc, Mutex};

use countersign_runtime::lifecycle::Lifecycle;
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
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// What came, by kind: as it stood on the wire, where texts are texts.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    traces: Arc<Mutex<Vec<u8>>>,
    metrics: Arc<Mutex<Vec<u8>>>,
    logs: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// Listens; the answer's second part is where.
    pub(crate) async fn start(lifecycle: &Lifecycle) -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        lifecycle.spawn("collector", server);
        (collector, endpoint)
    }

    /// All that came, with the name of its kind.
    pub(crate) fn all(&self) -> [(&'static str, String); 3] {
        [
            ("traces", &self.traces),
            ("metrics", &self.metrics),
            ("logs", &self.logs),
        ]
        .map(|(name, bytes)| {
            let bytes = bytes.lock().unwrap();
            (name, String::from_utf8_lossy(&bytes).into_owned())
        })
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let bytes = request.into_inner().encode_to_vec();
        self.traces.lock().unwrap().extend(bytes);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let bytes = request.into_inner().encode_to_vec();
        self.metrics.lock().unwrap().extend(bytes);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let bytes = request.into_inner().encode_to_vec();
        self.logs.lock().unwrap().extend(bytes);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
