//! Serving gRPC: what stands before every call, whichever service it is for.

use std::{
    any::Any,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderValue;
use tokio::net::TcpListener;
use tonic::{Code, Status, body::Body, server::NamedService, service::Routes, transport::Server};
use tower::{Service, util::MapResponseLayer};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{accept::connections, callers::Gate, config::Limits, lifecycle::Lifecycle, load::Load};

/// What a call may carry, for services of which no method needs more (RELIABILITY 3.10).
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Names and values of a call's headers together.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Calls of one connection that its caller may take back before the server has begun them; whoever does it more often is
/// disconnected (CVE-2023-44487).
const RESETS_MAX: usize = 20;
/// Calls of one connection that break the protocol before it is disconnected.
const ERRORS_MAX: usize = 1_024;
/// What arrives on one connection and has not been read: calls that wait for their turn are not.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

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
    /// What it bears.
    pub limits: Limits,
}

/// Serves in the background until the soft stage, then answers what is under way. Each call passes, in this sequence: the
/// net that catches panics, who calls, quota and turn and deadline ([`crate::load`]), the service.
pub fn serve(serving: Serving, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft();
    let limits = serving.limits;
    let age = connection_age(limits.connection_age(), serving.listener.local_addr().ok());
    lifecycle.spawn(serving.name, async move {
        Server::builder()
            .max_concurrent_streams(limits.connection_calls)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
            .http2_max_local_error_reset_streams(Some(ERRORS_MAX))
            .http2_keepalive_interval(Some(Duration::from_mins(1)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            // No new calls after that; a stream of events or an import that has begun goes on.
            .max_connection_age(age)
            .layer(CatchPanicLayer::custom(panicked))
            .layer(serving.gate.layer())
            .layer(Load::new(&limits).layer())
            .layer(MapResponseLayer::new(unreadable_is_the_callers))
            .add_routes(serving.routes)
            .serve_with_incoming_shutdown(
                connections(serving.listener, serving.gate.clone(), limits.connections),
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

/// A tenth more or less, another for each process: those that started together do not lose their callers together.
fn connection_age(about: Duration, address: Option<SocketAddr>) -> Duration {
    let mut hasher = DefaultHasher::new();
    (std::process::id(), address).hash(&mut hasher);
    let tenth = u32::try_from(hasher.finish() % 201).unwrap_or(100);
    about * (900 + tenth) / 1_000
}

/// A service of which some methods may carry more than the others.
#[derive(Clone, Debug)]
pub struct BySize<S> {
    ordinary: S,
    large: S,
    /// Names of the methods that may carry more.
    methods: &'static [&'static str],
}

impl<S> BySize<S> {
    /// The same service twice, with another limit each.
    pub const fn new(ordinary: S, large: S, methods: &'static [&'static str]) -> Self {
        Self {
            ordinary,
            large,
            methods,
        }
    }
}

impl<S: NamedService> NamedService for BySize<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for BySize<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Generated services are always ready.
        self.ordinary.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        if self.methods.contains(&method) {
            self.large.call(request)
        } else {
            self.ordinary.call(request)
        }
    }
}

/// How the library begins what it says of a message that it could not read, as it stands in a header.
const UNREADABLE: &[u8] = b"failed%20to%20decode%20Protobuf%20message";

/// The library calls a request that it could not read, such as one with text that is not UTF-8, an error of ours. It is the
/// caller's, and no better the next time (RELIABILITY, B-20).
fn unreadable_is_the_callers(mut answer: http::Response<Body>) -> http::Response<Body> {
    let headers = answer.headers_mut();
    let unreadable = headers
        .get(Status::GRPC_MESSAGE)
        .is_some_and(|text| text.as_bytes().starts_with(UNREADABLE));
    if unreadable && Status::from_header_map(headers).is_some_and(|it| it.code() == Code::Internal)
    {
        let code = HeaderValue::from(Code::InvalidArgument as i32);
        headers.insert(Status::GRPC_STATUS, code);
    }
    answer
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_different_processes_end_at_different_moments() {
        let about = Duration::from_mins(30);
        let ages: std::collections::BTreeSet<Duration> = (1..=100)
            .map(|port| connection_age(about, Some(SocketAddr::from(([10, 0, 0, 1], port)))))
            .collect();
        assert!(ages.len() > 50, "{ages:?}");
        assert!(
            ages.iter()
                .all(|age| (Duration::from_mins(27)..=Duration::from_mins(33)).contains(age))
        );
    }
}
