//! The gate before every method: who calls is found out, and whether they may.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use countersign_proto::{access::METHODS, v1::Role};
use futures::future::BoxFuture;
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};
use tower::{Layer, Service};

use super::{
    CALLER_HEADER, Caller, Roles, is_name,
    refusals::{Peer, Refusals, UNAUTHENTICATED},
    tokens::{Tokens, Unproven},
    word,
};
use crate::{
    accept::Origin,
    clock::SharedClock,
    config::{self, role_of},
    lifecycle::Lifecycle,
    load::refusal::hear_out,
    tls::ServerTls,
};

/// The caller where nobody is asked and none says its name, and the one of health checks.
const NOBODY: &str = "anonymous";
/// Balancers and supervisors know no caller.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Stands for paths that are no method of ours.
const UNKNOWN: &str = "unknown";
/// How long the rest of a call is waited for that is not let in: whoever is not known holds nothing for long.
const HEARING: Duration = Duration::from_millis(10);
/// `ErrorInfo.domain` of all reasons.
const DOMAIN: &str = "countersign";

/// Who may come in, and how. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    proofs: Proofs,
    tls: Option<ServerTls>,
    refusals: Refusals,
    config: config::Callers,
}

/// How callers prove who they are.
#[derive(Debug)]
enum Proofs {
    /// Nobody is asked.
    Nothing,
    /// By the names in certificates, by tokens, or either.
    Asked {
        certificates: HashMap<String, (Arc<str>, Roles)>,
        tokens: Option<Box<Tokens>>,
    },
}

impl Gate {
    /// Reads the files that the configuration names.
    pub async fn load(config: &config::Callers, clock: SharedClock) -> anyhow::Result<Self> {
        let proofs = if config.authenticates() {
            let certificates = config.certificates.iter().map(|it| {
                let roles = Roles::of(it.roles.iter().filter_map(|word| role_of(word)));
                (it.san.clone(), (it.name.as_str().into(), roles))
            });
            Proofs::Asked {
                certificates: certificates.collect(),
                tokens: Tokens::of(&config.jwt, clock.clone()).await?.map(Box::new),
            }
        } else {
            Proofs::Nothing
        };
        Ok(Self(Arc::new(Inner {
            proofs,
            tls: ServerTls::of(config).await?,
            refusals: Refusals::new(clock),
            config: config.clone(),
        })))
    }

    /// Lets everybody in, who may then do everything: on a developer's machine.
    pub fn open() -> Self {
        Self(Arc::new(Inner {
            proofs: Proofs::Nothing,
            tls: None,
            refusals: Refusals::default(),
            config: config::Callers::default(),
        }))
    }

    /// Keeps certificates and keys up to date in the background.
    pub fn spawn(&self, lifecycle: &Lifecycle) {
        if let Some(tls) = &self.0.tls {
            tls.spawn_reloading(lifecycle);
        }
        if let Proofs::Asked {
            tokens: Some(tokens),
            ..
        } = &self.0.proofs
        {
            tokens.spawn_refreshing(lifecycle);
        }
    }

    /// Reads the certificates anew; whether they have changed.
    pub async fn reload(&self) -> anyhow::Result<bool> {
        match &self.0.tls {
            Some(tls) => tls.reload().await,
            None => Ok(false),
        }
    }

    /// What was refused.
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// Whether a service at this address tells which methods it has.
    pub fn reflects_at(&self, address: SocketAddr) -> bool {
        self.0.config.reflects_at(address)
    }

    /// How connections are encrypted, if they are.
    pub(crate) fn tls(&self) -> Option<&ServerTls> {
        self.0.tls.as_ref()
    }

    /// A connection that was not even made.
    pub(crate) fn note_failed_handshake(&self, address: Option<SocketAddr>) {
        self.0.refusals.note(
            UNAUTHENTICATED,
            "handshake",
            Code::Unauthenticated,
            Peer::of(address),
        );
    }

    /// The layer of this gate.
    pub fn layer(&self) -> GateLayer {
        GateLayer(self.clone())
    }

