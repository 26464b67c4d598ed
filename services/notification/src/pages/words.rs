//! The languages of the pages, and how each writes times.

use std::fmt::Write as _;

use chrono::{DateTime, Offset as _, Utc};
use countersign_domain::{
    locale::{Locale, TimeZone},
    order::TimeWindow,
};

/// A language that pages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    En,
    ZhCn,
}

impl Language {
    pub(super) const ALL: [Self; 2] = [Self::En, Self::ZhCn];

    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }

    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::En => include_str!("../../templates/pages/words/en.json"),
            Self::ZhCn => include_str!("../../templates/pages/words/zh-CN.json"),
        }
    }

    /// The one asked for by `?lang=`, else the order's.
    pub(super) fn choose(asked: Option<&str>, locale: &Locale) -> Self {
        asked
            .and_then(|tag| Self::ALL.into_iter().find(|it| it.tag() == tag))
            .unwrap_or_else(|| {
                if locale.template_locale() == Self::ZhCn.tag() {
                    Self::ZhCn
                } else {
                    Self::En
                }
            })
    }

    /// The first known language of an Accept-Language header; English when there is none.
    pub(super) fn accepted(header: Option<&str>) -> Self {
        header
            .into_iter()
            .flat_map(|header| header.split(','))
            .find_map(|item| {
                let tag = item.split(';').next()?.trim();
                match tag.split('-').next()? {
                    "zh" => Some(Self::ZhCn),
                    "en" => Some(Self::En),
                    _ => None,
                }
            })
            .unwrap_or(Self::En)
    }

    const fn day(self) -> &'static str {
        match self {
            Self::En => "%-d %B %Y",
            Self::ZhCn => "%Y年%-m月%-d日",
        }
    }

    /// A day and a time by the customer's clock.
    pub(super) fn time(self, time: DateTime<Utc>, zone: TimeZone) -> String {
        let time = time.with_timezone(&zone.tz());
        match self {
            Self::En => time.format("%-d %B %Y, %H:%M").to_string(),
            Self::ZhCn => time.format("%Y年%-m月%-d日 %H:%M").to_string(),
        }
    }

    /// A span of time by the customer's clock; the day is named once when it is the same.
    pub(super) fn window(self, window: TimeWindow, zone: TimeZone) -> String {
        let start = window.start.with_timezone(&zone.tz());
        let end = window.end.with_timezone(&zone.tz());
        if start.date_naive() == end.date_naive() {
            let separator = match self {
                Self::En => ", ",
                Self::ZhCn => " ",
            };
            format!(
                "{}{separator}{}–{}",
                start.format(self.day()),
                start.format("%H:%M"),
                end.format("%H:%M")
            )
        } else {
            format!(
                "{} – {}",
                self.time(window.start, zone),
                self.time(window.end, zone)
            )
        }
    }
}

