use std::collections::BTreeMap;

use proptest::prelude::*;
use quick_xml::events::Event;

use super::*;
use crate::test_data::shared_data;

fn parse(text: &str) -> Result<EmailAddress, EmailError> {
    EmailAddress::parse(text)
}

#[test]
fn addresses_that_smtp_carries_are_taken_and_kept() {
    for address in [
        "jane@example.com",
        "jane.doe+orders@example.co.uk",
        "j@example.com",
        "123@example.com",
        "o'brien@example.ie",
        "!#$%&'*+-/=?^_`{|}~@example.com",
        "jane@r3---sn-abc.example.com",
        "jane@3com.com",
        "jane@localhost",
        "jane@[192.0.2.1]",
        "jane@[IPv6:2001:db8::1]",
        "\"jane doe\"@example.com",
        "\"jane@home\"@example.com",
        "\"\"@example.com",
        "\".jane\"@example.com",
        "jane@xn--fsqu00a.xn--0zwm56d",
    ] {
        assert_eq!(parse(address).unwrap().as_str(), address);
    }
}

#[test]
fn what_has_no_meaning_for_the_mail_server_is_left_out() {
    for (given, sent) in [
        (" jane@example.com\t", "jane@example.com"),
        ("jane@example.com (Jane at work)", "jane@example.com"),
        (
            "(hello (you) \\) there)jane@example.com",
            "jane@example.com",
        ),
        ("\"jane\"@example.com", "jane@example.com"),
        ("\"j\\ane\"@example.com", "jane@example.com"),
        ("\"jane\\\"doe\"@example.com", "\"jane\\\"doe\"@example.com"),
        ("Jane@EXAMPLE.Com", "Jane@example.com"),
        ("jane@[ipv6:2001:DB8::1]", "jane@[IPv6:2001:db8::1]"),
        ("jane@例子.测试", "jane@xn--fsqu00a.xn--0zwm56d"),
        ("jane@例子。测试", "jane@xn--fsqu00a.xn--0zwm56d"),
        ("jane@Bücher.example", "jane@xn--bcher-kva.example"),
        ("jane@ｅｘａｍｐｌｅ.com", "jane@example.com"),
    ] {
        assert_eq!(parse(given).unwrap().as_str(), sent, "{given}");
    }
}

#[test]
fn a_wrong_address_is_refused_with_what_would_be_right() {
    for (given, error) in [
        ("", EmailError::Empty),
        (" ", EmailError::Empty),
        ("jane", EmailError::NoAt),
        ("jane doe", EmailError::SpaceInside),
        ("@example.com", EmailError::NoLocalPart),
        ("jane@", EmailError::NoDomain),
        ("jane@ ", EmailError::NoDomain),
        ("jane@.com", EmailError::MisplacedDot),
        ("jane@example.com.", EmailError::MisplacedDot),
        ("jane@example..com", EmailError::MisplacedDot),
        ("jane..doe@example.com", EmailError::MisplacedDot),
        (".jane@example.com", EmailError::MisplacedDot),
        ("jane.@example.com", EmailError::MisplacedDot),
        ("jane doe@example.com", EmailError::SpaceInside),
        ("jane @example.com", EmailError::SpaceInside),
        ("jane@ example.com", EmailError::SpaceInside),
        ("jane@exam ple.com", EmailError::AfterAddress),
        ("jane@exa_mple.com", EmailError::DomainCharacter),
        ("jane@-example.com", EmailError::MisplacedHyphen),
        ("jane@example-.com", EmailError::MisplacedHyphen),
        ("jane@192.0.2.1", EmailError::NumericTopLevel),
        ("jane@[192.0.2.256]", EmailError::AddressLiteral),
        ("jane@[192.0.2.1", EmailError::AddressLiteral),
        ("jane@[2001:db8::1]", EmailError::AddressLiteral),
        ("jane@[IPv6:1:2:3:4:5:6:7::]", EmailError::AddressLiteral),
        ("jane@[192.0.2.1]x", EmailError::AfterAddress),
        ("müller@example.com", EmailError::LocalNotAscii),
        ("用户@例子.测试", EmailError::LocalNotAscii),
        ("jane＠example.com", EmailError::LocalNotAscii),
        ("\"jane@example.com", EmailError::QuoteNotClosed),
        ("\"jane\"doe@example.com", EmailError::AfterQuote),
        ("\"jané\"@example.com", EmailError::QuotedCharacter),
        ("jane\"doe\"@example.com", EmailError::LocalCharacter),
        ("jane,doe@example.com", EmailError::LocalCharacter),
        ("mailto:jane@example.com", EmailError::LocalCharacter),
        ("(jane@example.com", EmailError::CommentNotClosed),
        ("jane@example.com(work", EmailError::CommentNotClosed),
        ("(é)jane@example.com", EmailError::CommentCharacter),
        ("jane@xn--a.com", EmailError::NotADomainName),
        ("Jane <jane@example.com>", EmailError::DisplayName),
        ("<jane@example.com>", EmailError::DisplayName),
        ("jane@example.com, joe@example.com", EmailError::MoreThanOne),
        ("jane@example.com;joe@example.com", EmailError::MoreThanOne),
        ("jane@example.com joe@example.com", EmailError::MoreThanOne),
        ("jane@joe@example.com", EmailError::MoreThanOne),
    ] {
        assert_eq!(parse(given), Err(error), "{given}");
    }
}

