//! `QuerySendDetails`: what the cloud has sent to a number on a day.

use std::collections::BTreeSet;

use chrono::{DateTime, FixedOffset, NaiveDate, TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{answer, api::Api, number::national};
use crate::channel::{
    DeliveryStatus, Doubtful, Reason, ReasonCode, Reconciled,
    exchange::{Answer, Unanswered},
};

/// The most that a page takes.
const PAGE_SIZE: usize = 50;
/// A number gets fifty messages a day of one kind; beyond this many pages somebody else is asking for trouble.
const PAGES_MAX: usize = 4;
/// The cloud keeps its record so long.
const KEPT: TimeDelta = TimeDelta::days(30);
/// The cloud may date a message a little later than we began to send it: near midnight it is on the next day.
const SENDING_MAX: TimeDelta = TimeDelta::minutes(5);
/// The cloud's days are those of China.
const CHINA_SECONDS_EAST: i32 = 8 * 3_600;

#[derive(Deserialize)]
struct Details {
    /// Number or text, as the kits differ.
    #[serde(rename = "TotalCount")]
    total: Option<Value>,
    #[serde(rename = "SmsSendDetailDTOs")]
    list: Option<List>,
}

#[derive(Deserialize)]
struct List {
    #[serde(rename = "SmsSendDetailDTO", default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
pub(in crate::channel) struct Detail {
    #[serde(rename = "OutId")]
    out_id: Option<String>,
    #[serde(rename = "SendStatus")]
    status: Option<i64>,
}

/// What a day's list says.
enum Day {
    /// The best of our tries on it.
    Found(Uuid, DeliveryStatus),
    /// None of our tries, but messages to the number.
    Others,
    Nothing,
}

/// Looks for the tries of a message. The answer carries no id of the cloud's own, so ours stands for it. A try whose id is not
/// on record any more cannot be told from another message to the same number.
pub(super) async fn find(api: &Api, message: &Doubtful, now: DateTime<Utc>) -> Reconciled {
    let mut best: Option<(Uuid, DeliveryStatus)> = None;
    let mut others = false;
    if message
        .unrecorded_since
        .is_some_and(|since| now - since > KEPT)
    {
        return Reconciled::NobodyToAsk;
    }
    for date in dates(message, now) {
        match find_on(api, message, date, now).await {
            Ok(Day::Found(id, status)) => {
                if best.is_none_or(|(_, known)| status > known) {
                    best = Some((id, status));
                }
            }
            Ok(Day::Others) => others = true,
            Ok(Day::Nothing) => {}
            Err(reason) => {
                if best.is_none() {
                    return Reconciled::Unknown { reason };
                }
            }
        }
    }
    match best {
        Some((id, status)) => Reconciled::Accepted {
            provider_id: id.to_string(),
            status,
            by_our_key: true,
        },
        None if others && message.unrecorded_since.is_some() => Reconciled::NobodyToAsk,
        None => Reconciled::NotFound,
    }
}

async fn find_on(
    api: &Api,
    message: &Doubtful,
    date: NaiveDate,
    now: DateTime<Utc>,
) -> Result<Day, Reason> {
    let date = date.format("%Y%m%d").to_string();
    let page_size = PAGE_SIZE.to_string();
    let mut seen = 0;
    for page in 1..=PAGES_MAX {
        let page = page.to_string();
        let parameters = [
            ("PhoneNumber", national(message.to.expose_secret())),
            ("SendDate", date.as_str()),
            ("PageSize", page_size.as_str()),
            ("CurrentPage", page.as_str()),
        ];
        let answer = match api.call("QuerySendDetails", &parameters, now).await {
            Ok(answer) => answer,
            Err(Unanswered::NotSent(reason)) => return Err(reason),
            Err(Unanswered::InDoubt(text)) => {
                return Err(Reason::new(ReasonCode::Unconfirmed, text));
            }
        };
        let (total, details) = read(&answer)?;
        seen += details.len();
        let found = details
            .iter()
            .filter_map(|detail| ours(detail, message))
            .max_by_key(|(_, status)| *status);
        if let Some((id, status)) = found {
            return Ok(Day::Found(id, status));
        }
        if seen >= total {
            return Ok(if seen > 0 { Day::Others } else { Day::Nothing });
        }
        if details.is_empty() {
            break;
        }
    }
    let text = "the list of sent messages is not whole";
    Err(Reason::new(ReasonCode::UnreadableAnswer, text))
}

pub(in crate::channel) fn read(answer: &Answer) -> Result<(usize, Vec<Detail>), Reason> {
    let status = answer.status.as_u16();
    let unreadable = || {
        let text = format!("http {status} to a question, unreadable");
        Reason::new(ReasonCode::UnreadableAnswer, text)
    };
    match answer::code(answer).as_deref() {
        Ok("OK") if answer.status.is_success() => {}
        Ok(code) => {
            let text = format!("http {status} {code} to a question about a message");
            return Err(Reason::new(ReasonCode::GatewayFailed, text));
        }
        Err(_) => return Err(unreadable()),
    }
    let body = answer.body.as_deref().map_err(|_| unreadable())?;
    let read: Details = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let total = match read.total {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let total = total
        .and_then(|total| usize::try_from(total).ok())
        .ok_or_else(unreadable)?;
    Ok((total, read.list.map_or_else(Vec::new, |list| list.details)))
}

fn ours(detail: &Detail, message: &Doubtful) -> Option<(Uuid, DeliveryStatus)> {
    let id: Uuid = detail.out_id.as_deref()?.parse().ok()?;
    let known = message.attempts.iter().any(|attempt| attempt.id == id);
    let status = match detail.status {
        Some(2) => DeliveryStatus::Failed,
        Some(3) => DeliveryStatus::Delivered,
        // 1: no news of it yet. Whatever else there may be says that the cloud has it.
        _ => DeliveryStatus::Sent,
    };
    known.then_some((id, status))
}

/// The days, in China, on which the cloud may have sent a try of this message.
fn dates(message: &Doubtful, now: DateTime<Utc>) -> BTreeSet<NaiveDate> {
    let day = |time: DateTime<Utc>| {
        let shifted =
            FixedOffset::east_opt(CHINA_SECONDS_EAST).map(|zone| time.with_timezone(&zone));
        shifted.map_or_else(|| time.date_naive(), |time| time.date_naive())
    };
    let recorded = message.attempts.iter().flat_map(|attempt| {
        let begun = attempt.start_time;
        [day(begun), day((begun + SENDING_MAX).min(now.max(begun)))]
    });
    let unrecorded = message.unrecorded_since.into_iter().flat_map(|since| {
        let days = day(since).iter_days();
        days.take_while(|date| *date <= day(now))
    });
    recorded.chain(unrecorded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::DoubtfulAttempt;

    fn begun(times: &[&str]) -> Doubtful {
        Doubtful {
            message_id: Uuid::nil(),
            generation: 1,
            attempts: times
                .iter()
                .map(|time| DoubtfulAttempt {
                    id: Uuid::nil(),
                    start_time: time.parse().unwrap(),
                })
                .collect(),
            unrecorded_since: None,
            to: "+8613800138000".into(),
            content: None,
            taken: std::collections::HashSet::new(),
        }
    }

    #[test]
    fn the_days_are_those_of_china_and_near_midnight_there_are_two() {
        let dates = |times: &[&str]| -> Vec<String> {
            let now = "2026-08-27T12:00:00Z".parse().unwrap();
            let found = super::dates(&begun(times), now);
            found
                .iter()
                .map(|it| it.format("%Y%m%d").to_string())
                .collect()
        };
        assert_eq!(dates(&["2026-08-26T10:00:00Z"]), ["20260826"]);
        assert_eq!(dates(&["2026-08-25T16:00:00Z"]), ["20260826"]);
        assert_eq!(dates(&["2026-08-25T15:58:00Z"]), ["20260825", "20260826"]);
        assert_eq!(
            dates(&["2026-08-25T10:00:00Z", "2026-08-26T10:00:00Z"]),
            ["20260825", "20260826"]
        );
    }

    #[test]
    fn after_a_restore_every_day_since_is_looked_at() {
        let message = Doubtful {
            unrecorded_since: Some("2026-08-25T10:00:00Z".parse().unwrap()),
            ..begun(&["2026-08-23T10:00:00Z"])
        };
        let found = dates(&message, "2026-08-27T12:00:00Z".parse().unwrap());
        let found: Vec<_> = found.iter().map(|it| it.format("%d").to_string()).collect();
        assert_eq!(found, ["23", "25", "26", "27"]);
    }
}
