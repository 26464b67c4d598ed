//! Everything of this crate that reads what strangers send, as functions of bytes; see [`countersign_domain::fuzz`].

use countersign_domain::fuzz::Entry;

use crate::{
    bounces, callbacks, channel, pages,
    template::segments::{Alphabet, segments},
    understanding::{stars, understand},
};

/// The readers of this crate.
pub const ENTRIES: [Entry; 9] = [
    ("twilio_callback", channel::fuzz::twilio_callback),
    ("gateway_callback", callbacks::fuzz::gateway_callback),
    ("gateway_answer", channel::fuzz::gateway_answer),
    ("smtp_reply", channel::fuzz::smtp_reply),
    ("retry_after", channel::fuzz::retry_after),
    ("bounce_mail", bounces::fuzz::bounce_mail),
    ("bounce_callback", bounces::fuzz::bounce_callback),
    ("page_form", pages::fuzz::page_form),
    ("reply_text", reply_text),
];

/// What a customer wrote, and how many text messages it would make.
pub(crate) fn reply_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    understand(&text);
    assert!(stars(&text).is_none_or(|it| (1..=5).contains(&it)));
    let found = segments(&text);
    let (alone, chained) = match found.alphabet {
        Alphabet::Gsm7 => (160, 153),
        Alphabet::Ucs2 => (70, 67),
    };
    // A wide character that does not fit may leave one place free in each.
    let least = if found.units <= alone {
        1
    } else {
        found.units.div_ceil(chained)
    };
    let most = least.max(found.units.div_ceil(chained - 1));
    assert!((least..=most).contains(&found.count), "{found:?}");
}
