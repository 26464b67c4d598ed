//! Nothing that comes over the wire makes a reader fail or think for long (RELIABILITY I-11). More of it:
//! `PROPTEST_CASES=100000 cargo test -p countersign-notification i_11`.

use std::time::{Duration, Instant};

use http::HeaderMap;
use proptest::{collection::vec, prelude::*};

use crate::{
    channel::{
        Reason, ReasonCode,
        alibaba::push::{SmsReport, SmsUp, VoiceReport, as_kept, read_array},
        answer,
        callback::CallbackEvent,
        exchange::{Answer, MAX_RETRY_AFTER, retry_after},
        twilio::callback::{Form, call_status, is_machine, sms_received, sms_status, turn},
    },
    understanding::{stars, understand},
};

/// Names and words that gateways use, so that not everything is thrown away at the first byte.
const WORDS: [&str; 34] = [
    "id",
    "code",
    "Code",
    "message",
    "Message",
    "BizId",
    "CallId",
    "sid",
    "account_sid",
    "to",
    "status",
    "Response",
    "Error",
    "SendStatusSet",
    "SerialNo",
    "SessionContext",
    "type",
    "data",
    "message.status",
    "sms.received",
    "phone_number",
    "send_time",
    "report_time",
    "success",
    "biz_id",
    "out_id",
    "OK",
    "Ok",
    "delivered",
    "queued",
    "isv.BUSINESS_LIMIT_CONTROL",
    "21610",
    "2026-11-02T00:54:06Z",
    "+8613912345678",
];

/// Longer than any of it takes, on a machine that does something else besides.
const LONG: Duration = Duration::from_secs(2);

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => any::<i64>().prop_map(|number| number.to_string()),
    ]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        word().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Into::into),
            vec((word(), inner), 0..6)
                .prop_map(|fields| { serde_json::Value::Object(fields.into_iter().collect()) }),
        ]
    })
}

/// Bodies: JSON that looks like an answer, the same cut off or with a byte changed, forms, noise, and much of one thing.
pub(in crate::channel) fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let whole = json().prop_map(|value| value.to_string().into_bytes());
    let cut = (json(), any::<prop::sample::Index>()).prop_map(|(value, at)| {
        let mut bytes = value.to_string().into_bytes();
        bytes.truncate(at.index(bytes.len() + 1));
        bytes
    });
    let changed =
        (json(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(value, at, new)| {
            let mut bytes = value.to_string().into_bytes();
            let place = at.index(bytes.len());
            bytes[place] = new;
            bytes
        });
    let form = vec((word(), word()), 0..12).prop_map(|fields| {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish()
            .into_bytes()
    });
    let nested =
        ("[\\[{\"]", 1..20_000_usize).prop_map(|(sign, times)| sign.repeat(times).into_bytes());
    prop_oneof![
        4 => whole,
        2 => cut,
        2 => changed,
        2 => form,
        2 => vec(any::<u8>(), 0..300),
        1 => nested,
    ]
}

/// Answers with any status, headers and body.
pub(in crate::channel) fn answers() -> impl Strategy<Value = Answer> {
    let headers = prop_oneof![Just(None), "[ -~]{0,30}".prop_map(Some)];
    (100..600_u16, headers, bodies()).prop_map(|(status, header, body)| {
        let mut headers = HeaderMap::new();
        if let Some(value) = header.and_then(|text| text.parse().ok()) {
            headers.insert("x-acs-retry-after", value);
        }
        Answer {
            status: reqwest::StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            headers,
            body: Ok(body),
        }
    })
}

/// Does it, and sees that it was soon done.
pub(in crate::channel) fn soon<T>(work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    done
}

/// A reason never repeats a gateway's words at length.
pub(in crate::channel) fn is_short(reason: Option<&Reason>) -> bool {
    reason.is_none_or(|reason| reason.to_string().len() <= 250)
}

proptest! {
    #[test]
    fn i_11_bodies_are_read_or_refused(body in bodies()) {
        soon(|| {
            let _ = serde_json::from_slice::<CallbackEvent>(&body);
            let _ = read_array(&body, Some::<SmsReport>).map(|it| it.1.into_iter().map(as_kept).count());
            let _ = read_array(&body, Some::<SmsUp>);
            let _ = read_array(&body, Some::<VoiceReport>);
            answer::error_code(&body);
            answer::shape(&body)
        });
        let told = answer::shape(&body);
        prop_assert!(told.len() <= 250, "{told}");
    }

    #[test]
    fn i_11_forms_are_read_or_refused(query in bodies(), form in bodies()) {
        soon(|| {
            let (query, form) = (Form::parse(&query), Form::parse(&form));
            let mut news = sms_status(&query, &form);
            news.extend(call_status(&query, &form));
            news.extend(sms_received(&form));
            is_machine(&form);
            turn(&query);
            news
        });
    }

    #[test]
    fn i_11_answers_are_classed(answer in answers()) {
        let outcome = soon(|| answer::classify(&answer));
        prop_assert!(is_short(outcome.reason()), "{outcome:?}");
    }

    #[test]
    fn i_11_waits_are_within_bounds(text in "\\PC{0,40}|-?[0-9]{0,30}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT") {
        let mut headers = HeaderMap::new();
        if let Ok(value) = text.parse() {
            headers.insert(http::header::RETRY_AFTER, value);
        }
        let wait = soon(|| retry_after(&headers, super::now()));
        prop_assert!(wait.is_none_or(|wait| wait <= MAX_RETRY_AFTER), "{text:?}: {wait:?}");
    }

    #[test]
    fn i_11_what_customers_write_is_understood_or_left_to_staff(text in "\\PC{0,200}|[是好YyEeSs1 ２１！!。.停]{0,40}") {
        soon(|| {
            understand(&text);
            stars(&text)
        });
    }
}

#[test]
fn reasons_are_told_apart_from_words() {
    assert!(is_short(Some(&Reason::new(
        ReasonCode::GatewayFailed,
        "http 500"
    ))));
    assert!(!is_short(Some(&Reason::new(
        ReasonCode::GatewayFailed,
        "x".repeat(300)
    ))));
}
