//! What happens when more is asked of a server than it can do: deadlines, turns, quotas and refusals that come at once.
//!
//! A call passes, in this sequence: its caller's quota, the turn (so many calls at the same time, a few more wait, each caller
//! in a line of its own), the deadline. Whoever is refused is refused before anything of the request is looked at. Health is exempt
//! from all of it, or a busy server would be taken for a dead one.

pub mod deadline;
mod lines;
mod metrics;
mod pace;
pub mod quota;
pub mod refusal;
mod turn;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

use self::{
    deadline::{Deadline, Expiry},
    quota::{Quota, Quotas},
    refusal::Overloaded,
    turn::{Turns, Waited},
};
pub use self::{metrics::LoadMetrics, turn::TurnLimits};
use crate::{callers::Caller, config::Limits, telemetry::set_parent_from_headers};

/// Calls that are answered however busy the server is.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Calls that look through all there is, made by staff now and then, and how long they may take.
const PATIENT: [&str; 1] = ["/countersign.v1.CustomerService/VerifyErasure"];
const PATIENCE: Duration = Duration::from_hours(1);

/// What a server bears. Clones are the same.
#[derive(Clone, Debug)]
pub struct Load(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    turns: Arc<Turns>,
    quotas: Quotas,
    deadline_max: Duration,
    overloaded: Overloaded,
    metrics: LoadMetrics,
}

impl Load {
    /// For one server. Quotas are counted by this process alone.
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            turns: Turns::new(TurnLimits {
                at_once: limits.calls_at_once,
                waiting: limits.calls_waiting,
                wait: limits.call_wait(),
            }),
            quotas: Quotas::new(Quota::CallsPerSecond, limits),
            deadline_max: limits.call_deadline(),
            overloaded: Overloaded::new(),
            metrics: LoadMetrics::shared(),
        }))
    }

    /// The layer that stands before every call, behind the one that finds out who calls.
    pub fn layer(&self) -> LoadLayer {
        LoadLayer(self.clone())
    }

    async fn pass<S>(self, mut inner: S, request: http::Request<Body>) -> http::Response<Body>
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    {
        let load = &*self.0;
        let arrived = Instant::now();
        let caller = Caller::of(request.extensions()).map_or("", Caller::name);
        if let Err(refused) = load.quotas.take(caller, 1, arrived) {
            load.metrics.over_quota(Quota::CallsPerSecond);
            refusal::hear_out(request.into_body(), refusal::HEARING).await;
            return refused.status().into_http();
        }
        let most = if PATIENT.contains(&request.uri().path()) {
            PATIENCE
        } else {
            load.deadline_max
        };
        let deadline = Deadline::of(request.headers(), arrived, most);
        let slot = match load.turns.wait(caller, deadline.at()).await {
            Waited::Mine(slot) => slot,
            Waited::Expired => {
                load.metrics.expired("waiting");
                refusal::hear_out(request.into_body(), refusal::HEARING).await;
                return deadline::exceeded().into_http();
            }
            Waited::Shed(reason) => {
                load.metrics.shed(reason);
                refusal::hear_out(request.into_body(), refusal::HEARING).await;
                return load.overloaded.answer();
            }
        };
        // Calls that are refused have none: they are counted, and making it costs as much as refusing them.
        let span = tracing::info_span!("grpc", rpc = request.uri().path());
        set_parent_from_headers(&span, request.headers());
        let expiry = Expiry::default();
        let work = expiry
            .clone()
            .scope(deadline.scope(inner.call(request)))
            .instrument(span);
        let answered = timeout_at(deadline.at(), work).await;
        drop(slot);
        match answered {
            Ok(Ok(response)) => refusal::in_words_of_grpc(response),
            Ok(Err(never)) => match never {},
            Err(_) => {
                if let Some(stage) = expiry.count() {
                    load.metrics.expired(stage);
                }
                deadline::exceeded().into_http()
            }
        }
    }
}

/// See [`Load::layer`].
#[derive(Clone, Debug)]
pub struct LoadLayer(Load);

impl<S> Layer<S> for LoadLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded {
            load: self.0.clone(),
            inner,
        }
    }
}

/// The services behind the [`LoadLayer`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    load: Load,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let next = self.inner.clone();
        // The one that was polled ready is the one that is called.
        let mut inner = std::mem::replace(&mut self.inner, next);
        if request.uri().path().starts_with(HEALTH) {
            return Box::pin(inner.call(request));
        }
        let load = self.load.clone();
        Box::pin(async move { Ok(load.pass(inner, request).await) })
    }
}

#[cfg(test)]
mod tests;
