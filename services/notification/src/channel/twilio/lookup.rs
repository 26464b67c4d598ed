//! Looking for a message in doubt in the account's own lists. Twilio keeps no key of ours, so a message is known by whom it
//! went to, whom it came from, what it said, and when it was made.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, Url};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{
    super::{
        Content, DeliveryStatus, Doubtful, Reason, ReasonCode, Reconciled,
        exchange::{Unanswered, exchange},
    },
    Kind, TwilioFrom, TwilioSender,
};

/// Entries asked for at once: they must fit into what we read of an answer.
const PAGE_SIZE: &str = "20";
/// Pages read for one question.
const PAGES_MAX: usize = 10;
/// How far Twilio's clock and ours may be apart.
const SKEW: TimeDelta = TimeDelta::seconds(60);
/// Longest time from the start of a try to the making of its message: the time limit of a request.
const TAKEN_WITHIN: TimeDelta = TimeDelta::seconds(20);

#[derive(Deserialize)]
pub(in crate::channel) struct Page {
    #[serde(default)]
    messages: Option<Vec<Entry>>,
    #[serde(default)]
    calls: Option<Vec<Entry>>,
    next_page_uri: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Entry {
    sid: String,
    to: Option<String>,
    from: Option<String>,
    messaging_service_sid: Option<String>,
    body: Option<String>,
    date_created: Option<String>,
    status: String,
}

impl TwilioSender {
    pub(super) async fn look_up(&self, message: &Doubtful, now: DateTime<Utc>) -> Reconciled {
        let kind = self.kind;
        match self.find(message, now).await {
            Err(reason) => Reconciled::Unknown { reason },
            Ok(found) => match found.as_slice() {
                [] => Reconciled::NotFound,
                // Calls to this number there were, and any of them may have been another message's: neither answer is safe.
                [..] if message.unrecorded_since.is_some() && !is_told_by_words(message) => {
                    Reconciled::NobodyToAsk
                }
                // Without the text, or for calls that have none, one of several would be a guess.
                [_, _, ..] if kind == Kind::Call || message.content.is_none() => {
                    let text = "several messages to this number; a person must tell which";
                    Reconciled::Unknown {
                        reason: Reason::new(ReasonCode::Unconfirmed, text),
                    }
                }
                [found, ..] => {
                    self.recent.note(&found.sid, message.message_id);
                    Reconciled::Accepted {
                        provider_id: found.sid.clone(),
                        status: status(&found.status),
                        by_our_key: false,
                    }
                }
            },
        }
    }

    async fn find(&self, message: &Doubtful, now: DateTime<Utc>) -> Result<Vec<Entry>, Reason> {
        let unreadable = |text| Reason::new(ReasonCode::UnreadableAnswer, text);
        let mut found = Vec::new();
        let mut next = Some(self.first_page(message)?);
        for _ in 0..PAGES_MAX {
            let Some(url) = next.take() else {
                return Ok(found);
            };
            let page = self.page(url, now).await?;
            let entries = match self.kind {
                Kind::Sms => page.messages,
                Kind::Call => page.calls,
            };
            let entries = entries.ok_or_else(|| unreadable("the list is missing"))?;
            found.extend(
                entries
                    .into_iter()
                    .filter(|entry| self.is_it(message, entry)),
            );
            next = match page.next_page_uri {
                Some(path) if path.starts_with('/') && !path.starts_with("//") => Some(
                    self.account
                        .join(&path)
                        .map_err(|_| unreadable("the next page has no address"))?,
                ),
                Some(_) => return Err(unreadable("the next page is elsewhere")),
                None => None,
            };
        }
        if next.is_some() && found.is_empty() {
            return Err(unreadable("more messages than are looked through"));
        }
        Ok(found)
    }

