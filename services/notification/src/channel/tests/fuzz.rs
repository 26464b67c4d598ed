//! Nothing that comes over the wire makes a reader fail or think for long (RELIABILITY I-11), with inputs that know the words
//! of gateways. `scripts/fuzz` gives the same readers inputs that are led by what they reach.

use std::time::{Duration, Instant};

use proptest::{collection::vec, prelude::*};

use crate::{
    bounces, callbacks,
    channel::{
        Reason, ReasonCode,
        fuzz::{self, is_short},
    },
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
fn bodies() -> impl Strategy<Value = Vec<u8>> {
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

/// Answers with any status, header and body, as the readers of answers take them.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    (100..600_u16, "[ -~]{0,30}", bodies()).prop_map(|(status, header, body)| {
        let mut bytes = format!("{status} {header}\n").into_bytes();
        bytes.extend(body);
        bytes
    })
}

/// Reads it, and sees that it was soon done.
fn soon(read: fn(&[u8]), bytes: &[u8]) {
    let begun = Instant::now();
    read(bytes);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

proptest! {
    #[test]
    fn i_11_bodies_are_read_or_refused(body in bodies()) {
        soon(callbacks::fuzz::gateway_callback, &body);
        soon(bounces::fuzz::bounce_callback, &body);
        soon(bounces::fuzz::bounce_mail, &body);
    }

    #[test]
    fn i_11_forms_are_read_or_refused(query in bodies(), form in bodies()) {
        soon(fuzz::twilio_callback, &[query.as_slice(), &form].join(&b'\n'));
    }

    #[test]
    fn i_11_answers_are_classed(answer in answers()) {
        soon(fuzz::gateway_answer, &answer);
    }

    #[test]
    fn i_11_waits_are_within_bounds(text in "\\PC{0,40}|-?[0-9]{0,30}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT") {
        soon(fuzz::retry_after, text.as_bytes());
    }

    #[test]
    fn i_11_whatever_a_relay_says_is_read_or_refused(
        lines in vec("[2-5][0-9]{2}[ -]([245][.][0-9]{1,9}[.][0-9]{1,9} )?\\PC{0,40}|\\PC{0,40}", 0..8),
    ) {
        soon(fuzz::smtp_reply, lines.join("\r\n").as_bytes());
    }

    #[test]
    fn i_11_what_customers_write_is_understood_or_left_to_staff(text in "\\PC{0,200}|[是好YyEeSs1 ２１！!。.停]{0,40}") {
        soon(crate::fuzz::reply_text, text.as_bytes());
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
