//! Intake: orders that arrive while one commit is under way go together into the next one.
//!
//! A call puts its order into a queue and waits. Each of a few committers takes what has gathered, up to a limit, reads
//! the facts once for all of it, judges each order for itself, and writes the batch in one transaction. When idle there is
//! nothing to wait for: the first order goes at once. What spoils a batch is found out and taken out of it, so that one
//! bad order never fails its neighbours.

mod batch;
mod committer;
mod together;

use std::sync::Arc;

use countersign_domain::decide::NewOrder;
use countersign_proto::v1;
use tokio::sync::{mpsc, oneshot};

use super::{App, idempotency::CallKey};
use crate::error::ServiceError;

/// Orders that wait at most; more are refused at once instead of waiting longer than their callers do.
const QUEUE_MAX: usize = 4096;

/// An order on its way in.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) new: NewOrder,
    /// Names the call and tells its content.
    pub(crate) key: CallKey,
    pub(crate) request_id: String,
    pub(crate) traceparent: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) order: v1::Order,
    /// The call had been carried out before.
    pub(crate) replayed: bool,
}

/// A submission and who waits for it.
#[derive(Debug)]
struct Waiting {
    submission: Submission,
    reply: oneshot::Sender<Result<Accepted, ServiceError>>,
}

/// The queue into the committers.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    queue: mpsc::Sender<Waiting>,
}

impl Intake {
    /// Starts the committers.
    pub(crate) fn spawn(
        app: &Arc<super::Deciding>,
        committers: usize,
        batch_orders_max: usize,
        lifecycle: &countersign_runtime::lifecycle::Lifecycle,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        committer::spawn(app, waiting, committers, batch_orders_max, lifecycle);
        Self { queue }
    }

    /// Takes an order in and waits for its commit.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Accepted, ServiceError> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .try_send(Waiting { submission, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ServiceError::ResourceExhausted,
                mpsc::error::TrySendError::Closed(_) => ServiceError::Unavailable,
            })?;
        answer
            .await
            .unwrap_or_else(|_| Err(ServiceError::Unavailable))
    }
}

impl App {
    /// Judges an order without storing it.
    pub(crate) async fn preview(&self, submission: Submission) -> Result<v1::Order, ServiceError> {
        self.deciding.preview(submission).await
    }

    /// Takes all of these in or none.
    pub(crate) async fn submit_all(
        &self,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Accepted>, ServiceError> {
        self.deciding.submit_all(submissions).await
    }
}
