//! Feedback per period and group, with the trend against the period before.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, TimeZone as _, Utc};
use countersign_domain::locale::TimeZone;
use countersign_store::{AskedCount, FeedbackGrouping, StarsCount, Store, StoreError};

/// Groups of one period at most, those with the most feedback.
const GROUPS_MAX: usize = 200;
/// Periods of one summary at most.
pub(crate) const PERIODS_MAX: usize = 62;

/// Length of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Period {
    Day,
    Week,
    Month,
}

/// From the first moment to the first after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
}

impl Period {
    /// The first day of the period that a day lies in.
    fn first_day(self, day: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Day => Some(day),
            Self::Week => {
                day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday())))
            }
            Self::Month => day.with_day(1),
        }
    }

    fn after(self, first: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Day => first.checked_add_days(Days::new(1)),
            Self::Week => first.checked_add_days(Days::new(7)),
            Self::Month => first.checked_add_months(Months::new(1)),
        }
    }

    fn before(self, first: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Day => first.checked_sub_days(Days::new(1)),
            Self::Week => first.checked_sub_days(Days::new(7)),
            Self::Month => first.checked_sub_months(Months::new(1)),
        }
    }

    /// The periods from the one that `start` lies in to the one before `end`, with the one before them first; none where
    /// there are too many. Without a start thirteen are taken.
    pub(crate) fn spans(
        self,
        start: Option<DateTime<Utc>>,
        end: DateTime<Utc>,
        zone: TimeZone,
    ) -> Option<Vec<Span>> {
        let day = |moment: DateTime<Utc>| moment.with_timezone(&zone.tz()).date_naive();
        let mut first = match start {
            Some(start) => self.first_day(day(start))?,
            None => (0..12).try_fold(self.first_day(day(end))?, |first, _| self.before(first))?,
        };
        first = self.before(first)?;
        let mut spans = Vec::new();
        loop {
            let next = self.after(first)?;
            let span = Span {
                start: midnight(first, zone)?,
                end: midnight(next, zone)?,
            };
            if span.start >= end && spans.len() > 1 {
                return Some(spans);
            }
            // One more than is shown: what the first is compared with.
            if spans.len() > PERIODS_MAX {
                return None;
            }
            spans.push(span);
            first = next;
        }
    }
}

/// When a day begins. Where the clocks go forward at midnight it begins an hour later.
fn midnight(day: NaiveDate, zone: TimeZone) -> Option<DateTime<Utc>> {
    let zone = zone.tz();
    (0..24)
        .filter_map(|hour| NaiveTime::from_hms_opt(hour, 0, 0))
        .find_map(|time| zone.from_local_datetime(&day.and_time(time)).earliest())
        .map(|moment| moment.with_timezone(&Utc))
}

/// What was said in one period about one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) group: String,
    /// How many gave 1, 2, 3, 4 and 5 stars.
    pub(crate) distribution: [i64; 5],
    pub(crate) asked: i64,
    pub(crate) answered: i64,
    pub(crate) mean_change: Option<f64>,
    pub(crate) count_change: i64,
}

impl Summary {
    pub(crate) fn count(&self) -> i64 {
        self.distribution.iter().sum()
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        let stars: i64 = (1..)
            .zip(self.distribution)
            .map(|(stars, n)| stars * n)
            .sum();
        ratio(stars, self.count())
    }

