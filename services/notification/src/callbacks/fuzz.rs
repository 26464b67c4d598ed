//! What gateways tell by JSON, as a function of bytes; see [`countersign_domain::fuzz`].

use axum::http::{HeaderMap, HeaderValue};
use chrono::DateTime;
use countersign_domain::reply::{ReplyContent, UNREADABLE_MAX};

use super::{alibaba, content};
use crate::{
    channel::{
        alibaba::push::{as_kept, read_array},
        callback::{CallbackEvent, read_callback},
        signature::SigningKeys,
    },
    inbox::ReplyInput,
};

/// A body, which the generic gateway and Alibaba's pushes may each have sent, with a signature that is not ours.
pub(crate) fn gateway_callback(body: &[u8]) {
    if let Some(content) = serde_json::from_slice::<CallbackEvent>(body)
        .ok()
        .and_then(content)
    {
        is_storable(&content);
    }
    let pushes = [
        read_array(body, alibaba::report_of_text),
        read_array(body, alibaba::report_of_call),
        read_array(body, alibaba::text),
    ];
    for (good, bad) in pushes.into_iter().flatten() {
        for ReplyInput {
            source_event_id,
            content,
            ..
        } in good
        {
            assert!(source_event_id.len() <= 191, "can be stored");
            is_storable(&content);
        }
        for part in bad {
            assert!(as_kept(part).chars().count() <= UNREADABLE_MAX);
        }
    }
    assert!(!is_ours(body));
}

fn is_storable(content: &ReplyContent) {
    let text = serde_json::to_string(content).unwrap_or_default();
    let again: Option<ReplyContent> = serde_json::from_str(&text).ok();
    assert!(again.as_ref() == Some(content), "stored as what it is");
}

/// The first three lines as the headers of a signed callback.
fn is_ours(bytes: &[u8]) -> bool {
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = HeaderValue::from_bytes(lines.next().unwrap_or_default());
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    }
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into();
    let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap_or_default();
    SigningKeys::parse(&[secret]).is_ok_and(|keys| {
        read_callback(&keys, &headers, lines.next().unwrap_or_default(), now).is_ok()
    })
}
