//! From the queue to the customer: claim, check and record, send, record.

mod doubt;
mod job;
mod keeper;
mod orders;
mod reconcile;
mod waiting;

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
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    account::{Account, Permit},
    alive::Alive,
    bell::Bell,
    context::{Writer, language},
    failpoint,
    guard::SendingGuard,
    ids::Ids,
    metrics::Metrics,
    poll::Poll,
    quiet::QuietHours,
    template::library::{self, Library, Wanted, Words},
    transport::{Transport, Transports},
};
use job::{Begun, Job};

pub(crate) use orders::RecentOrders;
pub use reconcile::{ReconcileReport, ReconciledCount};

/// Messages that are claimed and begun together; each then goes its own way.
const BATCH: usize = 128;
/// Pause of a lane that found nothing, before it looks again.
const BREATH: Duration = Duration::from_millis(5);

/// What all deliveries need.
pub(crate) struct Courier {
    pub(crate) store: Store,
    /// Whether anything may be sent.
    pub(crate) alive: Arc<Alive>,
    pub(crate) library: Arc<Library>,
    pub(crate) writer: Writer,
    pub(crate) transports: Transports,
    pub(crate) ids: Arc<Ids>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    pub(crate) lease: Duration,
    pub(crate) poll: Poll,
    /// When customers are left in peace.
    pub(crate) quiet: QuietHours,
    /// How many texts and calls may go out.
    pub(crate) guard: SendingGuard,
    /// What is under way at the end of the process gets this long.
    pub(crate) grace: Duration,
    /// Told when there is something to deliver.
    pub(crate) queue: Bell,
    /// What messages were just about.
    pub(crate) orders: RecentOrders,
    /// What this process has, with the tokens.
    pub(crate) held: Mutex<HashMap<DeliveryId, Uuid>>,
    /// Cancelled shortly before the process ends: what is still unanswered then is in doubt.
    pub(crate) cut: CancellationToken,
}

