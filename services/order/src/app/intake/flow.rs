//! How long an order would have to wait for its commit.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How much the last commit counts beside those before it.
const WEIGHT: f64 = 0.2;
/// When an order that is refused is to come again, at least and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Orders that wait, and how long their commits take.
#[derive(Debug)]
pub(super) struct Flow {
    waiting: AtomicUsize,
    /// Seconds of one commit, smoothed.
    commit: Mutex<f64>,
    committers: usize,
    batch_orders_max: usize,
    wait_max: Duration,
}

impl Flow {
    pub(super) const fn new(
        committers: usize,
        batch_orders_max: usize,
        wait_max: Duration,
    ) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            commit: Mutex::new(0.0),
            committers,
            batch_orders_max,
            wait_max,
        }
    }

    /// One more waits, unless it would be for longer than `left` or than anyone is to wait. Then: when to come again.
    pub(super) fn arrive(&self, left: Option<Duration>) -> Result<(), Duration> {
        let wait = self.expected_wait();
        let most = left.map_or(self.wait_max, |left| left.min(self.wait_max));
        if wait > most {
            return Err(wait.clamp(PAUSE.0, PAUSE.1));
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// So many wait no longer: they are being written, or were given up.
    pub(super) fn leave(&self, orders: usize) {
        self.waiting.fetch_sub(orders, Ordering::Relaxed);
    }

    /// A commit took so long.
    pub(super) fn committed(&self, took: Duration) {
        let mut commit = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        *commit += (took.as_secs_f64() - *commit) * WEIGHT;
    }

    /// Whole commits that go before, each committer doing one at a time. Orders that would go into the next commit never wait too
    /// long by this reckoning, so there is always one whose length is news.
    fn expected_wait(&self) -> Duration {
        let ahead = self.waiting.load(Ordering::Relaxed) / self.batch_orders_max.max(1);
        let commit = *self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        // Thousands at most.
        let rounds = u32::try_from(ahead.div_ceil(self.committers.max(1))).unwrap_or(u32::MAX);
        Duration::try_from_secs_f64(commit * f64::from(rounds)).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(flow: &Flow, orders: usize) -> usize {
        (0..orders).filter(|_| flow.arrive(None).is_ok()).count()
    }

    #[test]
    fn orders_are_refused_when_commits_have_become_slow() {
        let flow = Flow::new(2, 10, Duration::from_secs(2));
        for _ in 0..50 {
            flow.committed(Duration::from_millis(50));
        }
        assert_eq!(arrive(&flow, 700), 700);
        flow.leave(700);
        for _ in 0..50 {
            flow.committed(Duration::from_millis(1_500));
        }
        // One round of the two committers, and no second one.
        let taken = arrive(&flow, 700);
        assert_eq!(taken, 30);
        let again = flow.arrive(None).unwrap_err();
        assert!((1_000..=10_000).contains(&again.as_millis()), "{again:?}");
        flow.leave(taken);
        assert_eq!(arrive(&flow, 1), 1);
    }

    #[test]
    fn whoever_cannot_wait_so_long_is_told_at_once_and_the_next_commit_is_always_fed() {
        let flow = Flow::new(2, 10, Duration::from_mins(1));
        for _ in 0..50 {
            flow.committed(Duration::from_secs(5));
        }
        assert_eq!(arrive(&flow, 10), 10);
        assert!(flow.arrive(Some(Duration::from_secs(1))).is_err());
        assert!(flow.arrive(Some(Duration::from_secs(8))).is_ok());
        let slow = Flow::new(2, 10, Duration::from_millis(10));
        slow.committed(Duration::from_hours(1));
        assert_eq!(arrive(&slow, 100), 10);
    }
}
