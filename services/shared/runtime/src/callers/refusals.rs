//! What callers were refused, counted by the minute, so that whoever knocks a million times leaves a handful of rows.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, SubsecRound as _, Timelike as _, Utc};
use tonic::Code;

use crate::{clock::SharedClock, lifecycle::Lifecycle};

/// Counts that are kept at the same time; more go together into one for each code.
const KEYS_MAX: usize = 256;
/// Pause between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// Whoever did not prove who it is.
pub const UNAUTHENTICATED: &str = "unauthenticated";
/// The callers and methods that there was no more room for.
const OTHERS: &str = "others";

/// Where a connection came from; the address itself is nobody's business later on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// This machine.
    Loopback,
    /// The company's networks.
    Private,
    /// Anywhere.
    Public,
}

impl Peer {
    /// That of an address; an unknown one counts as from anywhere.
    pub fn of(address: Option<SocketAddr>) -> Self {
        let Some(address) = address else {
            return Self::Public;
        };
        let ip = address.ip().to_canonical();
        let private = match ip {
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        if ip.is_loopback() {
            Self::Loopback
        } else if private {
            Self::Private
        } else {
            Self::Public
        }
    }

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "LOOPBACK",
            Self::Private => "PRIVATE",
            Self::Public => "PUBLIC",
        }
    }
}

/// Refusals of one kind within one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The minute, at its beginning.
    pub minute: DateTime<Utc>,
    /// The caller's name, or [`UNAUTHENTICATED`].
    pub caller: String,
    /// The path of the method.
    pub method: &'static str,
    /// The code it was refused with, such as `PERMISSION_DENIED`.
    pub code: &'static str,
    /// Where it came from.
    pub peer: &'static str,
    /// How often.
    pub count: i64,
}

type Key = (DateTime<Utc>, Arc<str>, &'static str, &'static str, Peer);

/// The counts. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    counts: Arc<Mutex<HashMap<Key, i64>>>,
    clock: Option<SharedClock>,
}

impl Refusals {
    /// Counts by this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            counts: Arc::default(),
            clock: Some(clock),
        }
    }

    /// Counts one.
    pub fn note(&self, caller: &str, method: &'static str, code: Code, peer: Peer) {
        // Without a clock nobody collects what is counted.
        let Some(clock) = &self.clock else { return };
        let now = clock.now().trunc_subsecs(0);
        let minute = now.with_second(0).unwrap_or(now);
        let code = code_word(code);
        tracing::info!(caller, method, code, peer = peer.as_str(), "call refused");
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key: Key = (minute, caller.into(), method, code, peer);
        if counts.len() >= KEYS_MAX && !counts.contains_key(&key) {
            key = (minute, OTHERS.into(), OTHERS, code, peer);
        }
        *counts.entry(key).or_default() += 1;
    }

    /// Takes what was counted, in the sequence of time.
    pub fn take(&self) -> Vec<Refused> {
        let counts =
            std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let mut taken: Vec<_> = counts.into_iter().collect();
        taken.sort();
        taken
            .into_iter()
            .map(|((minute, caller, method, code, peer), count)| Refused {
                minute,
                caller: (*caller).to_owned(),
                method,
                code,
                peer: peer.as_str(),
                count,
            })
            .collect()
    }

    /// Hands what was counted to `keep` every ten seconds, and at the end. What could not be kept is in the log.
    pub fn spawn_keeping<F, E>(
        &self,
        lifecycle: &Lifecycle,
        keep: impl Fn(Vec<Refused>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let (refusals, soft) = (self.clone(), lifecycle.soft());
        lifecycle.spawn("refusals", async move {
            loop {
                let ended = soft
                    .run_until_cancelled(tokio::time::sleep(WRITE_EVERY))
                    .await
                    .is_none();
                let taken = refusals.take();
                let kinds = taken.len();
                if kinds > 0
                    && let Err(error) = keep(taken).await
                {
                    tracing::warn!(error = %error, kinds, "refusals could not be put on record");
                }
                if ended {
                    return;
                }
            }
        });
    }
}

/// The code as the API writes it.
pub(crate) const fn code_word(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::NotFound => "NOT_FOUND",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_million_knocks_are_one_count_a_minute() {
        let start = DateTime::from_timestamp(1_700_000_045, 0).unwrap();
        let clock = ManualClock::new(start);
        let refusals = Refusals::new(Arc::new(clock.clone()));
        for _ in 0..1_000 {
            refusals.note("shop", "/m", Code::PermissionDenied, Peer::Private);
        }
        clock.advance(TimeDelta::seconds(60));
        refusals.note("shop", "/m", Code::PermissionDenied, Peer::Private);

        let taken = refusals.take();
        let counts: Vec<_> = taken.iter().map(|it| (it.minute, it.count)).collect();
        let minute = DateTime::from_timestamp(1_700_000_040, 0).unwrap();
        assert_eq!(
            counts,
            [(minute, 1_000), (minute + TimeDelta::minutes(1), 1)]
        );
        assert_eq!(refusals.take(), []);
    }

    #[test]
    fn names_without_end_do_not_fill_the_memory() {
        let clock = ManualClock::new(DateTime::UNIX_EPOCH);
        let refusals = Refusals::new(Arc::new(clock));
        for number in 0..10_000 {
            refusals.note(
                &format!("caller-{number}"),
                "/m",
                Code::NotFound,
                Peer::Public,
            );
        }
        let taken = refusals.take();
        assert_eq!(taken.len(), KEYS_MAX + 1);
        assert_eq!(taken.iter().map(|it| it.count).sum::<i64>(), 10_000);
        assert!(taken.iter().any(|it| it.caller == OTHERS));
    }

    #[test]
    fn addresses_are_kept_as_the_kind_of_network_they_are_in() {
        for (address, peer) in [
            ("127.0.0.1:1", Peer::Loopback),
            ("[::1]:1", Peer::Loopback),
            ("[::ffff:127.0.0.1]:1", Peer::Loopback),
            ("10.1.2.3:1", Peer::Private),
            ("192.168.0.9:1", Peer::Private),
            ("[fd00::1]:1", Peer::Private),
            ("203.0.113.7:1", Peer::Public),
            ("[2001:db8::1]:1", Peer::Public),
        ] {
            assert_eq!(Peer::of(address.parse().ok()), peer, "{address}");
        }
        assert_eq!(Peer::of(None), Peer::Public);
    }
}
