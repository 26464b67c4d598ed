//! How fast turns come.

use std::time::Duration;

use tokio::time::Instant;

/// Turns that the mean is taken over. Orders that go into one commit end together, so turns come in crowds; these are some of them.
const TURNS: f64 = 256.0;

/// The mean time between turns, as long as somebody waits for one.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// Intervals seen.
    seen: f64,
    /// Seconds.
    mean: f64,
}

impl Pace {
    /// A turn was given.
    pub(super) fn turn(&mut self, now: Instant) {
        if let Some(last) = self.last {
            self.seen = (self.seen + 1.0).min(TURNS);
            let interval = now.saturating_duration_since(last).as_secs_f64();
            self.mean += (interval - self.mean) / self.seen;
        }
        self.last = Some(now);
    }

    /// Nobody waits any more: what passes until somebody does is not the length of a turn.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// How long so many turns take. Nothing, as long as nothing is known.
    pub(super) fn of_turns(&self, turns: usize) -> Duration {
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        Duration::try_from_secs_f64(self.mean * f64::from(turns)).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_that_come_in_crowds_are_told_by_their_mean_and_a_change_of_pace_is_followed() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        assert_eq!(pace.of_turns(1_000), Duration::ZERO);
        let mut crowds = |pace: &mut Pace, count: u32, every: Duration| {
            for _ in 0..count {
                now += every;
                for _ in 0..64 {
                    pace.turn(now);
                }
            }
        };
        crowds(&mut pace, 50, Duration::from_millis(32));
        let told = pace.of_turns(1_000).as_millis();
        assert!((350..=650).contains(&told), "{told} ms, about 500");
        crowds(&mut pace, 50, Duration::from_millis(320));
        let told = pace.of_turns(1_000).as_millis();
        assert!((3_500..=6_500).contains(&told), "{told} ms, about 5,000");
        pace.forget();
        assert_eq!(pace.of_turns(1_000), Duration::ZERO);
    }
}
