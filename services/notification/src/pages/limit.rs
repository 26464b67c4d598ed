//! How many requests are answered: a token bucket for each client and one for all (RELIABILITY F-17).

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use tokio::time::Instant;

use super::{PagesState, render::Notice};

/// How many requests for order pages are answered by one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Requests a second of one client, on average.
    pub client_per_second: f64,
    /// Requests of one client at once.
    pub client_burst: f64,
    /// Requests a second of all clients, on average.
    pub total_per_second: f64,
    /// Requests of all clients at once.
    pub total_burst: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client_per_second: 5.0,
            client_burst: 60.0,
            total_per_second: 500.0,
            total_burst: 1_000.0,
        }
    }
}

/// Clients that are remembered; more than that are swept when their buckets are full again.
const CLIENTS_MAX: usize = 50_000;

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    const fn full(burst: f64, now: Instant) -> Self {
        Self {
            tokens: burst,
            filled: now,
        }
    }

    fn refill(&mut self, per_second: f64, burst: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = passed.mul_add(per_second, self.tokens).min(burst);
        self.filled = now;
    }

    fn take(&mut self) -> bool {
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

struct Buckets {
    clients: HashMap<IpAddr, Bucket>,
    total: Option<Bucket>,
    swept: Option<Instant>,
}

pub(super) struct Limiter {
    limits: Limits,
    buckets: Mutex<Buckets>,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            buckets: Mutex::new(Buckets {
                clients: HashMap::new(),
                total: None,
                swept: None,
            }),
        }
    }

    /// Takes one request of a client into account and tells whether it is answered.
    fn admits(&self, client: IpAddr, now: Instant) -> bool {
        let limits = self.limits;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep(&mut buckets, now);
        let mine = buckets
            .clients
            .entry(network(client))
            .or_insert_with(|| Bucket::full(limits.client_burst, now));
        mine.refill(limits.client_per_second, limits.client_burst, now);
        // A client over its own limit must not use up what is there for all.
        if !mine.take() {
            return false;
        }
        let total = buckets
            .total
            .get_or_insert_with(|| Bucket::full(limits.total_burst, now));
        total.refill(limits.total_per_second, limits.total_burst, now);
        total.take()
    }

    /// Forgets clients whose buckets are full: a new bucket says the same. At most once a second.
    fn sweep(&self, buckets: &mut Buckets, now: Instant) {
        if buckets.clients.len() < CLIENTS_MAX
            || buckets
                .swept
                .is_some_and(|last| now.saturating_duration_since(last) < Duration::from_secs(1))
        {
            return;
        }
        let limits = self.limits;
        buckets.clients.retain(|_, bucket| {
            bucket.refill(limits.client_per_second, limits.client_burst, now);
            bucket.tokens < limits.client_burst
        });
        buckets.swept = Some(now);
    }
}

/// A household has one IPv4 address, but a /64 of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

pub(super) async fn within_limits(
    State(state): State<PagesState>,
    request: Request,
    next: Next,
) -> Response {
    let named = state
        .inner
        .settings
        .client_ip_header
        .as_ref()
        .and_then(|header| request.headers().get(header))
        // The last entry is the one that our own proxy wrote; the rest is what the client claims.
        .and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    let client = named.unwrap_or_else(|| {
        request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |info| info.0.ip())
    });
    if state.inner.limiter.admits(client, Instant::now()) {
        next.run(request).await
    } else {
        state.notice(Notice::TooMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter::new(Limits {
            client_per_second: 1.0,
            client_burst: 3.0,
            total_per_second: 2.0,
            total_burst: 5.0,
        })
    }

    fn admitted(limiter: &Limiter, client: &str, requests: u32, now: Instant) -> usize {
        let client = client.parse().unwrap();
        (0..requests)
            .filter(|_| limiter.admits(client, now))
            .count()
    }

    #[test]
    fn f_17_a_client_gets_its_burst_and_then_its_rate() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(admitted(&limiter, "192.0.2.1", 10, start), 3);
        let later = start + Duration::from_secs(2);
        assert_eq!(admitted(&limiter, "192.0.2.1", 10, later), 2);
    }

    #[test]
    fn f_17_all_clients_together_get_the_total() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(admitted(&limiter, "192.0.2.1", 10, start), 3);
        assert_eq!(admitted(&limiter, "192.0.2.2", 10, start), 2);
        assert_eq!(admitted(&limiter, "192.0.2.3", 10, start), 0);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let (limiter, start) = (limiter(), Instant::now());
        assert_eq!(admitted(&limiter, "2001:db8::1", 2, start), 2);
        assert_eq!(admitted(&limiter, "2001:db8::2", 10, start), 1);
        assert_eq!(admitted(&limiter, "2001:db8:0:1::1", 1, start), 1);
    }

    #[test]
    fn clients_whose_buckets_are_full_again_are_forgotten() {
        let limiter = Limiter::new(Limits {
            total_burst: 1e9,
            ..Limits::default()
        });
        let start = Instant::now();
        for n in 0..u32::try_from(CLIENTS_MAX).unwrap() {
            assert!(limiter.admits(IpAddr::from(n.to_be_bytes()), start));
        }
        let later = start + Duration::from_mins(1);
        assert!(limiter.admits("192.0.2.1".parse().unwrap(), later));
        assert_eq!(limiter.buckets.lock().unwrap().clients.len(), 1);
    }
}
