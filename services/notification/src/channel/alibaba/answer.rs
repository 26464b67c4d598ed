//! What the cloud's answer means for the message (RELIABILITY D-04 to D-12).

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use crate::channel::{
    Outcome, Reason, ReasonCode,
    answer::shape,
    exchange::{Answer, MAX_RETRY_AFTER, Unanswered},
    gateway::is_provider_id,
};

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "Code")]
    code: String,
    /// Of a text message.
    #[serde(rename = "BizId")]
    biz_id: Option<String>,
    /// Of a call.
    #[serde(rename = "CallId")]
    call_id: Option<String>,
}

/// The class of what came of sending.
pub(in crate::channel) fn classify(answer: Result<Answer, Unanswered>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Unanswered::NotSent(reason)) => return Outcome::not_sent(reason),
        Err(Unanswered::InDoubt(text)) => {
            return in_doubt(ReasonCode::Unconfirmed, text.to_owned());
        }
    };
    let status = answer.status.as_u16();
    match read(&answer) {
        Ok(said) if said.code == "OK" && answer.status.is_success() => {
            let id = said.biz_id.or(said.call_id);
            match id.filter(|id| is_provider_id(id)) {
                Some(provider_id) => Outcome::Sent { provider_id },
                None => in_doubt(
                    ReasonCode::UnreadableAnswer,
                    format!("http {status} OK without a usable id"),
                ),
            }
        }
        Ok(said) if is_code(&said.code) && said.code != "OK" => {
            by_code(&answer, status, &said.code)
        }
        Ok(_) => by_status(&answer, status, "with no usable code"),
        Err(problem) => by_status(&answer, status, &problem),
    }
}

/// The code of an answer to a question; what went wrong in words of ours when there is none.
pub(super) fn code(answer: &Answer) -> Result<String, String> {
    let said = read(answer)?;
    if is_code(&said.code) {
        Ok(said.code)
    } else {
        Err("no usable code".to_owned())
    }
}

/// The whole text must be readable, not only the part that we want: what is cut or nested without end is no promise.
fn read(answer: &Answer) -> Result<Said, String> {
    let body = answer.body.as_deref().map_err(|text| (*text).to_owned())?;
    serde_json::from_slice::<serde_json::Value>(body)
        .and_then(|_| serde_json::from_slice(body))
        .map_err(|_| format!("with {} bytes like {}", body.len(), shape(body)))
}

fn by_status(answer: &Answer, status: u16, problem: &str) -> Outcome {
    let text = format!("http {status} {problem}");
    let reason = |code| Reason::new(code, format!("http {status}"));
    match status {
        200..=299 => in_doubt(ReasonCode::UnreadableAnswer, text),
        300..=399 => Outcome::not_sent(Reason::new(
            ReasonCode::Redirected,
            format!("http {status}, not followed"),
        )),
        429 => throttled(answer, reason(ReasonCode::RateLimited)),
        401 | 403 => Outcome::Config {
            reason: reason(ReasonCode::AuthRefused),
        },
        404 | 405 => Outcome::Config {
            reason: reason(ReasonCode::Misconfigured),
        },
        408 => in_doubt(ReasonCode::Unconfirmed, text),
        400..=499 => Outcome::permanent(reason(ReasonCode::MessageRefused)),
        _ => in_doubt(ReasonCode::GatewayFailed, text),
    }
}

