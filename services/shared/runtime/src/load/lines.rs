//! Whose turn it is: each caller waits in a line of its own, and the lines are served in turn.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::pace::Pace;

/// What becomes of a call that arrives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival<T> {
    /// It may begin.
    Begins,
    /// It waits.
    Waits,
    /// It waits in place of this one, whose caller has more than its share of the places.
    WaitsInsteadOf(T),
    /// There is no place, or its turn would not come in time.
    Refused,
}

/// Calls that run, and those that wait for it. Every call has a number of its own.
#[derive(Debug)]
pub(super) struct Lines<T> {
    at_once: usize,
    /// Of these, one caller's at the same time: calls that never end must not take all.
    each: usize,
    places: usize,
    /// Whoever would have to wait longer is not let into a line: waiting in vain is worse than being refused at once.
    wait: Duration,
    pace: Pace,
    running: usize,
    waiting: usize,
    /// How many run, by caller.
    holding: HashMap<Arc<str>, usize>,
    waiting_by_caller: HashMap<Arc<str>, VecDeque<(u64, T)>>,
    /// Callers with a line, next first.
    turn: VecDeque<Arc<str>>,
}

impl<T> Lines<T> {
    /// So many run at the same time, and so many wait, none longer than `wait` as far as that can be foreseen.
    pub(super) fn new(at_once: usize, places: usize, wait: Duration) -> Self {
        Self {
            at_once: at_once.max(1),
            each: (at_once - at_once / 4).max(1),
            places,
            wait,
            pace: Pace::default(),
            running: 0,
            waiting: 0,
            holding: HashMap::new(),
            waiting_by_caller: HashMap::new(),
            turn: VecDeque::new(),
        }
    }

