//! From the text of a file to amounts, numbers, times and words of the API. What cannot be said in the API at all is
//! refused here; whether it makes sense is the service's to judge.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use countersign_proto::common;

/// A field that cannot be sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Path in the order, such as `lines[2].quantity`.
    pub(crate) field: String,
    /// What is wrong.
    pub(crate) description: String,
}

/// An amount in thousandths of a millionth, so that nothing is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount(pub(crate) i128);

const NANOS: i128 = 1_000_000_000;

impl Amount {
    /// Reads digits with a sign and a decimal mark; the other mark and spaces between thousands are skipped.
    pub(crate) fn parse(text: &str, decimal: char) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once(decimal).unwrap_or((digits, ""));
        let thousands = if decimal == ',' { '.' } else { ',' };
        let whole: String = whole
            .chars()
            .filter(|&it| it != thousands && it != ' ' && it != '\u{a0}' && it != '\'')
            .collect();
        let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let fraction = fraction.trim_end_matches('0');
        if (whole.is_empty() && fraction.is_empty() && !digits.contains('0'))
            || !plain(&whole)
            || !plain(fraction)
            || whole.len() > 18
            || fraction.len() > 9
        {
            return None;
        }
        let units: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
        let amount = units * NANOS + nanos;
        Some(Self(if negative { -amount } else { amount }))
    }

    /// The amount as a whole number, if it is one.
    pub(crate) fn whole(self) -> Option<i64> {
        (self.0 % NANOS == 0)
            .then(|| i64::try_from(self.0 / NANOS).ok())
            .flatten()
    }

    /// The amount with a currency, as the API writes it.
    pub(crate) fn money(self, currency: &str) -> common::Money {
        common::Money {
            currency_code: currency.to_owned(),
            units: i64::try_from(self.0 / NANOS).unwrap_or(i64::MAX),
            nanos: i32::try_from(self.0 % NANOS).unwrap_or_default(),
        }
    }

    /// What the API wrote.
    pub(crate) fn of(money: &common::Money) -> Self {
        Self(i128::from(money.units) * NANOS + i128::from(money.nanos))
    }

    /// `self` times a whole number.
    pub(crate) const fn times(self, count: i64) -> Self {
        Self(self.0.saturating_mul(count as i128))
    }
}

/// Reads a time: in `format` when there is one, else RFC 3339 or ISO 8601 without a zone, which is then `zone`. A local
/// time that exists twice is the earlier one; one that the clocks skipped is taken an hour later, as the clocks did.
pub(crate) fn time(text: &str, format: Option<&str>, zone: Tz) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let known = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
    ];
    let formats: Vec<&str> = format.map_or_else(|| known.to_vec(), |format| vec![format]);
    let local = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| {
            let format = format.unwrap_or("%Y-%m-%d");
            NaiveDate::parse_from_str(text, format)
                .ok()?
                .and_hms_opt(0, 0, 0)
        })?;
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.to_utc()),
        // None either where the zone's time would be past the last one that can be told.
        LocalResult::None => zone
            .from_local_datetime(&local.checked_add_signed(chrono::Duration::hours(1))?)
            .earliest()
            .map(|time| time.to_utc()),
    }
}

/// A time as the API writes it.
pub(crate) fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default(),
    }
}

/// A time that the API wrote.
pub(crate) fn moment(time: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_in_both_notations() {
        let cases = [
            ("2.1", '.', Some(2_100_000_000)),
            ("-53594.36", '.', Some(-53_594_360_000_000)),
            ("0.001", '.', Some(1_000_000)),
            ("1.234,50", ',', Some(1_234_500_000_000)),
            ("1,234.50", '.', Some(1_234_500_000_000)),
            ("12", ',', Some(12_000_000_000)),
            (".5", '.', Some(500_000_000)),
            ("0", '.', Some(0)),
            ("", '.', None),
            ("-", '.', None),
            ("1.2.3", '.', None),
            ("1e3", '.', None),
            ("12 pcs", '.', None),
            ("0.0000000001", '.', None),
        ];
        for (text, decimal, nanos) in cases {
            assert_eq!(Amount::parse(text, decimal).map(|it| it.0), nanos, "{text}");
        }
        let money = Amount::parse("-1.05", '.').unwrap().money("GBP");
        assert_eq!((money.units, money.nanos), (-1, -50_000_000));
        assert_eq!(Amount::parse("12.0", '.').unwrap().whole(), Some(12));
        assert_eq!(Amount::parse("12.5", '.').unwrap().whole(), None);
    }

    #[test]
    fn times_are_read_in_the_zone_of_the_file() {
        let london = chrono_tz::Europe::London;
        let read = |text: &str| time(text, None, london).map(|time| time.to_rfc3339());
        assert_eq!(
            read("2010-06-01 07:45:00").as_deref(),
            Some("2010-06-01T06:45:00+00:00")
        );
        assert_eq!(
            read("2016-09-04T21:15:19").as_deref(),
            Some("2016-09-04T20:15:19+00:00")
        );
        assert_eq!(
            read("2016-09-04T21:15:19-03:00").as_deref(),
            Some("2016-09-05T00:15:19+00:00")
        );
        assert_eq!(
            read("2010-01-02").as_deref(),
            Some("2010-01-02T00:00:00+00:00")
        );
        // skipped when summer time began, and twice there when it ended
        assert_eq!(
            read("2010-03-28 01:30:00").as_deref(),
            Some("2010-03-28T01:30:00+00:00")
        );
        assert_eq!(
            read("2010-10-31 01:30:00").as_deref(),
            Some("2010-10-31T00:30:00+00:00")
        );
        assert_eq!(read("yesterday"), None);
        let far = time(
            "+262142-12-31T23:30:00",
            None,
            chrono_tz::America::Sao_Paulo,
        );
        assert_eq!(far, None);
        let written = time("01.06.2010 07:45", Some("%d.%m.%Y %H:%M"), london).unwrap();
        assert_eq!(written.to_rfc3339(), "2010-06-01T06:45:00+00:00");
    }
}
