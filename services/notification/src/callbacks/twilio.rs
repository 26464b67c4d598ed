//! Twilio's callbacks: signed by the account's token over the public address, stored, answered.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, OriginalUri, State},
    http::{HeaderMap, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use countersign_domain::{
    confirmation::{ConfirmationState, Objection, ObjectionCategory},
    decide::CallOutcome,
    ids::{DeliveryId, OrderId},
    message::Delivery,
    order::Channel,
    reply::ReplyContent,
};
use countersign_store::{Store, StoreError};

use crate::{
    channel::{
        CallScript, Content, KeyMeaning,
        gateway::parse_key,
        twilio::{
            Turn,
            callback::{self, Form, News},
            callback_url,
            signature::{HEADER, TwilioSignature},
            twiml,
        },
    },
    context::{Writer, language},
    inbox::{Inbox, ReplyInput},
    template::library::Library,
};

/// The longest callback that is read.
const MAX_BODY: usize = 64 * 1024;
/// How often a call asks again when it gets no answer that it knows.
const MISSES_MAX: u32 = 2;
/// How often a call speaks at most, whatever is pressed.
const TURNS_MAX: u32 = 9;

/// What the callbacks need.
#[derive(Clone)]
pub(crate) struct TwilioCallbacks {
    pub(crate) channel: Channel,
    pub(crate) account_sid: String,
    pub(crate) signature: TwilioSignature,
    /// As Twilio was told it, without a slash at its end.
    pub(crate) public_url: String,
    pub(crate) inbox: Inbox,
    pub(crate) store: Store,
    pub(crate) library: Arc<Library>,
    pub(crate) writer: Writer,
}

/// The callbacks of one channel under `/callbacks/twilio`.
pub(crate) fn router(state: TwilioCallbacks) -> Router {
    let router = Router::new();
    let router = if state.channel == Channel::Phone {
        router
            .route("/callbacks/twilio/voice/status", post(status))
            .route("/callbacks/twilio/voice/gather", post(gather))
    } else {
        router
            .route("/callbacks/twilio/sms/status", post(status))
            .route("/callbacks/twilio/sms/reply", post(reply))
    };
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

/// A call that is under way.
struct Call {
    delivery: Delivery,
    script: CallScript,
    /// What it asks has been answered otherwise since.
    is_answered: bool,
}

/// What is signed, or how to refuse it. The body is not repeated, nothing is stored.
struct Told {
    query: Form,
    form: Form,
}

impl TwilioCallbacks {
    const fn source(&self) -> &'static str {
        match self.channel {
            Channel::Phone => "TWILIO_VOICE",
            Channel::Sms | Channel::Email => "TWILIO_SMS",
        }
    }

    fn read(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Told, StatusCode> {
        // The address by which Twilio knows us, whatever a proxy made of it on the way.
        let path = uri.path_and_query().map_or("", |it| it.as_str());
        let url = format!("{}{path}", self.public_url);
        let given = headers
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let is_form = headers.get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .to_ascii_lowercase()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        let form = Form::parse(if is_form { body } else { b"" });
        let signed = if is_form {
            self.signature.verify_form(&url, form.fields(), given)
        } else {
            self.signature.verify_body(&url, body, given)
        };
        let account = form.get("AccountSid");
        if !signed || (is_form && account != self.account_sid) {
            tracing::warn!(source = self.source(), "a callback was refused");
            return Err(StatusCode::FORBIDDEN);
        }
        if !is_form {
            return Err(StatusCode::BAD_REQUEST);
        }
        Ok(Told {
            query: Form::parse(uri.query().unwrap_or_default().as_bytes()),
            form,
        })
    }

    async fn store(&self, news: News, order: Option<OrderId>) -> Result<(), StatusCode> {
        if news.event_id.chars().count() > 191 {
            return Err(StatusCode::BAD_REQUEST);
        }
        let input = ReplyInput {
            source: self.source(),
            source_event_id: news.event_id,
            order,
            content: news.content,
        };
        self.inbox.receive(input).await.map(drop).map_err(not_now)
    }

    /// What a call is about and says, as long as there is such a message and it can still be written.
    async fn call(&self, query: &Form) -> Result<Option<Call>, StoreError> {
        let Some((id, generation)) = parse_key(query.get("key")) else {
            return Ok(None);
        };
        let delivery = self.store.find_delivery(DeliveryId::from_uuid(id)).await?;
        let Some(delivery) =
            delivery.filter(|it| it.generation == generation && it.channel == Channel::Phone)
        else {
            return Ok(None);
        };
        let Some(order) = self.store.find_order(delivery.order_id).await? else {
            return Ok(None);
        };
        let round = if delivery.round > 0 {
            self.store
                .find_round(delivery.order_id, delivery.round)
                .await?
        } else {
            None
        };
        let of = [order.id].into();
        let links = self.writer.older_links(&self.store, &of).await?;
        let link = links.get(&order.id);
        let context =
            self.writer
                .context(&delivery, &order, round.as_ref(), link.map(String::as_str));
        let locale = language(&order);
        let words = self.library.words_of(&delivery, locale).await?;
        let kind = delivery.kind.as_str();
        let written = words.write(kind, Channel::Phone, locale, &context);
        Ok(match written {
            Ok(Content::Call(script)) => Some(Call {
                is_answered: round.is_some_and(|round| round.state != ConfirmationState::Open),
                delivery,
                script,
            }),
            _ => None,
        })
    }
}

/// Twilio comes again after a failure of ours, as the address asks it to.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn not_now(error: StoreError) -> StatusCode {
    tracing::warn!(error = %error, "a callback could not be stored; Twilio is to come again");
    StatusCode::SERVICE_UNAVAILABLE
}

async fn status(
    State(state): State<TwilioCallbacks>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, StatusCode> {
    let told = state.read(&uri, &headers, &body)?;
    let all = match state.channel {
        Channel::Phone => callback::call_status(&told.query, &told.form),
        Channel::Sms | Channel::Email => callback::sms_status(&told.query, &told.form),
    };
    for news in all {
        state.store(news, None).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn reply(
    State(state): State<TwilioCallbacks>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, StatusCode> {
    let told = state.read(&uri, &headers, &body)?;
    if let Some(news) = callback::sms_received(&told.form) {
        state.store(news, None).await?;
    }
    Ok(markup(twiml::EMPTY.to_owned()))
}

async fn gather(
    State(state): State<TwilioCallbacks>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, StatusCode> {
    let Told { query, form } = state.read(&uri, &headers, &body)?;
    let sid = form.get("CallSid");
    let call = state.call(&query).await.map_err(not_now)?;
    // A machine presses no keys, whatever it plays to us.
    let Some(call) = call.filter(|_| !callback::is_machine(&form) && !sid.is_empty()) else {
        return Ok(markup(twiml::hang_up()));
    };
    let Call {
        delivery,
        script,
        is_answered,
    } = call;
    let words = twiml::words(&script.language);
    let at = callback::turn(&query);
    let digits = form.get("Digits");
    let means = script
        .keys
        .iter()
        .find(|key| key.digit == digits)
        .map(|key| key.means);
    // Who answered by the link while the telephone rang is not asked again; a wish to speak to a person is still heard.
    if is_answered && means != Some(KeyMeaning::Person) {
        return Ok(markup(twiml::end(&script.language, words.answered)));
    }
    let again = |before, misses| {
        let next = Turn {
            turn: at.turn.saturating_add(1),
            misses,
        };
        let base = format!("{}/callbacks/twilio", state.public_url);
        let (attempt, key) = (query.get("attempt"), query.get("key"));
        let action = callback_url(&base, "voice/gather", attempt, key, Some(next));
        twiml::ask(&script, before, &action)
    };
    let (content, goodbye) = match means {
        Some(KeyMeaning::Confirm) => (
            answered(&delivery, CallOutcome::AnsweredConfirmed, sid, digits),
            words.confirmed,
        ),
        Some(KeyMeaning::Object) => (
            answered(&delivery, CallOutcome::AnsweredObjected, sid, digits),
            words.objected,
        ),
        Some(KeyMeaning::Person) => (wants_a_person(), words.person),
        Some(KeyMeaning::Repeat) if at.turn < TURNS_MAX => {
            return Ok(markup(again(None, at.misses)));
        }
        None if at.misses < MISSES_MAX && at.turn < TURNS_MAX => {
            let before = (!digits.is_empty()).then_some(words.unknown_key);
            return Ok(markup(again(before, at.misses + 1)));
        }
        Some(KeyMeaning::Repeat) | None => {
            return Ok(markup(twiml::end(&script.language, words.goodbye)));
        }
    };
    // A call is over with its first answer, so it has one: whatever is posted after it is the same reply.
    let news = News {
        event_id: format!("{sid}-gather"),
        content,
    };
    state.store(news, Some(delivery.order_id)).await?;
    Ok(markup(twiml::end(&script.language, goodbye)))
}

/// A key is a person's answer to the question of this delivery's round.
fn answered(delivery: &Delivery, outcome: CallOutcome, sid: &str, digits: &str) -> ReplyContent {
    ReplyContent::Call {
        round: Some(delivery.round).filter(|round| *round > 0),
        outcome,
        call_id: sid.to_owned(),
        digits: digits.to_owned(),
        objection: (outcome == CallOutcome::AnsweredObjected).then(|| Objection {
            category: ObjectionCategory::Other,
            line_numbers: Vec::new(),
            text: String::new(),
        }),
    }
}

/// A question for staff, as any other.
pub(crate) fn wants_a_person() -> ReplyContent {
    ReplyContent::Words {
        channel: "PHONE".to_owned(),
        text: "Asks to be rung back by a member of staff (key pressed in a call).".to_owned(),
    }
}

fn markup(twiml: String) -> Response {
    ([(CONTENT_TYPE, "text/xml; charset=utf-8")], twiml).into_response()
}
