//! Tests of the guard against pumped numbers.

use super::*;

const HASH: [u8; 32] = [7; 32];
const NOON: i64 = 1_764_244_800;

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::from_e164(text).unwrap()
}

fn limits() -> SendingLimits {
    SendingLimits {
        number_short: 3,
        number_day: 10,
        prefix_short: 5,
        prefix_digits_left_out: 4,
        spend_day_minor: 1_000,
        sms: ChannelRules {
            countries: vec![
                CountryCode::parse("CN").unwrap(),
                CountryCode::parse("DE").unwrap(),
            ],
            prices_minor: HashMap::from([(CountryCode::parse("CN").unwrap(), 5)]),
            other_price_minor: 40,
        },
        phone: ChannelRules::default(),
    }
}

fn toll(limits: &SendingLimits, to: &str, hash: &[u8; 32], now: i64) -> Toll {
    let share = CallerShare {
        messages_day: 8,
        spend_day_minor: 60,
    };
    let to = number(to);
    let message = Message {
        channel: Channel::Sms,
        number_hash: hash,
        number: &to,
        caller: "shop",
        share,
        now,
    };
    limits.toll(&message).unwrap()
}

#[test]
fn j_04_a_number_gets_three_in_ten_minutes_and_ten_a_day() {
    let limits = SendingLimits {
        number_short: 3,
        number_day: 10,
        ..SendingLimits::default()
    };
    let mut counted = Counted::default();
    let mut gone = Vec::new();
    let mut refused = 0;
    // Somebody asks every twenty seconds for three hours.
    for now in (NOON..NOON + 3 * 3_600).step_by(20) {
        // The caller's own share is not what is looked at here.
        let toll = Toll {
            counts: Vec::new(),
            ..toll(&limits, "+8613800138000", &HASH, now)
        };
        match counted.pass(&toll, now) {
            Passage::Go => gone.push(now),
            Passage::Wait(until) => assert!(until > now && until <= now + SHORT_SECONDS),
            Passage::Refused(refusal) => {
                assert_eq!(refusal, SendingRefusal::NumberLimit);
                refused += 1;
            }
        }
    }
    assert_eq!(gone.len(), 10, "{gone:?}");
    for window in gone.windows(4) {
        assert!(window[3] - window[0] >= SHORT_SECONDS, "{window:?}");
    }
    assert!(refused > 0);
}

#[test]
fn j_04_a_range_of_numbers_a_callers_share_and_countries_have_limits_of_their_own() {
    let limits = limits();
    let mut counted = Counted::default();
    let mut outcomes = Vec::new();
    for last in 0..7_u8 {
        let to = format!("+861380013800{last}");
        let toll = toll(&limits, &to, &[last; 32], NOON);
        outcomes.push(counted.pass(&toll, NOON));
    }
    assert_eq!(outcomes[..5], [Passage::Go; 5]);
    assert_eq!(
        outcomes[5..],
        [Passage::Refused(SendingRefusal::PrefixLimit); 2]
    );
    // Another range: the caller has three messages left, and 35 of what it may spend. One to Germany costs 40.
    let dear = toll(&limits, "+4915123456789", &[99; 32], NOON);
    assert_eq!(
        counted.pass(&dear, NOON),
        Passage::Refused(SendingRefusal::CallerSpend)
    );
    for last in 0..3_u8 {
        let toll = toll(&limits, "+8613900139000", &[100 + last; 32], NOON);
        assert_eq!(counted.pass(&toll, NOON), Passage::Go);
    }
    assert_eq!(
        counted.pass(&toll(&limits, "+8613700137000", &[200; 32], NOON), NOON),
        Passage::Refused(SendingRefusal::CallerMessages)
    );
    // A new day.
    let tomorrow = NOON + DAY_SECONDS;
    let again = toll(&limits, "+8613700137000", &[200; 32], tomorrow);
    assert_eq!(counted.pass(&again, tomorrow), Passage::Go);
    let abroad = toll(&limits, "+12025550123", &HASH, NOON);
    assert_eq!(
        counted.pass(&abroad, NOON),
        Passage::Refused(SendingRefusal::CountryNotAllowed)
    );
}

#[test]
fn what_is_refused_counts_for_nothing() {
    let limits = limits();
    let mut counted = Counted::default();
    for _ in 0..3 {
        let toll = toll(&limits, "+8613800138000", &HASH, NOON);
        assert_eq!(counted.pass(&toll, NOON), Passage::Go);
    }
    let before = counted.clone();
    let more = toll(&limits, "+8613800138000", &HASH, NOON + 60);
    assert_eq!(
        counted.pass(&more, NOON + 60),
        Passage::Wait(NOON + SHORT_SECONDS)
    );
    assert_eq!(counted, before);
}

#[test]
fn letters_count_for_nothing_and_neither_does_anything_without_limits() {
    let to = number("+8613800138000");
    let message = |channel| Message {
        channel,
        number_hash: &HASH,
        number: &to,
        caller: "shop",
        share: CallerShare::default(),
        now: NOON,
    };
    assert_eq!(limits().toll(&message(Channel::Email)), None);
    let free = SendingLimits::default()
        .toll(&message(Channel::Sms))
        .unwrap();
    assert_eq!(free, Toll::default());
    assert_eq!(Counted::default().pass(&free, NOON), Passage::Go);
}
