use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::test_data::shared_data;

#[expect(
    clippy::unnecessary_wraps,
    reason = "the default region is an option everywhere"
)]
fn country(code: &str) -> Option<CountryCode> {
    Some(CountryCode::parse(code).unwrap())
}

fn e164(text: &str, region: Option<CountryCode>) -> Result<String, PhoneError> {
    PhoneNumber::parse(text, region).map(String::from)
}

#[test]
fn the_notations_of_people_all_lead_to_one_number() {
    for (given, region, number) in [
        ("+86 138 0013 8000", None, "+8613800138000"),
        ("13800138000", country("CN"), "+8613800138000"),
        ("138-0013-8000", country("CN"), "+8613800138000"),
        (
            "１３８　００１３　８０００",
            country("CN"),
            "+8613800138000",
        ),
        ("＋８６１３８００１３８０００", None, "+8613800138000"),
        ("0086-13800138000", country("CN"), "+8613800138000"),
        ("0086-13800138000", None, "+8613800138000"),
        ("0086 138 0013 8000", country("DE"), "+8613800138000"),
        ("8613800138000", country("CN"), "+8613800138000"),
        ("(010) 6552 9988", country("CN"), "+861065529988"),
        ("+86 (0)10 6552 9988", None, "+861065529988"),
        ("\u{202d}+86 138 0013 8000\u{202c}", None, "+8613800138000"),
        (
            " +86\u{a0}138\u{2011}0013\u{2011}8000 ",
            None,
            "+8613800138000",
        ),
        ("+44 20 7946 0018", None, "+442079460018"),
        ("+44 (0)20 7946 0018", None, "+442079460018"),
        ("020 7946 0018", country("GB"), "+442079460018"),
        ("030/901820", country("DE"), "+4930901820"),
        ("0049 30 901820", country("DE"), "+4930901820"),
        ("+39 06 698 12345", None, "+390669812345"),
        ("06 698 12345", country("IT"), "+390669812345"),
        ("(11) 96123-4567", country("BR"), "+5511961234567"),
        ("(212) 736-5000", country("US"), "+12127365000"),
        ("011 86 13800138000", country("US"), "+8613800138000"),
        ("010-86-13800138000", country("JP"), "+8613800138000"),
        ("+1.212.736.5000", country("CN"), "+12127365000"),
        ("8 (495) 123-45-67", country("RU"), "+74951234567"),
        ("8 (846) 333-12-34", country("RU"), "+78463331234"),
        ("+7 846 333 12 34", None, "+78463331234"),
        ("2123 4567", country("HK"), "+85221234567"),
    ] {
        assert_eq!(
            e164(given, region).as_deref(),
            Ok(number),
            "{given} {region:?}"
        );
    }
}

#[test]
fn a_wrong_number_is_refused_with_what_would_be_right() {
    for (given, region, error) in [
        ("", None, PhoneError::Empty),
        ("  ", country("CN"), PhoneError::Empty),
        ("+", None, PhoneError::TooShort),
        ("110", country("CN"), PhoneError::NotInUse),
        ("1-800-FLOWERS", country("US"), PhoneError::Letters),
        ("13800138000 ext. 12", country("CN"), PhoneError::Letters),
        ("tel:+8613800138000", None, PhoneError::Letters),
        ("13800138000#12", country("CN"), PhoneError::Character),
        (
            "13800138000, 13900139000",
            country("CN"),
            PhoneError::Character,
        ),
        ("13800138000\r\nX: y", country("CN"), PhoneError::Character),
        ("13800138000\0", country("CN"), PhoneError::Character),
        (
            "+8613800138000+8613900139000",
            None,
            PhoneError::MisplacedPlus,
        ),
        ("13800138000", None, PhoneError::NoCountryCode),
        ("+999 123 456 789", None, PhoneError::NoCountryCode),
        ("+86 138 0013 8000 1234 5678", None, PhoneError::TooLong),
        ("123456789012345678901", country("CN"), PhoneError::TooLong),
        ("+86 138 0013 800", None, PhoneError::NotInUse),
        ("+1 555 555 5555", None, PhoneError::NotInUse),
        ("+1 900 234 5678", None, PhoneError::PremiumRate),
        ("0900 1234567", country("DE"), PhoneError::PremiumRate),
        ("+870 773 111 632", None, PhoneError::NoCountry),
        ("+881 612 345 678", None, PhoneError::NoCountry),
        ("+979 1 2345 6789", None, PhoneError::NoCountry),
    ] {
        assert_eq!(e164(given, region), Err(error), "{given} {region:?}");
    }
    assert_eq!(
        e164(&"1".repeat(10_000_000), country("CN")),
        Err(PhoneError::TooLong)
    );
}

#[test]
fn digits_of_other_scripts_are_refused_rather_than_guessed() {
    for given in ["१३८००१३८०००", "١٣٨٠٠١٣٨٠٠٠"] {
        assert!(PhoneNumber::parse(given, country("CN")).is_err(), "{given}");
    }
}

