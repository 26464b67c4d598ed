//! What the order page shows of an order. The link may have been passed on, so of the person there is only the first
//! letter of the name and the city (RELIABILITY F-19); free words are made safe to read.

use chrono::{DateTime, Utc};
use countersign_domain::{
    confirmation::{AnswerChannel, ConfirmationMode, ConfirmationState, Round},
    document::DeliveryNote,
    event::{EventKind, OrderEvent},
    feedback::Feedback,
    line::OrderLine,
    money::Money,
    order::{Order, OrderState, PaymentMethod},
    text::display_safe,
    tracking::{REASON_PREFIXES, TrackingEvent},
};
use serde::Serialize;

use super::{
    answer::CustomerAnswer,
    rating::RatingView,
    words::{Language, zone_name},
};

/// Everything that the page is made from.
pub(super) struct Facts {
    pub(super) order: Order,
    pub(super) rounds: Vec<Round>,
    pub(super) pending: Vec<CustomerAnswer>,
    pub(super) events: Vec<OrderEvent>,
    pub(super) tracking: Vec<TrackingEvent>,
    pub(super) note: Option<DeliveryNote>,
    pub(super) feedback: Option<Feedback>,
    pub(super) now: DateTime<Utc>,
}

/// The page's content; codes are turned into words by the template.
#[derive(Serialize)]
pub(super) struct OrderView {
    number: Option<String>,
    reference: String,
    revision: u32,
    name: String,
    city: String,
    state: &'static str,
    end: bool,
    lines: Vec<LineView>,
    goods: Option<String>,
    freight: Option<String>,
    discount: Option<String>,
    total: String,
    payment: &'static str,
    window: Option<String>,
    promised: Option<String>,
    delivered: Option<String>,
    question: Option<Question>,
    answer: Option<AnswerView>,
    recording: Option<&'static str>,
    note: Option<NoteView>,
    rate: Option<RatingView>,
    waits: bool,
    timeline: Vec<Entry>,
    zone: String,
}

#[derive(Serialize)]
struct LineView {
    line_number: u32,
    goods_name: String,
    specification: String,
    quantity: String,
    unit_price: String,
    amount: String,
    cancelled: Option<String>,
    gone: bool,
}

/// The open round: what is asked and until when.
#[derive(Serialize)]
struct Question {
    round: u32,
    deadline: String,
    silence_confirms: bool,
}

/// How the last round ended.
#[derive(Serialize)]
struct AnswerView {
    kind: &'static str,
    time: Option<String>,
    channel: Option<&'static str>,
    category: Option<&'static str>,
    line_numbers: Vec<u32>,
}

#[derive(Serialize)]
struct NoteView {
    number: String,
    items: usize,
    units: i64,
    collect: Option<String>,
    made: String,
}

/// Something that happened, newest first.
#[derive(Serialize)]
struct Entry {
    /// "event" or "tracking": the vocabulary of `code`.
    kind: &'static str,
    code: &'static str,
    time: String,
    place: String,
    cause: Option<&'static str>,
    #[serde(skip)]
    at: DateTime<Utc>,
}

impl OrderView {
    pub(super) fn of(facts: &Facts, language: Language) -> Self {
        let order = &facts.order;
        let (terms, zone) = (&order.terms, order.terms.time_zone);
        let currency = order.total.currency;
        let time = |at: DateTime<Utc>| language.time(at, zone);
        let part = |minor: i64| (minor != 0).then(|| Money::new(minor, currency).to_string());
        let last = facts.rounds.last();
        let recording = facts.recording();
        let question = facts
            .open_round()
            .filter(|_| recording.is_none())
            .map(|round| Question {
                round: round.round,
                deadline: time(round.expire_time),
                silence_confirms: round.mode == ConfirmationMode::Tacit,
            });
        let until = order.progress.feedback_until.map(time).unwrap_or_default();
        let rate = RatingView::of(facts, until);
        Self {
            waits: recording.is_some() || rate.as_ref().is_some_and(RatingView::is_recording),
            rate,
            number: order.order_number.as_ref().map(ToString::to_string),
            reference: display_safe(&order.client_reference),
            revision: order.revision,
            name: initial(&terms.contact.display_name),
            city: display_safe(city(order)),
            state: order.state.as_str(),
            end: order.state.is_terminal(),
            lines: order.lines.iter().map(LineView::of).collect(),
            goods: goods(order),
            freight: part(terms.freight_minor),
            discount: part(-terms.discount_minor),
            total: order.total.to_string(),
            payment: terms.payment_method.as_str(),
            window: terms
                .delivery
                .requested_window
                .map(|window| language.window(window, zone)),
            promised: order.promised_delivery_time.map(time),
            delivered: order.deliver_time.map(time),
            question,
            answer: last
                .filter(|_| recording.is_none())
                .and_then(|round| AnswerView::of(round, facts.now, &time)),
            recording,
            note: facts
                .note
                .as_ref()
                .map(|note| NoteView::of(note, time(note.create_time))),
            timeline: timeline(facts, &time),
            zone: zone_name(zone, facts.now),
        }
    }
}

impl Facts {
    /// The round that still takes an answer.
    pub(super) fn open_round(&self) -> Option<&Round> {
        self.rounds
            .last()
            .filter(|round| round.takes_answer_at(self.now))
            .filter(|_| self.order.state == OrderState::AwaitingConfirmation)
    }

