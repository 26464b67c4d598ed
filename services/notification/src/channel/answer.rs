//! What a gateway's answer means for the message (RELIABILITY 3.4, D-04 to D-16, and the error table of GATEWAY.md).

use serde::Deserialize;
use std::borrow::Cow;

use super::{Outcome, Reason, ReasonCode, exchange::Answer, gateway::is_provider_id};

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
}

/// The class of an answer to POST.
pub(super) fn classify(answer: &Answer) -> Outcome {
    let status = answer.status.as_u16();
    let body = answer.body.as_deref();
    match status {
        200..=299 => accepted(status, body),
        300..=399 => {
            let text = format!("http {status}, not followed");
            Outcome::not_sent(Reason::new(ReasonCode::Redirected, text))
        }
        400..=499 => refused(status, answer, &body.map(error_code).unwrap_or_default()),
        _ => {
            let text = format!("http {status}");
            Outcome::InDoubt {
                reason: Reason::new(ReasonCode::GatewayFailed, text),
            }
        }
    }
}

fn accepted(status: u16, body: Result<&[u8], &&'static str>) -> Outcome {
    let problem = match body {
        Ok(body) => match read_accepted(body) {
            Ok(accepted) if is_provider_id(&accepted.id) => {
                return Outcome::Sent {
                    provider_id: accepted.id,
                };
            }
            Ok(_) => format!("http {status} with an unusable id"),
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
fn read_accepted(body: &[u8]) -> serde_json::Result<Accepted> {
    serde_json::from_slice::<serde_json::Value>(body)?;
    serde_json::from_slice(body)
}

fn refused(status: u16, answer: &Answer, code: &str) -> Outcome {
    let known = !code.is_empty();
    let text = if known {
        format!("http {status} {code}")
    } else {
        format!("http {status}")
    };
    let reason = |code| Reason::new(code, text.clone());
    let later = |code| Outcome::NotSent {
        reason: reason(code),
        retry_after: answer.retry_after,
    };
    match (status, code) {
        (429, _) | (_, "rate_limited") => later(ReasonCode::RateLimited),
        (401 | 403, _)
        | (_, "invalid_signature" | "account_suspended" | "insufficient_balance") => {
            Outcome::Config {
                reason: reason(ReasonCode::AuthRefused),
            }
        }
        (_, "sender_not_approved" | "template_not_approved") => Outcome::Config {
            reason: reason(ReasonCode::SenderRefused),
        },
        (_, "temporarily_refused") => later(ReasonCode::Deferred),
        (_, "invalid_recipient") => Outcome::Permanent {
            reason: reason(ReasonCode::BadRecipient),
            bad_recipient: true,
        },
        (_, "opted_out") => Outcome::permanent(reason(ReasonCode::OptedOut)),
        (_, "unsupported_destination") => {
            Outcome::permanent(reason(ReasonCode::AddressUnsupported))
        }
        // The gateway gave up waiting for our request; it may or may not have all of it.
        (408, _) => Outcome::InDoubt {
            reason: reason(ReasonCode::Unconfirmed),
        },
        // There is no such path at all: nothing that we send there will work.
        (404 | 405, "") => Outcome::Config {
            reason: reason(ReasonCode::Misconfigured),
        },
        _ => Outcome::permanent(reason(ReasonCode::MessageRefused)),
    }
}

/// The error code of a refusal, if it has the form of one. The human words beside it are not read.
pub(super) fn error_code(body: &[u8]) -> Cow<'static, str> {
    match serde_json::from_slice::<Refused>(body) {
        Ok(refused) if is_code(&refused.code) => Cow::Owned(refused.code),
        _ => Cow::Borrowed(""),
    }
}

fn is_code(code: &str) -> bool {
    (1..=40).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// What a text looks like without what it says: words become `a`, numbers `9`. Enough to tell a login page from cut
/// JSON, too little to give away a customer.
pub(super) fn shape(body: &[u8]) -> String {
    let mut out = String::new();
    for &byte in body.iter().take(400) {
        let mark = match byte {
            b'0'..=b'9' => '9',
            b'!'..=b'~' if byte.is_ascii_punctuation() => char::from(byte),
            b' ' | b'\t' | b'\r' | b'\n' => ' ',
            _ => 'a',
        };
        if !out.ends_with(mark) {
            out.push(mark);
        }
        if out.len() >= 60 {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_tells_the_form_and_not_the_words() {
        assert_eq!(
            shape(b"<html><body>Call +8613800138000</body>"),
            "<a><a>a +9<a/>".replace("<a/>", "</a>")
        );
        assert_eq!(shape("{\"姓名\": \"李\"".as_bytes()), "{\"a\": \"a\"");
    }

    #[test]
    fn only_the_form_of_a_code_is_taken_as_one() {
        assert_eq!(
            error_code(br#"{"code":"invalid_recipient","message":"x"}"#),
            "invalid_recipient"
        );
        for body in [
            r#"{"code":"+86 138"}"#,
            r#"{"code":7}"#,
            "[]",
            r#"{"code":""}"#,
        ] {
            assert_eq!(error_code(body.as_bytes()), "", "{body}");
        }
    }
}
