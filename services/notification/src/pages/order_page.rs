//! The customer's order page and the forms on it.

use axum::{
    extract::{Path, Query, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{LOCATION, SET_COOKIE},
    },
    response::{IntoResponse as _, Response},
};
use countersign_domain::{
    confirmation::{Objection, ObjectionCategory},
    feedback::{FeedbackTag, WORDS_CHARS_MAX},
    ids::OrderId,
    order::{Order, OrderState},
    secrets::token_hash,
    survey::Subject,
    text::{TextKind, checked_text},
};
use countersign_store::StoreError;
use minijinja::{Value, context as values, value::Serde};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    PagesState, SinkError,
    answer::CustomerAnswer,
    form::FormFields,
    rating,
    render::{Notice, Policy},
    unavailable,
    view::{Facts, OrderView},
    words::Language,
};

/// The longest objection or question, in characters.
const MAX_TEXT_CHARS: usize = 2_000;
/// Events of the history that the page shows at most.
const EVENTS_MAX: u64 = 200;
/// After this time a link to an order that is over opens nothing.
const LINK_LIFE_AFTER_END: chrono::Duration = chrono::Duration::days(180);

/// What the address may ask for besides the order.
#[derive(Deserialize)]
pub(super) struct Wishes {
    #[serde(default)]
    lang: Option<String>,
    /// Set by the redirect after a question was sent.
    #[serde(default)]
    asked: Option<String>,
    /// The star that a letter's link chose; nothing is said by opening it.
    #[serde(default)]
    stars: Option<String>,
}