    /// "confirm" or "object" while the first answer to the open round waits for the order-service.
    fn recording(&self) -> Option<&'static str> {
        let round = self
            .rounds
            .last()
            .filter(|round| round.state == ConfirmationState::Open)?;
        self.pending
            .iter()
            .find_map(|answer| match answer {
                CustomerAnswer::Confirm { .. } => Some((answer.round(), "confirm")),
                CustomerAnswer::Object { .. } => Some((answer.round(), "object")),
                CustomerAnswer::Rate { .. } | CustomerAnswer::Ask { .. } => None,
            })
            .filter(|(answered, _)| *answered == Some(round.round))
            .map(|(_, kind)| kind)
    }
}

/// The first letter of a name; stars stand for the rest, however long it is.
fn initial(name: &str) -> String {
    name.trim()
        .chars()
        .find(|c| c.is_alphanumeric())
        .map(|first| format!("{first}**"))
        .unwrap_or_default()
}

fn city(order: &Order) -> &str {
    let address = &order.terms.delivery.address;
    if address.locality.is_empty() {
        &address.administrative_area
    } else {
        &address.locality
    }
}

/// The goods alone, before freight and discount; only where the parts make the total, which is what counts.
fn goods(order: &Order) -> Option<String> {
    let zero = Money::zero(order.total.currency);
    let goods = order.lines.iter().try_fold(zero, |sum, line| {
        sum.checked_add(line.unit_price.checked_mul(line.counters.wanted())?)
    });
    let goods = goods.ok()?;
    let minor = goods
        .minor
        .checked_add(order.terms.freight_minor)?
        .checked_sub(order.terms.discount_minor)?;
    (minor == order.total.minor).then(|| goods.to_string())
}

impl LineView {
    fn of(line: &OrderLine) -> Self {
        let with_unit = |quantity: i64| {
            format!("{quantity} {}", display_safe(&line.unit))
                .trim_end()
                .to_owned()
        };
        let gone = line.counters.wanted() == 0;
        // A line that is called off shows what it was, struck through.
        let quantity = if gone {
            line.counters.ordered
        } else {
            line.counters.wanted()
        };
        Self {
            line_number: line.line_number,
            goods_name: display_safe(&line.goods_name),
            specification: display_safe(&line.specification),
            quantity: with_unit(quantity),
            unit_price: line.unit_price.to_string(),
            amount: line
                .unit_price
                .checked_mul(quantity)
                .map(|amount| amount.to_string())
                .unwrap_or_default(),
            cancelled: (line.counters.cancelled > 0).then(|| with_unit(line.counters.cancelled)),
            gone,
        }
    }
}

impl AnswerView {
    /// Nothing for a round that is open or gave way to another. The customer's words are not shown again: they may
    /// name what a finder of the link must not see.
    fn of(
        round: &Round,
        now: DateTime<Utc>,
        time: &impl Fn(DateTime<Utc>) -> String,
    ) -> Option<Self> {
        let kind = match round.state {
            ConfirmationState::Accepted => "ACCEPTED",
            ConfirmationState::Tacit => "TACIT",
            ConfirmationState::Objected => "OBJECTED",
            ConfirmationState::Expired => "EXPIRED",
            ConfirmationState::Open if now >= round.expire_time => "EXPIRED",
            ConfirmationState::Open | ConfirmationState::Superseded => return None,
        };
        let objection = round.details.objection.as_ref();
        Some(Self {
            kind,
            time: round.details.answer_time.map(time),
            channel: round.details.answer_channel.map(AnswerChannel::as_str),
            category: objection.map(|it| it.category.as_str()),
            line_numbers: objection
                .map(|it| it.line_numbers.clone())
                .unwrap_or_default(),
        })
    }
}

impl NoteView {
    fn of(note: &DeliveryNote, made: String) -> Self {
        let collects =
            note.payment_method == PaymentMethod::CashOnDelivery && note.collect_minor > 0;
        Self {
            number: format!("{}-{}", note.order_number, note.revision),
            items: note.lines.len(),
            units: note.lines.iter().map(|line| line.quantity).sum(),
            collect: collects
                .then(|| Money::new(note.collect_minor, note.total.currency).to_string()),
            made,
        }
    }
}

/// Public events and news of the goods, newest first. News is told by the news itself, not by the event that recorded it.
fn timeline(facts: &Facts, time: &impl Fn(DateTime<Utc>) -> String) -> Vec<Entry> {
    let events = facts
        .events
        .iter()
        .filter(|event| event.kind.is_public() && event.kind != EventKind::Tracked)
        .map(|event| Entry {
            kind: if event.kind == EventKind::Progressed {
                "state"
            } else {
                "event"
            },
            code: if event.kind == EventKind::Progressed {
                event.to_state.as_str()
            } else {
                event.kind.as_str()
            },
            time: time(event.create_time),
            place: String::new(),
            cause: None,
            at: event.create_time,
        });
    let tracking = facts.tracking.iter().map(|news| Entry {
        kind: "tracking",
        code: news.status.as_str(),
        time: time(news.report_time),
        place: display_safe(&news.details.place),
        cause: REASON_PREFIXES.iter().copied().find(|prefix| {
            news.reason
                .strip_prefix(prefix)
                .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        }),
        at: news.report_time,
    });
    let mut entries: Vec<Entry> = events.chain(tracking).collect();
    // Stable: of events at the same time the later one stays later.
    entries.sort_by_key(|entry| entry.at);
    entries.reverse();
    entries
}
