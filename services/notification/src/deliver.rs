//! From the queue to the customer: claim, check and record, send, record.

mod job;
mod keeper;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    confirmation::Round,
    ids::{AttemptId, DeliveryId, OrderId},
    message::AttemptOutcome,
    order::Order,
};
use countersign_runtime::{clock::SharedClock, lifecycle::Lifecycle};
use countersign_store::{Claimed, Finish, Start, StartOutcome, Store, StoreError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

use crate::{
    context::Writer, ids::Ids, metrics::Metrics, template::Templates, transport::Transports,
};
use job::Job;

/// Messages that are claimed and begun together; each then goes its own way.
const BATCH: usize = 128;

/// What all deliveries need.
pub(crate) struct Courier {
    pub(crate) store: Store,
    pub(crate) templates: Templates,
    pub(crate) writer: Writer,
    pub(crate) transports: Transports,
    pub(crate) ids: Arc<Ids>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    pub(crate) lease: Duration,
    pub(crate) poll: Duration,
    /// Messages being sent at the same time.
    pub(crate) workers: usize,
    /// Told when there is something to deliver.
    pub(crate) queue: Arc<Notify>,
    /// What this process has, with the tokens.
    pub(crate) held: Mutex<HashMap<DeliveryId, Uuid>>,
}

/// Orders and rounds of a batch.
struct Facts {
    orders: HashMap<OrderId, Order>,
    rounds: HashMap<(OrderId, u32), Round>,
}

impl Courier {
    /// Starts everything; it ends with the lifecycle, after what is under way.
    pub(crate) fn spawn(self, lifecycle: &Lifecycle) {
        let courier = Arc::new(self);
        let (results, waiting) = mpsc::channel(1_024);
        lifecycle.spawn(
            "delivery-results",
            keeper::write_results(courier.clone(), waiting),
        );
        lifecycle.spawn(
            "delivery-leases",
            keeper::keep_leases(courier.clone(), lifecycle.soft()),
        );
        lifecycle.spawn(
            "delivery-recovery",
            keeper::recover(courier.clone(), lifecycle.soft()),
        );
        let soft = lifecycle.soft();
        let spawner = lifecycle.clone();
        lifecycle.spawn("delivery", async move {
            let slots = Arc::new(Semaphore::new(courier.workers.max(1)));
            while !soft.is_cancelled() {
                let permits = tokio::select! {
                    () = soft.cancelled() => break,
                    permits = free_slots(&slots) => permits,
                };
                match courier.clone().round(permits, &results, &spawner).await {
                    Ok(0) => {}
                    Ok(_) => continue,
                    Err(error) => {
                        tracing::warn!(error = %error, "claiming deliveries failed; it is tried again");
                    }
                }
                tokio::select! {
                    () = soft.cancelled() => {}
                    () = courier.queue.notified() => {}
                    () = tokio::time::sleep(courier.poll) => {}
                }
            }
        });
    }

    /// Claims as many as there are permits, begins them together and sends each by itself.
    async fn round(
        self: Arc<Self>,
        mut permits: Vec<OwnedSemaphorePermit>,
        results: &mpsc::Sender<Finish>,
        lifecycle: &Lifecycle,
    ) -> Result<usize, StoreError> {
        let now = self.store.now().await?;
        let token = self.ids.token();
        let lease = TimeDelta::from_std(self.lease).unwrap_or(TimeDelta::seconds(30));
        let claimed = self
            .store
            .claim_deliveries(token, now, lease, permits.len() as u64)
            .await?;
        if claimed.is_empty() {
            return Ok(0);
        }
        let count = claimed.len();
        // Read before the last check: what is rendered is what the check found to be in force.
        let facts = self.facts(&claimed).await?;
        let (doubtful, fresh): (Vec<Claimed>, Vec<Claimed>) = claimed.into_iter().partition(|it| {
            it.history
                .last()
                .is_some_and(|last| last.outcome == AttemptOutcome::InDoubt)
        });
        let started = self.start(token, &fresh, now).await?;
        let mut jobs: Vec<Job> = fresh
            .into_iter()
            .zip(started)
            .filter_map(|(claimed, attempt)| {
                let (attempt, number) = attempt?;
                Some(Self::job(
                    claimed,
                    &facts,
                    token,
                    now,
                    Some((attempt, number)),
                ))
            })
            .collect();
        jobs.extend(
            doubtful
                .into_iter()
                .map(|claimed| Self::job(claimed, &facts, token, now, None)),
        );
        for job in jobs {
            self.hold(job.claimed.delivery.id, token);
            let permit = permits.pop();
            let (courier, results) = (self.clone(), results.clone());
            lifecycle.spawn("delivery-job", async move {
                job.run(&courier, &results).await;
                drop(permit);
            });
        }
        Ok(count)
    }

    fn job(
        claimed: Claimed,
        facts: &Facts,
        token: Uuid,
        now: DateTime<Utc>,
        attempt: Option<(AttemptId, u32)>,
    ) -> Job {
        let delivery = &claimed.delivery;
        Job {
            order: facts.orders.get(&delivery.order_id).cloned(),
            round: facts
                .rounds
                .get(&(delivery.order_id, delivery.round))
                .cloned(),
            claimed,
            token,
            attempt,
            claimed_at: (now, tokio::time::Instant::now()),
        }
    }

    /// Puts tries on record. Nothing where the message may not be sent after all.
    async fn start(
        &self,
        token: Uuid,
        claimed: &[Claimed],
        now: DateTime<Utc>,
    ) -> Result<Vec<Option<(AttemptId, u32)>>, StoreError> {
        let starts: Vec<Start> = claimed
            .iter()
            .map(|it| Start {
                delivery: it.delivery.id,
                attempt: self.ids.make(now, AttemptId::new_v7),
            })
            .collect();
        let outcomes = self.store.start_attempts(token, &starts, now).await?;
        Ok(starts
            .iter()
            .map(|start| match outcomes.get(&start.delivery) {
                Some(StartOutcome::Go { number }) => Some((start.attempt, *number)),
                Some(outcome) => {
                    tracing::info!(delivery = %start.delivery, ?outcome, "not sent");
                    self.queue.notify_one();
                    None
                }
                None => None,
            })
            .collect())
    }

    async fn facts(&self, claimed: &[Claimed]) -> Result<Facts, StoreError> {
        let orders: HashSet<OrderId> = claimed.iter().map(|it| it.delivery.order_id).collect();
        let orders: Vec<OrderId> = orders.into_iter().collect();
        let asking: HashSet<OrderId> = claimed
            .iter()
            .filter(|it| it.delivery.round > 0)
            .map(|it| it.delivery.order_id)
            .collect();
        let asking: Vec<OrderId> = asking.into_iter().collect();
        let rounds = self.store.find_rounds(&asking).await?;
        let orders = self.store.find_orders(&orders).await?;
        Ok(Facts {
            orders: orders.into_iter().map(|order| (order.id, order)).collect(),
            rounds: rounds
                .into_iter()
                .map(|round| ((round.order_id, round.round), round))
                .collect(),
        })
    }

    fn hold(&self, delivery: DeliveryId, token: Uuid) {
        self.held_now().insert(delivery, token);
    }

    fn held_now(&self) -> std::sync::MutexGuard<'_, HashMap<DeliveryId, Uuid>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for one free slot and takes what else is free.
async fn free_slots(slots: &Arc<Semaphore>) -> Vec<OwnedSemaphorePermit> {
    let mut permits = Vec::new();
    if let Ok(permit) = slots.clone().acquire_owned().await {
        permits.push(permit);
    }
    while permits.len() < BATCH
        && let Ok(permit) = slots.clone().try_acquire_owned()
    {
        permits.push(permit);
    }
    permits
}
