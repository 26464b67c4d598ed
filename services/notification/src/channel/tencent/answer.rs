//! What the cloud's answer means for the message. It answers 200 whatever happened; the code tells.

use std::time::Duration;

use serde::Deserialize;

use crate::channel::{
    Outcome, Reason, ReasonCode,
    answer::shape,
    exchange::{Answer, Unanswered},
    gateway::is_provider_id,
};

#[derive(Deserialize)]
struct Whole {
    #[serde(rename = "Response")]
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "Error")]
    error: Option<Failure>,
    #[serde(rename = "SendStatusSet", default)]
    sent: Vec<Sent>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "Code")]
    code: String,
}

#[derive(Deserialize)]
struct Sent {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "SerialNo", default)]
    serial_number: String,
    #[serde(rename = "SessionContext", default)]
    session_context: String,
}

/// The class of what came of sending the try `attempt`.
pub(in crate::channel) fn classify(answer: Result<Answer, Unanswered>, attempt: &str) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Unanswered::NotSent(reason)) => return Outcome::not_sent(reason),
        Err(Unanswered::InDoubt(text)) => {
            return in_doubt(ReasonCode::Unconfirmed, text.to_owned());
        }
    };
    let status = answer.status.as_u16();
    let problem = match read(&answer) {
        Ok(response) => match (response.error, response.sent.as_slice()) {
            (Some(error), _) if is_code(&error.code) => return by_code(status, &error.code),
            (None, [sent]) if sent.session_context != attempt => {
                "the answer is about another message".to_owned()
            }
            (None, [sent]) if sent.code == "Ok" && is_provider_id(&sent.serial_number) => {
                return Outcome::Sent {
                    provider_id: sent.serial_number.clone(),
                };
            }
            (None, [sent]) if sent.code != "Ok" && is_code(&sent.code) => {
                return by_code(status, &sent.code);
            }
            _ => "neither sent nor refused".to_owned(),
        },
        Err(problem) => problem,
    };
    let text = format!("http {status}, {problem}");
    let reason = |code| Reason::new(code, format!("http {status}"));
    match status {
        300..=399 => Outcome::not_sent(reason(ReasonCode::Redirected)),
        401 | 403 => Outcome::Config {
            reason: reason(ReasonCode::AuthRefused),
        },
        404 | 405 => Outcome::Config {
            reason: reason(ReasonCode::Misconfigured),
        },
        429 => Outcome::NotSent {
            reason: reason(ReasonCode::RateLimited),
            retry_after: answer.retry_after,
        },
        500.. => in_doubt(ReasonCode::GatewayFailed, text),
        _ => in_doubt(ReasonCode::UnreadableAnswer, text),
    }
}

fn read(answer: &Answer) -> Result<Response, String> {
    let body = answer.body.as_deref().map_err(|text| (*text).to_owned())?;
    serde_json::from_slice::<serde_json::Value>(body)
        .and_then(|_| serde_json::from_slice::<Whole>(body))
        .map(|whole| whole.response)
        .map_err(|_| format!("{} bytes like {}", body.len(), shape(body)))
}

fn by_code(status: u16, code: &str) -> Outcome {
    let text = format!("http {status} {code}");
    let reason = |code| Reason::new(code, text.clone());
    let config = |code| Outcome::Config {
        reason: reason(code),
    };
    let permanent = |code| Outcome::permanent(reason(code));
    let family = code.split('.').next().unwrap_or_default();
    match (family, code) {
        (_, "InvalidParameterValue.IncorrectPhoneNumber") => Outcome::Permanent {
            reason: reason(ReasonCode::BadRecipient),
            bad_recipient: true,
        },
        (_, "FailedOperation.PhoneNumberInBlacklist") => permanent(ReasonCode::OptedOut),
        // So many calls a second: nothing was sent.
        ("RequestLimitExceeded", _) => Outcome::not_sent(reason(ReasonCode::RateLimited)),
        (_, "LimitExceeded.PhoneNumberThirtySecondLimit") => Outcome::NotSent {
            reason: reason(ReasonCode::RateLimited),
            retry_after: Some(Duration::from_secs(30)),
        },
        // So many an hour or a day: over before a try of ours could succeed.
        ("LimitExceeded", _) => permanent(ReasonCode::RateLimited),
        (
            _,
            "FailedOperation.TemplateIncorrectOrUnapproved"
            | "FailedOperation.TemplateUnapprovedOrNotExist"
            | "FailedOperation.TemplateIdNotExist"
            | "FailedOperation.TemplateParamSetNotMatchApprovedTemplate",
        ) => permanent(ReasonCode::TemplateRefused),
        (
            _,
            "FailedOperation.SignatureIncorrectOrUnapproved" | "FailedOperation.MissingSignature",
        ) => config(ReasonCode::SenderRefused),
        ("AuthFailure" | "UnauthorizedOperation" | "IpInBlacklist" | "IpNotInWhitelist", _)
        | (
            _,
            "FailedOperation.InsufficientBalanceInSmsPackage"
            | "InternalError.RequestTimeException"
            | "InternalError.SigVerificationFail"
            | "InternalError.SigFieldMissing",
        ) => config(ReasonCode::AuthRefused),
        ("InvalidAction" | "NoSuchProduct" | "NoSuchVersion" | "UnsupportedRegion", _)
        | (
            _,
            "InvalidParameterValue.SdkAppIdNotExist"
            | "UnauthorizedOperation.SdkAppIdIsDisabled"
            | "InternalError.RestApiInterfaceNotExist",
        ) => config(ReasonCode::Misconfigured),
        ("UnsupportedOperation", _) => permanent(ReasonCode::AddressUnsupported),
        (
            "FailedOperation" | "InvalidParameter" | "InvalidParameterValue" | "MissingParameter",
            _,
        ) => permanent(ReasonCode::MessageRefused),
        _ => in_doubt(ReasonCode::GatewayFailed, text),
    }
}

fn in_doubt(code: ReasonCode, text: String) -> Outcome {
    Outcome::InDoubt {
        reason: Reason::new(code, text),
    }
}

/// The form of a code; nothing else of the cloud's words gets into our records.
fn is_code(code: &str) -> bool {
    (1..=80).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'.')
}
