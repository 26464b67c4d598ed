//! When an account at a gateway is left alone because too much of what it is given fails (RELIABILITY 3.7, D-22, D-23).
//! Pure: the time is an argument.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How far back failures are counted.
const WINDOW: Duration = Duration::from_secs(30);
/// Calls within the window before their share of failures means anything.
const CALLS_MIN: u32 = 20;
/// Calls in a row without an answer that mean that nobody is there.
const SILENT_MAX: u32 = 5;
/// How long it is left alone the first time, and at most.
const OPEN_FIRST: Duration = Duration::from_secs(30);
const OPEN_MAX: Duration = Duration::from_mins(10);
/// Calls that try it out afterwards.
const PROBES: usize = 3;

/// What a call says about the account, whatever it says about its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It answers as it should, be it with a refusal.
    Good,
    /// It answered with nonsense, or broke off.
    Bad,
    /// It did not answer in time.
    Silent,
    /// It refuses us, and would refuse every message.
    Config,
    /// The account was never asked.
    Neutral,
}

/// Whether calls may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As many as you like.
    Free,
    /// So many, to try it out; none when they are all under way.
    Probes(usize),
    /// None until then; absent: until somebody says so.
    None(Option<Instant>),
}

/// What changed with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is left alone for so long.
    Opened {
        /// How long.
        pause: Duration,
        /// Our set-up is wrong: every replica should know.
        config: bool,
    },
    /// It is used again.
    Closed,
}

/// A call under way. What comes of it counts only as long as nothing else has changed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Option<Instant> },
    HalfOpen { under_way: usize, good: usize },
}

/// Calls of one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    begin: Instant,
    calls: u32,
    failures: u32,
}

