//! Intake: orders that arrive while one commit is under way go together into the next one.
//!
//! A call puts its order into a queue and waits. Each of a few committers takes what has gathered, up to a limit, reads
//! the facts once for all of it, judges each order for itself, and writes the batch in one transaction. When idle there is
//! nothing to wait for: the first order goes at once. What spoils a batch is found out and taken out of it, so that one
//! bad order never fails its neighbours.

mod batch;
mod committer;
mod flow;
mod together;

use std::sync::Arc;

use countersign_domain::decide::NewOrder;
use countersign_proto::v1;
use countersign_runtime::{
    config::{self, Limits},
    load::{
        LoadMetrics,
        deadline::{Deadline, Expiry},
        quota::{Quota, Quotas},
        refusal::Refused,
    },
};
use flow::Flow;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{App, idempotency::CallKey};
use crate::error::ServiceError;

/// Orders that wait at most, however fast they are written.
const QUEUE_MAX: usize = 4096;
/// When to come again when there is no room for one more.
const QUEUE_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

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
    /// Until when; rows of a stream wait as long as it takes.
    deadline: Option<Deadline>,
    expiry: Expiry,
}

impl Waiting {
    /// Nobody waits for it any more: the time is over, or the caller has hung up.
    fn is_given_up(&self, now: Instant) -> bool {
        self.reply.is_closed()
            || self
                .deadline
                .is_some_and(|deadline| deadline.has_passed(now))
    }
}

/// The queue into the committers.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    queue: mpsc::Sender<Waiting>,
    flow: Arc<Flow>,
    quotas: Arc<Quotas>,
    metrics: LoadMetrics,
}

impl Intake {
    /// Starts the committers.
    pub(crate) fn spawn(
        app: &Arc<super::Deciding>,
        config: &config::Order,
        limits: &Limits,
        lifecycle: &countersign_runtime::lifecycle::Lifecycle,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let flow = Arc::new(Flow::new(
            config.committers,
            config.batch_orders_max,
            limits.intake_wait(),
        ));
        committer::spawn(app, waiting, &flow, config, lifecycle);
        Self {
            queue,
            flow,
            quotas: Arc::new(Quotas::new(Quota::OrdersPerMinute, limits)),
            metrics: LoadMetrics::shared(),
        }
    }

    /// Takes an order in and waits for its commit.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Accepted, ServiceError> {
        self.count_orders(&submission.new.caller, 1)?;
        let deadline = Deadline::current();
        let left = deadline.map(|deadline| deadline.left(Instant::now()));
        self.flow.arrive(left).map_err(|after| self.shed(after))?;
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            submission,
            reply,
            deadline,
            expiry: Expiry::current(),
        };
        waiting.expiry.queued();
        self.queue.try_send(waiting).map_err(|error| {
            self.flow.leave(1);
            match error {
                mpsc::error::TrySendError::Full(_) => self.shed(QUEUE_PAUSE),
                mpsc::error::TrySendError::Closed(_) => ServiceError::Unavailable,
            }
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(ServiceError::Unavailable))
    }

    /// Takes these orders off their caller's share.
    pub(crate) fn count_orders(&self, caller: &str, count: usize) -> Result<(), ServiceError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.quotas
            .take(caller, count, Instant::now())
            .map_err(|refused| {
                self.metrics.over_quota(Quota::OrdersPerMinute);
                ServiceError::ResourceExhausted(refused)
            })
    }

    fn shed(&self, after: std::time::Duration) -> ServiceError {
        self.metrics.shed("intake");
        ServiceError::ResourceExhausted(Refused::overloaded(after))
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
        if let Some(first) = submissions.first() {
            self.intake
                .count_orders(&first.new.caller, submissions.len())?;
        }
        self.deciding.submit_all(submissions).await
    }
}
