//! An account at a gateway or relay: how many messages it is given at a time, and whether it is given any.

mod breaker;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use countersign_domain::order::Channel;
use countersign_store::GatewayRecord;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    channel::{Outcome, ReasonCode},
    transport::Transport,
};
use breaker::{Admission, Breaker, Signal, Ticket};

pub(crate) use breaker::Change;

/// A busy account waits so long for more of its messages to be through: one claim then serves many.
const GATHERING: Duration = Duration::from_millis(10);

/// What an account can bear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Messages at the same time.
    pub(crate) at_once: usize,
    /// Messages begun in a second; no limit when absent.
    pub(crate) per_second: Option<u32>,
}

impl Limits {
    fn slots(&self) -> usize {
        self.at_once.max(1)
    }

    /// Between the beginnings of two messages.
    fn pace(&self) -> Option<Duration> {
        self.per_second
            .map(|count| Duration::from_secs(1) / count.max(1))
    }

    /// So many at the same time, however fast.
    pub(crate) const fn at_once(count: usize) -> Self {
        Self {
            at_once: count,
            per_second: None,
        }
    }
}

/// One account. Nothing that happens to it touches another.
pub(crate) struct Account {
    /// Such as "sms-gateway"; the same in every replica.
    pub(crate) name: String,
    pub(crate) channel: Channel,
    pub(crate) transport: Transport,
    /// The account that has the channel unless it is left alone.
    first: Option<Arc<Account>>,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    breaker: Breaker,
    limits: Limits,
    /// Slots too many since the limit was lowered; they go as their messages are through.
    surplus: usize,
    /// When the next message may begin.
    next: Instant,
    /// Since when the hold lasts that all replicas share.
    hold: Option<DateTime<Utc>>,
}

/// Whether messages may begin.
enum Gate {
    Open(usize),
    /// Until then; absent: until something changes.
    Shut(Option<Instant>),
}