#[test]
fn nothing_that_could_begin_another_header_line_is_taken_anywhere() {
    for bad in ['\r', '\n', '\0', '\u{7f}', '\u{85}', '\u{b}', '\u{1b}'] {
        for address in [
            "@jane@example.com",
            "ja@ne@example.com",
            "\"ja@ne\"@example.com",
            "jane@exa@mple.com",
            "jane@example.com@",
            "jane@example.com(a@b)",
        ] {
            let address = address
                .replacen('@', "\u{1}", 1)
                .replace('\u{1}', &bad.to_string());
            assert_eq!(
                parse(&address),
                Err(EmailError::ControlCharacter),
                "{address:?}"
            );
        }
    }
    let injected = "jane@example.com\r\nBcc: everybody@example.com";
    assert_eq!(parse(injected), Err(EmailError::ControlCharacter));
}

#[test]
fn the_lengths_of_smtp_are_the_limits() {
    let domain = |n: usize| {
        let mut name = String::new();
        while name.len() + 62 < n {
            name.push_str(&"d".repeat(61));
            name.push('.');
        }
        let rest = n - name.len();
        name + &"e".repeat(rest)
    };
    assert!(parse(&format!("{}@example.com", "l".repeat(64))).is_ok());
    assert_eq!(
        parse(&format!("{}@example.com", "l".repeat(65))),
        Err(EmailError::LocalTooLong)
    );
    assert_eq!(
        parse(&format!("\"{} \"@example.com", "l".repeat(62))),
        Err(EmailError::LocalTooLong)
    );
    assert!(parse(&format!("jane@{}.com", "d".repeat(63))).is_ok());
    assert_eq!(
        parse(&format!("jane@{}.com", "d".repeat(64))),
        Err(EmailError::LabelTooLong)
    );
    assert!(parse(&format!("j@{}", domain(252))).is_ok());
    assert_eq!(
        parse(&format!("j@{}", domain(253))),
        Err(EmailError::TooLong)
    );
    assert_eq!(
        parse(&format!("j@{}", domain(254))),
        Err(EmailError::TooLong)
    );
    assert_eq!(parse(&"j".repeat(10_000_000)), Err(EmailError::TooLong));
}

#[test]
fn an_address_is_not_shown_by_accident() {
    let address = parse("jane.doe@example.com").unwrap();
    assert_eq!(format!("{address:?}"), "EmailAddress(j***@e***)");
    assert_eq!(address.masked(), "j***@e***");
    assert_eq!(parse("\"\"@[192.0.2.1]").unwrap().masked(), "***@1***");
    assert_eq!(parse("\"a@b\"@example.com").unwrap().masked(), "a***@e***");
}

#[test]
fn the_parts_are_told_apart_at_the_last_at_sign() {
    let address = parse("\"a@b\"@example.com").unwrap();
    assert_eq!(
        (address.local_part(), address.domain()),
        ("\"a@b\"", "example.com")
    );
}

#[test]
fn json_holds_the_address_and_refuses_a_wrong_one() {
    let address = parse("jane@example.com").unwrap();
    let json = serde_json::to_string(&address).unwrap();
    assert_eq!(json, "\"jane@example.com\"");
    assert_eq!(
        serde_json::from_str::<EmailAddress>(&json).unwrap(),
        address
    );
    let error = serde_json::from_str::<EmailAddress>("\"jane\"").unwrap_err();
    assert!(error.to_string().contains("must have an @"), "{error}");
}

