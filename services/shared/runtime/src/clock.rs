//! The wall clock as an argument, so that a test can move it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

/// Tells the time. Take one as an argument wherever a decision depends on the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now, in UTC, cut to whole microseconds: the precision that the database keeps,
    /// so that a value read back equals the value written.
    fn now(&self) -> DateTime<Utc>;
}

/// A clock that can be handed to many tasks.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, ready to hand around.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl ManualClock {
    /// A clock that stands at `start`, cut to microseconds.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self {
            now: Arc::new(Mutex::new(start.trunc_subsecs(6))),
        }
    }

    /// Moves the clock by `step`; a negative step moves it back.
    pub fn advance(&self, step: TimeDelta) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (*now + step).trunc_subsecs(6);
    }

    /// Puts the clock to `to`.
    pub fn set(&self, to: DateTime<Utc>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = to.trunc_subsecs(6);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_has_whole_microseconds() {
        let now = SystemClock.now();
        assert_eq!(now.timestamp_subsec_nanos() % 1_000, 0);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told_and_for_every_clone() {
        let start = DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap();
        let clock = ManualClock::new(start);
        let clone: SharedClock = Arc::new(clock.clone());
        assert_eq!(clone.now().timestamp_subsec_nanos(), 123_456_000);

        clock.advance(TimeDelta::minutes(5));
        assert_eq!(clone.now() - clock.now(), TimeDelta::zero());
        assert_eq!(clone.now(), start.trunc_subsecs(6) + TimeDelta::minutes(5));

        clock.set(start);
        assert_eq!(clone.now(), start.trunc_subsecs(6));
    }
}
