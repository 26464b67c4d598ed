//! From the outbox to the queue of deliveries. Only the database is touched here.

use countersign_store::{DispatchFacts, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{bell::Bell, failpoint, plan::plan, poll::Poll};

/// Messages of one transaction.
const BATCH: u64 = 500;

/// Empties the outbox.
pub(crate) struct Dispatcher {
    pub(crate) store: Store,
    /// Told when there is something to deliver.
    pub(crate) queue: Bell,
    pub(crate) poll: Poll,
}

impl Dispatcher {
    /// Runs until the soft stage. A database that does not answer is asked again.
    pub(crate) async fn run(self, soft: CancellationToken) {
        while !soft.is_cancelled() {
            match self.round().await {
                Ok(0) => {}
                Ok(_) => {
                    self.queue.ring();
                    continue;
                }
                Err(error) => tracing::warn!(error = %error, "dispatch failed; it is tried again"),
            }
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(self.poll.get()) => {}
            }
        }
    }

    async fn round(&self) -> Result<usize, StoreError> {
        let now = self.store.now().await?;
        let plan = |facts: &DispatchFacts<'_>| {
            failpoint::hit("planning");
            plan(facts, self.store.lookup_key())
        };
        let done = self.store.dispatch(BATCH, now, plan).await?;
        if done.messages > 0 {
            failpoint::hit("dispatched");
        }
        Ok(done.messages)
    }
}
