//! The committers: take what has gathered, write it, answer everyone.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_runtime::{config, lifecycle::Lifecycle, load::LoadMetrics};
use countersign_store::{IntakeFailure, ORDERS_AT_A_STRETCH, StoredRequest, wait_to_run_again};
use tokio::{
    sync::{Mutex, mpsc},
    time::Instant,
};
use tracing::Instrument as _;

use super::{Accepted, Submission, Waiting, batch::Judged, flow::Flow};
use crate::{
    app::{Deciding, make::Ids},
    convert,
    error::ServiceError,
};

/// How often a batch is decided anew before its orders are given back.
pub(super) const RUNS_MAX: u32 = 6;
/// After a repeated call was met, batches look for repetitions first for so long.
const LOOK_FIRST_US: i64 = 1_000_000;

/// How long orders gather at most while another commit is under way.
const GATHER: Duration = Duration::from_millis(8);

type Answer = Result<Accepted, ServiceError>;

/// Starts the committers; they end when the queue does.
pub(super) fn spawn(
    deciding: &Arc<Deciding>,
    waiting: mpsc::Receiver<Waiting>,
    flow: &Arc<Flow>,
    config: &config::Order,
    lifecycle: &Lifecycle,
) {
    let batch_orders_max = config.batch_orders_max;
    let waiting = Arc::new(Mutex::new(waiting));
    let under_way = Arc::new(AtomicUsize::new(0));
    let last_repeat_us = Arc::new(AtomicI64::new(i64::MIN));
    for _ in 0..config.committers.max(1) {
        let committer = Committer {
            deciding: Arc::clone(deciding),
            waiting: Arc::clone(&waiting),
            last_repeat_us: Arc::clone(&last_repeat_us),
            under_way: Arc::clone(&under_way),
            flow: Arc::clone(flow),
            metrics: LoadMetrics::shared(),
        };
        let hard = lifecycle.hard();
        lifecycle.spawn("committer", async move {
            hard.run_until_cancelled(committer.run(batch_orders_max))
                .await;
        });
    }
}

struct Committer {
    deciding: Arc<Deciding>,
    waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>,
    /// Database time of the last repeated call, microseconds; shared by all committers.
    last_repeat_us: Arc<AtomicI64>,
    /// Commits under way in all committers.
    under_way: Arc<AtomicUsize>,
    flow: Arc<Flow>,
    metrics: LoadMetrics,
}

