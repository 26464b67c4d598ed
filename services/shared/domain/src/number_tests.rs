use chrono::TimeZone as _;
use proptest::prelude::*;

use super::*;

fn november() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 30, 23, 59, 59).unwrap()
}

fn numbers() -> impl Strategy<Value = OrderNumber> {
    (0_i32..100, 1_u32..=12, 0..=MAX_SEQUENCE).prop_map(|(year, month, sequence)| {
        let day = Utc
            .with_ymd_and_hms(2000 + year, month, 1, 0, 0, 0)
            .unwrap();
        OrderNumber::new(day, sequence).unwrap()
    })
}

#[test]
fn the_check_digit_is_that_of_the_standard() {
    // ISO/IEC 7064:2003 §8.3: the string 0794 is completed by 5.
    assert_eq!(check_digit_of("0794"), 5);
    for body in [0, 1, 26_110_000_123, 99_129_999_999] {
        assert_eq!(
            check_digit(body),
            check_digit_of(&format!("{body:011}")),
            "{body}"
        );
    }
}

/// The standard's steps over a text of any length, written a second time.
fn check_digit_of(digits: &str) -> u64 {
    let product = digits.chars().fold(10, |product, c| {
        let sum = (product + u64::from(c.to_digit(10).unwrap())) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10
}

#[test]
fn a_number_tells_its_month_and_sequence() {
    let number = OrderNumber::new(november(), 123).unwrap();
    assert_eq!(
        number.to_string(),
        format!("2611-0000123-{}", check_digit_of("26110000123"))
    );
    assert_eq!(number.digits().len(), DIGITS);
    assert_eq!(
        (number.year(), number.month(), number.sequence()),
        (2026, 11, 123)
    );
}

#[test]
fn a_number_of_the_first_years_keeps_its_zeros() {
    let number = OrderNumber::new(Utc.with_ymd_and_hms(2000, 1, 1, 0, 0, 0).unwrap(), 7).unwrap();
    assert!(number.to_string().starts_with("0001-0000007-"), "{number}");
    assert_eq!(number.digits().parse::<OrderNumber>().unwrap(), number);
}

#[test]
fn a_number_is_read_as_people_write_it() {
    let number = OrderNumber::new(november(), 123).unwrap();
    let digits = number.digits();
    let full_width: String = digits
        .chars()
        .map(|c| char::from_u32(0xFF10 + c.to_digit(10).unwrap()).unwrap())
        .collect();
    let spaced: String = digits.chars().flat_map(|c| [c, ' ']).collect();
    for text in [
        digits,
        number.to_string(),
        format!(" {}\u{3000}", number.to_string().replace('-', " – ")),
        full_width,
        spaced,
    ] {
        assert_eq!(OrderNumber::parse(&text).unwrap(), number, "{text}");
    }
}

#[test]
fn what_is_no_order_number_is_refused_with_what_would_be_right() {
    for text in [
        "",
        "2611",
        "2611-0000123",
        "2611-0000123-4-5",
        "order 2611-0000123-4",
        "२६११००००१२३४",
    ] {
        assert_eq!(
            OrderNumber::parse(text),
            Err(OrderNumberError::NotTwelveDigits),
            "{text}"
        );
    }
    assert_eq!(
        OrderNumber::parse(&"1".repeat(10_000_000)),
        Err(OrderNumberError::NotTwelveDigits)
    );
    for month in ["00", "13", "99"] {
        let body = format!("26{month}0000123");
        let text = format!("{body}{}", check_digit_of(&body));
        assert_eq!(
            OrderNumber::parse(&text),
            Err(OrderNumberError::NoSuchMonth),
            "{text}"
        );
    }
    let right = OrderNumber::new(november(), 123).unwrap().digits();
    let last = (right.as_bytes()[11] - b'0' + 1) % 10;
    let wrong = format!("{}{last}", &right[..11]);
    assert_eq!(
        OrderNumber::parse(&wrong),
        Err(OrderNumberError::WrongCheckDigit)
    );
}

#[test]
fn the_example_in_the_message_is_a_true_number() {
    let message = OrderNumberError::NotTwelveDigits.to_string();
    let example = message.rsplit(' ').next().unwrap();
    assert!(OrderNumber::parse(example).is_ok(), "{message}");
}

#[test]
fn a_number_out_of_range_is_not_made() {
    assert_eq!(
        OrderNumber::new(november(), MAX_SEQUENCE + 1),
        Err(OrderNumberError::SequenceOutOfRange)
    );
    let late = Utc.with_ymd_and_hms(2100, 1, 1, 0, 0, 0).unwrap();
    assert_eq!(
        OrderNumber::new(late, 1),
        Err(OrderNumberError::YearOutOfRange)
    );
}

#[test]
fn json_holds_the_written_form() {
    let number = OrderNumber::new(november(), 123).unwrap();
    let json = serde_json::to_string(&number).unwrap();
    assert_eq!(json, format!("\"{number}\""));
    assert_eq!(serde_json::from_str::<OrderNumber>(&json).unwrap(), number);
}

/// Counts which swaps of two different neighbours the check digit does not notice, over every
/// state in which the reckoning can be before them.
#[test]
fn the_swaps_that_are_not_noticed_are_as_few_as_the_head_of_the_file_says() {
    let step = |product: u64, digit: u64| {
        let sum = (product + digit) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    };
    let mut missed = Vec::new();
    for product in 1..=10 {
        for a in 0..10 {
            for b in 0..10 {
                if a != b && step(step(product, a), b) == step(step(product, b), a) {
                    missed.push((product, a, b));
                }
            }
        }
    }
    println!(
        "swaps missed before the check digit: {} of 900, {missed:?}",
        missed.len()
    );
    assert_eq!(missed.len(), MISSED_OF_900);

    // The last swap is that of the eleventh digit with the check digit itself.
    let mut missed_last = 0;
    for product in 1..=10_u64 {
        for a in 0..10_u64 {
            let check = (11 - step(product, a)) % 10;
            let swapped = (11 - step(product, check)) % 10;
            missed_last += u32::from(check != a && swapped == a);
        }
    }
    println!("swaps with the check digit missed: {missed_last} of 100");
    assert_eq!(missed_last, MISSED_LAST);
}

const MISSED_OF_900: usize = 20;
const MISSED_LAST: u32 = 2;

proptest! {
    #[test]
    fn every_single_wrong_digit_is_noticed(number in numbers()) {
        let digits = number.digits();
        for place in 0..DIGITS {
            for digit in '0'..='9' {
                let mut wrong: Vec<char> = digits.chars().collect();
                if wrong[place] != digit {
                    wrong[place] = digit;
                    let wrong: String = wrong.into_iter().collect();
                    prop_assert!(OrderNumber::parse(&wrong).is_err(), "{} for {}", wrong, digits);
                }
            }
        }
    }

    #[test]
    fn a_swap_that_goes_unnoticed_is_of_digits_next_to_each_other(number in numbers()) {
        let digits: Vec<char> = number.digits().chars().collect();
        for place in 0..DIGITS - 1 {
            let mut wrong = digits.clone();
            wrong.swap(place, place + 1);
            let text: String = wrong.iter().collect();
            if wrong != digits && OrderNumber::parse(&text).is_ok() {
                let pair = [digits[place], digits[place + 1]].map(|c| c.to_digit(10).unwrap());
                prop_assert!(matches!(pair[0].abs_diff(pair[1]), 1 | 9), "{} {}", number, text);
            }
        }
    }

    #[test]
    fn numbers_come_back_and_sort_by_time(one in numbers(), two in numbers()) {
        prop_assert_eq!(OrderNumber::parse(&one.to_string()).unwrap(), one);
        let key = |n: &OrderNumber| (n.year(), n.month(), n.sequence());
        prop_assert_eq!(one.cmp(&two), key(&one).cmp(&key(&two)));
        prop_assert_eq!(one.digits().cmp(&two.digits()), one.cmp(&two));
    }

    #[test]
    fn no_input_breaks_the_reader(text in any::<String>(), digits in "[0-9 -]{0,20}") {
        for text in [text, digits] {
            if let Ok(number) = OrderNumber::parse(&text) {
                prop_assert_eq!(number.digits(), text.replace([' ', '-'], ""));
            }
        }
    }
}