    /// How many run.
    #[cfg(test)]
    pub(super) const fn running(&self) -> usize {
        self.running
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// A call arrives. `call` makes what is kept of it when it waits.
    pub(super) fn arrive(
        &mut self,
        caller: &str,
        number: u64,
        call: impl FnOnce() -> T,
    ) -> Arrival<T> {
        if self.running < self.at_once && self.may_hold_more(caller) {
            self.begin(caller.into());
            return Arrival::Begins;
        }
        if self.has_room(caller) {
            self.queue(caller, number, call());
            return Arrival::Waits;
        }
        // All places are taken. Whoever has fewer of them than the one with the most gets one of that one's: the youngest, who
        // would have waited longest.
        let own = self.waiting_by_caller.get(caller).map_or(0, VecDeque::len);
        let longest = self
            .waiting_by_caller
            .iter()
            .max_by_key(|(_, line)| line.len())
            .filter(|(_, line)| line.len() > own + 1)
            .map(|(name, _)| Arc::clone(name));
        // It has at least two, so its line does not end.
        let displaced = longest.and_then(|name| self.waiting_by_caller.get_mut(&name)?.pop_back());
        match displaced {
            Some((_, displaced)) => {
                self.waiting -= 1;
                self.queue(caller, number, call());
                Arrival::WaitsInsteadOf(displaced)
            }
            None => Arrival::Refused,
        }
    }

    /// Whether one more call of this caller may wait. The first one of its line always may: lines take turns, so it does not wait
    /// for those of the others, and its turn tells how long turns take.
    fn has_room(&self, caller: &str) -> bool {
        self.waiting < self.places
            && (!self.waiting_by_caller.contains_key(caller)
                || self.pace.of_turns(self.waiting + 1) <= self.wait)
    }

    fn queue(&mut self, caller: &str, number: u64, call: T) {
        self.waiting += 1;
        if let Some(line) = self.waiting_by_caller.get_mut(caller) {
            line.push_back((number, call));
            return;
        }
        let name: Arc<str> = caller.into();
        self.turn.push_back(Arc::clone(&name));
        self.waiting_by_caller
            .insert(name, VecDeque::from([(number, call)]));
    }

    fn may_hold_more(&self, caller: &str) -> bool {
        self.holding
            .get(caller)
            .is_none_or(|held| *held < self.each)
    }

    fn begin(&mut self, caller: Arc<str>) {
        self.running += 1;
        *self.holding.entry(caller).or_default() += 1;
    }

    /// A call has ended. The next one takes its place, if any may.
    pub(super) fn end(&mut self, caller: &str, now: Instant) -> Option<(Arc<str>, T)> {
        self.running = self.running.saturating_sub(1);
        if let Some(held) = self.holding.get_mut(caller) {
            *held -= 1;
            if *held == 0 {
                self.holding.remove(caller);
            }
        }
        let at = self.turn.iter().position(|name| self.may_hold_more(name))?;
        let name = self.turn.remove(at)?;
        let line = self.waiting_by_caller.get_mut(&name)?;
        let (_, call) = line.pop_front()?;
        self.waiting -= 1;
        self.pace.turn(now);
        if self.waiting == 0 {
            self.pace.forget();
        }
        // The caller's other calls wait until all other callers had one.
        if line.is_empty() {
            self.waiting_by_caller.remove(&name);
        } else {
            self.turn.push_back(Arc::clone(&name));
        }
        self.begin(Arc::clone(&name));
        Some((name, call))
    }

    /// A call waits no longer.
    pub(super) fn leave(&mut self, caller: &str, number: u64) {
        let Some(line) = self.waiting_by_caller.get_mut(caller) else {
            return;
        };
        let before = line.len();
        line.retain(|(other, _)| *other != number);
        self.waiting -= before - line.len();
        if self.waiting == 0 {
            self.pace.forget();
        }
        if line.is_empty() {
            self.waiting_by_caller.remove(caller);
            self.turn.retain(|name| &**name != caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Call = (&'static str, u64);

    const WAIT: Duration = Duration::from_secs(1);

    /// A queue with one running, so that all others wait.
    fn busy(places: usize) -> Lines<Call> {
        let mut lines = Lines::new(1, places, WAIT);
        let first = arrive(&mut lines, "first", 0);
        assert_eq!(first, Arrival::Begins);
        lines
    }

    fn arrive(lines: &mut Lines<Call>, caller: &'static str, number: u64) -> Arrival<Call> {
        lines.arrive(caller, number, || (caller, number))
    }

    /// The one that runs ends; who is next.
    fn turn(lines: &mut Lines<Call>, running: &mut &'static str) -> Option<Call> {
        let (_, next) = lines.end(running, Instant::now())?;
        *running = next.0;
        Some(next)
    }

    #[test]
    fn callers_are_served_in_turn_however_many_calls_one_has() {
        let mut lines = busy(100);
        for number in 1..=50 {
            assert_eq!(arrive(&mut lines, "flood", number), Arrival::Waits);
        }
        assert_eq!(arrive(&mut lines, "shop", 1), Arrival::Waits);
        assert_eq!(arrive(&mut lines, "shop", 2), Arrival::Waits);
        let mut running = "first";
        let served: Vec<_> = (0..5)
            .filter_map(|_| turn(&mut lines, &mut running))
            .collect();
        assert_eq!(
            served,
            [
                ("flood", 1),
                ("shop", 1),
                ("flood", 2),
                ("shop", 2),
                ("flood", 3)
            ]
        );
        assert_eq!((lines.running(), lines.waiting()), (1, 47));
    }

    #[test]
    fn whoever_has_most_of_the_places_gives_one_up() {
        let mut lines = busy(4);
        for number in 1..=4 {
            assert_eq!(arrive(&mut lines, "flood", number), Arrival::Waits);
        }
        assert_eq!(arrive(&mut lines, "flood", 5), Arrival::Refused);
        for (number, displaced) in [(1, 4), (2, 3)] {
            assert_eq!(
                arrive(&mut lines, "shop", number),
                Arrival::WaitsInsteadOf(("flood", displaced))
            );
        }
        // Each has half: nobody gains by asking for more.
        for caller in ["shop", "flood"] {
            assert_eq!(arrive(&mut lines, caller, 9), Arrival::Refused);
        }
        assert_eq!(lines.waiting(), 4);
    }

    #[test]
    fn calls_that_never_end_leave_a_quarter_to_others() {
        let mut lines = Lines::new(8, 4, WAIT);
        for number in 0..6 {
            assert_eq!(arrive(&mut lines, "stuck", number), Arrival::Begins);
        }
        for number in 6..10 {
            assert_eq!(arrive(&mut lines, "stuck", number), Arrival::Waits);
        }
        for number in 0..100 {
            assert_eq!(arrive(&mut lines, "shop", number), Arrival::Begins);
            assert_eq!(lines.end("shop", Instant::now()), None);
        }
        assert_eq!((lines.running(), lines.waiting()), (6, 4));
        let next = lines.end("stuck", Instant::now());
        assert_eq!(next.map(|(_, call)| call), Some(("stuck", 6)));
    }

    #[test]
    fn whoever_leaves_is_not_served_and_its_place_is_free() {
        let mut lines = busy(2);
        assert_eq!(arrive(&mut lines, "a", 1), Arrival::Waits);
        assert_eq!(arrive(&mut lines, "b", 2), Arrival::Waits);
        lines.leave("a", 1);
        lines.leave("a", 1);
        lines.leave("nobody", 9);
        assert_eq!(arrive(&mut lines, "c", 3), Arrival::Waits);
        let mut running = "first";
        assert_eq!(turn(&mut lines, &mut running), Some(("b", 2)));
        assert_eq!(turn(&mut lines, &mut running), Some(("c", 3)));
        assert_eq!(turn(&mut lines, &mut running), None);
        assert_eq!((lines.running(), lines.waiting()), (0, 0));
        assert_eq!(arrive(&mut lines, "d", 4), Arrival::Begins);
    }

    #[test]
    fn nobody_waits_whose_turn_would_not_come_in_time() {
        let mut lines = busy(100);
        let start = Instant::now();
        for number in 0..40 {
            assert_eq!(arrive(&mut lines, "shop", number), Arrival::Waits);
        }
        // Ten turns a second: whoever waits behind thirty others would be refused after a second.
        let mut running = "first";
        for turn in 0..10 {
            let now = start + Duration::from_millis(100) * turn;
            running = lines.end(running, now).map_or(running, |(_, next)| next.0);
        }
        assert_eq!(lines.waiting(), 30);
        assert_eq!(arrive(&mut lines, "shop", 40), Arrival::Refused);
        // Another caller's line is its own, and its turn the next but one.
        assert_eq!(arrive(&mut lines, "other", 0), Arrival::Waits);
        assert_eq!(
            arrive(&mut lines, "other", 1),
            Arrival::WaitsInsteadOf(("shop", 39))
        );
        for number in 9..40 {
            lines.leave("shop", number);
        }
        lines.leave("other", 0);
        lines.leave("other", 1);
        // When nobody waits, nothing is known any more of how long turns take.
        assert_eq!(arrive(&mut lines, "shop", 41), Arrival::Waits);
        assert_eq!(arrive(&mut lines, "shop", 42), Arrival::Waits);
    }
}
