//! News of messages that we do not know, or not yet.

use chrono::TimeDelta;
use countersign_domain::reply::{GatewayStatus, Reply, ReplyContent};
use countersign_store::StoreError;

use super::forward::{Forwarder, Settled};

/// How long news of an unknown message is kept: it may have overtaken our own record.
const PARKED: TimeDelta = TimeDelta::hours(24);

impl Forwarder {
    /// A status that names the message by the gateway's id alone.
    pub(super) async fn status_by_id(
        &self,
        reply: &Reply,
        provider_id: &str,
        status: GatewayStatus,
        code: Option<String>,
    ) -> Result<Settled, StoreError> {
        let store = &self.inbox.store;
        let Some(delivery) = store.find_delivery_by_provider_id(provider_id).await? else {
            return self.unknown(reply).await;
        };
        let content = ReplyContent::Status {
            delivery: delivery.id.as_uuid(),
            generation: delivery.generation,
            provider_id: provider_id.to_owned(),
            status,
            code,
        };
        self.resolved(reply, Some((Some(delivery.order_id), content)))
            .await
    }

    /// Kept for a day, then dropped and counted.
    pub(super) async fn unknown(&self, reply: &Reply) -> Result<Settled, StoreError> {
        let now = self.inbox.store.now().await?;
        let word = "UNKNOWN_MESSAGE".to_owned();
        Ok(if now - reply.receive_time < PARKED {
            Settled::Later(word)
        } else {
            self.metrics.unknown_message();
            Settled::Refused(word)
        })
    }
}
