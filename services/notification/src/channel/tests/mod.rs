//! The channels against servers on real sockets. Names begin with the scenario of RELIABILITY section 2.

mod alibaba;
mod contract;
mod dkim;
mod fuzz;
mod gateway;
mod letters;
mod mail;
mod tencent;
mod twilio;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

use super::{Content, Doubtful, DoubtfulAttempt, Outgoing};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

fn next_id() -> Uuid {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + u128::from(number))
}

fn outgoing(to: &str, content: Content) -> Outgoing {
    Outgoing {
        message_id: next_id(),
        generation: 1,
        attempt_id: next_id(),
        created_at: now() - TimeDelta::minutes(3),
        to: SecretString::from(to),
        content,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        deadline: Some(now() + TimeDelta::hours(4)),
    }
}

/// The same message, tried once more.
fn again(message: &Outgoing) -> Outgoing {
    Outgoing {
        attempt_id: next_id(),
        ..message.clone()
    }
}

/// What its carrier is asked by when the try is in doubt.
fn doubtful(message: &Outgoing) -> Doubtful {
    Doubtful {
        message_id: message.message_id,
        generation: message.generation,
        attempts: vec![DoubtfulAttempt {
            id: message.attempt_id,
            start_time: now(),
        }],
        unrecorded_since: None,
        to: message.to.clone(),
        content: Some(message.content.clone()),
        taken: std::collections::HashSet::new(),
    }
}