impl Committer {
    async fn run(self, batch_orders_max: usize) {
        loop {
            let batch = self.gather(batch_orders_max).await;
            if batch.is_empty() {
                return;
            }
            self.flow.leave(batch.len());
            let batch = self.leave_out_given_up(batch);
            if batch.is_empty() {
                continue;
            }
            self.under_way.fetch_add(1, Ordering::AcqRel);
            let begun = Instant::now();
            let span = tracing::info_span!("order.intake.commit", orders = batch.len());
            self.process(batch).instrument(span).await;
            self.flow.committed(begun.elapsed());
            self.under_way.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Orders for whose answer nobody waits any more cost the database nothing (RELIABILITY, K-03). Whoever asks again asks with
    /// the same request id.
    fn leave_out_given_up(&self, batch: Vec<Waiting>) -> Vec<Waiting> {
        let now = Instant::now();
        let (given_up, going): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|it| it.is_given_up(now));
        for waiting in given_up {
            if let Some(stage) = waiting.expiry.count() {
                self.metrics.expired(stage);
            }
            waiting.reply.send(Err(ServiceError::DeadlineExceeded)).ok();
        }
        for it in &going {
            it.expiry.taken();
        }
        going
    }

    /// What goes together into the next commit; nothing when the queue has ended. When no commit is under way the first
    /// order goes at once. While one is, there is nothing to gain by starting a small one beside it: the callers that the
    /// last commit answered are just coming back.
    async fn gather(&self, batch_orders_max: usize) -> Vec<Waiting> {
        let mut batch = Vec::with_capacity(batch_orders_max);
        let mut waiting = self.waiting.lock().await;
        if waiting.recv_many(&mut batch, batch_orders_max).await == 0 {
            return batch;
        }
        let patience = Instant::now() + GATHER;
        while batch.len() < batch_orders_max && self.under_way.load(Ordering::Acquire) > 0 {
            let room = batch_orders_max - batch.len();
            match tokio::time::timeout_at(patience, waiting.recv_many(&mut batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        batch
    }

    /// Writes a batch; whoever cannot go with it goes with one of its own.
    async fn process(&self, batch: Vec<Waiting>) {
        let mut rest = batch;
        while !rest.is_empty() {
            let (now, later) = apart(rest);
            self.settle(now).await;
            rest = later;
        }
    }

    /// Writes orders of which no two get in each other's way.
    async fn settle(&self, mut batch: Vec<Waiting>) {
        for run in 1..=RUNS_MAX {
            if batch.is_empty() {
                return;
            }
            match self.try_settle(&mut batch).await {
                Ok(Step::Done) => return,
                Ok(Step::Again) => {}
                Err(error) if matches!(error, ServiceError::Aborted { .. }) && run < RUNS_MAX => {
                    tracing::debug!(run, error = %error, "batch is decided again");
                    wait_to_run_again(run).await;
                }
                Err(error) if batch.len() > 1 => {
                    // One of them may be what the database cannot take: each half by itself.
                    tracing::warn!(orders = batch.len(), error = %error, "batch is split");
                    let half = batch.split_off(batch.len() / 2);
                    Box::pin(self.settle(batch)).await;
                    Box::pin(self.settle(half)).await;
                    return;
                }
                Err(error) => {
                    answer_all(batch, &error);
                    return;
                }
            }
        }
        answer_all(
            batch,
            &ServiceError::Aborted {
                reason: "STOCK_CONTENTION",
            },
        );
    }

    async fn try_settle(&self, batch: &mut Vec<Waiting>) -> Result<Step, ServiceError> {
        let submissions: Vec<&Submission> =
            batch.iter().map(|waiting| &waiting.submission).collect();
        let mut facts = self.deciding.batch_facts(&submissions).await?;
        let now_us = facts.now.timestamp_micros();
        if now_us.saturating_sub(self.last_repeat_us.load(Ordering::Relaxed)) < LOOK_FIRST_US
            && self.answer_repeated(batch, now_us).await?
            && batch.is_empty()
        {
            return Ok(Step::Done);
        }
        let mut judged = Vec::with_capacity(batch.len());
        let mut going = Vec::with_capacity(batch.len());
        for (number, waiting) in batch.drain(..).enumerate() {
            if number % ORDERS_AT_A_STRETCH == ORDERS_AT_A_STRETCH - 1 {
                tokio::task::yield_now().await;
            }
            match self.deciding.judge(&waiting.submission, &mut facts) {
                Ok(one) => {
                    judged.push(one);
                    going.push(waiting);
                }
                Err(error) => {
                    waiting.reply.send(Err(error)).ok();
                }
            }
        }
        *batch = going;
        if batch.is_empty() {
            return Ok(Step::Done);
        }
        let (rows, answers): (Vec<_>, Vec<_>) = judged
            .into_iter()
            .map(|Judged { row, answer }| (row, answer))
            .unzip();
        let written = self
            .deciding
            .store
            .insert_orders(Ids::at(facts.now).commit(), &rows, facts.now)
            .await;
        match written {
            Ok(()) => {
                self.deciding.committed(&rows);
                for (waiting, order) in batch.drain(..).zip(answers) {
                    waiting
                        .reply
                        .send(Ok(Accepted {
                            order,
                            replayed: false,
                        }))
                        .ok();
                }
                Ok(Step::Done)
            }
            Err(IntakeFailure::Duplicate) => {
                if !self.answer_repeated(batch, now_us).await? {
                    self.refuse_known_references(batch).await?;
                }
                Ok(Step::Again)
            }
            Err(IntakeFailure::StockTaken) => Ok(Step::Again),
            Err(IntakeFailure::Store(error)) => {
                // The commit may have been carried out although its answer was lost: what is there is there.
                if error.is_connection_lost() {
                    self.answer_repeated(batch, now_us).await?;
                }
                Err(error.into())
            }
        }
    }

    /// Answers calls that were carried out before. Whether there were any.
    async fn answer_repeated(
        &self,
        batch: &mut Vec<Waiting>,
        now_us: i64,
    ) -> Result<bool, ServiceError> {
        let keys: Vec<[u8; 32]> = batch
            .iter()
            .map(|waiting| waiting.submission.key.key_hash)
            .collect();
        let found = self.deciding.store.find_requests(&keys).await?;
        if found.is_empty() {
            return Ok(false);
        }
        self.last_repeat_us.store(now_us, Ordering::Relaxed);
        for waiting in std::mem::take(batch) {
            match found
                .iter()
                .find(|stored| stored.key_hash == waiting.submission.key.key_hash)
            {
                Some(stored) => {
                    let answer = replay(&waiting.submission, stored);
                    waiting.reply.send(answer).ok();
                }
                None => batch.push(waiting),
            }
        }
        Ok(true)
    }

    /// Refuses orders whose reference the same caller has used before.
    async fn refuse_known_references(&self, batch: &mut Vec<Waiting>) -> Result<(), ServiceError> {
        for waiting in std::mem::take(batch) {
            let new = &waiting.submission.new;
            let found = self
                .deciding
                .store
                .find_order_by_reference(&new.caller, &new.client_reference)
                .await?;
            match found {
                Some(id) => {
                    let error = ServiceError::AlreadyExists {
                        name: id.resource_name(),
                    };
                    waiting.reply.send(Err(error)).ok();
                }
                None => batch.push(waiting),
            }
        }
        Ok(())
    }
}

enum Step {
    Done,
    Again,
}

/// The stored answer, if the call asks for the same as the first one did.
pub(super) fn replay(submission: &Submission, stored: &StoredRequest) -> Answer {
    Ok(Accepted {
        order: convert::order::from_memory(submission.key.answer(stored)?),
        replayed: true,
    })
}

/// Splits off whoever has the same request id or reference as one before: it must see what became of that one.
fn apart(batch: Vec<Waiting>) -> (Vec<Waiting>, Vec<Waiting>) {
    let mut keys = HashSet::new();
    let mut references = HashSet::new();
    let (mut now, mut later) = (Vec::with_capacity(batch.len()), Vec::new());
    for waiting in batch {
        let submission = &waiting.submission;
        let reference = (
            submission.new.caller.clone(),
            submission.new.client_reference.clone(),
        );
        if keys.contains(&submission.key.key_hash) || references.contains(&reference) {
            later.push(waiting);
        } else {
            keys.insert(submission.key.key_hash);
            references.insert(reference);
            now.push(waiting);
        }
    }
    (now, later)
}

/// Tells all of them the same.
fn answer_all(batch: Vec<Waiting>, error: &ServiceError) {
    for waiting in batch {
        let same = match error {
            ServiceError::Aborted { reason } => ServiceError::Aborted { reason },
            ServiceError::Unavailable => ServiceError::Unavailable,
            ServiceError::ResourceExhausted(refused) => {
                ServiceError::ResourceExhausted(refused.clone())
            }
            other => ServiceError::internal(other.to_string()),
        };
        waiting.reply.send(Err(same)).ok();
    }
}
