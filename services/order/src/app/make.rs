//! Where randomness enters: ids, nothing else.

use chrono::{DateTime, Utc};
use countersign_domain::ids::{
    CommitId, ContactId, ErasureId, FeedbackId, HoldId, OrderId, OutboxId, TrackingEventId,
};
use countersign_store::RequestRecord;
use uuid::Uuid;

use super::idempotency::CallKey;

/// Makes ids of a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    now: DateTime<Utc>,
}

impl Ids {
    /// Ids of this moment.
    pub(crate) const fn at(now: DateTime<Utc>) -> Self {
        Self { now }
    }

    pub(crate) fn order(self) -> OrderId {
        OrderId::new_v7(self.now, &mut rng())
    }

    pub(crate) fn commit(self) -> CommitId {
        CommitId::new_v7(self.now, &mut rng())
    }

    pub(crate) fn hold(self) -> HoldId {
        HoldId::new_v7(self.now, &mut rng())
    }

    pub(crate) fn contact(self) -> ContactId {
        ContactId::new_v7(self.now, &mut rng())
    }

    pub(crate) fn erasure(self) -> ErasureId {
        ErasureId::new_v7(self.now, &mut rng())
    }

    pub(crate) fn feedback(self) -> FeedbackId {
        FeedbackId::new_v7(self.now, &mut rng())
    }

    pub(crate) fn tracking_event(self) -> TrackingEventId {
        TrackingEventId::new_v7(self.now, &mut rng())
    }

    /// Ids of as many outbox rows.
    pub(crate) fn outbox(self, count: usize) -> Vec<Uuid> {
        (0..count)
            .map(|_| OutboxId::new_v7(self.now, &mut rng()).as_uuid())
            .collect()
    }

    /// The row that remembers a call with its answer.
    pub(crate) fn record(self, key: &CallKey, answer: Vec<u8>) -> RequestRecord {
        key.record(answer, self.now, &mut rng())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where ids take their randomness"
)]
fn rng() -> rand::rngs::ThreadRng {
    rand::rng()
}