#[test]
fn an_sms_goes_to_mobile_numbers_only() {
    for (number, capable) in [
        ("+8613800138000", true),
        ("+12127365000", true),
        ("+447400123456", true),
        ("+861065529988", false),
        ("+442079460018", false),
        ("+8008001234567", false),
    ] {
        let number = PhoneNumber::from_e164(number).unwrap();
        assert_eq!(number.is_mobile_capable(), capable, "{}", number.as_e164());
    }
}

#[test]
fn a_number_is_not_shown_by_accident() {
    let number = PhoneNumber::parse("+86 138 0013 8000", None).unwrap();
    assert_eq!(number.masked(), "+86*******8000");
    assert_eq!(format!("{number:?}"), "PhoneNumber(+86*******8000)");
    assert_eq!(
        PhoneNumber::from_e164("+6834002").unwrap().masked(),
        "+68*4002"
    );
}

#[test]
fn the_last_digits_are_as_many_as_asked_for() {
    let number = PhoneNumber::from_e164("+8613800138000").unwrap();
    assert_eq!(number.last_digits(4), "8000");
    assert_eq!(number.last_digits(0), "");
    assert_eq!(number.last_digits(99), "8613800138000");
}

#[test]
fn a_number_knows_its_country_and_its_spacing() {
    let number = PhoneNumber::from_e164("+8613800138000").unwrap();
    assert_eq!(number.region(), country("CN"));
    assert_eq!(number.international(), "+86 138 0013 8000");
}

#[test]
fn a_stored_number_needs_only_the_shape_of_e164() {
    let number = PhoneNumber::from_e164("+15555555555").unwrap();
    assert_eq!(serde_json::to_string(&number).unwrap(), "\"+15555555555\"");
    assert_eq!(
        serde_json::from_str::<PhoneNumber>("\"+15555555555\"").unwrap(),
        number
    );
    for text in [
        "",
        "+",
        "15555555555",
        "+0123456789",
        "+12345",
        "+1234567890123456",
        "+1 555",
    ] {
        assert_eq!(
            PhoneNumber::from_e164(text),
            Err(PhoneError::NotE164),
            "{text}"
        );
    }
}

#[test]
fn no_message_repeats_what_was_given() {
    for given in ["+1 555 7391 7391", "7391", "7391 7391 x"] {
        let error = PhoneNumber::parse(given, country("CN")).unwrap_err();
        assert!(!error.to_string().contains("7391"), "{error}");
    }
}

/// One example of the public file: `86,CN ; MOBILE ; "13123456789"`.
struct Example {
    code: String,
    region: String,
    kind: String,
    national: String,
}

fn examples(text: &str) -> Vec<Example> {
    text.lines()
        .map(|line| {
            let mut parts = line.split(';').map(str::trim);
            let (code, region) = parts.next().unwrap().split_once(',').unwrap();
            Example {
                code: code.trim().to_owned(),
                region: region.trim().to_owned(),
                kind: parts.next().unwrap().to_owned(),
                national: parts.next().unwrap().trim_matches('"').to_owned(),
            }
        })
        .collect()
}

#[test]
fn valid_numbers_of_every_country_are_taken_and_premium_rate_ones_refused() {
    let Some(path) = shared_data("validation/phone_examples.csv") else {
        return;
    };
    let examples = examples(&std::fs::read_to_string(path).unwrap());
    assert!(examples.len() > 900, "{}", examples.len());
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for Example {
        code,
        region,
        kind,
        national,
    } in &examples
    {
        let region_code = CountryCode::parse(region).ok();
        let number = format!("+{code}{national}");
        let with_code = PhoneNumber::parse(&number, None);
        let within = region_code.map(|_| PhoneNumber::parse(national, region_code));
        let (taken, all) = counts.entry(kind.clone()).or_default();
        *taken += u32::from(with_code.is_ok());
        *all += 1;
        let right = match &with_code {
            Ok(found) => found.as_e164() == number && kind != "PREMIUM_RATE",
            Err(PhoneError::PremiumRate) => kind == "PREMIUM_RATE",
            Err(PhoneError::NoCountry) => region == "001",
            Err(_) => false,
        };
        let same = within.as_ref().is_none_or(|within| *within == with_code);
        let capable = with_code.as_ref().is_ok_and(PhoneNumber::is_mobile_capable);
        let sms = matches!(kind.as_str(), "MOBILE" | "FIXED_LINE_OR_MOBILE");
        if !right || !same || (sms && region != "001" && !capable) {
            wrong.push(format!(
                "{region} {kind} {number}: {:?}, within {:?}, sms {capable}",
                with_code.map(String::from),
                within.map(|w| w.map(String::from))
            ));
        }
    }
    println!("taken of all, by kind: {counts:?}");
    assert!(
        wrong.is_empty(),
        "{} judged wrongly:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

proptest! {
    #[test]
    fn no_input_breaks_the_reader(text in any::<String>(), digits in "[+]?[0-9 ]{0,24}") {
        for text in [text, digits] {
            for region in [None, country("CN"), country("US"), country("IT"), country("AQ")] {
                if let Ok(number) = PhoneNumber::parse(&text, region) {
                    prop_assert_eq!(PhoneNumber::parse(number.as_e164(), None).unwrap(), number);
                }
            }
        }
    }
}
