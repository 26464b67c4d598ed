use proptest::prelude::*;

use super::*;

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

fn eur(minor: i64) -> Money {
    Money::new(minor, currency("EUR"))
}

#[test]
fn currencies_have_the_decimals_of_iso_4217() {
    for (code, exponent) in [
        ("CNY", 2),
        ("EUR", 2),
        ("USD", 2),
        ("GBP", 2),
        ("BRL", 2),
        ("HUF", 2),
        ("JPY", 0),
        ("KRW", 0),
        ("CLP", 0),
        ("ISK", 0),
        ("UGX", 0),
        ("VND", 0),
        ("XOF", 0),
        ("XAF", 0),
        ("XPF", 0),
        ("PYG", 0),
        ("RWF", 0),
        ("KMF", 0),
        ("DJF", 0),
        ("GNF", 0),
        ("BIF", 0),
        ("VUV", 0),
        ("KWD", 3),
        ("BHD", 3),
        ("OMR", 3),
        ("JOD", 3),
        ("TND", 3),
        ("IQD", 3),
        ("LYD", 3),
        ("CLF", 4),
        ("UYW", 4),
        ("MGA", 2),
        ("MRU", 2),
        ("IDR", 2),
    ] {
        assert_eq!(currency(code).exponent(), exponent, "{code}");
    }
}

#[test]
fn what_is_no_currency_to_pay_with_is_refused() {
    for code in ["", "eur", "EURO", "RMB", "€", " EUR", "ZZZ"] {
        assert_eq!(
            Currency::parse(code),
            Err(MoneyError::UnknownCurrency),
            "{code}"
        );
    }
    for code in ["XAU", "XTS", "XXX", "XDR"] {
        assert!(
            matches!(Currency::parse(code), Err(MoneyError::NotPaidWith { .. })),
            "{code}"
        );
    }
}

