//! Erasing customers: a call begins it and goes on for a moment; what is left is done in the background, by any replica and
//! after any crash.

use std::time::Duration;

use countersign_domain::{
    erasure::ErasureState,
    ids::{ErasureId, OrderId},
    secrets::{LinkKey, token_hash},
};
use countersign_runtime::lifecycle::Lifecycle;
use countersign_store::{Erasure, FIRST_GENERATION, Store};
use tokio::time::Instant;

use crate::error::ServiceError;

/// Between two looks for what is not done.
const LOOK: Duration = Duration::from_secs(5);
/// How long one erasure is gone on with before it is another's turn.
const TURN: Duration = Duration::from_secs(20);

/// Whoever erases.
#[derive(Clone, Debug)]
pub(crate) struct Eraser {
    pub(crate) store: Store,
    pub(crate) link_key: LinkKey,
}

impl Eraser {
    /// Starts to look for erasures that are not done.
    pub(crate) fn spawn(&self, lifecycle: &Lifecycle) {
        let (eraser, soft) = (self.clone(), lifecycle.soft());
        lifecycle.spawn("erasures", async move {
            let pause = || soft.run_until_cancelled(tokio::time::sleep(LOOK));
            while pause().await.is_some() {
                let unfinished = eraser.store.list_unfinished_erasures().await;
                let unfinished = unfinished.unwrap_or_else(|error| {
                    tracing::warn!(error = %error, "erasures could not be listed; trying again");
                    Vec::new()
                });
                for erasure in unfinished {
                    let going_on = eraser.go_on(erasure.id, TURN);
                    match soft.run_until_cancelled(going_on).await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            tracing::warn!(erasure = %erasure.id, error = %error, "an erasure could not go on; trying again");
                        }
                        None => return,
                    }
                }
            }
        });
    }

    /// Goes on with an erasure until it is done, it waits for something, or its time is over.
    pub(crate) async fn go_on(
        &self,
        id: ErasureId,
        turn: Duration,
    ) -> Result<Option<Erasure>, ServiceError> {
        let begun = Instant::now();
        let mut before = self.store.find_erasure(id).await?;
        loop {
            let now = self.store.now().await?;
            let link_hashes = |order: OrderId| {
                self.link_key
                    .each()
                    .map(|key| token_hash(&key.link_token(order, FIRST_GENERATION)))
                    .collect()
            };
            let after = self.store.go_on_erasing(id, &link_hashes, now).await?;
            let done = after
                .as_ref()
                .is_none_or(|erasure| erasure.state == ErasureState::Done);
            if done || after == before || begun.elapsed() >= turn {
                return Ok(after);
            }
            before = after;
        }
    }
}
