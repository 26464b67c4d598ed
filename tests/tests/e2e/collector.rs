//! An OpenTelemetry collector that keeps all it is given, to be searched.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use countersign_runtime::lifecycle::Lifecycle;
use opentelemetry_proto::tonic::{
    collector::{
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
    },
    metrics::v1::{metric::Data, number_data_point::Value},
};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::alarms::page::series;

/// What came, by kind: as it stood on the wire, where texts are texts.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    traces: Arc<Mutex<Vec<u8>>>,
    metrics: Arc<Mutex<Vec<u8>>>,
    logs: Arc<Mutex<Vec<u8>>>,
    /// Where each series stands.
    latest: Arc<Mutex<BTreeMap<String, String>>>,
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

    /// Where each counter and gauge stands, a line each.
    pub(crate) fn page(&self) -> String {
        let latest = self.latest.lock().unwrap();
        let lines: Vec<String> = latest
            .iter()
            .map(|(series, value)| format!("{series} {value}\n"))
            .collect();
        lines.concat()
    }

    /// How far a counter has come, where its attributes hold a word.
    pub(crate) fn counted(&self, name: &str, of: &str) -> i64 {
        let bytes = self.metrics.lock().unwrap().clone();
        // One message behind the other is one message with the lists of all.
        let all = ExportMetricsServiceRequest::decode(bytes.as_slice()).unwrap();
        let scopes = all.resource_metrics.iter().flat_map(|it| &it.scope_metrics);
        let metrics = scopes.flat_map(|it| &it.metrics);
        let mut latest: BTreeMap<String, i64> = BTreeMap::new();
        for metric in metrics.filter(|it| it.name == name) {
            let Some(Data::Sum(sum)) = &metric.data else {
                continue;
            };
            for point in &sum.data_points {
                let attributes = format!("{:?}", point.attributes);
                if let Some(Value::AsInt(value)) = point.value
                    && attributes.contains(of)
                {
                    let known = latest.entry(attributes).or_default();
                    *known = value.max(*known);
                }
            }
        }
        latest.values().sum()
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
        let request = request.into_inner();
        self.latest.lock().unwrap().extend(series(&request));
        let bytes = request.encode_to_vec();
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