#[test]
fn an_amount_is_written_with_its_thousands_and_its_decimals() {
    for (minor, code, text) in [
        (123_450, "EUR", "1,234.50 EUR"),
        (-123_450, "EUR", "-1,234.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (0, "CNY", "0.00 CNY"),
        (1_234_567, "JPY", "1,234,567 JPY"),
        (999, "JPY", "999 JPY"),
        (1_234_567, "KWD", "1,234.567 KWD"),
        (i64::MIN, "EUR", "-92,233,720,368,547,758.08 EUR"),
    ] {
        assert_eq!(Money::new(minor, currency(code)).to_string(), text);
    }
}

#[test]
fn a_decimal_is_read_to_the_minor_unit() {
    for (text, code, minor) in [
        ("39.99", "EUR", 3_999),
        ("-39.99", "EUR", -3_999),
        ("39.9", "EUR", 3_990),
        ("39", "EUR", 3_900),
        ("039.90", "EUR", 3_990),
        ("39.9900", "EUR", 3_999),
        ("1000", "JPY", 1_000),
        ("1000.00", "JPY", 1_000),
        ("1.234", "KWD", 1_234),
        ("-92233720368547758.08", "EUR", i64::MIN),
        ("92233720368547758.07", "EUR", i64::MAX),
    ] {
        assert_eq!(
            Money::parse(text, currency(code)).unwrap().minor,
            minor,
            "{text} {code}"
        );
    }
}

#[test]
fn what_is_no_decimal_is_refused() {
    for text in [
        "", "-", "+1", ".", ".5", "1.", "1,5", "1,000.00", "1e3", "0x10", " 1", "1 ", "--1",
        "1.-5", "NaN", "Infinity", "１", "1.2.3", "$1.00",
    ] {
        assert_eq!(
            Money::parse(text, currency("EUR")),
            Err(MoneyError::NotADecimal),
            "{text}"
        );
    }
    let too_fine = Money::parse("39.999", currency("EUR")).unwrap_err();
    assert_eq!(too_fine.to_string(), "must have at most 2 decimals in EUR");
    let too_fine = Money::parse("1.5", currency("JPY")).unwrap_err();
    assert_eq!(too_fine.to_string(), "must have no decimals in JPY");
    for text in ["92233720368547758.08", &"9".repeat(1_000)] {
        assert_eq!(
            Money::parse(text, currency("EUR")),
            Err(MoneyError::OutOfRange)
        );
    }
}

#[test]
fn units_and_nanos_follow_the_rules_of_google_type_money() {
    for (units, nanos, code, result) in [
        (1, 750_000_000, "EUR", Ok(175)),
        (-1, -750_000_000, "EUR", Ok(-175)),
        (0, -750_000_000, "EUR", Ok(-75)),
        (0, 0, "EUR", Ok(0)),
        (5, 0, "JPY", Ok(5)),
        (1, 1_000_000, "KWD", Ok(1_001)),
        (1, -750_000_000, "EUR", Err(MoneyError::SignsDisagree)),
        (-1, 750_000_000, "EUR", Err(MoneyError::SignsDisagree)),
        (0, 1_000_000_000, "EUR", Err(MoneyError::NanosOutOfRange)),
        (0, -1_000_000_000, "EUR", Err(MoneyError::NanosOutOfRange)),
        (0, i32::MIN, "EUR", Err(MoneyError::NanosOutOfRange)),
        (
            1,
            5_000_000,
            "EUR",
            Err(MoneyError::TooManyDecimals {
                currency: currency("EUR"),
            }),
        ),
        (
            1,
            500_000_000,
            "JPY",
            Err(MoneyError::TooManyDecimals {
                currency: currency("JPY"),
            }),
        ),
        (i64::MAX, 0, "EUR", Err(MoneyError::OutOfRange)),
        (i64::MIN, 0, "EUR", Err(MoneyError::OutOfRange)),
        (i64::MAX, 0, "JPY", Ok(i64::MAX)),
    ] {
        let found = Money::from_units_nanos(units, nanos, currency(code));
        assert_eq!(
            found.map(|money| money.minor),
            result,
            "{units} {nanos} {code}"
        );
    }
}

#[test]
fn amounts_of_two_currencies_do_not_meet() {
    let error = eur(1)
        .checked_add(Money::new(1, currency("USD")))
        .unwrap_err();
    assert_eq!(error.to_string(), "must be in EUR, was in USD");
    assert!(eur(1).checked_sub(Money::new(1, currency("USD"))).is_err());
}

#[test]
fn an_overflow_is_an_error() {
    assert_eq!(
        eur(i64::MAX).checked_add(eur(1)),
        Err(MoneyError::OutOfRange)
    );
    assert_eq!(
        eur(i64::MIN).checked_sub(eur(1)),
        Err(MoneyError::OutOfRange)
    );
    assert_eq!(eur(i64::MIN).checked_mul(-1), Err(MoneyError::OutOfRange));
    assert_eq!(
        eur(i64::MAX).checked_mul(i64::MAX),
        Err(MoneyError::OutOfRange)
    );
    assert_eq!(
        eur(i64::MIN).checked_mul_ratio(1, -1),
        Err(MoneyError::OutOfRange)
    );
}

#[test]
fn a_ratio_is_rounded_to_the_nearest_and_halves_away_from_zero() {
    for (minor, above, below, result) in [
        (100, 19, 100, 19),
        (150, 1, 100, 2),
        (250, 1, 100, 3),
        (-150, 1, 100, -2),
        (149, 1, 100, 1),
        (10, 1, 3, 3),
        (20, 1, 3, 7),
        (-20, 1, 3, -7),
        (20, -1, 3, -7),
        (20, 1, -3, -7),
        (i64::MAX, 1, 1, i64::MAX),
    ] {
        let found = eur(minor).checked_mul_ratio(above, below).unwrap().minor;
        assert_eq!(found, result, "{minor} * {above} / {below}");
    }
    assert_eq!(
        eur(1).checked_mul_ratio(1, 0),
        Err(MoneyError::DividedByZero)
    );
}

#[test]
fn the_sum_of_nothing_is_zero_of_the_currency_asked_for() {
    assert_eq!(
        Money::sum([], currency("JPY")).unwrap(),
        Money::zero(currency("JPY"))
    );
    assert_eq!(
        Money::sum([eur(1), eur(2)], currency("EUR")).unwrap(),
        eur(3)
    );
    assert!(Money::sum([eur(1)], currency("JPY")).is_err());
}

#[test]
fn json_holds_minor_units_and_the_code() {
    let json = serde_json::to_string(&eur(3_999)).unwrap();
    assert_eq!(json, r#"{"minor":3999,"currency":"EUR"}"#);
    assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), eur(3_999));
}

proptest! {
    #[test]
    fn decimals_and_nanos_come_back(
        minor in any::<i64>(),
        code in prop::sample::select(vec!["EUR", "JPY", "KWD", "CLF"]),
    ) {
        let money = Money::new(minor, currency(code));
        prop_assert_eq!(Money::parse(&money.decimal(), money.currency).unwrap(), money);
        let (units, nanos) = money.to_units_nanos();
        prop_assert_eq!(Money::from_units_nanos(units, nanos, money.currency).unwrap(), money);
        prop_assert_eq!(money.to_string().replace(',', ""), format!("{} {code}", money.decimal()));
    }

    #[test]
    fn sums_are_those_of_whole_numbers(one in any::<i64>(), two in any::<i64>()) {
        let wide = i128::from(one) + i128::from(two);
        let sum = eur(one).checked_add(eur(two)).map(|sum| i128::from(sum.minor)).ok();
        prop_assert_eq!(sum, i64::try_from(wide).ok().map(i128::from));
    }

    #[test]
    fn no_input_breaks_the_reader(text in any::<String>(), digits in "-?[0-9]{0,20}[.]?[0-9]{0,4}") {
        for text in [text, digits] {
            if let Ok(money) = Money::parse(&text, currency("EUR")) {
                let again = Money::parse(&money.decimal(), currency("EUR"));
                prop_assert_eq!(again, Ok(money));
            }
        }
    }
}