/// Why a page or a form is not answered as wished.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the inbox failed")]
    Sink(#[from] SinkError),
    #[error("the page cannot be written")]
    Page(#[from] super::PagesError),
    #[error("refused")]
    Refused(Notice),
}

impl From<Notice> for Failure {
    fn from(notice: Notice) -> Self {
        Self::Refused(notice)
    }
}

impl Failure {
    fn answer(&self, state: &PagesState, doing: &'static str) -> Response {
        match self {
            Self::Refused(notice) => state.notice(*notice),
            Self::Store(_) | Self::Sink(_) | Self::Page(_) => unavailable(state, doing, self),
        }
    }
}

/// Shows the order. Changes nothing.
pub(super) async fn show(
    State(state): State<PagesState>,
    Path(token): Path<String>,
    Query(wishes): Query<Wishes>,
) -> Response {
    match page(&state, &token, &wishes).await {
        Ok(response) => response,
        Err(failure) => failure.answer(&state, "show an order page"),
    }
}

async fn page(state: &PagesState, token: &str, wishes: &Wishes) -> Result<Response, Failure> {
    let inner = &state.inner;
    let facts = facts(state, token).await?;
    let language = Language::choose(wishes.lang.as_deref(), &facts.order.terms.locale);
    let content = values! {
        order => Value::from(Serde(OrderView::of(&facts, language))),
        token,
        form_token => inner.guard.form_token(token),
        form_id => facts.now.timestamp_micros(),
        asked => wishes.asked.is_some(),
        max_text => MAX_TEXT_CHARS,
        max_words => WORDS_CHARS_MAX,
        tags => FeedbackTag::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>(),
        chosen => rating::stars(wishes.stars.as_deref()),
        categories => ObjectionCategory::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>(),
    };
    let mut response = inner
        .pages
        .page("order.html", language, Policy::Strict, content)?;
    // A cookie's characters are those of base64url and of the token, which was found.
    if let Ok(cookie) = HeaderValue::from_str(&inner.guard.cookie("o", token)) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The order behind a link. A wrong link costs the same statements as a right one: the lookups run whatever the first
/// of them says.
async fn find_order(state: &PagesState, token: &str) -> Result<Order, Failure> {
    let store = &state.inner.store;
    let found = store.find_order_by_link(&token_hash(token)).await?;
    let nobody = OrderId::from_uuid(Uuid::nil());
    let order = store.find_order(found.unwrap_or(nobody)).await?;
    let now = store.now().await?;
    order
        .filter(|order| !order.is_erased())
        .filter(|order| !(ended(order) && order.update_time + LINK_LIFE_AFTER_END <= now))
        .ok_or(Failure::Refused(Notice::NotFound))
}

fn ended(order: &Order) -> bool {
    order.state.is_terminal()
}

async fn facts(state: &PagesState, token: &str) -> Result<Facts, Failure> {
    let order = find_order(state, token).await?;
    let inner = &state.inner;
    let (store, id) = (&inner.store, order.id);
    // Asked before the rounds: an answer that is applied in between is then shown as applied.
    let pending = inner.answers.pending(id).await?;
    let note = match order.state {
        OrderState::Cancelled | OrderState::Rejected | OrderState::Merged => None,
        _ => store.list_delivery_notes(id).await?.pop(),
    };
    Ok(Facts {
        rounds: store.list_rounds(id).await?,
        events: store.list_order_events(id, 0, EVENTS_MAX).await?.items,
        tracking: store.list_tracking_events(id).await?,
        feedback: store.find_feedback_about(id, Subject::DELIVERY).await?,
        now: store.now().await?,
        pending,
        note: note.filter(|note| note.revision == order.revision),
        order,
    })
}

/// The customer's yes.
pub(super) async fn confirm(
    State(state): State<PagesState>,
    Path(token): Path<String>,
    headers: HeaderMap,
    form: FormFields,
) -> Response {
    let work = async {
        let facts = allowed(&state, &token, &headers, &form).await?;
        let round = round(&facts, &form)?;
        let open = facts.open_round().is_some_and(|open| open.round == round);
        let answer = CustomerAnswer::Confirm {
            round,
            amount: open.then_some(facts.order.total),
        };
        hand_over(&state, &facts, &format!("{round}:confirm"), answer).await
    };
    answered(&state, &token, "", work.await)
}

/// The customer's no.
pub(super) async fn object(
    State(state): State<PagesState>,
    Path(token): Path<String>,
    headers: HeaderMap,
    form: FormFields,
) -> Response {
    let work = async {
        let facts = allowed(&state, &token, &headers, &form).await?;
        let round = round(&facts, &form)?;
        let answer = CustomerAnswer::Object {
            round,
            objection: objection(&facts.order, &form)?,
        };
        hand_over(&state, &facts, &format!("{round}:object"), answer).await
    };
    answered(&state, &token, "", work.await)
}

/// A question or a complaint.
pub(super) async fn ask(
    State(state): State<PagesState>,
    Path(token): Path<String>,
    headers: HeaderMap,
    form: FormFields,
) -> Response {
    let work = async {
        let facts = allowed(&state, &token, &headers, &form).await?;
        let text = words(&form, 1, MAX_TEXT_CHARS)?;
        // Tells two questions from one that was sent twice.
        let form_id: u64 = number(form.get("form_id"))?;
        let answer = CustomerAnswer::Ask { text };
        hand_over(&state, &facts, &format!("ask:{form_id}"), answer).await
    };
    answered(&state, &token, "?asked=1#ask", work.await)
}

/// How it was.
pub(super) async fn rate(
    State(state): State<PagesState>,
    Path(token): Path<String>,
    headers: HeaderMap,
    form: FormFields,
) -> Response {
    let work = async {
        let facts = allowed(&state, &token, &headers, &form).await?;
        if !facts.takes_feedback() {
            return Err(Notice::BadForm.into());
        }
        let form_id: u64 = number(form.get("form_id"))?;
        let answer = CustomerAnswer::Rate {
            answer: rating::read(&facts.order, &form)?,
        };
        hand_over(&state, &facts, &format!("rate:{form_id}"), answer).await
    };
    answered(&state, &token, "#rate", work.await)
}

/// The order that a form is about, if the form came from its page.
async fn allowed(
    state: &PagesState,
    token: &str,
    headers: &HeaderMap,
    form: &FormFields,
) -> Result<Facts, Failure> {
    let facts = facts(state, token).await?;
    if state
        .inner
        .guard
        .allows(token, headers, form.get("form_token"))
    {
        Ok(facts)
    } else {
        Err(Notice::Forbidden.into())
    }
}

/// The round that the page showed when the form was filled in: a yes to an older revision must not pass for a yes to
/// the newest.
fn round(facts: &Facts, form: &FormFields) -> Result<u32, Notice> {
    let round = number(form.get("round"))?;
    facts
        .rounds
        .iter()
        .any(|known| known.round == round)
        .then_some(round)
        .ok_or(Notice::BadForm)
}

pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, Notice> {
    text.parse().map_err(|_| Notice::BadForm)
}

fn objection(order: &Order, form: &FormFields) -> Result<Objection, Notice> {
    let category = number(form.get("category"))?;
    let mut line_numbers = form
        .all("line")
        .map(number)
        .collect::<Result<Vec<u32>, _>>()?;
    line_numbers.sort_unstable();
    line_numbers.dedup();
    let known = |number: &u32| order.lines.iter().any(|line| line.line_number == *number);
    if !line_numbers.iter().all(known) {
        return Err(Notice::BadForm);
    }
    Ok(Objection {
        category,
        line_numbers,
        text: words(form, 0, MAX_TEXT_CHARS)?,
    })
}

/// The customer's words with plain line ends: browsers send carriage returns that nobody typed, and count them as none.
pub(super) fn words(form: &FormFields, min: usize, max: usize) -> Result<String, Notice> {
    let text = form.get("text").replace("\r\n", "\n");
    checked_text(text.trim(), min, max, TextKind::MultiLine).map_err(|_| Notice::BadForm)
}

async fn hand_over(
    state: &PagesState,
    facts: &Facts,
    event: &str,
    answer: CustomerAnswer,
) -> Result<(), Failure> {
    let order = facts.order.id;
    let event_id = format!("{}:{event}", order.as_uuid());
    state
        .inner
        .answers
        .receive(order, &event_id, answer)
        .await?;
    Ok(())
}

/// Sends the browser back to the page, so that loading it again sends nothing again.
fn answered(state: &PagesState, token: &str, then: &str, result: Result<(), Failure>) -> Response {
    if let Err(failure) = result {
        return failure.answer(state, "take an answer from an order page");
    }
    // Relative, so that it holds behind a proxy that adds a path.
    HeaderValue::from_str(&format!("../{token}{then}")).map_or_else(
        |_| state.notice(Notice::NotFound),
        |location| (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
    )
}
