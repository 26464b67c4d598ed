//! When a customer may be disturbed, by the customer's own clock (RELIABILITY 3.8). Pure: the time is an argument.

use chrono::{DateTime, Days, Duration, LocalResult, NaiveTime, TimeZone as _, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    code::codes,
    locale::TimeZone,
    order::{Channel, Order},
    phone::PhoneNumber,
};

codes! {
    /// What becomes of a deadline that falls into hours in which the customer is left alone.
    pub enum QuietDeadline {
        /// It stays.
        Expire = "EXPIRE",
        /// It moves to an hour after those hours end.
        Extend = "EXTEND",
    }
}

/// What an extended deadline leaves of the morning.
const EXTENSION: Duration = Duration::hours(1);
/// What is left off at both ends of a window where the customer's clock is only guessed.
const MARGIN: Duration = Duration::hours(2);

/// The part of a day, in local wall time, in which a channel is used. It may pass midnight; the same time twice is the
/// whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DailyWindow {
    /// The first moment.
    #[serde(with = "minutes")]
    pub opens: NaiveTime,
    /// The first moment after it.
    #[serde(with = "minutes")]
    pub closes: NaiveTime,
}

impl DailyWindow {
    /// The whole day.
    pub const ALWAYS: Self = Self {
        opens: NaiveTime::MIN,
        closes: NaiveTime::MIN,
    };

    /// From one full hour to another.
    pub fn hours(opens: u32, closes: u32) -> Self {
        let at = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap_or(NaiveTime::MIN);
        Self {
            opens: at(opens),
            closes: at(closes),
        }
    }

    fn holds(&self, time: NaiveTime) -> bool {
        if self.opens < self.closes {
            (self.opens..self.closes).contains(&time)
        } else {
            time >= self.opens || time < self.closes
        }
    }

    /// The same, safer: without its first and last two hours.
    fn narrowed(self) -> Self {
        let length = (self.closes - self.opens).num_minutes().rem_euclid(24 * 60);
        if self == Self::ALWAYS || length <= 2 * MARGIN.num_minutes() {
            return self;
        }
        Self {
            opens: self.opens.overflowing_add_signed(MARGIN).0,
            closes: self.closes.overflowing_sub_signed(MARGIN).0,
        }
    }
}

/// When each channel is used, as a company's policy says. Legal hours differ by country: this is data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContactHours {
    /// Letters.
    pub email: DailyWindow,
    /// Texts.
    pub sms: DailyWindow,
    /// Calls.
    pub phone: DailyWindow,
    /// What becomes of a deadline outside of the hours of the last channel that is tried.
    pub quiet_deadline: QuietDeadline,
}

impl Default for ContactHours {
    fn default() -> Self {
        Self {
            email: DailyWindow::ALWAYS,
            sms: DailyWindow::hours(8, 21),
            phone: DailyWindow::hours(9, 20),
            quiet_deadline: QuietDeadline::Expire,
        }
    }
}

/// The clock that a customer lives by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomerZone {
    /// Given with the order, or that of the address or number.
    Known(TimeZone),
    /// Nobody knows: the company's own, and safer hours.
    Guessed(TimeZone),
}

impl CustomerZone {
    /// Of an order: its own zone, else that of the number's country, else the company's.
    pub fn of(order: &Order, company: TimeZone) -> Self {
        let given = order.terms.time_zone;
        if given != TimeZone::UTC {
            return Self::Known(given);
        }
        order
            .customer_phone()
            .and_then(PhoneNumber::region)
            .map_or(Self::Guessed(company), |country| {
                Self::Known(country.default_time_zone())
            })
    }
}

impl ContactHours {
    /// The first moment from `now` on at which the channel may be used.
    pub fn next(&self, channel: Channel, zone: CustomerZone, now: DateTime<Utc>) -> DateTime<Utc> {
        let window = match channel {
            Channel::Email => self.email,
            Channel::Sms => self.sms,
            Channel::Phone => self.phone,
        };
        match zone {
            CustomerZone::Known(zone) => next(window, zone, now),
            CustomerZone::Guessed(zone) => next(window.narrowed(), zone, now),
        }
    }

    /// A deadline as the policy wants it, where the last channel that is tried is this one.
    pub fn deadline(
        &self,
        last: Channel,
        zone: CustomerZone,
        planned: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let opens = self.next(last, zone, planned);
        match self.quiet_deadline {
            QuietDeadline::Extend if opens > planned => opens + EXTENSION,
            QuietDeadline::Extend | QuietDeadline::Expire => planned,
        }
    }
}

fn next(window: DailyWindow, zone: TimeZone, now: DateTime<Utc>) -> DateTime<Utc> {
    let tz = zone.tz();
    let local = now.with_timezone(&tz);
    if window.opens == window.closes || window.holds(local.time()) {
        return now;
    }
    let today = local.date_naive();
    // Twice a year a day lacks an hour, and some zones have skipped a whole day.
    (0..3)
        .filter_map(|days| {
            let mut wall = today
                .checked_add_days(Days::new(days))?
                .and_time(window.opens);
            for _ in 0..4 {
                match tz.from_local_datetime(&wall) {
                    LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => {
                        return Some(time.with_timezone(&Utc));
                    }
                    LocalResult::None => wall += Duration::minutes(30),
                }
            }
            None
        })
        .find(|opens| *opens > now)
        .unwrap_or(now)
}