    /// The caller of a call that may go on.
    async fn admit(&self, request: &Parts) -> Result<Caller, Status> {
        let path = request.uri.path();
        let origin = request.extensions.get::<Origin>();
        let peer = Peer::of(origin.and_then(|origin| origin.address));
        let caller = |name: Arc<str>, roles, method| Caller {
            name,
            roles,
            method,
            peer,
            refusals: self.0.refusals.clone(),
        };
        if path.starts_with(HEALTH) {
            return Ok(caller(NOBODY.into(), Roles::NONE, UNKNOWN));
        }
        let known = METHODS
            .binary_search_by_key(&path, |(known, _)| known)
            .ok()
            .and_then(|at| METHODS.get(at));
        let method = known.map_or(UNKNOWN, |(path, _)| *path);
        let names = origin.map_or(&[][..], |origin| &*origin.names);
        let (name, roles) = match self.identify(&request.headers, names).await {
            Ok(found) => found,
            Err(status) => {
                if status.code() == Code::Unauthenticated {
                    self.0
                        .refusals
                        .note(UNAUTHENTICATED, method, status.code(), peer);
                }
                return Err(status);
            }
        };
        let caller = caller(name, roles, method);
        match known {
            Some((_, needed)) if !roles.meets(Roles::of(needed.iter().copied())) => {
                caller.note_refusal(Code::PermissionDenied);
                Err(role_needed(caller.name(), path, needed))
            }
            _ => Ok(caller),
        }
    }

    async fn identify(
        &self,
        headers: &HeaderMap,
        names: &[String],
    ) -> Result<(Arc<str>, Roles), Status> {
        let Proofs::Asked {
            certificates,
            tokens,
        } = &self.0.proofs
        else {
            return named(headers).map(|name| (name, Roles::ALL));
        };
        if let (Some(tokens), Some(header)) = (tokens, headers.get(AUTHORIZATION)) {
            return tokens
                .prove(header.as_bytes())
                .await
                .map_err(|error| match error {
                    Unproven::Refused(why) => unauthenticated("TOKEN_REFUSED", why),
                    Unproven::NotNow => Status::unavailable(
                        "the keys that tokens are checked with cannot be read; please try again",
                    ),
                });
        }
        if let Some(found) = names.iter().find_map(|name| certificates.get(name)) {
            return Ok(found.clone());
        }
        Err(if !names.is_empty() {
            unauthenticated(
                "CERTIFICATE_UNKNOWN",
                "the certificate is in order, but none of its names is a caller's here",
            )
        } else if tokens.is_some() {
            unauthenticated(
                "TOKEN_MISSING",
                "bring a token: authorization: Bearer followed by it",
            )
        } else {
            unauthenticated(
                "CERTIFICATE_MISSING",
                "show a certificate that names the caller by a URI or DNS name",
            )
        })
    }
}

fn unauthenticated(reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unauthenticated, message, details)
}

fn role_needed(caller: &str, path: &str, needed: &[Role]) -> Status {
    let words = needed.iter().map(|role| word(*role)).collect::<Vec<_>>();
    let mut details = ErrorDetails::new();
    details.set_error_info(
        "ROLE_NEEDED",
        DOMAIN,
        HashMap::from([
            ("method".to_owned(), path.to_owned()),
            ("roles".to_owned(), words.join(",")),
        ]),
    );
    let message = format!(
        "{caller} may not call {path}: it takes one of the roles {}",
        words.join(", ")
    );
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// The caller that a call names itself, where nobody is asked for proof.
fn named(headers: &HeaderMap) -> Result<Arc<str>, Status> {
    let Some(value) = headers.get(CALLER_HEADER) else {
        return Ok(NOBODY.into());
    };
    value
        .to_str()
        .ok()
        .filter(|name| is_name(name))
        .map(Arc::from)
        .ok_or_else(|| {
            let description = "must be 1 to 64 characters of A–Z a–z 0–9 . _ : @ -";
            let mut details = ErrorDetails::new();
            details
                .set_error_info("INVALID_FIELDS", DOMAIN, HashMap::new())
                .set_bad_request(vec![FieldViolation::new(CALLER_HEADER, description)]);
            Status::with_error_details(
                Code::InvalidArgument,
                format!("{CALLER_HEADER} {description}"),
                details,
            )
        })
}

/// Puts a [`Gate`] before services.
#[derive(Clone, Debug)]
pub struct GateLayer(Gate);

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated {
            inner,
            gate: self.0.clone(),
        }
    }
}

/// Services behind a gate.
#[derive(Clone, Debug)]
pub struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S> Service<http::Request<Body>> for Gated<S>
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
        let gate = self.gate.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match gate.admit(&parts).await {
                Ok(caller) => {
                    parts.extensions.insert(caller);
                    inner.call(http::Request::from_parts(parts, body)).await
                }
                Err(status) => {
                    hear_out(body, HEARING).await;
                    Ok(status.into_http())
                }
            }
        })
    }
}