    fn first_page(&self, message: &Doubtful) -> Result<Url, Reason> {
        let mut url = self.account.join(self.kind.resource()).map_err(|_| {
            Reason::new(ReasonCode::Misconfigured, "Twilio's address cannot be made")
        })?;
        let since = match self.kind {
            Kind::Sms => "DateSent>",
            Kind::Call => "StartTime>",
        };
        let mut query = url.query_pairs_mut();
        query.append_pair("To", message.to.expose_secret());
        let begun = message.attempts.iter().map(|attempt| attempt.start_time);
        if let Some(first) = begun.chain(message.unrecorded_since).min() {
            // Days, in UTC; the exact time is looked at below.
            let day = (first - TimeDelta::hours(1)).date_naive();
            query.append_pair(since, &day.to_string());
        }
        query.append_pair("PageSize", PAGE_SIZE);
        drop(query);
        Ok(url)
    }

    async fn page(&self, url: Url, now: DateTime<Utc>) -> Result<Page, Reason> {
        let request = self.request(Method::GET, url);
        let answer = match exchange(request, self.total, now).await {
            Ok(answer) => answer,
            Err(Unanswered::NotSent(reason)) => return Err(reason),
            Err(Unanswered::InDoubt(text)) => {
                return Err(Reason::new(ReasonCode::Unconfirmed, text));
            }
        };
        match (answer.status.as_u16(), answer.body) {
            (200, Ok(body)) => read(&body),
            (200, Err(text)) => Err(Reason::new(ReasonCode::UnreadableAnswer, text)),
            (status, _) => {
                let text = format!("http {status} to a question about a message");
                Err(Reason::new(ReasonCode::GatewayFailed, text))
            }
        }
    }

    fn is_it(&self, message: &Doubtful, entry: &Entry) -> bool {
        let ours = match &self.from {
            TwilioFrom::Number(number) => entry.from.as_ref() == Some(number),
            TwilioFrom::MessagingService(sid) => entry.messaging_service_sid.as_ref() == Some(sid),
        };
        let same_words = match &message.content {
            Some(Content::Sms(sms)) => entry.body.as_ref() == Some(&sms.text),
            _ => true,
        };
        let made = entry
            .date_created
            .as_deref()
            .and_then(|text| DateTime::parse_from_rfc2822(text).ok())
            .map(|time| time.to_utc());
        let in_time = made.is_some_and(|made| {
            let recorded = message.attempts.iter().any(|attempt| {
                (attempt.start_time - SKEW..=attempt.start_time + TAKEN_WITHIN + SKEW)
                    .contains(&made)
            });
            let unrecorded = message.unrecorded_since;
            recorded || unrecorded.is_some_and(|since| since - SKEW <= made)
        });
        self.kind.owns(&entry.sid)
            && ours
            && same_words
            && in_time
            && entry.to.as_deref() == Some(message.to.expose_secret())
            && !message.taken.contains(&entry.sid)
            && !self.recent.is_of_another(&entry.sid, message.message_id)
    }
}

/// A page of what was sent.
pub(in crate::channel) fn read(body: &[u8]) -> Result<Page, Reason> {
    serde_json::from_slice(body)
        .map_err(|_| Reason::new(ReasonCode::UnreadableAnswer, "the list cannot be read"))
}

/// Whether what was said tells this message from all others to the same number. Calls all say the same to Twilio.
const fn is_told_by_words(message: &Doubtful) -> bool {
    matches!(message.content, Some(Content::Sms(_)))
}

/// Where a message or call is, in our words. What is new to us is under way.
fn status(word: &str) -> DeliveryStatus {
    match word {
        "delivered" | "read" | "completed" => DeliveryStatus::Delivered,
        "undelivered" | "failed" | "canceled" => DeliveryStatus::Failed,
        "busy" => DeliveryStatus::Busy,
        "no-answer" => DeliveryStatus::NoAnswer,
        "queued" | "accepted" | "scheduled" => DeliveryStatus::Queued,
        _ => DeliveryStatus::Sent,
    }
}
