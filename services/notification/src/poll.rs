//! How long the worker waits between two looks when nothing wakes it up; it may change while the worker runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The pause. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Poll(Arc<AtomicU64>);

impl Poll {
    pub(crate) fn new(pause: Duration) -> Self {
        let poll = Self(Arc::default());
        poll.set(pause);
        poll
    }

    /// How long to wait now.
    pub(crate) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// From the next wait on.
    pub(crate) fn set(&self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }
}
