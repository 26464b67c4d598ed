//! Everything of this crate that reads what strangers send, as functions of bytes: tests call them with inputs that are
//! kept and with inputs made from those, `scripts/fuzz` with inputs that it finds by what they reach (RELIABILITY I-11).
//!
//! A function returns whatever was in the bytes, and panics only where a promise of the reader is broken.

use crate::{
    email::EmailAddress,
    ids::OrderId,
    locale::{Locale, TimeZone},
    money::{Currency, Money},
    number::OrderNumber,
    phone::PhoneNumber,
    place::{CountryCode, PostalAddress},
    secrets::{LinkKey, is_link_token, read_code},
    text::{Key, TextKind, checked_text, display_safe},
};

/// A reader by its name, which is also the name of the folder that its inputs are kept in.
pub type Entry = (&'static str, fn(&[u8]));

/// The readers of this crate.
pub const ENTRIES: [Entry; 5] = [
    ("email", email),
    ("phone", phone),
    ("postal_address", postal_address),
    ("link_token", link_token),
    ("word", word),
];

fn email(bytes: &[u8]) {
    let Ok(address) = EmailAddress::parse(&String::from_utf8_lossy(bytes)) else {
        return;
    };
    let again = EmailAddress::parse(address.as_str());
    assert_eq!(again.as_ref(), Ok(&address), "reads back as itself");
    assert!(address.as_str().len() <= crate::email::MAX_CHARS);
    assert!(!address.as_str().contains(['\r', '\n']), "one line");
    let whole = format!("{}@{}", address.local_part(), address.domain());
    assert_eq!(whole, address.as_str());
    assert!(address.masked().chars().count() <= 9);
}

/// A country's code and a space may stand before the number.
fn phone(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (region, number) = match text.split_once(' ') {
        Some((code, rest)) if CountryCode::parse(code).is_ok() => {
            (CountryCode::parse(code).ok(), rest)
        }
        _ => (None, text.as_ref()),
    };
    let Ok(number) = PhoneNumber::parse(number, region) else {
        return;
    };
    let stored = PhoneNumber::from_e164(number.as_e164());
    assert_eq!(stored.as_ref(), Ok(&number), "can be stored");
    let again = PhoneNumber::parse(number.as_e164(), None);
    assert_eq!(again.as_ref(), Ok(&number), "reads back as itself");
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    assert_eq!(digits(&number.international()), digits(number.as_e164()));
    number.region();
    number.is_mobile_capable();
    assert!(number.last_digits(4).len() <= 4);
    assert_eq!(number.masked().len(), number.as_e164().len());
}

/// A field a line: country, postal code, area, town, then the lines of the address.
fn postal_address(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n').map(ToOwned::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    let address = PostalAddress {
        region_code: next(),
        postal_code: next(),
        administrative_area: next(),
        locality: next(),
        address_lines: lines.collect(),
        ..PostalAddress::default()
    };
    let problems = address.delivery_problems();
    assert_eq!(address.is_deliverable(), problems.is_empty());
    assert!(problems.iter().all(|it| it.to_string().len() < 200));
    if let Some(country) = address.country() {
        country.is_postal_code(&address.postal_code);
        country.default_time_zone();
        country.default_locale();
    }
}

fn link_token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(key) = LinkKey::new(&[7; 32]) else {
        return;
    };
    if let Some((delivery, generation)) = key.read_bounce_token(&text) {
        let made = key.bounce_token(delivery, generation);
        assert!(made.eq_ignore_ascii_case(&text), "only what we made");
    }
    if let Some(hash) = key.read_unsubscribe_token(&text) {
        assert_eq!(key.unsubscribe_token(&hash), text, "only what we made");
    }
    assert!(!is_link_token(&text) || text.len() == crate::secrets::LINK_TOKEN_CHARS);
    if let Ok(code) = read_code(&text) {
        assert!(
            code.len() == crate::secrets::CODE_DIGITS && code.bytes().all(|it| it.is_ascii_digit())
        );
    }
    assert!(!key.form_token_matches(&[0; 32], &text) || key.form_token(&[0; 32]) == text);
    assert!(!key.form_cookie_matches(&[0; 32], &text) || key.form_cookie(&[0; 32]) == text);
    LinkKey::read(&text).ok();
}

/// Small things, each of which stands in a field or a header of its own.
fn word(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(locale) = Locale::parse(&text) {
        assert_eq!(Locale::parse(locale.as_str()), Ok(locale.clone()));
        locale.template_locale();
        locale.region();
    }
    TimeZone::parse(&text).ok();
    if let Ok(number) = OrderNumber::parse(&text) {
        assert_eq!(OrderNumber::parse(&number.to_string()), Ok(number));
    }
    if let Some((code, amount)) = text.split_once(' ')
        && let Ok(currency) = Currency::parse(code)
        && let Ok(money) = Money::parse(amount, currency)
    {
        assert_eq!(Money::parse(&money.decimal(), currency), Ok(money));
    }
    if let Ok(id) = OrderId::from_resource_name(&text) {
        assert_eq!(OrderId::from_resource_name(&id.resource_name()), Ok(id));
        id.made_at();
    }
    OrderId::in_name(&text).ok();
    Key::parse(&text).ok();
    for kind in [TextKind::SingleLine, TextKind::MultiLine] {
        checked_text(&text, 0, 200, kind).ok();
    }
    let shown = display_safe(&text);
    assert_eq!(display_safe(&shown), shown, "safe once, safe for ever");
    crate::chain::AnchorLine::read_all(&text).ok();
}
