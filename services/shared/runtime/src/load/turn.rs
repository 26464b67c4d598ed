//! Waiting for one's turn, for a while.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::lines::{Arrival, Lines};

/// How many may run and how many may wait for it.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// Calls that are carried out at the same time.
    pub at_once: usize,
    /// Calls that wait for that.
    pub waiting: usize,
    /// How long each may wait.
    pub wait: Duration,
}

/// The calls of one server.
#[derive(Debug)]
pub(super) struct Turns {
    lines: Mutex<Lines<oneshot::Sender<Slot>>>,
    wait: Duration,
    numbers: AtomicU64,
}

/// What came of waiting.
#[derive(Debug)]
pub(super) enum Waited {
    /// The call may be carried out; the next one may when this is dropped.
    Mine(Slot),
    /// Nobody waits for the answer any more.
    Expired,
    /// There was no place, or its turn did not come in time.
    Shed(&'static str),
}

impl Turns {
    pub(super) fn new(limits: TurnLimits) -> Arc<Self> {
        Arc::new(Self {
            lines: Mutex::new(Lines::new(
                limits.at_once,
                limits.waiting,
                // By a mean, and turns come in crowds: with more than half of it, one in a hundred of those who are refused
                // would be told only when they have waited in vain.
                limits.wait / 2,
            )),
            wait: limits.wait,
            numbers: AtomicU64::new(0),
        })
    }

    /// Waits for a turn until the deadline at most.
    pub(super) async fn wait(self: &Arc<Self>, caller: &str, deadline: Instant) -> Waited {
        let now = Instant::now();
        if deadline <= now {
            return Waited::Expired;
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut waits = None;
        // The guard of the lines must not be held when a slot or a sender is dropped.
        let arrival = self.lock().arrive(caller, number, || {
            let (sender, receiver) = oneshot::channel();
            waits = Some(receiver);
            sender
        });
        match arrival {
            Arrival::Begins => {
                let turns = Arc::clone(self);
                return Waited::Mine(Slot(Some((turns, caller.into()))));
            }
            Arrival::Refused => return Waited::Shed("no_place"),
            Arrival::Waits => {}
            // Told at once: kept until this call's turn, it would let the other one wait as long.
            Arrival::WaitsInsteadOf(displaced) => drop(displaced),
        }
        let Some(receiver) = waits else {
            return Waited::Shed("no_place");
        };
        let _place = Place {
            turns: self,
            caller,
            number,
        };
        match timeout_at(deadline.min(now + self.wait), receiver).await {
            // A turn that comes too late is given on at once.
            Ok(Ok(_)) | Err(_) if deadline <= Instant::now() => Waited::Expired,
            Ok(Ok(slot)) => Waited::Mine(slot),
            Ok(Err(_)) => Waited::Shed("displaced"),
            Err(_) => Waited::Shed("waited_too_long"),
        }
    }

    /// Calls that run and calls that wait.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let lines = self.lock();
        (lines.running(), lines.waiting())
    }

    fn lock(&self) -> MutexGuard<'_, Lines<oneshot::Sender<Slot>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to be carried out, for a call of this caller. Whoever waits gets it next.
#[derive(Debug)]
pub(super) struct Slot(Option<(Arc<Turns>, Arc<str>)>);

impl Drop for Slot {
    fn drop(&mut self) {
        let Some((turns, mut caller)) = self.0.take() else {
            return;
        };
        loop {
            let next = turns.lock().end(&caller, Instant::now());
            let Some((name, next)) = next else {
                return;
            };
            match next.send(Self(Some((Arc::clone(&turns), Arc::clone(&name))))) {
                Ok(()) => return,
                // Gone meanwhile. The slot is still ours to give.
                Err(mut back) => {
                    back.0 = None;
                    caller = name;
                }
            }
        }
    }
}

/// A place in the line, left when the call waits no longer, for whatever reason.
struct Place<'a> {
    turns: &'a Arc<Turns>,
    caller: &'a str,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.lock().leave(self.caller, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(at_once: usize, waiting: usize) -> Arc<Turns> {
        Turns::new(TurnLimits {
            at_once,
            waiting,
            wait: Duration::from_secs(1),
        })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_handed_on_and_none_is_lost() {
        let turns = turns(1, 10);
        let Waited::Mine(slot) = turns.wait("a", soon()).await else {
            panic!("the first begins");
        };
        let (waiting, ended) = tokio::join!(turns.wait("b", soon()), async {
            tokio::task::yield_now().await;
            drop(slot);
        });
        let () = ended;
        assert!(matches!(waiting, Waited::Mine(_)));
        drop(waiting);
        assert_eq!(turns.counts(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_by_the_limit_or_the_deadline_whichever_is_first() {
        let turns = turns(1, 10);
        let held = turns.wait("a", soon()).await;
        let begun = Instant::now();
        assert!(matches!(
            turns.wait("b", soon()).await,
            Waited::Shed("waited_too_long")
        ));
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
        let deadline = Instant::now() + Duration::from_millis(300);
        assert!(matches!(turns.wait("b", deadline).await, Waited::Expired));
        assert!(matches!(
            turns.wait("b", Instant::now()).await,
            Waited::Expired
        ));
        assert_eq!(turns.counts(), (1, 0));
        drop(held);
        assert_eq!(turns.counts(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hangs_up_while_waiting_takes_no_turn_with_it() {
        let turns = turns(1, 10);
        let held = turns.wait("a", soon()).await;
        {
            let leaves = turns.wait("b", soon());
            tokio::pin!(leaves);
            assert!(futures::poll!(leaves.as_mut()).is_pending());
            assert_eq!(turns.counts(), (1, 1));
        }
        assert_eq!(turns.counts(), (1, 0));
        // A turn that was handed over and never taken comes back as well.
        {
            let leaves = turns.wait("c", soon());
            tokio::pin!(leaves);
            assert!(futures::poll!(leaves.as_mut()).is_pending());
            drop(held);
            assert_eq!(turns.counts(), (1, 0));
        }
        assert_eq!(turns.counts(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_displaced_is_told_at_once() {
        let turns = turns(1, 2);
        let held = turns.wait("a", soon()).await;
        let begun = Instant::now();
        let first = turns.wait("a", soon());
        let second = turns.wait("a", soon());
        let rival = turns.wait("b", soon());
        tokio::pin!(first, second, rival);
        assert!(futures::poll!(first.as_mut()).is_pending());
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(futures::poll!(rival.as_mut()).is_pending());
        assert!(matches!(second.await, Waited::Shed("displaced")));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(held);
        assert!(matches!(first.await, Waited::Mine(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_place_is_no_wait() {
        let turns = turns(1, 0);
        let _held = turns.wait("a", soon()).await;
        let begun = Instant::now();
        assert!(matches!(
            turns.wait("a", soon()).await,
            Waited::Shed("no_place")
        ));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