#[test]
fn no_message_repeats_what_was_given() {
    for given in [
        "canary7391",
        "canary7391@",
        "canary7391 <a@b.c>",
        "\"canary7391@example.com",
    ] {
        assert!(
            !parse(given).unwrap_err().to_string().contains("canary"),
            "{given}"
        );
    }
}

/// The address, category and diagnosis of each test of the public suite. There, U+2400 to U+241F
/// stand for the control characters.
fn suite(xml: &str) -> Vec<(String, String, String)> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut tests, mut field) = (Vec::new(), String::new());
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return tests,
            Event::Start(tag) => {
                field = String::from_utf8(tag.name().as_ref().to_vec()).unwrap();
                if field == "test" {
                    fields.clear();
                }
            }
            Event::Text(text) => fields
                .entry(field.clone())
                .or_default()
                .push_str(&text.decode().unwrap()),
            Event::GeneralRef(reference) => {
                let c = match reference.resolve_char_ref().unwrap() {
                    Some(c) => c,
                    None => match &*reference.decode().unwrap() {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        other => panic!("unknown entity {other}"),
                    },
                };
                fields.entry(field.clone()).or_default().push(c);
            }
            Event::End(tag) => {
                if tag.name().as_ref() == b"test" {
                    let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
                    let address = get("address")
                        .chars()
                        .map(|c| match u32::from(c) {
                            symbol @ 0x2400..=0x241F => char::from_u32(symbol - 0x2400).unwrap(),
                            _ => c,
                        })
                        .collect();
                    tests.push((address, get("category"), get("diagnosis")));
                }
                field.clear();
            }
            _ => {}
        }
    }
}

/// What is to happen to an address of the suite, by the table at the head of the module.
fn is_to_be_taken(category: &str, diagnosis: &str, address: &str) -> bool {
    match category {
        "ISEMAIL_VALID_CATEGORY" | "ISEMAIL_DNSWARN" => true,
        "ISEMAIL_RFC5321" => diagnosis != "ISEMAIL_RFC5321_TLDNUMERIC",
        "ISEMAIL_CFWS" => !address.contains(['\r', '\n']),
        "ISEMAIL_DEPREC" | "ISEMAIL_RFC5322" | "ISEMAIL_ERR" => false,
        other => panic!("unknown category {other}"),
    }
}

#[test]
fn the_public_suite_is_judged_as_the_module_says() {
    let Some(path) = shared_data("validation/isemail_tests.xml") else {
        return;
    };
    let tests = suite(&std::fs::read_to_string(path).unwrap());
    assert!(tests.len() > 150, "{}", tests.len());
    let mut taken: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (address, category, diagnosis) in &tests {
        let result = parse(address);
        let (yes, all) = taken.entry(category).or_default();
        *yes += u32::from(result.is_ok());
        *all += 1;
        if result.is_ok() != is_to_be_taken(category, diagnosis, address) {
            wrong.push(format!(
                "{diagnosis} {address:?} {:?}",
                result.map(String::from)
            ));
        }
    }
    println!("taken of all, by category: {taken:?}");
    assert!(
        wrong.is_empty(),
        "{} judged wrongly:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

proptest! {
    #[test]
    fn what_was_taken_is_taken_again_unchanged(text in "[ -~é例。]{0,12}@[ -~é例。]{0,12}") {
        if let Ok(address) = parse(&text) {
            prop_assert_eq!(parse(address.as_str()).unwrap(), address);
        }
    }

    #[test]
    fn no_input_breaks_the_reader(text in any::<String>()) {
        if let Ok(address) = parse(&text) {
            prop_assert!(address.as_str().is_ascii());
            prop_assert!(address.as_str().len() <= MAX_CHARS);
            prop_assert!(!address.as_str().contains(char::is_control));
        }
    }

    #[test]
    fn common_addresses_are_taken(
        text in "[a-z0-9]{1,10}([._+-][a-z0-9]{1,8}){0,3}@([a-z0-9]{1,10}\\.){1,3}[a-z]{2,6}"
    ) {
        let address = parse(&text).unwrap();
        prop_assert_eq!(address.as_str(), text);
    }
}