/// "08:00" in JSON.
mod minutes {
    use chrono::NaiveTime;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    const FORM: &str = "%H:%M";

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands fields over by reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        time: &NaiveTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&time.format(FORM))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<NaiveTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        NaiveTime::parse_from_str(&text, FORM)
            .map_err(|_| D::Error::custom("must be hours and minutes, such as 08:00"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn known(zone: &str) -> CustomerZone {
        CustomerZone::Known(TimeZone::parse(zone).unwrap())
    }

    fn next_text(zone: &str, now: &str) -> DateTime<Utc> {
        ContactHours::default().next(Channel::Sms, known(zone), at(now))
    }

    #[test]
    fn g_04_hours_go_by_the_customers_wall_clock_when_clocks_change() {
        // Berlin: the clock goes forward at 01:00 UTC on 29 March 2026, back on 25 October.
        for (now, opens) in [
            ("2026-03-28T20:00:00Z", "2026-03-29T06:00:00Z"),
            ("2026-03-27T20:00:00Z", "2026-03-28T07:00:00Z"),
            ("2026-10-24T19:30:00Z", "2026-10-25T07:00:00Z"),
            ("2026-10-25T06:59:59Z", "2026-10-25T07:00:00Z"),
            // Open until 21:00: 19:00 UTC in summer, 20:00 in winter.
            ("2026-10-24T18:59:59Z", "2026-10-24T18:59:59Z"),
            ("2026-10-25T19:59:59Z", "2026-10-25T19:59:59Z"),
        ] {
            assert_eq!(next_text("Europe/Berlin", now), at(opens), "{now}");
        }
        // Shanghai changes nothing.
        for day in ["2026-03-29", "2026-10-25"] {
            let evening = format!("{day}T13:00:00Z");
            let morning = at(&format!("{day}T00:00:00Z")) + Duration::days(1);
            assert_eq!(next_text("Asia/Shanghai", &evening), morning);
        }
    }

    #[test]
    fn g_04_a_morning_hour_that_a_day_lacks_is_the_hour_after() {
        // 02:30 does not exist on that day in Berlin.
        let hours = ContactHours {
            sms: DailyWindow {
                opens: NaiveTime::from_hms_opt(2, 30, 0).unwrap(),
                closes: NaiveTime::from_hms_opt(21, 0, 0).unwrap(),
            },
            ..ContactHours::default()
        };
        let opens = hours.next(
            Channel::Sms,
            known("Europe/Berlin"),
            at("2026-03-29T00:00:00Z"),
        );
        assert_eq!(opens, at("2026-03-29T01:00:00Z"));
    }

    #[test]
    fn g_04_an_unknown_clock_gets_the_safest_window() {
        let guessed = CustomerZone::Guessed(TimeZone::parse("Asia/Shanghai").unwrap());
        let hours = ContactHours::default();
        // 09:00 in Shanghai is fit for texts there, and too early for who may live elsewhere.
        let now = at("2026-05-04T01:00:00Z");
        assert_eq!(hours.next(Channel::Sms, known("Asia/Shanghai"), now), now);
        assert_eq!(
            hours.next(Channel::Sms, guessed, now),
            at("2026-05-04T02:00:00Z")
        );
        // From 18:00 on no calls, though they are made until 20:00.
        let now = at("2026-05-04T10:00:00Z");
        assert_eq!(
            hours.next(Channel::Phone, guessed, now),
            at("2026-05-05T03:00:00Z")
        );
        assert_eq!(hours.next(Channel::Email, guessed, now), now);
    }

    #[test]
    fn a_window_may_pass_midnight() {
        let hours = ContactHours {
            phone: DailyWindow::hours(20, 2),
            ..ContactHours::default()
        };
        let zone = known("Asia/Shanghai");
        for now in ["2026-05-04T12:00:00Z", "2026-05-04T17:59:00Z"] {
            assert_eq!(hours.next(Channel::Phone, zone, at(now)), at(now));
        }
        let now = at("2026-05-04T18:00:00Z");
        assert_eq!(
            hours.next(Channel::Phone, zone, now),
            at("2026-05-05T12:00:00Z")
        );
    }

    #[test]
    fn g_06_a_deadline_in_quiet_hours_stays_or_moves_as_the_policy_says() {
        let zone = known("Asia/Shanghai");
        let night = at("2026-05-04T18:00:00Z");
        let expire = ContactHours::default();
        assert_eq!(expire.deadline(Channel::Phone, zone, night), night);
        let extend = ContactHours {
            quiet_deadline: QuietDeadline::Extend,
            ..expire
        };
        assert_eq!(
            extend.deadline(Channel::Phone, zone, night),
            at("2026-05-05T02:00:00Z"),
            "an hour after nine in the morning"
        );
        let noon = at("2026-05-04T04:00:00Z");
        assert_eq!(extend.deadline(Channel::Phone, zone, noon), noon);
        assert_eq!(extend.deadline(Channel::Email, zone, night), night);
    }

    #[test]
    fn hours_are_written_as_people_write_them() {
        let text = serde_json::to_string(&ContactHours::default()).unwrap();
        assert_eq!(
            text,
            r#"{"email":{"opens":"00:00","closes":"00:00"},"sms":{"opens":"08:00","closes":"21:00"},"phone":{"opens":"09:00","closes":"20:00"},"quiet_deadline":"EXPIRE"}"#
        );
        assert_eq!(
            serde_json::from_str::<ContactHours>(&text).unwrap(),
            ContactHours::default()
        );
        assert_eq!(
            serde_json::from_str::<ContactHours>("{}").unwrap(),
            ContactHours::default()
        );
        let wrong = r#"{"sms":{"opens":"8","closes":"21:00"}}"#;
        assert!(serde_json::from_str::<ContactHours>(wrong).is_err());
    }
}
