//! Moments, spans of time and windows. The database keeps microseconds, so what comes in is cut to them: a value read
//! back equals the value written.

use chrono::{DateTime, SubsecRound as _, Utc};
use countersign_domain::order::TimeWindow;
use countersign_proto::v1;
use prost_types::{Duration, Timestamp};

use crate::error::Violations;

/// 9999-12-31T23:59:59Z, the last second of RFC 3339 and of a DATETIME.
const LAST_SECOND: i64 = 253_402_300_799;

/// A moment from 1970 on.
pub(crate) fn from_proto(
    moment: &Timestamp,
    field: &str,
    violations: &mut Violations,
) -> Option<DateTime<Utc>> {
    let nanos = u32::try_from(moment.nanos).ok();
    let read = nanos
        .filter(|nanos| *nanos < 1_000_000_000)
        .filter(|_| (0..=LAST_SECOND).contains(&moment.seconds))
        .and_then(|nanos| DateTime::from_timestamp(moment.seconds, nanos));
    if read.is_none() {
        violations.add(
            field,
            "must be a time from 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z, with nanos from 0 to 999,999,999",
        );
    }
    read.map(|moment| moment.trunc_subsecs(6))
}

/// A moment for the wire.
pub(crate) fn to_proto(moment: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: moment.timestamp(),
        // Below 10⁹ but in a leap second, which the database cannot hold.
        nanos: i32::try_from(moment.timestamp_subsec_nanos()).unwrap_or(999_999_999),
    }
}

/// A window whose end is after its start.
pub(crate) fn window_from_proto(
    window: &v1::TimeWindow,
    path: &str,
    violations: &mut Violations,
) -> Option<TimeWindow> {
    let mut side = |moment: Option<&Timestamp>, name: &str| {
        let field = format!("{path}.{name}");
        match moment {
            Some(moment) => from_proto(moment, &field, violations),
            None => violations.require(field, None),
        }
    };
    let start = side(window.start_time.as_ref(), "start_time");
    let end = side(window.end_time.as_ref(), "end_time");
    let (start, end) = (start?, end?);
    if end <= start {
        violations.add(format!("{path}.end_time"), "must be after start_time");
        return None;
    }
    Some(TimeWindow { start, end })
}

/// A window for the wire.
pub(crate) fn window_to_proto(window: TimeWindow) -> v1::TimeWindow {
    v1::TimeWindow {
        start_time: Some(to_proto(window.start)),
        end_time: Some(to_proto(window.end)),
    }
}

/// Whole seconds from `min` to `max`; a fraction of a second is refused.
pub(crate) fn seconds_from_proto(
    span: &Duration,
    (min, max): (u32, u32),
    field: &str,
    violations: &mut Violations,
) -> Option<u32> {
    let seconds = u32::try_from(span.seconds)
        .ok()
        .filter(|seconds| span.nanos == 0 && (min..=max).contains(seconds));
    if seconds.is_none() {
        violations.add(field, format!("must be {min} to {max} whole seconds"));
    }
    seconds
}

/// Seconds for the wire.
pub(crate) fn seconds_to_proto(seconds: u32) -> Duration {
    Duration {
        seconds: i64::from(seconds),
        nanos: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_cut_to_microseconds() {
        let mut violations = Violations::new();
        let moment = Timestamp {
            seconds: 1_794_900_000,
            nanos: 123_456_789,
        };
        let read = from_proto(&moment, "t", &mut violations).unwrap();
        assert_eq!(to_proto(read).seconds, 1_794_900_000);
        assert_eq!(to_proto(read).nanos, 123_456_000);
        assert!(violations.is_empty());
    }

    #[test]
    fn moments_outside_of_the_calendar_are_refused() {
        for (seconds, nanos) in [
            (-1, 0),
            (0, -1),
            (0, 1_000_000_000),
            (LAST_SECOND + 1, 0),
            (i64::MAX, i32::MAX),
            (i64::MIN, i32::MIN),
        ] {
            let mut violations = Violations::new();
            assert!(from_proto(&Timestamp { seconds, nanos }, "t", &mut violations).is_none());
            assert_eq!(violations.len(), 1, "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_window_ends_after_it_starts() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let read = |start_time, end_time| {
            let mut violations = Violations::new();
            let window = v1::TimeWindow {
                start_time,
                end_time,
            };
            let read = window_from_proto(&window, "w", &mut violations);
            let fields: Vec<String> = violations.into_vec().into_iter().map(|v| v.field).collect();
            (read.map(window_to_proto), fields)
        };
        let (window, fields) = read(at(1), at(2));
        assert!(fields.is_empty());
        assert_eq!(window.unwrap().end_time, at(2));
        assert_eq!(read(at(2), at(2)).1, ["w.end_time"]);
        assert_eq!(read(None, None).1, ["w.start_time", "w.end_time"]);
    }

    #[test]
    fn spans_are_whole_seconds_within_bounds() {
        let mut violations = Violations::new();
        let mut read = |seconds, nanos| {
            seconds_from_proto(&Duration { seconds, nanos }, (1, 60), "d", &mut violations)
        };
        assert_eq!(read(60, 0), Some(60));
        assert_eq!(read(0, 0), None);
        assert_eq!(read(61, 0), None);
        assert_eq!(read(5, 1), None);
        assert_eq!(read(-5, 0), None);
        assert_eq!(violations.len(), 4);
        assert_eq!(seconds_to_proto(60).seconds, 60);
    }
}
