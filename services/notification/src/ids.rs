//! New ids. One generator for the whole worker, handed around; tests give it a seed.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rand::{Rng as _, RngCore, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

/// Makes ids and other random numbers. Share it by `Arc`.
pub struct Ids(Mutex<StdRng>);

impl Ids {
    /// Seeded by the operating system.
    pub fn from_system() -> Self {
        Self(Mutex::new(StdRng::from_os_rng()))
    }

    /// Seeded by the caller.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// Makes something of `now` and the generator: `ids.make(now, ReplyId::new_v7)`.
    pub fn make<T>(
        &self,
        now: DateTime<Utc>,
        new: impl FnOnce(DateTime<Utc>, &mut StdRng) -> T,
    ) -> T {
        new(
            now,
            &mut self.0.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// A token that nobody has had before.
    pub fn token(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A factor between 0.8 and 1.2.
    pub fn jitter(&self) -> f64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random_range(0.8..=1.2)
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
}
