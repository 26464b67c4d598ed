//! What Twilio's answer to a POST means for the message (RELIABILITY 3.4, D-04 to D-16).

use serde::Deserialize;

use super::{
    super::{Outcome, Reason, ReasonCode, answer::shape, exchange::Answer},
    Kind,
    codes::{Refusal, refusal},
};

#[derive(Deserialize)]
struct Resource {
    sid: String,
    account_sid: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    code: u32,
}

/// The class of an answer to a message to `to` that was posted to `account`.
pub(in crate::channel) fn classify(
    answer: &Answer,
    kind: Kind,
    account: &str,
    to: &str,
) -> Outcome {
    let status = answer.status.as_u16();
    match status {
        200..=299 => accepted(status, answer, kind, account, to),
        300..=399 => {
            let text = format!("http {status}, not followed");
            Outcome::not_sent(Reason::new(ReasonCode::Redirected, text))
        }
        400..=499 => refused(status, answer),
        _ => Outcome::InDoubt {
            reason: Reason::new(ReasonCode::GatewayFailed, format!("http {status}")),
        },
    }
}

fn accepted(status: u16, answer: &Answer, kind: Kind, account: &str, to: &str) -> Outcome {
    let problem = match &answer.body {
        Ok(body) => match read(body) {
            Ok(found) if !kind.owns(&found.sid) => format!("http {status} with an unusable sid"),
            // Somebody else's answer, as a broken proxy hands it out.
            Ok(found)
                if found.account_sid.as_ref().is_some_and(|it| it != account)
                    || found.to.as_ref().is_some_and(|it| it != to) =>
            {
                format!("http {status} about another message")
            }
            Ok(found) => {
                return Outcome::Sent {
                    provider_id: found.sid,
                };
            }
            Err(_) => format!(
                "http {status} with {} bytes like {}",
                body.len(),
                shape(body)
            ),
        },
        Err(problem) => format!("http {status}, {problem}"),
    };
    Outcome::InDoubt {
        reason: Reason::new(ReasonCode::UnreadableAnswer, problem),
    }
}

/// The whole text must be readable, not only the part that we want: what is cut or nested without end is no promise.
fn read(body: &[u8]) -> serde_json::Result<Resource> {
    serde_json::from_slice::<serde_json::Value>(body)?;
    serde_json::from_slice(body)
}

fn refused(status: u16, answer: &Answer) -> Outcome {
    let code = answer
        .body
        .as_deref()
        .ok()
        .and_then(|body| serde_json::from_slice::<Problem>(body).ok())
        .map(|problem| problem.code);
    let text = code.map_or_else(
        || format!("http {status}"),
        |code| format!("http {status} twilio {code}"),
    );
    let reason = |code| Reason::new(code, text.clone());
    let later = |code| Outcome::NotSent {
        reason: reason(code),
        retry_after: answer.retry_after,
    };
    // The status decides first where it is plain: 429 is never processed.
    match (status, code.and_then(refusal)) {
        (429, _) => later(ReasonCode::RateLimited),
        (401 | 403, None) => Outcome::Config {
            reason: reason(ReasonCode::AuthRefused),
        },
        // It gave up waiting for our request and may or may not have all of it.
        (408, _) => Outcome::InDoubt {
            reason: reason(ReasonCode::Unconfirmed),
        },
        (_, Some(Refusal::Later(code))) => later(code),
        (_, Some(Refusal::BadNumber)) => Outcome::Permanent {
            reason: reason(ReasonCode::BadRecipient),
            bad_recipient: true,
        },
        (_, Some(Refusal::OptOut)) => Outcome::permanent(reason(ReasonCode::OptedOut)),
        (_, Some(Refusal::Never(code))) => Outcome::permanent(reason(code)),
        (_, Some(Refusal::Config(code))) => Outcome::Config {
            reason: reason(code),
        },
        // There is no such path at all: nothing that we send there will work.
        (404 | 405, None) => Outcome::Config {
            reason: reason(ReasonCode::Misconfigured),
        },
        (_, None) => Outcome::permanent(reason(ReasonCode::MessageRefused)),
    }
}
