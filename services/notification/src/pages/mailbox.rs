//! The local mailbox: what customers would receive, with links, keys and replies that work. It is only served where
//! messages do not go out, and shows everything to whoever reaches the server.

use axum::{
    extract::{Path, Query, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_LANGUAGE, LOCATION, SET_COOKIE},
    },
    response::{IntoResponse as _, Response},
};
use chrono::SecondsFormat;
use countersign_domain::{
    locale::TimeZone,
    text::{TextKind, checked_text, display_safe},
};
use countersign_store::{MailboxContent, MailboxItem, StoreError};
use minijinja::{Value, context as values, value::Serde};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    PagesError, PagesState, SinkError,
    form::FormFields,
    render::{Notice, Policy},
    unavailable,
    words::Language,
};

/// Messages on a page of the list.
const PAGE_ITEMS: u64 = 50;
/// Characters of a message that the list shows.
const EXCERPT_CHARS: usize = 140;
/// The longest text message that can be sent in answer (RELIABILITY F-12), in characters.
const MAX_REPLY_CHARS: usize = 1_600;

/// What the address may ask for.
#[derive(Deserialize)]
pub(super) struct Wishes {
    #[serde(default)]
    lang: Option<String>,
    /// Last message of the page before.
    #[serde(default)]
    before: Option<Uuid>,
    /// Set by the redirect after a key or a text was sent.
    #[serde(default)]
    sent: Option<String>,
}

impl Wishes {
    fn language(&self, headers: &HeaderMap) -> Language {
        let asked = self.lang.as_deref();
        Language::ALL
            .into_iter()
            .find(|language| asked == Some(language.tag()))
            .unwrap_or_else(|| {
                Language::accepted(
                    headers
                        .get(ACCEPT_LANGUAGE)
                        .and_then(|value| value.to_str().ok()),
                )
            })
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the inbox failed")]
    Sink(#[from] SinkError),
    #[error("the page cannot be written")]
    Page(#[from] PagesError),
    #[error("refused")]
    Refused(Notice),
}

fn answer(state: &PagesState, doing: &'static str, result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(|failure| match failure {
        Failure::Refused(notice) => state.notice(notice),
        failure => unavailable(state, doing, &failure),
    })
}

/// A message as the list shows it.
#[derive(Serialize)]
struct ItemView {
    id: Uuid,
    channel: &'static str,
    recipient: String,
    title: String,
    excerpt: String,
    time: String,
    iso: String,
    links: Vec<String>,
    order_page: Option<String>,
}

impl ItemView {
    fn of(item: &MailboxItem, public_url: &str, language: Language) -> Self {
        let (title, text) = match &item.content {
            MailboxContent::Email { subject, text, .. } => (subject.clone(), text.clone()),
            MailboxContent::Sms { text } => (short(text), text.clone()),
            MailboxContent::Phone { prompts, .. } => (
                prompts.first().cloned().unwrap_or_default(),
                prompts.get(1..).unwrap_or_default().join(" "),
            ),
        };
        let links = links(&text, public_url);
        let excerpt = match &item.content {
            MailboxContent::Sms { .. } => String::new(),
            MailboxContent::Email { .. } | MailboxContent::Phone { .. } => short(&text),
        };
        let order_pages = format!("{}/o/", public_url.trim_end_matches('/'));
        Self {
            id: item.id,
            channel: item.channel.as_str(),
            recipient: display_safe(&item.recipient),
            title: display_safe(&title),
            excerpt: display_safe(&excerpt),
            time: format!("{} UTC", language.time(item.create_time, TimeZone::UTC)),
            iso: item.create_time.to_rfc3339_opts(SecondsFormat::Secs, true),
            order_page: links
                .iter()
                .find(|link| link.starts_with(&order_pages))
                .cloned(),
            links,
        }
    }
}

fn short(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= EXCERPT_CHARS {
        return words;
    }
    let mut cut: String = words.chars().take(EXCERPT_CHARS).collect();
    cut.push('…');
    cut
}

/// Links to our own pages in a text; links to elsewhere may have been typed by a stranger.
fn links(text: &str, public_url: &str) -> Vec<String> {
    let start = format!("{}/", public_url.trim_end_matches('/'));
    let mut found: Vec<String> = Vec::new();
    for (at, _) in text.match_indices(&start) {
        let rest = text.get(at..).unwrap_or_default();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_~/:?=&%.".contains(c)))
            .unwrap_or(rest.len());
        let link = rest
            .get(..end)
            .unwrap_or_default()
            .trim_end_matches(['.', '?', ':']);
        if !found.iter().any(|known| known == link) {
            found.push(link.to_owned());
        }
    }
    found
}

/// What a newcomer sees first.
pub(super) async fn welcome(
    State(state): State<PagesState>,
    Query(wishes): Query<Wishes>,
    headers: HeaderMap,
) -> Response {
    let page = state
        .inner
        .pages
        .page(
            "welcome.html",
            wishes.language(&headers),
            Policy::Strict,
            values! {},
        )
        .map_err(Failure::from);
    answer(&state, "show the welcome page", page)
}

/// The list, newest first.
pub(super) async fn list(
    State(state): State<PagesState>,
    Query(wishes): Query<Wishes>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let inner = &state.inner;
        let language = wishes.language(&headers);
        let page = inner.store.list_mailbox(wishes.before, PAGE_ITEMS).await?;
        let items: Vec<ItemView> = page
            .items
            .iter()
            .map(|item| ItemView::of(item, &inner.settings.public_url, language))
            .collect();
        let more = items.last().filter(|_| page.more).map(|item| item.id);
        let content = values! {
            items => Value::from(Serde(items)),
            before => wishes.before.map(|id| id.to_string()),
            more => more.map(|id| id.to_string()),
        };
        Ok(inner
            .pages
            .page("mailbox.html", language, Policy::Strict, content)?)
    };
    answer(&state, "list the mailbox", page.await)
}