    pub(crate) fn response_rate(&self) -> Option<f64> {
        ratio(self.answered, self.asked)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of people are far below 2⁵²"
)]
fn ratio(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Reads and compares. The first span is only compared with.
pub(crate) async fn summarize(
    store: &Store,
    grouping: FeedbackGrouping,
    spans: &[Span],
) -> Result<Vec<(Span, Vec<Summary>)>, StoreError> {
    let mut summaries = Vec::new();
    let mut before: Option<BTreeMap<String, Summary>> = None;
    for span in spans {
        let (stars, asked) = tokio::try_join!(
            store.count_feedback(grouping, span.start, span.end),
            store.count_asked(grouping, span.start, span.end),
        )?;
        let now = gather(grouping, &stars, &asked);
        if let Some(before) = &before {
            summaries.push((*span, compared(&now, before)));
        }
        before = Some(now);
    }
    Ok(summaries)
}

fn gather(
    grouping: FeedbackGrouping,
    stars: &[StarsCount],
    asked: &[AskedCount],
) -> BTreeMap<String, Summary> {
    let mut groups: BTreeMap<String, Summary> = BTreeMap::new();
    if grouping == FeedbackGrouping::Nothing {
        groups.insert(String::new(), Summary::default());
    }
    for found in stars {
        let group = groups.entry(found.group.clone()).or_default();
        let place = usize::try_from(found.stars).unwrap_or(0).wrapping_sub(1);
        if let Some(count) = group.distribution.get_mut(place) {
            *count += found.count;
        }
    }
    for found in asked {
        let group = groups.entry(found.group.clone()).or_default();
        group.asked += found.asked;
        group.answered += found.answered;
    }
    groups
}

/// The groups of a period beside those of the one before; a group that fell silent is told, too.
fn compared(now: &BTreeMap<String, Summary>, before: &BTreeMap<String, Summary>) -> Vec<Summary> {
    let silent = Summary::default();
    let fell_silent = before
        .iter()
        .filter(|(group, was)| !now.contains_key(*group) && was.count() > 0);
    let mut summaries: Vec<Summary> = now
        .iter()
        .chain(fell_silent.map(|(group, _)| (group, &silent)))
        .map(|(group, is)| {
            let was = before.get(group).unwrap_or(&silent);
            Summary {
                group: group.clone(),
                mean_change: is.mean().zip(was.mean()).map(|(is, was)| is - was),
                count_change: is.count() - was.count(),
                ..is.clone()
            }
        })
        .collect();
    // Stable: groups of the same size stay sorted by name.
    summaries.sort_by_key(|summary| std::cmp::Reverse(summary.count()));
    summaries.truncate(GROUPS_MAX);
    summaries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn starts(spans: &[Span]) -> Vec<String> {
        spans.iter().map(|span| span.start.to_rfc3339()).collect()
    }

    #[test]
    fn periods_begin_by_the_clock_of_the_zone() {
        let shanghai = TimeZone::parse("Asia/Shanghai").unwrap();
        // Half past midnight on Tuesday, 24 November, in Shanghai.
        let now = utc("2026-11-23T16:30:00Z");
        let days = Period::Day.spans(Some(now), now + chrono::TimeDelta::hours(24), shanghai);
        assert_eq!(
            starts(&days.unwrap()),
            [
                "2026-11-22T16:00:00+00:00",
                "2026-11-23T16:00:00+00:00",
                "2026-11-24T16:00:00+00:00"
            ]
        );
        let weeks = Period::Week.spans(Some(now), now, TimeZone::UTC).unwrap();
        assert_eq!(
            starts(&weeks),
            ["2026-11-16T00:00:00+00:00", "2026-11-23T00:00:00+00:00"]
        );
        let months = Period::Month.spans(None, now, shanghai).unwrap();
        assert_eq!(months.len(), 14);
        assert_eq!(months[0].start, utc("2025-09-30T16:00:00Z"));
        assert_eq!(months[13].start, utc("2026-10-31T16:00:00Z"));
        assert!(months.windows(2).all(|two| two[0].end == two[1].start));
    }

    #[test]
    fn days_are_longer_and_shorter_where_clocks_change() {
        let berlin = TimeZone::parse("Europe/Berlin").unwrap();
        let hours = |day: &str| {
            let noon = utc(day);
            let spans = Period::Day.spans(Some(noon), noon, berlin).unwrap();
            (spans[1].end - spans[1].start).num_hours()
        };
        assert_eq!(hours("2026-03-29T12:00:00Z"), 23);
        assert_eq!(hours("2026-10-25T12:00:00Z"), 25);
        assert_eq!(hours("2026-06-01T12:00:00Z"), 24);
        // Clocks went from 00:00 to 01:00.
        let beirut = TimeZone::parse("Asia/Beirut").unwrap();
        let noon = utc("2022-03-27T12:00:00Z");
        let spans = Period::Day.spans(Some(noon), noon, beirut).unwrap();
        assert_eq!(spans[1].start, utc("2022-03-26T22:00:00Z"));
    }

    #[test]
    fn too_many_periods_are_none() {
        let start = utc("2026-01-01T00:00:00Z");
        let days = |count| {
            let end = start + chrono::TimeDelta::days(count);
            Period::Day.spans(Some(start), end, TimeZone::UTC)
        };
        assert_eq!(days(62).unwrap().len(), 63);
        assert_eq!(days(63), None);
    }

    #[test]
    fn a_trend_compares_with_the_period_before() {
        let count = |group: &str, stars, count| StarsCount {
            group: group.to_owned(),
            stars,
            count,
        };
        let asked = AskedCount {
            group: "A".to_owned(),
            asked: 4,
            answered: 1,
        };
        let product = FeedbackGrouping::Product;
        let before = gather(product, &[count("A", 2, 1), count("B", 5, 3)], &[]);
        let now = gather(product, &[count("A", 5, 1), count("A", 4, 1)], &[asked]);
        let summaries = compared(&now, &before);
        assert_eq!(summaries.len(), 2);
        let a = &summaries[0];
        assert_eq!((a.group.as_str(), a.count()), ("A", 2));
        assert_eq!(a.distribution, [0, 0, 0, 1, 1]);
        assert_eq!((a.mean(), a.mean_change), (Some(4.5), Some(2.5)));
        assert_eq!((a.count_change, a.response_rate()), (1, Some(0.25)));
        let b = &summaries[1];
        assert_eq!((b.group.as_str(), b.count(), b.count_change), ("B", 0, -3));
        assert_eq!(
            (b.mean(), b.mean_change, b.response_rate()),
            (None, None, None)
        );
        // Where nothing is told apart there is a row even of an empty period.
        let nothing = gather(FeedbackGrouping::Nothing, &[], &[]);
        assert_eq!(compared(&nothing, &nothing).len(), 1);
    }
}