fn by_code(answer: &Answer, status: u16, code: &str) -> Outcome {
    let text = format!("http {status} {code}");
    let reason = |code| Reason::new(code, text.clone());
    let permanent = |code| Outcome::permanent(reason(code));
    let config = |code| Outcome::Config {
        reason: reason(code),
    };
    if status == 429 || code.starts_with("Throttling") {
        return throttled(answer, reason(ReasonCode::RateLimited));
    }
    match code {
        "isv.MOBILE_NUMBER_ILLEGAL" => Outcome::Permanent {
            reason: reason(ReasonCode::BadRecipient),
            bad_recipient: true,
        },
        // So many a minute, hour, day or month: over before a try of ours could succeed, so the next channel has it.
        "isv.BUSINESS_LIMIT_CONTROL" | "isv.DAY_LIMIT_CONTROL" | "isv.MONTH_LIMIT_CONTROL" => {
            permanent(ReasonCode::RateLimited)
        }
        "isv.DOMESTIC_NUMBER_NOT_SUPPORTED" => permanent(ReasonCode::AddressUnsupported),
        "isv.AMOUNT_NOT_ENOUGH"
        | "isv.OUT_OF_SERVICE"
        | "isv.ACCOUNT_ABNORMAL"
        | "isv.ACCOUNT_NOT_EXISTS"
        | "isv.PRODUCT_UN_SUBSCRIPT"
        | "isv.PRODUCT_UNSUBSCRIBE"
        | "isv.DENY_IP_RANGE"
        | "isp.RAM_PERMISSION_DENY" => config(ReasonCode::AuthRefused),
        // The gaps that we fill may not be those of the approved text.
        "isv.SMS_TEMPLATE_ILLEGAL"
        | "isv.TEMPLATE_MISSING_PARAMETERS"
        | "isv.INVALID_JSON_PARAM" => permanent(ReasonCode::TemplateRefused),
        "isv.SMS_SIGNATURE_ILLEGAL"
        | "isv.SMS_SIGNATURE_SCENE_ILLEGAL"
        | "isv.SMS_SIGN_ILLEGAL"
        | "isv.SIGN_STATE_ILLEGAL"
        | "isv.EXTEND_CODE_ERROR" => config(ReasonCode::SenderRefused),
        // Somebody has sent this very request before: whoever it was, the message may be on its way.
        "SignatureNonceUsed" => in_doubt(ReasonCode::Unconfirmed, text),
        _ if is_any_of(
            code,
            &[
                "SignatureDoesNotMatch",
                "IncompleteSignature",
                "InvalidAccessKeyId",
                "InvalidTimeStamp",
                "IllegalTimestamp",
                "InvalidSecurityToken",
                "Forbidden",
                "NoPermission",
            ],
        ) || matches!(status, 401 | 403) =>
        {
            config(ReasonCode::AuthRefused)
        }
        _ if is_any_of(
            code,
            &[
                "InvalidAction",
                "InvalidVersion",
                "InvalidApi",
                "InvalidProduct",
                "InvalidProtocol",
                "UnsupportedHTTPMethod",
                "MissingParameter",
            ],
        ) =>
        {
            config(ReasonCode::Misconfigured)
        }
        _ if status >= 500 || code.starts_with("isp.") => in_doubt(ReasonCode::GatewayFailed, text),
        _ => permanent(ReasonCode::MessageRefused),
    }
}

/// Whether it is one of these codes or a finer kind of it, such as `InvalidTimeStamp.Expired`.
fn is_any_of(code: &str, known: &[&str]) -> bool {
    let family = code.split('.').next().unwrap_or_default();
    known.contains(&family)
}

fn throttled(answer: &Answer, reason: Reason) -> Outcome {
    Outcome::NotSent {
        reason,
        retry_after: acs_retry_after(&answer.headers).or(answer.retry_after),
    }
}

/// Milliseconds, not beyond an hour. Zero, signs and words are as if they were not there (D-07).
fn acs_retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("x-acs-retry-after")?.to_str().ok()?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let wait = Duration::from_millis(text.parse().unwrap_or(u64::MAX));
    (!wait.is_zero()).then(|| wait.min(MAX_RETRY_AFTER))
}

fn in_doubt(code: ReasonCode, text: String) -> Outcome {
    Outcome::InDoubt {
        reason: Reason::new(code, text),
    }
}

/// The form of a code; nothing else of the cloud's words gets into our records.
fn is_code(code: &str) -> bool {
    (1..=60).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        // Not a telephone number.
        && code.bytes().filter(u8::is_ascii_digit).count() <= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d_07_the_wait_is_in_milliseconds_and_only_a_positive_number_counts() {
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-acs-retry-after", text.parse().unwrap());
            acs_retry_after(&headers)
        };
        assert_eq!(wait("2000"), Some(Duration::from_secs(2)));
        assert_eq!(wait("150"), Some(Duration::from_millis(150)));
        assert_eq!(wait("99999999999999999999999"), Some(MAX_RETRY_AFTER));
        for text in ["0", "", "-1", "abc", "1.5", "+5", "1e3"] {
            assert_eq!(wait(text), None, "{text}");
        }
        assert_eq!(acs_retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn only_the_form_of_a_code_is_taken_as_one() {
        assert!(is_code("isv.MOBILE_NUMBER_ILLEGAL") && is_code("InvalidTimeStamp.Expired"));
        assert!(!is_code("") && !is_code("+8613800138000") && !is_code("call 13800138000"));
        assert!(!is_code("13800138000"));
    }
}