/// One message.
pub(super) async fn show(
    State(state): State<PagesState>,
    Path(id): Path<String>,
    Query(wishes): Query<Wishes>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let inner = &state.inner;
        let item = find(&state, &id).await?;
        let language = wishes.language(&headers);
        let letter = match &item.content {
            MailboxContent::Email { html, .. } => Some(in_new_tabs(html)),
            MailboxContent::Sms { .. } | MailboxContent::Phone { .. } => None,
        };
        let policy = if letter.is_some() {
            Policy::WithLetter
        } else {
            Policy::Strict
        };
        let content = values! {
            item => Value::from(Serde(ItemView::of(&item, &inner.settings.public_url, language))),
            content => Value::from(Serde(readable(&item.content))),
            letter,
            form_token => inner.guard.form_token(&id),
            form_id => inner.store.now().await?.timestamp_micros(),
            sent => wishes.sent.is_some(),
        };
        let mut response = inner
            .pages
            .page("message.html", language, policy, content)?;
        if let Ok(cookie) = HeaderValue::from_str(&inner.guard.cookie("mailbox", &id)) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        Ok(response)
    };
    answer(&state, "show a message of the mailbox", page.await)
}

/// Text parts with what is invisible in them made visible; the letter's HTML stays as it is.
fn readable(content: &MailboxContent) -> MailboxContent {
    let mut content = content.clone();
    match &mut content {
        MailboxContent::Email { subject, text, .. } => {
            *subject = display_safe(subject);
            *text = display_safe(text);
        }
        MailboxContent::Sms { text } => *text = display_safe(text),
        MailboxContent::Phone { prompts, .. } => {
            for prompt in prompts {
                *prompt = display_safe(prompt);
            }
        }
    }
    content
}

/// The frame may not leave the mailbox, so the letter's links open beside it.
fn in_new_tabs(html: &str) -> String {
    html.replacen("<head>", "<head><base target=\"_blank\">", 1)
}

async fn find(state: &PagesState, id: &str) -> Result<MailboxItem, Failure> {
    let not_found = || Failure::Refused(Notice::NotFound);
    let id = id.parse().map_err(|_| not_found())?;
    state
        .inner
        .store
        .find_mailbox_item(id)
        .await?
        .ok_or_else(not_found)
}

/// A key pressed in a call.
pub(super) async fn press_key(
    State(state): State<PagesState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: FormFields,
) -> Response {
    let taken = async {
        let item = allowed(&state, &id, &headers, &form).await?;
        let MailboxContent::Phone { keys, .. } = &item.content else {
            return Err(Failure::Refused(Notice::BadForm));
        };
        let pressed = form.get("digit");
        let digit = pressed
            .chars()
            .next()
            .filter(|_| keys.iter().any(|key| key.digit == pressed))
            .ok_or(Failure::Refused(Notice::BadForm))?;
        state.inner.answers.key_pressed(&item, digit).await?;
        Ok(back(&state, &id, &form))
    };
    answer(&state, "take a key from the mailbox", taken.await)
}

/// A text message sent in answer.
pub(super) async fn reply(
    State(state): State<PagesState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: FormFields,
) -> Response {
    let taken = async {
        let item = allowed(&state, &id, &headers, &form).await?;
        let bad_form = || Failure::Refused(Notice::BadForm);
        let form_id: u64 = form.get("form_id").parse().map_err(|_| bad_form())?;
        let text = checked_text(form.get("text"), 1, MAX_REPLY_CHARS, TextKind::MultiLine)
            .map_err(|_| bad_form())?;
        if !matches!(item.content, MailboxContent::Sms { .. }) {
            return Err(bad_form());
        }
        let event_id = format!("{}:{form_id}", item.id);
        state
            .inner
            .answers
            .text_received(&item, &event_id, &text)
            .await?;
        Ok(back(&state, &id, &form))
    };
    answer(&state, "take a reply from the mailbox", taken.await)
}

async fn allowed(
    state: &PagesState,
    id: &str,
    headers: &HeaderMap,
    form: &FormFields,
) -> Result<MailboxItem, Failure> {
    let item = find(state, id).await?;
    if state
        .inner
        .guard
        .allows(id, headers, form.get("form_token"))
    {
        Ok(item)
    } else {
        Err(Failure::Refused(Notice::Forbidden))
    }
}

/// Sends the browser back to the message, so that loading it again sends nothing again.
fn back(state: &PagesState, id: &str, form: &FormFields) -> Response {
    let language = Language::ALL
        .into_iter()
        .find(|language| language.tag() == form.get("lang"))
        .unwrap_or(Language::En);
    HeaderValue::from_str(&format!("../{id}?sent=1&lang={}", language.tag())).map_or_else(
        |_| state.notice(Notice::NotFound),
        |location| (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_our_own_pages_are_offered() {
        let text = "请打开 http://127.0.0.1:8080/o/AbC_-9 确认。http://evil.example/o/x \
                    http://127.0.0.1:8080/o/AbC_-9. http://127.0.0.1:8080.evil.example/ \
                    (http://127.0.0.1:8080/u/1)";
        assert_eq!(
            links(text, "http://127.0.0.1:8080/"),
            [
                "http://127.0.0.1:8080/o/AbC_-9",
                "http://127.0.0.1:8080/u/1"
            ]
        );
    }

    #[test]
    fn a_long_text_is_cut_for_the_list() {
        assert_eq!(short("a\n b"), "a b");
        assert_eq!(short(&"字".repeat(200)).chars().count(), EXCERPT_CHARS + 1);
    }
}
