//! Stops letters by one click (RFC 8058).
//!
//! Mail programs post to the address by themselves, without cookies and from anywhere, so the token in the address is all
//! that counts, and there is no form token to ask for. Opening the address changes nothing: mail scanners do that. The page
//! is in both languages because nothing is known of who opens it.

use axum::{
    extract::{Path, State},
    response::Response,
};
use countersign_domain::{message::OptOutReason, order::Channel};
use countersign_store::StoreError;
use minijinja::context as values;

use super::{
    PagesError, PagesState,
    render::{Notice, Policy},
    unavailable,
    words::Language,
};

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the page cannot be written")]
    Page(#[from] PagesError),
}

/// Asks whether letters shall stop. Changes nothing.
pub(super) async fn show(State(state): State<PagesState>, Path(token): Path<String>) -> Response {
    if state.inner.guard.unsubscribing(&token).is_none() {
        return state.notice(Notice::NotFound);
    }
    match page(&state, &token, false) {
        Ok(response) => response,
        Err(error) => unavailable(&state, "show the unsubscribe page", &error),
    }
}

/// Stops letters to the recipient. What is sent along does not matter; a second time changes nothing.
pub(super) async fn stop(State(state): State<PagesState>, Path(token): Path<String>) -> Response {
    let Some(recipient) = state.inner.guard.unsubscribing(&token) else {
        return state.notice(Notice::NotFound);
    };
    match write(&state, &token, &recipient).await {
        Ok(response) => response,
        Err(error) => unavailable(&state, "stop letters", &error),
    }
}

async fn write(state: &PagesState, token: &str, recipient: &[u8; 32]) -> Result<Response, Failure> {
    let store = &state.inner.store;
    let now = store.now().await?;
    store
        .insert_opt_out(recipient, Channel::Email, OptOutReason::Unsubscribed, now)
        .await?;
    tracing::info!("a recipient stopped letters");
    Ok(page(state, token, true)?)
}

fn page(state: &PagesState, token: &str, done: bool) -> Result<Response, PagesError> {
    let pages = &state.inner.pages;
    pages.page(
        "unsubscribe.html",
        Language::En,
        Policy::Strict,
        values! { words => pages.words(), token, done },
    )
}
