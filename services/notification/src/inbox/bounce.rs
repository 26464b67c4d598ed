//! What follows when a letter comes back (RELIABILITY E-09, E-16 to E-18, M-01).

use countersign_domain::{
    ids::DeliveryId,
    message::OptOutReason,
    order::Channel,
    reply::{BounceKind, GatewayStatus},
};
use countersign_store::{News, StoreError};
use uuid::Uuid;

use super::forward::{Forwarder, Settled};

impl Forwarder {
    /// The letter has failed and the next channel is due at once; an address that does not exist, and one whose owner
    /// complained, is not written to again. A complaint is about a letter that arrived, so it starts no other channel. A
    /// letter that is only late is noted.
    pub(super) async fn bounce(
        &self,
        delivery: Uuid,
        generation: u32,
        bounce: BounceKind,
        code: Option<&str>,
    ) -> Result<Settled, StoreError> {
        let store = &self.inbox.store;
        let id = DeliveryId::from_uuid(delivery);
        let Some(found) = store.find_delivery(id).await? else {
            return Ok(Settled::Refused("UNKNOWN_MESSAGE".to_owned()));
        };
        if found.generation != generation || found.channel != Channel::Email {
            return Ok(Settled::Refused("UNKNOWN_MESSAGE".to_owned()));
        }
        let told = match code {
            Some(code) => format!("{bounce}: status {code}"),
            None => bounce.to_string(),
        };
        let now = store.now().await?;
        let opt_out = match bounce {
            BounceKind::BadAddress => Some(OptOutReason::BadAddress),
            BounceKind::Complaint => Some(OptOutReason::Complaint),
            BounceKind::Delayed | BounceKind::Failed => None,
        };
        if let Some(reason) = opt_out {
            store
                .insert_opt_out(&found.recipient_hash, Channel::Email, reason, now)
                .await?;
        }
        if matches!(bounce, BounceKind::Delayed | BounceKind::Complaint) {
            return Ok(Settled::Applied(told));
        }
        let error = format!("BOUNCED: {told}");
        let news = store
            .record_news(id, generation, "", GatewayStatus::Bounced, &error, now)
            .await?;
        Ok(match news {
            // It may have overtaken our own record of the try.
            News::TooEarly => Settled::Later("TOO_EARLY".to_owned()),
            News::Unknown => Settled::Refused("UNKNOWN_MESSAGE".to_owned()),
            News::Old(_) => Settled::Applied("OLD_NEWS".to_owned()),
            News::Written(_) => {
                self.queue.ring();
                Settled::Applied(told)
            }
        })
    }
}