/// Orders, rounds and words of a batch.
struct Facts {
    orders: HashMap<OrderId, Arc<Order>>,
    rounds: HashMap<(OrderId, u32), Round>,
    older_links: HashMap<OrderId, String>,
    /// What each message is, or was, written with: all of its tries say the same.
    wanted: HashMap<DeliveryId, Wanted>,
    words: HashMap<Wanted, Words>,
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
        lifecycle.spawn(
            "gateways",
            keeper::watch_gateways(courier.clone(), lifecycle.soft()),
        );
        lifecycle.spawn("drain", keeper::drain(courier.clone(), lifecycle.soft()));
        for account in courier.transports.accounts() {
            let lane = courier.clone().lane(
                account.clone(),
                results.clone(),
                lifecycle.clone(),
                lifecycle.draining(),
            );
            lifecycle.spawn("delivery", lane);
        }
    }

    /// Sends what goes through one account. Each has a lane of its own: one that fails or is slow keeps no other waiting.
    async fn lane(
        self: Arc<Self>,
        account: Arc<Account>,
        results: mpsc::Sender<Finish>,
        lifecycle: Lifecycle,
        soft: CancellationToken,
    ) {
        let mut bell = self.queue.listen();
        while !soft.is_cancelled() {
            let permits = tokio::select! {
                () = soft.cancelled() => return,
                permits = account.permits(BATCH) => permits,
            };
            bell.mark_unchanged();
            let claimed = self.clone().round(&account, permits, &results, &lifecycle);
            match claimed.await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(error = %error, "claiming deliveries failed; it is tried again");
                }
            }
            // Rings come with every batch of results; one look serves several of them.
            tokio::time::sleep(BREATH).await;
            tokio::select! {
                () = soft.cancelled() => {}
                _ = bell.changed() => {}
                () = tokio::time::sleep(self.poll.get()) => {}
            }
        }
    }

    /// Claims as many as there are permits, begins them together and sends each by itself.
    async fn round(
        self: Arc<Self>,
        account: &Arc<Account>,
        permits: Vec<Permit>,
        results: &mpsc::Sender<Finish>,
        lifecycle: &Lifecycle,
    ) -> Result<usize, StoreError> {
        let asked = tokio::time::Instant::now();
        let Some(now) = self.alive.may_send().await? else {
            return Ok(0);
        };
        let token = self.ids.token();
        let lease = TimeDelta::from_std(self.lease).unwrap_or(TimeDelta::seconds(30));
        let claimed = self
            .store
            .claim_deliveries(token, account.channel, now, lease, permits.len() as u64)
            .await?;
        if claimed.is_empty() {
            return Ok(0);
        }
        failpoint::hit("claimed");
        let count = claimed.len();
        let ids: Vec<DeliveryId> = claimed.iter().map(|it| it.delivery.id).collect();
        let jobs = match self.prepare(account, token, claimed, (now, asked)).await {
            Ok(jobs) => jobs,
            Err(error) => {
                // Nothing has been begun, whatever the database has on record.
                self.give_back(token, &ids).await;
                return Err(error);
            }
        };
        for (job, mut permit) in jobs.into_iter().zip(permits) {
            self.hold(job.claimed.delivery.id, token);
            permit.spend();
            let (courier, results) = (self.clone(), results.clone());
            lifecycle.spawn("delivery-job", async move {
                job.run(&courier, &mut permit, &results).await;
            });
        }
        Ok(count)
    }

    /// Makes jobs of what was claimed: the last checks, and the tries on record.
    async fn prepare(
        &self,
        account: &Account,
        token: Uuid,
        claimed: Vec<Claimed>,
        (now, asked): (DateTime<Utc>, tokio::time::Instant),
    ) -> Result<Vec<Job>, StoreError> {
        // Read before the last check: what is rendered is what the check found to be in force.
        let facts = self.facts(&claimed).await?;
        let claimed = self
            .leave_in_peace(account, token, claimed, &facts, now)
            .await?;
        let (doubtful, fresh): (Vec<Claimed>, Vec<Claimed>) = claimed.into_iter().partition(|it| {
            it.history
                .last()
                .is_some_and(|last| last.outcome == AttemptOutcome::InDoubt)
        });
        // Whatever took long until here counts: a lease that has ended meanwhile is somebody else's by now.
        let now = now + asked.elapsed();
        let started = self.start(account, token, &fresh, &facts, now).await?;
        let mut jobs: Vec<Job> = fresh
            .into_iter()
            .zip(started)
            .filter_map(|(claimed, begun)| {
                let begun = begun?;
                Some(Self::job(claimed, &facts, token, now, Some(begun)))
            })
            .collect();
        jobs.extend(
            doubtful
                .into_iter()
                .map(|claimed| Self::job(claimed, &facts, token, now, None)),
        );
        Ok(jobs)
    }

    /// Gives back at once what was claimed and cannot be begun.
    async fn give_back(&self, token: Uuid, ids: &[DeliveryId]) {
        let released = async {
            let now = self.store.now().await?;
            self.store.release_deliveries(token, ids, now).await
        };
        if let Err(error) = released.await {
            tracing::warn!(error = %error, "claimed messages wait for the end of their lease");
        }
    }

    /// Which words a message is written with. Nothing where there is no order.
    fn wanted(&self, claimed: &Claimed, orders: &HashMap<OrderId, Arc<Order>>) -> Option<Wanted> {
        let delivery = &claimed.delivery;
        let order = orders.get(&delivery.order_id)?;
        let key = library::key(delivery, language(order));
        let version = match delivery.template_version {
            Some(version) => version,
            // It was begun before words had versions.
            None if !claimed.history.is_empty() => 0,
            None => self.library.active(&key),
        };
        Some((key, version))
    }

    fn job(
        claimed: Claimed,
        facts: &Facts,
        token: Uuid,
        now: DateTime<Utc>,
        begun: Option<Begun>,
    ) -> Job {
        let delivery = &claimed.delivery;
        let wanted = facts.wanted.get(&delivery.id);
        Job {
            words: wanted.and_then(|wanted| facts.words.get(wanted).cloned()),
            order: facts.orders.get(&delivery.order_id).cloned(),
            round: facts
                .rounds
                .get(&(delivery.order_id, delivery.round))
                .cloned(),
            older_link: facts.older_links.get(&delivery.order_id).cloned(),
            claimed,
            token,
            begun,
            claimed_at: (now, tokio::time::Instant::now()),
        }
    }

    /// Puts tries on record. Nothing where the message may not be sent after all.
    async fn start(
        &self,
        account: &Account,
        token: Uuid,
        claimed: &[Claimed],
        facts: &Facts,
        now: DateTime<Utc>,
    ) -> Result<Vec<Option<Begun>>, StoreError> {
        // The local mailbox costs nothing and disturbs nobody.
        let counts = !matches!(account.transport, Transport::Mailbox(_));
        let starts: Vec<Start> = claimed
            .iter()
            .map(|it| Start {
                delivery: it.delivery.id,
                attempt: self.ids.make(now, AttemptId::new_v7),
                toll: counts
                    .then(|| facts.orders.get(&it.delivery.order_id).map(AsRef::as_ref))
                    .and_then(|order| self.guard.toll(&it.delivery, order, now)),
                template_version: facts.wanted.get(&it.delivery.id).map_or(0, |it| it.1),
            })
            .collect();
        let outcomes = self
            .store
            .start_attempts(token, &account.name, &starts, now)
            .await?;
        if !starts.is_empty() {
            failpoint::hit("begun");
        }
        self.put_off(token, &outcomes).await?;
        Ok(starts
            .iter()
            .map(|start| match outcomes.get(&start.delivery) {
                Some(StartOutcome::Go { number }) => Some(Begun {
                    attempt: start.attempt,
                    number: *number,
                }),
                Some(outcome) => {
                    tracing::info!(delivery = %start.delivery, ?outcome, "not sent");
                    if let StartOutcome::Refused(refusal) = outcome {
                        let channel = account.channel.as_str();
                        self.metrics.sending_refused(channel, refusal.as_str());
                    }
                    self.queue.ring();
                    None
                }
                None => None,
            })
            .collect())
    }

    async fn facts(&self, claimed: &[Claimed]) -> Result<Facts, StoreError> {
        let orders: HashSet<OrderId> = claimed.iter().map(|it| it.delivery.order_id).collect();
        let asking: HashSet<OrderId> = claimed
            .iter()
            .filter(|it| it.delivery.round > 0)
            .map(|it| it.delivery.order_id)
            .collect();
        let asking: Vec<OrderId> = asking.into_iter().collect();
        let rounds = self.store.find_rounds(&asking).await?;
        let older_links = self.writer.older_links(&self.store, &orders).await?;
        let orders = self.orders.find(&self.store, &orders).await?;
        let wanted: HashMap<DeliveryId, Wanted> = claimed
            .iter()
            .filter_map(|it| Some((it.delivery.id, self.wanted(it, &orders)?)))
            .collect();
        let words = self.library.fetch(wanted.values().cloned().collect());
        Ok(Facts {
            words: words.await?,
            wanted,
            orders,
            older_links,
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
