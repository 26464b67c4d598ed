//! Pages for the customer's browser: the order page that a link opens, and the local mailbox of a trial run.
//!
//! Opening a page changes nothing, because mail scanners open links; only a form does, and a form counts only with the
//! token that its page gave out; the one exception is the form that stops letters, which mail programs send by themselves.
//! What a customer answers goes to an [`AnswerSink`] and is shown as "being recorded"
//! until the order-service has applied it. No page needs a script.

mod answer;
mod form;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod fuzz;
mod guard;
mod inbox_sink;
mod limit;
mod mailbox;
mod order_page;
mod rating;
mod render;
mod unsubscribe;
mod view;
mod words;

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, StatusCode},
    middleware,
    response::Response,
    routing::{get, post},
};
use countersign_domain::secrets::LinkKey;
use countersign_runtime::config::Company;
use countersign_store::Store;

pub use answer::{AnswerSink, CustomerAnswer, SinkError};
pub use inbox_sink::InboxSink;
pub use limit::Limits;

use guard::Guard;
use limit::Limiter;
use render::{Notice, Pages};

/// The longest form that is taken, in bytes (RELIABILITY F-22).
pub const MAX_FORM_BYTES: usize = 8 * 1024;

/// Why the pages cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A template that comes with the program does not parse.
    #[error("page template {name} failed")]
    Template {
        /// Which.
        name: &'static str,
        /// Where and why.
        #[source]
        source: Box<minijinja::Error>,
    },
    /// The words of a language do not parse.
    #[error("words of the pages in {language} are malformed")]
    Words {
        /// Which language.
        language: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

/// How the pages are set up.
#[derive(Clone, Debug)]
pub struct PagesSettings {
    /// How customers reach the pages, such as `https://orders.example.com`; the beginning of every link that is sent.
    pub public_url: String,
    /// Who the customer deals with.
    pub company: Company,
    /// Whether messages stay in the local mailbox and may be read there by whoever reaches the server.
    pub mailbox: bool,
    /// How many requests are answered.
    pub limits: Limits,
    /// Header in which a proxy of ours names the client, such as `x-real-ip`; without one the peer's address counts.
    pub client_ip_header: Option<HeaderName>,
}

impl PagesSettings {
    /// With the default limits, without mailbox and proxy.
    pub fn new(public_url: impl Into<String>, company: Company) -> Self {
        Self {
            public_url: public_url.into(),
            company,
            mailbox: false,
            limits: Limits::default(),
            client_ip_header: None,
        }
    }
}

/// What the pages are served from. Cloning is cheap.
#[derive(Clone)]
pub struct PagesState {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    answers: Arc<dyn AnswerSink>,
    guard: Guard,
    limiter: Limiter,
    pages: Pages,
    settings: PagesSettings,
}

impl PagesState {
    /// Compiles the templates.
    pub fn try_new(
        store: Store,
        link_key: LinkKey,
        answers: Arc<dyn AnswerSink>,
        settings: PagesSettings,
    ) -> Result<Self, PagesError> {
        Ok(Self {
            inner: Arc::new(Inner {
                guard: Guard::new(link_key, &settings.public_url),
                limiter: Limiter::new(settings.limits),
                pages: Pages::load(&settings.company)?,
                store,
                answers,
                settings,
            }),
        })
    }

    fn notice(&self, notice: Notice) -> Response {
        self.inner.pages.notice(notice)
    }
}

/// All pages. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, or every client counts as one.
pub fn router(state: PagesState) -> Router {
    let orders = Router::new()
        .route("/o/{token}", get(order_page::show))
        .route("/o/{token}/confirm", post(order_page::confirm))
        .route("/o/{token}/object", post(order_page::object))
        .route("/o/{token}/ask", post(order_page::ask))
        .route("/o/{token}/rate", post(order_page::rate))
        .route("/u/{token}", get(unsubscribe::show).post(unsubscribe::stop))
        .layer(middleware::from_fn_with_state(
            state.clone(),
            limit::within_limits,
        ));
    let mut router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(orders);
    if state.inner.settings.mailbox {
        router = router
            .route("/", get(mailbox::welcome))
            .route("/mailbox", get(mailbox::list))
            .route("/mailbox/{id}", get(mailbox::show))
            .route("/mailbox/{id}/key", post(mailbox::press_key))
            .route("/mailbox/{id}/reply", post(mailbox::reply));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(middleware::map_response(guard::safe_headers))
        .with_state(state)
}

async fn not_found(State(state): State<PagesState>) -> Result<Response, Infallible> {
    Ok(state.notice(Notice::NotFound))
}

/// Logs a failure of ours with all its causes and answers that the page is not available.
fn unavailable(
    state: &PagesState,
    doing: &'static str,
    error: &(dyn std::error::Error + 'static),
) -> Response {
    let mut causes = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(doing, error = causes, "page not available");
    let response = state.notice(Notice::Unavailable);
    debug_assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    response
}

#[cfg(test)]
mod tests;
