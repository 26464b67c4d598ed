//! Orders that are taken in all or none.

use countersign_store::{IntakeFailure, wait_to_run_again};

use super::{
    Accepted, Submission,
    batch::Judged,
    committer::{RUNS_MAX, replay},
};
use crate::{
    app::{Deciding, make::Ids},
    error::ServiceError,
};

impl Deciding {
    /// Takes all in or none: one transaction of their own.
    pub(crate) async fn submit_all(
        &self,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Accepted>, ServiceError> {
        let mut lost = false;
        for run in 1..=RUNS_MAX {
            let keys: Vec<[u8; 32]> = submissions
                .iter()
                .map(|submission| submission.key.key_hash)
                .collect();
            let found = self.store.find_requests(&keys).await?;
            if found.len() == submissions.len() {
                return submissions
                    .iter()
                    .map(|submission| {
                        found
                            .iter()
                            .find(|stored| stored.key_hash == submission.key.key_hash)
                            .map_or_else(
                                || Err(ServiceError::internal("a remembered call is gone")),
                                |stored| replay(submission, stored),
                            )
                    })
                    .collect();
            }
            if !found.is_empty() {
                // Some of these request ids belong to another batch.
                return Err(ServiceError::FailedPrecondition {
                    reason: "IDEMPOTENCY_KEY_REUSED",
                    message: "some of these request ids were used in another batch; take new ones"
                        .into(),
                });
            }
            let references: Vec<&Submission> = submissions.iter().collect();
            let mut facts = self.batch_facts(&references).await?;
            let (rows, answers): (Vec<_>, Vec<_>) = submissions
                .iter()
                .map(|submission| self.judge(submission, &mut facts))
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .map(|Judged { row, answer }| (row, answer))
                .unzip();
            match self
                .store
                .insert_orders(Ids::at(facts.now).commit(), &rows, facts.now)
                .await
            {
                Ok(()) => {
                    self.committed(&rows);
                    return Ok(answers
                        .into_iter()
                        .map(|order| Accepted {
                            order,
                            replayed: false,
                        })
                        .collect());
                }
                Err(IntakeFailure::StockTaken) => {}
                Err(IntakeFailure::Duplicate) => {
                    for submission in &submissions {
                        let new = &submission.new;
                        if let Some(id) = self
                            .store
                            .find_order_by_reference(&new.caller, &new.client_reference)
                            .await?
                            && self
                                .store
                                .find_requests(&[submission.key.key_hash])
                                .await?
                                .is_empty()
                        {
                            return Err(ServiceError::AlreadyExists {
                                name: id.resource_name(),
                            });
                        }
                    }
                }
                Err(IntakeFailure::Store(error)) if error.is_retryable() => {
                    wait_to_run_again(run).await;
                }
                // The commit may have been carried out although its answer was lost: the next run looks.
                Err(IntakeFailure::Store(error)) if error.is_connection_lost() && !lost => {
                    lost = true;
                }
                Err(IntakeFailure::Store(error)) => return Err(error.into()),
            }
        }
        Err(ServiceError::Aborted {
            reason: "STOCK_CONTENTION",
        })
    }
}
