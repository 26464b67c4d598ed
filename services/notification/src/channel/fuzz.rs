//! What carriers answer and tell, as functions of bytes; see [`countersign_domain::fuzz`].

use chrono::DateTime;
use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};

use super::{
    Reason, alibaba, answer,
    exchange::{self, Answer, MAX_RETRY_AFTER},
    smtp::{Reply, reply_end},
    tencent,
    twilio::{
        self, Kind,
        callback::{Form, call_status, is_machine, sms_received, sms_status, turn},
        signature::TwilioSignature,
    },
};

/// A reason never repeats a gateway's words at length.
pub(super) fn is_short(reason: Option<&Reason>) -> bool {
    reason.is_none_or(|reason| reason.to_string().len() <= 250)
}

/// The query, a line end, the form.
pub(crate) fn twilio_callback(bytes: &[u8]) {
    let (query, form) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (bytes.get(..at), bytes.get(at + 1..)),
        None => (None, Some(bytes)),
    };
    let (query, form) = (query.unwrap_or_default(), form.unwrap_or_default());
    let url = format!(
        "https://cs.example/callbacks/twilio?{}",
        String::from_utf8_lossy(query)
    );
    let signature = TwilioSignature::new("not a secret".into());
    let given = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let body = form;
    let (query, form) = (Form::parse(query), Form::parse(form));
    let is_signed = signature.verify_form(&url, form.fields(), given)
        || signature.verify_form(&String::from_utf8_lossy(body), form.fields(), given)
        || signature.verify_body(&url, body, given);
    assert!(!is_signed, "nobody but Twilio signs");
    let mut news = sms_status(&query, &form);
    news.extend(call_status(&query, &form));
    news.extend(sms_received(&form));
    for news in news {
        assert!(!news.event_id.is_empty());
        assert!(
            serde_json::to_string(&news.content).is_ok(),
            "can be stored"
        );
    }
    is_machine(&form);
    turn(&query);
}

/// Status, a space, `Retry-After`, a line end, the body.
pub(super) fn read_answer(bytes: &[u8]) -> Answer {
    let at = bytes.iter().position(|byte| *byte == b'\n');
    let (head, body) = bytes.split_at(at.unwrap_or(bytes.len()));
    let (status, wait) = match head.iter().position(|byte| *byte == b' ') {
        Some(at) => head.split_at(at),
        None => (head, &[][..]),
    };
    let status = std::str::from_utf8(status)
        .ok()
        .and_then(|text| text.parse().ok());
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(wait.trim_ascii()) {
        headers.insert(RETRY_AFTER, value.clone());
        headers.insert("x-acs-retry-after", value);
    }
    Answer {
        status: status.unwrap_or(reqwest::StatusCode::OK),
        retry_after: exchange::retry_after(&headers, DateTime::UNIX_EPOCH),
        headers,
        body: Ok(body.get(1..).unwrap_or_default().to_vec()),
    }
}

/// Every adapter reads the same answer, to what it sent and to what it asked.
pub(crate) fn gateway_answer(bytes: &[u8]) {
    let read = || read_answer(bytes);
    let answer = read();
    let outcomes = [
        answer::classify(&answer),
        alibaba::answer::classify(Ok(read())),
        tencent::answer::classify(Ok(read()), "attempt"),
        twilio::answer::classify(&answer, Kind::Sms, "AC1", "+8613912345678"),
        twilio::answer::classify(&answer, Kind::Call, "AC1", "+8613912345678"),
    ];
    for outcome in outcomes {
        assert!(is_short(outcome.reason()), "{outcome:?}");
    }
    if let Err(reason) = alibaba::query::read(&answer) {
        assert!(is_short(Some(&reason)), "{reason:?}");
    }
    if let Ok(body) = &answer.body {
        twilio::lookup::read(body).ok();
        super::gateway::read_found(body).ok();
        answer::error_code(body);
        assert!(answer::shape(body).len() <= 250);
    }
}

/// What a relay says, one answer after the other.
pub(crate) fn smtp_reply(mut bytes: &[u8]) {
    let mut looked = 0;
    while let Ok(Some(end)) = reply_end(bytes, &mut looked) {
        let (whole, rest) = bytes.split_at(end);
        if let Some(reply) = Reply::read(whole) {
            assert!((200..600).contains(&reply.code));
            assert!(reply.codes().len() <= 40);
            assert!(!reply.lines.is_empty());
        }
        (bytes, looked) = (rest, 0);
    }
}

pub(crate) fn retry_after(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        headers.insert(RETRY_AFTER, value);
    }
    for now in [0, 1_795_000_000, 253_402_300_799] {
        let now = DateTime::from_timestamp(now, 0).unwrap_or_default();
        let wait = exchange::retry_after(&headers, now);
        assert!(wait.is_none_or(|wait| wait <= MAX_RETRY_AFTER), "{wait:?}");
    }
}