/// The clock by which a page tells times, such as `Asia/Shanghai (UTC+8)`.
pub(super) fn zone_name(zone: TimeZone, now: DateTime<Utc>) -> String {
    let seconds = now
        .with_timezone(&zone.tz())
        .offset()
        .fix()
        .local_minus_utc();
    if zone.name() == "UTC" {
        return "UTC".to_owned();
    }
    let minutes = seconds.unsigned_abs() / 60;
    let mut name = format!(
        "{} (UTC{}{}",
        zone.name(),
        if seconds < 0 { '−' } else { '+' },
        minutes / 60
    );
    if !minutes.is_multiple_of(60) {
        // Writing to a String cannot fail.
        write!(name, ":{:02}", minutes % 60).ok();
    }
    name.push(')');
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::TimeZone as _;
    use countersign_domain::{
        confirmation::{AnswerChannel, ObjectionCategory},
        event::EventKind,
        feedback::FeedbackTag,
        order::{Channel, OrderState, PaymentMethod},
        tracking::{REASON_PREFIXES, TrackingStatus},
    };

    use super::*;

    fn utc(hour: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 24, hour, 5, 0).unwrap()
    }

    #[test]
    fn times_are_told_by_the_customers_clock() {
        let shanghai = TimeZone::parse("Asia/Shanghai").unwrap();
        assert_eq!(
            Language::En.time(utc(20), shanghai),
            "25 November 2026, 04:05"
        );
        assert_eq!(
            Language::ZhCn.time(utc(20), shanghai),
            "2026年11月25日 04:05"
        );
    }

    #[test]
    fn a_window_names_its_day_once() {
        let window = TimeWindow {
            start: utc(8),
            end: utc(10),
        };
        assert_eq!(
            Language::En.window(window, TimeZone::UTC),
            "24 November 2026, 08:05–10:05"
        );
        assert_eq!(
            Language::ZhCn.window(window, TimeZone::UTC),
            "2026年11月24日 08:05–10:05"
        );
        let shanghai = TimeZone::parse("Asia/Shanghai").unwrap();
        let over_midnight = TimeWindow {
            start: utc(15),
            end: utc(17),
        };
        assert_eq!(
            Language::En.window(over_midnight, shanghai),
            "24 November 2026, 23:05 – 25 November 2026, 01:05"
        );
    }

    #[test]
    fn zones_are_named_with_their_distance_from_utc() {
        for (zone, name) in [
            ("Asia/Shanghai", "Asia/Shanghai (UTC+8)"),
            ("Asia/Kolkata", "Asia/Kolkata (UTC+5:30)"),
            ("America/New_York", "America/New_York (UTC−5)"),
            ("UTC", "UTC"),
        ] {
            assert_eq!(zone_name(TimeZone::parse(zone).unwrap(), utc(8)), name);
        }
    }

    /// Every path to a sentence, such as `state.PACKED.0`.
    fn paths(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(fields) => fields
                .iter()
                .for_each(|(key, value)| paths(value, &format!("{path}.{key}"), found)),
            serde_json::Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(key, value)| paths(value, &format!("{path}.{key}"), found)),
            _ => {
                found.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn both_languages_have_a_word_for_everything_that_a_page_may_say() {
        let said = Language::ALL.map(|language| {
            let mut found = BTreeSet::new();
            let words = serde_json::from_str(language.source()).unwrap();
            paths(&words, "", &mut found);
            found
        });
        assert_eq!(said[0], said[1]);
        let codes = |name: &str, codes: Vec<&str>| {
            for code in codes {
                let path = format!(".{name}.{code}");
                let known = said[0].iter().any(|it| {
                    it.strip_prefix(&path)
                        .is_some_and(|rest| rest.is_empty() || rest == ".0")
                });
                assert!(known, "{path}");
            }
        };
        codes(
            "state",
            OrderState::ALL.iter().map(|it| it.as_str()).collect(),
        );
        codes(
            "payment",
            PaymentMethod::ALL.iter().map(|it| it.as_str()).collect(),
        );
        codes(
            "channel",
            AnswerChannel::ALL.iter().map(|it| it.as_str()).collect(),
        );
        codes(
            "category",
            ObjectionCategory::ALL
                .iter()
                .map(|it| it.as_str())
                .collect(),
        );
        codes(
            "tracking",
            TrackingStatus::ALL.iter().map(|it| it.as_str()).collect(),
        );
        codes(
            "tag",
            FeedbackTag::ALL.iter().map(|it| it.as_str()).collect(),
        );
        codes("cause", REASON_PREFIXES.to_vec());
        codes(
            "mailbox.channel",
            Channel::ALL.iter().map(|it| it.as_str()).collect(),
        );
        let public = EventKind::ALL.iter().filter(|it| it.is_public());
        let told_otherwise = [EventKind::Tracked, EventKind::Progressed];
        codes(
            "event",
            public
                .filter(|it| !told_otherwise.contains(it))
                .map(|it| it.as_str())
                .collect(),
        );
    }

    #[test]
    fn the_first_known_language_is_taken() {
        let accepted = |header| Language::accepted(Some(header));
        assert_eq!(accepted("zh-CN,zh;q=0.9,en;q=0.8"), Language::ZhCn);
        assert_eq!(accepted("fr, en-GB;q=0.7, zh"), Language::En);
        assert_eq!(accepted("fr"), Language::En);
        assert_eq!(Language::accepted(None), Language::En);
    }
}
