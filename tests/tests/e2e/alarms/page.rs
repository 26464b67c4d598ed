//! The collector's page for Prometheus: the figures that came last, under the names and labels that the exporter of the
//! OpenTelemetry collector gives them.

use std::net::SocketAddr;

use countersign_runtime::lifecycle::Lifecycle;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value},
    metrics::v1::{NumberDataPoint, metric::Data, number_data_point::Value},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::collector::Collector;

/// Serves it; the answer is where.
pub(super) async fn serve(collector: Collector, lifecycle: &Lifecycle) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lifecycle.spawn("page", async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            // Prometheus' request fits into one packet, and there is only one page.
            if tcp.read(&mut [0; 4096]).await.is_err() {
                continue;
            }
            let body = collector.page();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            tcp.write_all(format!("{head}{body}").as_bytes()).await.ok();
        }
    });
    address
}

/// What was exported of counters and gauges: a series, and where it stands.
pub(crate) fn series(request: &ExportMetricsServiceRequest) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for process in &request.resource_metrics {
        let about: &[KeyValue] = process.resource.as_ref().map_or(&[], |it| &it.attributes);
        let of = |key: &str| about.iter().find(|it| it.key == key).map_or("", text);
        let job = format!("{}/{}", of("service.namespace"), of("service.name"));
        let whose = [
            ("job", job.as_str()),
            ("instance", of("service.instance.id")),
        ];
        for metric in process.scope_metrics.iter().flat_map(|it| &it.metrics) {
            let points = match &metric.data {
                Some(Data::Sum(sum)) => &sum.data_points,
                Some(Data::Gauge(gauge)) => &gauge.data_points,
                _ => continue,
            };
            for point in points {
                found.push((labelled(&metric.name, &whose, point), value(point)));
            }
        }
    }
    found
}

fn labelled(name: &str, whose: &[(&str, &str)], point: &NumberDataPoint) -> String {
    let own = point
        .attributes
        .iter()
        .map(|it| (it.key.as_str(), text(it)));
    let labels: Vec<String> = whose
        .iter()
        .copied()
        .chain(own)
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

fn text(attribute: &KeyValue) -> &str {
    match attribute.value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => unreachable!("{} is no text: {other:?}", attribute.key),
    }
}

fn value(point: &NumberDataPoint) -> String {
    match point.value {
        Some(Value::AsInt(value)) => value.to_string(),
        Some(Value::AsDouble(value)) => value.to_string(),
        None => "NaN".to_owned(),
    }
}
