//! Templates of the pages and the words of each language, compiled once.

use std::collections::BTreeMap;

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_runtime::config::Company;
use minijinja::{
    AutoEscape, Environment, UndefinedBehavior, Value, context as values,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde},
};
use sha2::{Digest, Sha256};

use super::{PagesError, words::Language};

const TEMPLATES: [(&str, &str); 7] = [
    ("base.html", include_str!("../../templates/pages/base.html")),
    (
        "order.html",
        include_str!("../../templates/pages/order.html"),
    ),
    (
        "notice.html",
        include_str!("../../templates/pages/notice.html"),
    ),
    (
        "unsubscribe.html",
        include_str!("../../templates/pages/unsubscribe.html"),
    ),
    (
        "welcome.html",
        include_str!("../../templates/pages/welcome.html"),
    ),
    (
        "mailbox.html",
        include_str!("../../templates/pages/mailbox.html"),
    ),
    (
        "message.html",
        include_str!("../../templates/pages/message.html"),
    ),
];
const STYLE: &str = include_str!("../../templates/pages/style.css");

/// A page without content of its own. It is the same for everybody, in both languages: it must not tell whether a link
/// was ever good, nor who it belonged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    NotFound,
    Forbidden,
    BadForm,
    TooLarge,
    TooMany,
    Unavailable,
}

impl Notice {
    const ALL: [Self; 6] = [
        Self::NotFound,
        Self::Forbidden,
        Self::BadForm,
        Self::TooLarge,
        Self::TooMany,
        Self::Unavailable,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::BadForm => "bad_form",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
            Self::Unavailable => "unavailable",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::BadForm => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What a page may load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Our own style and nothing else.
    Strict,
    /// Also the inline styles of a letter, which is shown in a frame without rights.
    WithLetter,
}

pub(super) struct Pages {
    environment: Environment<'static>,
    words: BTreeMap<&'static str, Value>,
    company: Value,
    strict: HeaderValue,
    notices: Vec<(Notice, String)>,
}

impl Pages {
    pub(super) fn load(company: &Company) -> Result<Self, PagesError> {
        let failed = |name| {
            move |error| PagesError::Template {
                name,
                source: Box::new(error),
            }
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(failed("syntax"))?,
        );
        environment.add_filter("fill", fill);
        environment.add_global("style", Value::from_safe_string(STYLE.to_owned()));
        for (name, source) in TEMPLATES {
            environment
                .add_template(name, source)
                .map_err(failed(name))?;
        }
        let mut words = BTreeMap::new();
        for language in Language::ALL {
            let parsed: serde_json::Value =
                serde_json::from_str(language.source()).map_err(|source| PagesError::Words {
                    language: language.tag(),
                    source,
                })?;
            words.insert(language.tag(), Value::from(Serde(parsed)));
        }
        let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        let mut pages = Self {
            environment,
            words,
            company: Value::from(Serde(company)),
            // Base64 and the words around it are visible ASCII.
            strict: HeaderValue::from_str(&policy)
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
            notices: Vec::new(),
        };
        for notice in Notice::ALL {
            let page = pages
                .render(
                    "notice.html",
                    Language::En,
                    values! { kind => notice.word(), words => &pages.words },
                )
                .map_err(failed("notice.html"))?;
            pages.notices.push((notice, page));
        }
        Ok(pages)
    }

    fn render(
        &self,
        name: &str,
        language: Language,
        content: Value,
    ) -> Result<String, minijinja::Error> {
        let words = self.words.get(language.tag());
        self.environment.get_template(name)?.render(values! {
            lang => language.tag(),
            t => words,
            company => self.company.clone(),
            ..content
        })
    }

    /// The words of all languages, for pages that are in all of them.
    pub(super) const fn words(&self) -> &BTreeMap<&'static str, Value> {
        &self.words
    }

    /// Fills a page in.
    pub(super) fn page(
        &self,
        name: &'static str,
        language: Language,
        policy: Policy,
        content: Value,
    ) -> Result<Response, PagesError> {
        let html = self
            .render(name, language, content)
            .map_err(|source| PagesError::Template {
                name,
                source: Box::new(source),
            })?;
        Ok(self.html(StatusCode::OK, policy, html))
    }

    /// A page that says one thing.
    pub(super) fn notice(&self, notice: Notice) -> Response {
        let html = self
            .notices
            .iter()
            .find(|(kind, _)| *kind == notice)
            .map(|(_, page)| page.clone())
            .unwrap_or_default();
        let mut response = self.html(notice.status(), Policy::Strict, html);
        if matches!(notice, Notice::TooMany | Notice::Unavailable) {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }

    fn html(&self, status: StatusCode, policy: Policy, html: String) -> Response {
        let policy = match policy {
            Policy::Strict => self.strict.clone(),
            Policy::WithLetter => HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
        };
        let headers = [
            (
                CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            ),
            (CONTENT_SECURITY_POLICY, policy),
        ];
        (status, headers, html).into_response()
    }
}

/// Puts values into a sentence: `"until {time}" | fill(time=…)`. The result is escaped like any other text.
#[expect(clippy::needless_pass_by_value, reason = "filters take owned values")]
fn fill(sentence: String, parts: Kwargs) -> Result<String, minijinja::Error> {
    let mut out = String::with_capacity(sentence.len());
    let mut rest = sentence.as_str();
    // One pass: what is put in is never looked at again, whatever braces it has.
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        out.push_str(&parts.get::<Value>(name)?.to_string());
        rest = after;
    }
    out.push_str(rest);
    parts.assert_all_used()?;
    Ok(out)
}
