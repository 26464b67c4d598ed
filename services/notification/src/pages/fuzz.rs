//! Forms of customers' pages, as a function of bytes; see [`countersign_domain::fuzz`].

use axum::{body::Body, extract::Request, http::header::CONTENT_TYPE};
use futures::FutureExt as _;

use super::form::{FormFields, read};

/// The kind of the form, a line end, the form.
pub(crate) fn page_form(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n');
    let (kind, body) = bytes.split_at(at.unwrap_or(bytes.len()));
    let body = body.get(1..).unwrap_or_default().to_vec();
    let request = Request::post("/").header(CONTENT_TYPE, kind);
    let Ok(request) = request.body(Body::from(body)) else {
        return;
    };
    // All of the body is there, so it is read without waiting.
    if let Some(Ok(fields)) = read(request, &()).now_or_never() {
        let fields = FormFields::of(fields);
        super::order_page::words(&fields, 0, 2_000).ok();
        super::order_page::number::<u64>(fields.get("form_id")).ok();
        assert!(fields.all("line").count() <= bytes.len());
    }
}
