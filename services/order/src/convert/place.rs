//! Postal addresses, telephone numbers and mail addresses.

use countersign_domain::{
    email::EmailAddress,
    phone::PhoneNumber,
    place::{CountryCode, PostalAddress},
    text::{TextKind, checked_text},
};
use countersign_proto::common;

use crate::error::Violations;

/// Characters of one field or line.
const CHARS_MAX: usize = 200;
/// Lines, and recipients.
const LINES_MAX: usize = 10;

/// An address of the domain. Only its form is checked: whether it can be delivered to is for the audit to find.
pub(crate) fn from_proto(
    address: &common::PostalAddress,
    path: &str,
    violations: &mut Violations,
) -> Option<PostalAddress> {
    let before = violations.len();
    if address.revision != 0 {
        violations.add(format!("{path}.revision"), "must be 0");
    }
    for (name, text) in [
        ("region_code", &address.region_code),
        ("language_code", &address.language_code),
        ("postal_code", &address.postal_code),
        ("sorting_code", &address.sorting_code),
        ("administrative_area", &address.administrative_area),
        ("locality", &address.locality),
        ("sublocality", &address.sublocality),
        ("organization", &address.organization),
    ] {
        one_line(text, format!("{path}.{name}"), violations);
    }
    for (name, lines) in [
        ("address_lines", &address.address_lines),
        ("recipients", &address.recipients),
    ] {
        if lines.len() > LINES_MAX {
            violations.add(
                format!("{path}.{name}"),
                format!("must be at most {LINES_MAX}, not {}", lines.len()),
            );
        }
        for (index, line) in lines.iter().take(LINES_MAX).enumerate() {
            one_line(line, format!("{path}.{name}[{index}]"), violations);
        }
    }
    (violations.len() == before).then(|| PostalAddress {
        region_code: address.region_code.clone(),
        language_code: address.language_code.clone(),
        postal_code: address.postal_code.clone(),
        sorting_code: address.sorting_code.clone(),
        administrative_area: address.administrative_area.clone(),
        locality: address.locality.clone(),
        sublocality: address.sublocality.clone(),
        address_lines: address.address_lines.clone(),
        recipients: address.recipients.clone(),
        organization: address.organization.clone(),
    })
}

fn one_line(text: &str, field: String, violations: &mut Violations) {
    violations.take(
        field,
        checked_text(text, 0, CHARS_MAX, TextKind::SingleLine),
    );
}

/// An address for the wire.
pub(crate) fn to_proto(address: &PostalAddress) -> common::PostalAddress {
    common::PostalAddress {
        revision: 0,
        region_code: address.region_code.clone(),
        language_code: address.language_code.clone(),
        postal_code: address.postal_code.clone(),
        sorting_code: address.sorting_code.clone(),
        administrative_area: address.administrative_area.clone(),
        locality: address.locality.clone(),
        sublocality: address.sublocality.clone(),
        address_lines: address.address_lines.clone(),
        recipients: address.recipients.clone(),
        organization: address.organization.clone(),
    }
}

/// A telephone number in any common notation; one without a country code is of `country`. Empty is none; a wrong one is
/// none too, and noted.
pub(crate) fn phone(
    text: &str,
    country: Option<CountryCode>,
    field: &str,
    violations: &mut Violations,
) -> Option<PhoneNumber> {
    if text.is_empty() {
        return None;
    }
    violations.take(field, PhoneNumber::parse(text, country))
}

/// A mail address. Empty is none; a wrong one is none too, and noted.
pub(crate) fn email(text: &str, field: &str, violations: &mut Violations) -> Option<EmailAddress> {
    if text.is_empty() {
        return None;
    }
    violations.take(field, EmailAddress::parse(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went() {
        let address = common::PostalAddress {
            region_code: "CN".to_owned(),
            postal_code: "200000".to_owned(),
            locality: "上海".to_owned(),
            address_lines: vec!["南京路 1 号".to_owned()],
            recipients: vec!["李".to_owned()],
            ..common::PostalAddress::default()
        };
        let mut violations = Violations::new();
        let read = from_proto(&address, "address", &mut violations);
        assert!(violations.is_empty(), "{violations:?}");
        assert_eq!(to_proto(&read.unwrap()), address);
    }

    #[test]
    fn each_field_that_does_not_fit_is_named() {
        let address = common::PostalAddress {
            revision: 1,
            locality: "a\nb".to_owned(),
            organization: "x".repeat(201),
            address_lines: vec![String::new(); 11],
            recipients: vec!["ok".to_owned(), "\u{0}".to_owned()],
            ..common::PostalAddress::default()
        };
        let mut violations = Violations::new();
        assert!(from_proto(&address, "a", &mut violations).is_none());
        let fields: Vec<String> = violations.into_vec().into_iter().map(|v| v.field).collect();
        assert_eq!(
            fields,
            [
                "a.revision",
                "a.locality",
                "a.organization",
                "a.address_lines",
                "a.recipients[1]"
            ]
        );
    }

    #[test]
    fn a_number_without_country_code_is_of_the_country_given() {
        let mut violations = Violations::new();
        let china = CountryCode::parse("CN").unwrap();
        let phone = phone("138 0013 8000", Some(china), "phone", &mut violations).unwrap();
        assert_eq!(phone.as_e164(), "+8613800138000");
        assert!(super::phone("", None, "phone", &mut violations).is_none());
        assert!(violations.is_empty());
        assert!(super::phone("138", None, "phone", &mut violations).is_none());
        assert!(email("nobody", "email", &mut violations).is_none());
        let fields: Vec<String> = violations.into_vec().into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["phone", "email"]);
    }
}