impl Account {
    pub(crate) fn new(
        name: String,
        channel: Channel,
        transport: Transport,
        limits: Limits,
        first: Option<Arc<Self>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            channel,
            transport,
            first,
            slots: Arc::new(Semaphore::new(limits.slots())),
            state: Mutex::new(State {
                breaker: Breaker::new(),
                limits,
                surplus: 0,
                next: Instant::now(),
                hold: None,
            }),
            changed: Notify::new(),
        })
    }

    /// Waits until at least one message may begin, and lets as many begin as may, at most `most`.
    pub(crate) async fn permits(self: &Arc<Self>, most: usize) -> Vec<Permit> {
        if let Some(first) = &self.first {
            first.left_alone().await;
        }
        let Ok(slot) = self.slots.clone().acquire_owned().await else {
            return Vec::new();
        };
        let mut gathered = false;
        loop {
            let changed = self.changed.notified();
            let shut_until = match self.gate(Instant::now()) {
                Gate::Open(room) if room > 1 && self.is_busy() && !gathered => {
                    gathered = true;
                    tokio::time::sleep(GATHERING).await;
                    continue;
                }
                Gate::Open(room) => return self.begin(slot, room.min(most)),
                Gate::Shut(until) => until,
            };
            match shut_until {
                None => changed.await,
                Some(until) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(until) => {}
                },
            }
        }
    }

    /// What it is to bear from now on. What is under way is brought to its end.
    pub(crate) fn limit(&self, limits: Limits) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.limits, limits).slots();
        if limits.slots() >= before {
            let more = limits.slots() - before;
            let kept = more.min(state.surplus);
            state.surplus -= kept;
            self.slots.add_permits(more - kept);
        } else {
            let fewer = before - limits.slots();
            state.surplus += fewer - self.slots.forget_permits(fewer);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until this account is left alone, or only tried out.
    async fn left_alone(&self) {
        loop {
            let changed = self.changed.notified();
            if self.level() > 0 {
                return;
            }
            changed.await;
        }
    }

    /// More than half of what it can bear is under way.
    fn is_busy(&self) -> bool {
        self.slots.available_permits() < self.lock().limits.slots() / 2
    }

    fn gate(&self, now: Instant) -> Gate {
        let mut state = self.lock();
        let room = match state.breaker.admission(now) {
            Admission::Free => usize::MAX,
            Admission::Probes(0) => return Gate::Shut(None),
            Admission::Probes(count) => count,
            Admission::None(until) => return Gate::Shut(until),
        };
        match state.limits.pace() {
            None => Gate::Open(room),
            Some(_) if state.next > now => Gate::Shut(Some(state.next)),
            Some(_) => Gate::Open(1),
        }
    }

    fn begin(self: &Arc<Self>, slot: OwnedSemaphorePermit, most: usize) -> Vec<Permit> {
        let more = (1..most).map_while(|_| self.slots.clone().try_acquire_owned().ok());
        let slots: Vec<OwnedSemaphorePermit> = std::iter::once(slot).chain(more).collect();
        let mut state = self.lock();
        slots
            .into_iter()
            .map(|slot| Permit {
                account: self.clone(),
                ticket: Some(state.breaker.begin()),
                slot: Some(slot),
            })
            .collect()
    }

    /// Does what all replicas have agreed on. `now` is the database's time.
    pub(crate) fn follow(&self, record: &GatewayRecord, now: DateTime<Utc>) {
        let mut state = self.lock();
        if record.is_held_at(now) {
            if state.hold != Some(record.since_time) {
                state.hold = Some(record.since_time);
                let until = record
                    .until_time
                    .and_then(|until| (until - now).to_std().ok())
                    .map(|left| Instant::now() + left);
                state.breaker.hold(until);
                // Not why: staff may have put it in the words of a customer.
                tracing::warn!(gateway = self.name, by = record.changed_by, "held");
            }
        } else if state.hold.take().is_some() {
            state.breaker.release();
            tracing::info!(gateway = self.name, "no longer held; it is tried out");
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// See [`Breaker::level`].
    pub(crate) fn level(&self) -> u64 {
        self.lock().breaker.level()
    }

    fn end(&self, ticket: Ticket, signal: Signal) -> Option<Change> {
        let change = self.lock().breaker.end(ticket, signal, Instant::now());
        if let Some(change) = change {
            tracing::warn!(gateway = self.name, ?change, "the breaker turned");
        }
        self.changed.notify_waiters();
        change
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to give one message to an account. Unless it reports, the account was never asked.
pub(crate) struct Permit {
    pub(crate) account: Arc<Account>,
    ticket: Option<Ticket>,
    /// Held until the message is through.
    slot: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// From here on the next message waits for its turn.
    pub(crate) fn spend(&self) {
        let mut state = self.account.lock();
        if let Some(pace) = state.limits.pace() {
            state.next = Instant::now() + pace;
        }
    }

    /// Tells what came of the message.
    pub(crate) fn report(&mut self, outcome: &Outcome) -> Option<Change> {
        let signal = match self.account.transport {
            // A database that does not answer is no gateway's fault.
            Transport::Mailbox(_) => Signal::Neutral,
            Transport::Carrier(_) => signal(outcome),
        };
        let ticket = self.ticket.take()?;
        self.account.end(ticket, signal)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.account.end(ticket, Signal::Neutral);
        }
        let mut state = self.account.lock();
        if state.surplus > 0
            && let Some(slot) = self.slot.take()
        {
            state.surplus -= 1;
            slot.forget();
        }
    }
}

/// What a try says about the account.
fn signal(outcome: &Outcome) -> Signal {
    match outcome {
        Outcome::Sent { .. } | Outcome::Permanent { .. } => Signal::Good,
        Outcome::Config { .. } => Signal::Config,
        Outcome::NotSent { reason, .. } | Outcome::InDoubt { reason } => match reason.code {
            ReasonCode::TimedOut | ReasonCode::Unreachable | ReasonCode::Unconfirmed => {
                Signal::Silent
            }
            ReasonCode::TlsFailed
            | ReasonCode::TlsUnavailable
            | ReasonCode::ConnectionLost
            | ReasonCode::ProtocolError
            | ReasonCode::GatewayFailed
            | ReasonCode::UnreadableAnswer
            | ReasonCode::IdTaken
            | ReasonCode::Redirected => Signal::Bad,
            ReasonCode::PoolExhausted | ReasonCode::DeadlinePassed | ReasonCode::MessageInvalid => {
                Signal::Neutral
            }
            _ => Signal::Good,
        },
    }
}
