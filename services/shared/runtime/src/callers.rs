//! Who calls: a name and the roles that go with it, found out once for each call and before anything of it is read.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use countersign_proto::v1::Role;
use futures::future::BoxFuture;
use http::{Extensions, HeaderMap};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};
use tower::{Layer, Service};

/// Names the caller where nobody proves who it is.
pub const CALLER_HEADER: &str = "x-countersign-caller";
/// Where the header is missing.
const NOBODY: &str = "anonymous";
/// Characters of a caller's name at most; the tables keep as many.
pub const NAME_CHARACTERS_MAX: usize = 64;

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u32);

impl Roles {
    /// Every role there is.
    pub const ALL: Self = Self(u32::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// Those of a list.
    pub fn of(roles: impl IntoIterator<Item = Role>) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | bit(role)))
    }

    /// Whether a role is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    /// Whether any role is in both sets.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        (1..32)
            .filter_map(|number| Role::try_from(number).ok())
            .filter(move |role| self.has(*role))
    }
}

const fn bit(role: Role) -> u32 {
    1 << role as u32
}

impl fmt::Debug for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_set()
            .entries(self.iter().map(word))
            .finish()
    }
}

/// A role as the configuration writes it: `ORDER_WRITER`.
pub fn word(role: Role) -> &'static str {
    let name = role.as_str_name();
    name.strip_prefix("ROLE_").unwrap_or(name)
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: Arc<str>,
    roles: Roles,
}

impl Caller {
    /// A caller of this name with these roles.
    pub fn new(name: &str, roles: Roles) -> Self {
        Self {
            name: name.into(),
            roles,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may do.
    pub const fn roles(&self) -> Roles {
        self.roles
    }

    /// The one that made a call, put into its extensions by [`CallersLayer`].
    pub fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions.get::<Self>().ok_or_else(|| {
            tracing::error!("a call reached its method without a caller");
            Status::internal("something went wrong on our side; it has been recorded")
        })
    }
}

/// Whether a text can name a caller.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte))
}

/// Finds out who calls, and refuses whoever may not.
#[derive(Clone, Debug, Default)]
pub struct CallersLayer;

impl<S> Layer<S> for CallersLayer {
    type Service = Admitting<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitting { inner }
    }
}

/// The services behind the [`CallersLayer`].
#[derive(Clone, Debug)]
pub struct Admitting<S> {
    inner: S,
}

impl<S> Service<http::Request<Body>> for Admitting<S>
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

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let next = self.inner.clone();
        // The one that was polled ready is the one that is called.
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            match named(request.headers()) {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

/// The caller that a call names itself; it has every role.
fn named(headers: &HeaderMap) -> Result<Caller, Status> {
    let Some(value) = headers.get(CALLER_HEADER) else {
        return Ok(Caller::new(NOBODY, Roles::ALL));
    };
    value
        .to_str()
        .ok()
        .filter(|name| is_name(name))
        .map(|name| Caller::new(name, Roles::ALL))
        .ok_or_else(|| {
            let description = "must be 1 to 64 characters of A–Z a–z 0–9 . _ : @ -";
            let mut details = ErrorDetails::new();
            details
                .set_error_info("INVALID_FIELDS", "countersign", [])
                .set_bad_request(vec![FieldViolation::new(CALLER_HEADER, description)]);
            Status::with_error_details(
                Code::InvalidArgument,
                format!("{CALLER_HEADER} {description}"),
                details,
            )
        })
}
