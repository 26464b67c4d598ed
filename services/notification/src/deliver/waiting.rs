//! Messages that wait for a better moment: no try of theirs is counted.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_domain::ids::DeliveryId;
use countersign_store::{Claimed, StartOutcome, StoreError};
use uuid::Uuid;

use super::{Courier, Facts};
use crate::{account::Account, transport::Transport};

impl Courier {
    /// Puts off what would disturb its customer now. No try is counted. The local mailbox disturbs nobody.
    pub(super) async fn leave_in_peace(
        &self,
        account: &Account,
        token: Uuid,
        claimed: Vec<Claimed>,
        facts: &Facts,
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>, StoreError> {
        if matches!(account.transport, Transport::Mailbox(_)) {
            return Ok(claimed);
        }
        let orders = facts.orders.values().map(AsRef::as_ref);
        self.quiet.learn(&self.store, orders).await?;
        let mut postponed = Vec::new();
        let mut going = Vec::new();
        for it in claimed {
            let order = facts.orders.get(&it.delivery.order_id);
            let waits = order.and_then(|order| self.quiet.waits_until(&it.delivery, order, now));
            match waits {
                None => going.push(it),
                Some(until) => postponed.push((it.delivery.id, until)),
            }
        }
        if !postponed.is_empty() {
            tracing::info!(
                messages = postponed.len(),
                "wait for the customers' mornings"
            );
            self.store.postpone_deliveries(token, &postponed).await?;
        }
        Ok(going)
    }

    /// Puts off what goes to numbers that have had enough for now. No try is counted.
    pub(super) async fn put_off(
        &self,
        token: Uuid,
        outcomes: &HashMap<DeliveryId, StartOutcome>,
    ) -> Result<(), StoreError> {
        let waiting: Vec<(DeliveryId, DateTime<Utc>)> = outcomes
            .iter()
            .filter_map(|(delivery, outcome)| match outcome {
                StartOutcome::Waits { until } => Some((*delivery, *until)),
                _ => None,
            })
            .collect();
        if !waiting.is_empty() {
            self.store.postpone_deliveries(token, &waiting).await?;
        }
        Ok(())
    }
}
