//! What keeps pages from leaking and forms from being sent by others.

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    response::Response,
};
use countersign_domain::secrets::{LinkKey, token_hash};

const COOKIE_NAME: &str = "page";
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Ties forms to the page they stand on: a hidden token and a SameSite=Strict cookie, both derived from the page's name
/// under our key, so nothing is stored and a second tab does not invalidate the first.
pub(super) struct Guard {
    key: LinkKey,
    /// Path of the public URL, without a slash at its end.
    base_path: String,
    secure: bool,
}

impl Guard {
    pub(super) fn new(key: LinkKey, public_url: &str) -> Self {
        let after_scheme = public_url.split_once("://").map_or("", |(_, rest)| rest);
        let path = after_scheme
            .find('/')
            .and_then(|start| after_scheme.get(start..))
            .unwrap_or_default();
        Self {
            key,
            base_path: path.trim_end_matches('/').to_owned(),
            secure: public_url.starts_with("https:"),
        }
    }

    /// The recipient behind a link that stops letters.
    pub(super) fn unsubscribing(&self, token: &str) -> Option<[u8; 32]> {
        self.key.read_unsubscribe_token(token)
    }

    /// The hidden field of every form on a page.
    pub(super) fn form_token(&self, page: &str) -> String {
        self.key.form_token(&token_hash(page))
    }

    /// The cookie that the page sets. Each page has its own, because its path is the page's.
    pub(super) fn cookie(&self, folder: &str, page: &str) -> String {
        format!(
            "{COOKIE_NAME}={}; Path={}/{folder}/{page}; HttpOnly; SameSite=Strict{}",
            self.key.form_cookie(&token_hash(page)),
            self.base_path,
            if self.secure { "; Secure" } else { "" },
        )
    }

    /// Whether a form was sent from the page by the browser that opened it. Origin is not looked at: under our
    /// Referrer-Policy browsers send "null" there.
    pub(super) fn allows(&self, page: &str, headers: &HeaderMap, form_token: &str) -> bool {
        let hash = token_hash(page);
        let same_site = headers
            .get_all(SEC_FETCH_SITE)
            .iter()
            .all(|site| site.as_bytes() == b"same-origin");
        let has_cookie = cookies(headers).any(|value| self.key.form_cookie_matches(&hash, value));
        let has_token = self.key.form_token_matches(&hash, form_token);
        same_site && has_cookie && has_token
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value)
}

/// Headers that every answer has; a page that needs another Content-Security-Policy has set its own.
pub(super) async fn safe_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("x-robots-tag"),
            "noindex, nofollow, noarchive",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
        ));
    response
}
