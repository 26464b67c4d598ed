//! Safe mode: nothing is sent while the database may have gone back in time (RELIABILITY, L-05). An old copy does not know
//! what was sent after it was made, and would have it sent once more.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::code::codes;

codes! {
    /// Whether anything is sent at all.
    pub enum SafeModeState {
        /// Nothing is sent; orders and answers are taken in.
        On = "ON",
        /// As usual.
        Off = "OFF",
    }
}

/// Why the program enters safe mode by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// The configuration wants it.
    Configured,
    /// No worker has given a sign of life for so many minutes.
    Silence {
        /// How many.
        minutes: i64,
    },
    /// A running worker has written more than the database holds.
    WentBack,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("notification.start_in_safe_mode is set"),
            Self::Silence { minutes } => write!(
                f,
                "no worker had given a sign of life for {minutes} minutes: this may be an old copy of the database"
            ),
            Self::WentBack => f.write_str(
                "the database has gone back in time: it lacks what a running worker had written",
            ),
        }
    }
}

/// The last sign of life that a worker gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSign {
    /// When.
    pub time: DateTime<Utc>,
    /// Whether that worker ended in good order, and where that means something: a shop on one machine may close for the
    /// night, while workers beside a database server do not all end for long.
    pub closed: bool,
}

/// What a worker that starts suspects. A database without any sign of life is a new one.
pub fn at_start(
    last: Option<LastSign>,
    silence_max: Option<TimeDelta>,
    now: DateTime<Utc>,
) -> Option<Suspicion> {
    let (last, silence_max) = (last?, silence_max?);
    let silence = now - last.time;
    (!last.closed && silence > silence_max).then(|| Suspicion::Silence {
        minutes: silence.num_minutes(),
    })
}

/// Whether the database lacks beats that this worker wrote: fewer are there, or none.
pub const fn went_back(written: i64, found: Option<i64>) -> bool {
    match found {
        Some(found) => found < written,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(minutes: i64, closed: bool, silence_max: Option<i64>) -> Option<Suspicion> {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let last = LastSign {
            time: now - TimeDelta::minutes(minutes),
            closed,
        };
        at_start(Some(last), silence_max.map(TimeDelta::minutes), now)
    }

    #[test]
    fn a_long_silence_is_suspicious_unless_the_shop_was_closed_or_nobody_wants_to_know() {
        assert_eq!(after(15, false, Some(15)), None);
        let silence = Some(Suspicion::Silence { minutes: 60 });
        assert_eq!(after(60, false, Some(15)), silence);
        assert_eq!(after(60, true, Some(15)), None);
        assert_eq!(after(60, false, None), None);
        let new = at_start(None, Some(TimeDelta::minutes(15)), DateTime::UNIX_EPOCH);
        assert_eq!(new, None, "a new database");
    }

    #[test]
    fn only_fewer_beats_than_were_written_tell_of_an_old_copy() {
        assert!(went_back(3, None));
        assert!(went_back(3, Some(2)));
        assert!(!went_back(3, Some(3)));
        // Written, but the answer was lost.
        assert!(!went_back(3, Some(4)));
    }

    #[test]
    fn codes_are_pinned() {
        assert_eq!(SafeModeState::On.as_str(), "ON");
        assert_eq!(SafeModeState::Off.as_str(), "OFF");
    }
}
