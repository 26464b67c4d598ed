//! When each order's customer may be disturbed, by the policy that the order was judged by.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    contact_hours::{ContactHours, CustomerZone},
    ids::DeliveryId,
    locale::TimeZone,
    message::Delivery,
    order::Order,
    policy::PolicyVersion,
};
use countersign_store::{Store, StoreError};
use tokio::time::Instant;

/// Messages that waited for the morning begin within so many seconds of it, not all at once.
const SPREAD_SECONDS: u16 = 600;
/// Between two looks for a version that was not there.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The hours of all policies. A version never changes, so what is known stays known.
pub(crate) struct QuietHours {
    /// The company's own, for customers whose clock nobody knows.
    zone: TimeZone,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    hours: HashMap<PolicyVersion, ContactHours>,
    looked: Option<Instant>,
}

impl QuietHours {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            known: Mutex::default(),
        }
    }

    /// Learns the policies of these orders that are not known yet.
    pub(crate) async fn learn(
        &self,
        store: &Store,
        orders: impl Iterator<Item = &Order> + Send,
    ) -> Result<(), StoreError> {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let all = orders
                .map(|order| &order.policy_version)
                .all(|version| known.hours.contains_key(version));
            if all || known.looked.is_some_and(|time| time.elapsed() < LOOK_AGAIN) {
                return Ok(());
            }
        }
        let policies = store.list_policies().await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.looked = Some(Instant::now());
        known.hours.extend(
            policies
                .into_iter()
                .map(|policy| (policy.identity(), policy.contact_hours)),
        );
        Ok(())
    }

    /// When the message may go, if that is not now.
    pub(crate) fn waits_until(
        &self,
        delivery: &Delivery,
        order: &Order,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let hours = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.hours.get(&order.policy_version).copied()
        };
        let zone = CustomerZone::of(order, self.zone);
        let opens = hours.unwrap_or_default().next(delivery.channel, zone, now);
        (opens > now).then(|| opens + spread(delivery.id))
    }
}

/// The same for the same message, whoever asks.
fn spread(id: DeliveryId) -> TimeDelta {
    let [.., high, low] = *id.as_uuid().as_bytes();
    TimeDelta::seconds(i64::from(u16::from_be_bytes([high, low]) % SPREAD_SECONDS))
}

#[cfg(test)]
mod tests {
    use countersign_domain::ids::DeliveryId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn g_05_messages_that_waited_begin_within_ten_minutes_of_the_morning() {
        let mut seconds: Vec<i64> = (0..6_000_u128)
            .map(|number| spread(DeliveryId::from_uuid(Uuid::from_u128(number))).num_seconds())
            .collect();
        seconds.sort_unstable();
        assert_eq!((seconds[0], seconds[5_999]), (0, 599));
        // No second has many more than its share.
        let most = seconds.chunk_by(|a, b| a == b).map(<[i64]>::len).max();
        assert!(most <= Some(12), "{most:?}");
    }
}