/// The state of one account in this process.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// Openings since it last worked.
    openings: u32,
    seconds: VecDeque<Second>,
    silent_in_a_row: u32,
    /// Counts changes of state.
    era: u64,
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Closed,
            openings: 0,
            seconds: VecDeque::new(),
            silent_in_a_row: 0,
            era: 0,
        }
    }

    /// Whether calls may be made now.
    pub(crate) fn admission(&mut self, now: Instant) -> Admission {
        if let State::Open { until: Some(until) } = self.state
            && until <= now
        {
            self.turn(State::HalfOpen {
                under_way: 0,
                good: 0,
            });
        }
        match self.state {
            State::Closed => Admission::Free,
            State::Open { until } => Admission::None(until),
            State::HalfOpen { under_way, good } => {
                Admission::Probes(PROBES.saturating_sub(under_way + good))
            }
        }
    }

    /// Notes a call that was admitted.
    pub(crate) const fn begin(&mut self) -> Ticket {
        if let State::HalfOpen { under_way, .. } = &mut self.state {
            *under_way += 1;
        }
        Ticket(self.era)
    }

    /// Notes what came of a call.
    pub(crate) fn end(&mut self, ticket: Ticket, signal: Signal, now: Instant) -> Option<Change> {
        if ticket.0 != self.era {
            return None;
        }
        match &mut self.state {
            State::Open { .. } => None,
            State::Closed => {
                let fails = self.count(signal, now);
                (signal == Signal::Config || fails).then(|| self.open(signal, now))
            }
            State::HalfOpen { under_way, good } => {
                *under_way = under_way.saturating_sub(1);
                match signal {
                    Signal::Neutral => None,
                    Signal::Good => {
                        *good += 1;
                        (*good >= PROBES).then(|| {
                            self.openings = 0;
                            self.turn(State::Closed);
                            Change::Closed
                        })
                    }
                    Signal::Bad | Signal::Silent | Signal::Config => Some(self.open(signal, now)),
                }
            }
        }
    }

    /// Leaves the account alone because somebody said so.
    pub(crate) fn hold(&mut self, until: Option<Instant>) {
        self.turn(State::Open { until });
    }

    /// Tries the account out because somebody said so.
    pub(crate) fn release(&mut self) {
        if matches!(self.state, State::Open { .. }) {
            self.openings = 0;
            self.turn(State::HalfOpen {
                under_way: 0,
                good: 0,
            });
        }
    }

    /// 0 closed, 1 being tried out, 2 open; for a gauge.
    pub(crate) const fn level(&self) -> u64 {
        match self.state {
            State::Closed => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        }
    }

    fn open(&mut self, signal: Signal, now: Instant) -> Change {
        let doubled = 1_u32 << self.openings.min(10);
        let pause = OPEN_FIRST.saturating_mul(doubled).min(OPEN_MAX);
        self.openings = self.openings.saturating_add(1);
        self.turn(State::Open {
            until: Some(now + pause),
        });
        Change::Opened {
            pause,
            config: signal == Signal::Config,
        }
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.era += 1;
        self.seconds.clear();
        self.silent_in_a_row = 0;
    }

    /// Counts a call; answers whether there were too many failures.
    fn count(&mut self, signal: Signal, now: Instant) -> bool {
        if signal == Signal::Neutral {
            return false;
        }
        while let Some(first) = self.seconds.front()
            && first.begin + WINDOW <= now
        {
            self.seconds.pop_front();
        }
        let failed = u32::from(signal != Signal::Good);
        match self.seconds.back_mut() {
            Some(last) if now < last.begin + Duration::from_secs(1) => {
                last.calls += 1;
                last.failures += failed;
            }
            _ => self.seconds.push_back(Second {
                begin: now,
                calls: 1,
                failures: failed,
            }),
        }
        self.silent_in_a_row = match signal {
            Signal::Silent => self.silent_in_a_row + 1,
            _ => 0,
        };
        let calls: u32 = self.seconds.iter().map(|second| second.calls).sum();
        let failures: u32 = self.seconds.iter().map(|second| second.failures).sum();
        self.silent_in_a_row >= SILENT_MAX || (calls >= CALLS_MIN && failures * 2 >= calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn call(breaker: &mut Breaker, signal: Signal, now: Instant) -> Option<Change> {
        assert_ne!(breaker.admission(now), Admission::Probes(0));
        let ticket = breaker.begin();
        breaker.end(ticket, signal, now)
    }

    fn opened(pause: u64) -> Change {
        Change::Opened {
            pause: seconds(pause),
            config: false,
        }
    }

    #[test]
    fn d_22_half_of_twenty_calls_failing_within_thirty_seconds_opens_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        for number in 0..19 {
            let signal = if number % 2 == 0 {
                Signal::Bad
            } else {
                Signal::Good
            };
            assert_eq!(call(&mut breaker, signal, start), None, "{number}");
        }
        assert_eq!(call(&mut breaker, Signal::Good, start), Some(opened(30)));
        assert_eq!(
            breaker.admission(start + seconds(29)),
            Admission::None(Some(start + seconds(30)))
        );
        // The same spread over more than the window does nothing.
        let mut breaker = Breaker::new();
        for number in 0..200_u64 {
            let signal = if number % 2 == 0 {
                Signal::Bad
            } else {
                Signal::Good
            };
            let now = start + seconds(2 * number);
            assert_eq!(call(&mut breaker, signal, now), None, "{number}");
        }
    }

    #[test]
    fn d_22_five_calls_in_a_row_without_an_answer_open_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        for signal in [Signal::Silent; 4] {
            assert_eq!(call(&mut breaker, signal, start), None);
        }
        assert_eq!(call(&mut breaker, Signal::Good, start), None);
        for signal in [Signal::Silent; 4] {
            assert_eq!(call(&mut breaker, signal, start), None);
        }
        assert_eq!(call(&mut breaker, Signal::Neutral, start), None);
        assert_eq!(call(&mut breaker, Signal::Silent, start), Some(opened(30)));
    }

    #[test]
    fn d_15_a_wrong_set_up_opens_it_at_once_and_tells_everybody() {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        assert_eq!(
            call(&mut breaker, Signal::Config, start),
            Some(Change::Opened {
                pause: seconds(30),
                config: true
            })
        );
    }

    #[test]
    fn d_23_half_open_lets_exactly_three_probes_through() {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        call(&mut breaker, Signal::Config, start);
        let now = start + seconds(30);
        assert_eq!(breaker.admission(now), Admission::Probes(3));
        let probes = [breaker.begin(), breaker.begin(), breaker.begin()];
        assert_eq!(breaker.admission(now), Admission::Probes(0));
        assert_eq!(breaker.end(probes[0], Signal::Good, now), None);
        assert_eq!(breaker.end(probes[1], Signal::Good, now), None);
        assert_eq!(breaker.admission(now), Admission::Probes(0));
        assert_eq!(
            breaker.end(probes[2], Signal::Good, now),
            Some(Change::Closed)
        );
        assert_eq!(breaker.admission(now), Admission::Free);
        // Works again: the next time begins with thirty seconds.
        assert!(matches!(
            call(&mut breaker, Signal::Config, now),
            Some(Change::Opened { pause, .. }) if pause == seconds(30)
        ));
    }

    #[test]
    fn d_23_one_failed_probe_opens_it_for_twice_the_time_at_most_ten_minutes() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new();
        call(&mut breaker, Signal::Config, now);
        let mut last = seconds(30);
        for pause in [60, 120, 240, 480, 600, 600] {
            now += last;
            assert_eq!(breaker.admission(now), Admission::Probes(3));
            let probes = [breaker.begin(), breaker.begin(), breaker.begin()];
            assert_eq!(breaker.end(probes[0], Signal::Good, now), None);
            assert_eq!(
                breaker.end(probes[1], Signal::Silent, now),
                Some(opened(pause))
            );
            // What the third one comes to says nothing any more.
            assert_eq!(breaker.end(probes[2], Signal::Good, now), None);
            assert!(matches!(breaker.admission(now), Admission::None(Some(_))));
            last = seconds(pause);
        }
    }

    #[test]
    fn a_probe_that_never_asked_makes_room_for_another() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        breaker.hold(None);
        assert_eq!(breaker.admission(now), Admission::None(None));
        breaker.release();
        let probe = breaker.begin();
        assert_eq!(breaker.admission(now), Admission::Probes(2));
        assert_eq!(breaker.end(probe, Signal::Neutral, now), None);
        assert_eq!(breaker.admission(now), Admission::Probes(3));
    }

    #[test]
    fn what_was_under_way_when_it_opened_counts_no_more() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        let early = breaker.begin();
        call(&mut breaker, Signal::Config, now);
        let later = now + seconds(30);
        assert_eq!(breaker.admission(later), Admission::Probes(3));
        assert_eq!(breaker.end(early, Signal::Bad, later), None);
        assert_eq!(breaker.admission(later), Admission::Probes(3));
    }
}
