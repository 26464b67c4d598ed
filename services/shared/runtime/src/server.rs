//! Serving gRPC: what stands before every call, whichever service it is for.

use std::{any::Any, time::Duration};

use tokio::net::TcpListener;
use tonic::{Status, body::Body, service::Routes, transport::Server};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    accept::connections, callers::Gate, lifecycle::Lifecycle, telemetry::set_parent_from_headers,
};

/// A server to be started.
#[derive(Debug)]
pub struct Serving {
    /// Of the task, for the log.
    pub name: &'static str,
    /// Already bound, so that a test may take any port.
    pub listener: TcpListener,
    /// Who may call.
    pub gate: Gate,
    /// Its services.
    pub routes: Routes,
    /// Calls of one connection at the same time.
    pub streams_per_connection_max: u32,
    /// Calls of all connections at the same time.
    pub concurrent_requests_max: usize,
    /// A call is given up after this.
    pub request_timeout: Duration,
}

/// Serves in the background until the soft stage, then answers what is under way. Each call passes, in this sequence: the
/// net that catches panics, the limit of calls at the same time, who calls, the service.
pub fn serve(serving: Serving, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft();
    lifecycle.spawn(serving.name, async move {
        Server::builder()
            .max_concurrent_streams(serving.streams_per_connection_max)
            .initial_connection_window_size(4 * 1024 * 1024)
            .http2_keepalive_interval(Some(Duration::from_mins(1)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .timeout(serving.request_timeout)
            .layer(CatchPanicLayer::custom(panicked))
            .layer(GlobalConcurrencyLimitLayer::new(
                serving.concurrent_requests_max,
            ))
            .layer(serving.gate.layer())
            .trace_fn(|request| {
                let span = tracing::info_span!("grpc", rpc = request.uri().path());
                set_parent_from_headers(&span, request.headers());
                span
            })
            .add_routes(serving.routes)
            .serve_with_incoming_shutdown(
                connections(serving.listener, serving.gate.clone()),
                soft.cancelled_owned(),
            )
            .await
    });
}

/// The services with one beside them that tells which methods they have, in both versions that clients speak.
pub fn with_reflection(
    routes: Routes,
    descriptors: &'static [u8],
) -> Result<Routes, tonic_reflection::server::Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
}

/// What a caller is told when a handler panicked; what happened is in the log.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(cause: Box<dyn Any + Send + 'static>) -> http::Response<Body> {
    let text = cause
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| cause.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = text, "a handler panicked");
    Status::internal("something went wrong on our side; it has been recorded").into_http()
}
