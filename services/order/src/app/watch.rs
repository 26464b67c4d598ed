//! Watching: one reader per process follows the sequenced events and hands each batch to all watchers through one ring.
//!
//! A watcher holds no memory of its own beyond its place in the ring. One that falls behind the ring, or that resumes at
//! an old place, reads what it missed from the database at its own pace, until it meets the ring again. So nothing is
//! missed and nothing grows, however slow a watcher is.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use countersign_domain::ids::OrderId;
use countersign_proto::v1;
use countersign_runtime::lifecycle::Lifecycle;
use countersign_store::{Position, PositionedEvent, Store, StoreError};
use futures::{Stream, stream};
use tokio::{
    sync::{Notify, Semaphore, broadcast},
    time::Instant,
};
use tonic::Status;

use crate::{
    convert,
    error::{ServiceError, Violations},
};

/// Pause between two looks without a nudge: commits of other replicas are seen within this.
const POLL: Duration = Duration::from_millis(50);
/// Commits read at once.
const COMMITS_MAX: u64 = 64;
/// Batches that the ring holds; a watcher further behind reads from the database.
const RING: usize = 256;
/// Watchers that read from the database at the same time.
const CATCHING_UP_MAX: usize = 4;
/// A watcher hears at least this often that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// An event, converted once for all watchers.
#[derive(Debug)]
struct Prepared {
    position: Position,
    order_id: OrderId,
    /// Who brought the order in; only known while somebody watches who may not see everybody's.
    caller: Option<Arc<str>>,
    answer: v1::WatchOrderEventsResponse,
}

/// What a watcher wants to hear of, and may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// All when empty.
    pub(crate) orders: HashSet<OrderId>,
    /// All when empty.
    pub(crate) kinds: HashSet<String>,
    /// Only orders that this caller brought in.
    pub(crate) caller: Option<String>,
}

type Batch = Arc<[Prepared]>;

/// Where watchers come from.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    store: Store,
    nudge: Arc<Notify>,
    ring: broadcast::Sender<Batch>,
    /// Commit up to which everything has been put into the ring.
    tail: Arc<AtomicI64>,
    /// Watchers that hear only of one caller's orders: while there are any, the orders' callers are read.
    narrow: Arc<()>,
    /// Watchers read what they missed so many at a time: they have all the time there is, and calls need the connections.
    catching_up: Arc<Semaphore>,
}

impl Watch {
    /// Starts following.
    pub(crate) async fn spawn(store: Store, lifecycle: &Lifecycle) -> Result<Self, ServiceError> {
        let start = store.last_position().await?;
        let watch = Self {
            store,
            nudge: Arc::default(),
            ring: broadcast::Sender::new(RING),
            tail: Arc::new(AtomicI64::new(start.commit)),
            narrow: Arc::default(),
            catching_up: Arc::new(Semaphore::new(CATCHING_UP_MAX)),
        };
        let (following, soft) = (watch.clone(), lifecycle.soft());
        lifecycle.spawn("watch", async move {
            let mut at = start;
            loop {
                match following.follow(&mut at).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(error = %error, "events cannot be read; trying again");
                    }
                }
                let woken = tokio::time::timeout(POLL, following.nudge.notified());
                if soft.run_until_cancelled(woken).await.is_none() {
                    return;
                }
            }
        });
        Ok(watch)
    }

    /// Something was committed.
    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Gives positions, reads what has one, hands it on. Whether there may be more.
    async fn follow(&self, at: &mut Position) -> Result<bool, ServiceError> {
        let sequenced = self.store.sequence_events().await?;
        let page = self.store.find_events_after(*at, COMMITS_MAX).await?;
        if page.through == *at {
            return Ok(sequenced > 0);
        }
        let callers = self
            .callers(&page.events, self.narrow_watchers() > 0)
            .await?;
        let batch: Batch = page
            .events
            .iter()
            .map(|event| prepare(event, &callers))
            .collect();
        *at = page.through;
        // The tail moves first: who subscribes in between reads this batch from the database, and skips it in the ring.
        self.tail.store(at.commit, Ordering::Release);
        // Nobody watching is no error.
        self.ring.send(batch).ok();
        Ok(true)
    }

    /// Watchers that hear only of one caller's orders; each holds one of these.
    fn narrow_watchers(&self) -> usize {
        Arc::weak_count(&self.narrow)
    }

    /// Who brought the orders of these events in, when it matters to anybody.
    async fn callers(
        &self,
        events: &[PositionedEvent],
        matters: bool,
    ) -> Result<HashMap<OrderId, Arc<str>>, StoreError> {
        if !matters {
            return Ok(HashMap::new());
        }
        let ids: HashSet<OrderId> = events.iter().map(|event| event.event.order_id).collect();
        let ids: Vec<OrderId> = ids.into_iter().collect();
        let found = self.store.find_callers(&ids).await?;
        Ok(found
            .into_iter()
            .map(|(id, caller)| (id, caller.into()))
            .collect())
    }

    /// Refuses a position that is ahead of all there is: with a database that was restored from a backup, its watcher would
    /// hear nothing until as much has happened again.
    pub(crate) async fn check(&self, after: Option<Position>) -> Result<(), ServiceError> {
        let Some(after) = after else { return Ok(()) };
        // Another replica may be ahead of this one.
        if after.commit > self.tail.load(Ordering::Acquire)
            && after.commit > self.store.last_position().await?.commit
        {
            return Err(ServiceError::FailedPrecondition {
                reason: "RESUME_TOKEN_AHEAD",
                message: "there are no events up to resume_token: the database has been put back to an earlier state; read the \
                          orders anew and watch from now on, with an empty resume_token"
                    .to_owned(),
            });
        }
        Ok(())
    }

    /// Events after a position, or from now on.
    pub(crate) fn subscribe(
        &self,
        after: Option<Position>,
        wanted: Wanted,
    ) -> impl Stream<Item = Result<v1::WatchOrderEventsResponse, Status>> + use<> {
        let narrow = wanted
            .caller
            .is_some()
            .then(|| Arc::downgrade(&self.narrow));
        // The place in the ring is taken before the tail is read, so that nothing falls between the two.
        let receiver = self.ring.subscribe();
        let tail = self.tail.load(Ordering::Acquire);
        let now = Position {
            commit: tail,
            ordinal: i32::MAX,
        };
        let after = after.unwrap_or(now);
        let watcher = Watcher {
            watch: self.clone(),
            _narrow: narrow,
            receiver,
            at: after,
            from_store: after < now,
            heard: Instant::now(),
            waiting: VecDeque::new(),
            wanted,
        };
        stream::unfold(watcher, |mut watcher| async move {
            let answer = watcher.next().await?;
            Some((answer, watcher))
        })
    }
}

fn prepare(event: &PositionedEvent, callers: &HashMap<OrderId, Arc<str>>) -> Prepared {
    Prepared {
        position: event.position,
        order_id: event.event.order_id,
        caller: callers.get(&event.event.order_id).cloned(),
        answer: v1::WatchOrderEventsResponse {
            event: Some(convert::order::event_to_proto(&event.event)),
            resume_token: token(event.position),
        },
    }
}

/// One who watches.
struct Watcher {
    watch: Watch,
    /// Tells that somebody watches who may not see everybody's orders.
    _narrow: Option<Weak<()>>,
    receiver: broadcast::Receiver<Batch>,
    /// What has been seen.
    at: Position,
    /// Behind the ring: what is missing is read from the database.
    from_store: bool,
    waiting: VecDeque<v1::WatchOrderEventsResponse>,
    /// When the last answer went out; news that is filtered away is none.
    heard: Instant,
    wanted: Wanted,
}

impl Watcher {
    /// The next answer; none when the service stops.
    async fn next(&mut self) -> Option<Result<v1::WatchOrderEventsResponse, Status>> {
        loop {
            if let Some(answer) = self.waiting.pop_front() {
                self.heard = Instant::now();
                return Some(Ok(answer));
            }
            if self.from_store {
                if let Err(error) = self.catch_up().await {
                    return Some(Err(ServiceError::from(error).into()));
                }
                continue;
            }
            match tokio::time::timeout_at(self.heard + HEARTBEAT, self.receiver.recv()).await {
                Ok(Ok(batch)) => self.take(batch.iter(), false),
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => self.from_store = true,
                Ok(Err(broadcast::error::RecvError::Closed)) => return None,
                Err(_) => {
                    self.heard = Instant::now();
                    return Some(Ok(v1::WatchOrderEventsResponse {
                        event: None,
                        resume_token: token(self.at),
                    }));
                }
            }
        }
    }

    /// Reads on from the database. When it has nothing more, whatever follows is in the ring.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        // It is never closed; if it were, nobody would have to wait.
        let _turn = self.watch.catching_up.clone().acquire_owned().await;
        let page = self
            .watch
            .store
            .find_events_after(self.at, COMMITS_MAX)
            .await?;
        if page.through == self.at {
            self.from_store = false;
            return Ok(());
        }
        let matters = self.wanted.caller.is_some();
        let callers = self.watch.callers(&page.events, matters).await?;
        let prepared: Vec<Prepared> = page
            .events
            .iter()
            .map(|event| prepare(event, &callers))
            .collect();
        self.take(prepared.iter(), true);
        self.at = page.through;
        Ok(())
    }

    /// Takes what is new and wanted.
    fn take<'a>(&mut self, batch: impl Iterator<Item = &'a Prepared>, from_database: bool) {
        for prepared in batch {
            if prepared.position <= self.at {
                continue;
            }
            if self.wanted.caller.is_some() && prepared.caller.is_none() && !from_database {
                // Put into the ring before anybody watched who may not see everybody's: the database knows whose it is.
                self.from_store = true;
                return;
            }
            self.at = prepared.position;
            if self.wanted.takes(prepared) {
                self.waiting.push_back(prepared.answer.clone());
            }
        }
    }
}

impl Wanted {
    fn takes(&self, prepared: &Prepared) -> bool {
        let event = prepared.answer.event.as_ref();
        let kind = self.kinds.is_empty() || event.is_some_and(|it| self.kinds.contains(&it.kind));
        let order = self.orders.is_empty() || self.orders.contains(&prepared.order_id);
        let may = self.caller.is_none() || self.caller.as_deref() == prepared.caller.as_deref();
        kind && order && may
    }
}

/// Where a watcher goes on: `{commit}.{ordinal}`.
fn token(position: Position) -> String {
    format!("{}.{}", position.commit, position.ordinal)
}

/// A token as it was given: empty is "from now on", "0" the beginning. The outer option is whether it is one.
#[expect(
    clippy::option_option,
    reason = "no token is right, a wrong one is not"
)]
pub(crate) fn read_token(text: &str, violations: &mut Violations) -> Option<Option<Position>> {
    if text.is_empty() {
        return Some(None);
    }
    if text == "0" {
        return Some(Some(Position::START));
    }
    let position = text.split_once('.').and_then(|(commit, ordinal)| {
        Some(Position {
            commit: commit.parse().ok().filter(|commit| *commit >= 0)?,
            ordinal: ordinal.parse().ok().filter(|ordinal| *ordinal >= 0)?,
        })
    });
    if position.is_none() {
        violations.add(
            "resume_token",
            "must be empty, \"0\", or a token that an answer of this call carried",
        );
        return None;
    }
    Some(position)
}
