//! Reports that bear no signature. What such a report says is never written down by itself: it makes us ask the carrier, and
//! the carrier's answer is what counts (RELIABILITY F-09). A call has nobody to ask; there the id that only the carrier
//! and we know must do, and no key is ever taken from it.

use chrono::TimeDelta;
use countersign_domain::{
    message::{DeliveryState, Recipient},
    order::Channel,
    reply::{GatewayStatus, Reply},
};
use countersign_store::{Claimed, StoreError};
use secrecy::SecretString;
use uuid::Uuid;

use super::{
    act::{RECENT, distinct_orders},
    forward::{Forwarder, Settled},
};
use crate::{
    callbacks::gateway_status,
    channel::{Doubtful, DoubtfulAttempt, Reconciled, alibaba::call_out_id},
    transport::Transport,
};

/// How long a carrier is asked again that does not confirm its own report.
const PARKED_MAX: TimeDelta = TimeDelta::hours(24);

/// What a report says.
pub(super) struct Report<'a> {
    pub(super) channel: Channel,
    pub(super) recipient: &'a Recipient,
    pub(super) attempt: &'a str,
    pub(super) provider_id: &'a str,
    pub(super) status: GatewayStatus,
    pub(super) code: Option<&'a str>,
}

impl Forwarder {
    pub(super) async fn report(
        &self,
        reply: &Reply,
        report: &Report<'_>,
    ) -> Result<Settled, StoreError> {
        // A try is on record before anything is sent, so what is unknown now stays unknown.
        let Some(reported) = self.reported(report).await? else {
            self.metrics.unknown_message();
            return Ok(Settled::Refused("UNKNOWN_MESSAGE".to_owned()));
        };
        let delivery = &reported.delivery;
        if delivery.state == DeliveryState::Leased {
            return Ok(Settled::Later("TOO_EARLY".to_owned()));
        }
        let now = self.inbox.store.now().await?;
        let unconfirmed = |why: &str| {
            let text = format!("UNCONFIRMED: {why}");
            if now - reply.receive_time > PARKED_MAX {
                Settled::Refused(text)
            } else {
                Settled::Later(text)
            }
        };
        // The account that was given the message is asked, not the one that is used now.
        let account = reported
            .history
            .iter()
            .find(|attempt| is_named(report, attempt.id.as_uuid()))
            .and_then(|attempt| self.transports.named(&attempt.gateway));
        let Some(Transport::Carrier(carrier)) = account.map(|it| &it.transport) else {
            return Ok(unconfirmed("its account is no longer configured"));
        };
        let status = match carrier
            .reconcile(&doubtful(&reported), self.clock.now())
            .await
        {
            Reconciled::Accepted { status, .. } => gateway_status(status),
            Reconciled::NobodyToAsk => report.status,
            Reconciled::NotFound => return Ok(unconfirmed("the carrier does not know it")),
            Reconciled::Unknown { reason } => return Ok(unconfirmed(&reason.to_string())),
        };
        if status == GatewayStatus::Underway && report.status != status {
            return Ok(unconfirmed("the carrier has no news of it yet"));
        }
        let provider_id = delivery
            .provider_id
            .as_deref()
            .unwrap_or(report.provider_id);
        let error = match report.code {
            Some(code) => format!("{status}: gateway code {code}"),
            None => status.as_str().to_owned(),
        };
        let news = self
            .inbox
            .store
            .record_news(
                delivery.id,
                delivery.generation,
                provider_id,
                status,
                &error,
                now,
            )
            .await?;
        self.news(reply, news, status, provider_id).await
    }

    /// The delivery to this recipient that has the try.
    async fn reported(&self, report: &Report<'_>) -> Result<Option<Claimed>, StoreError> {
        let store = &self.inbox.store;
        let hash = store.recipient_hash(report.recipient.reveal());
        let mut recent = store.find_deliveries_to(&hash, RECENT).await?;
        recent.retain(|delivery| delivery.channel == report.channel);
        for order in distinct_orders(&recent) {
            let found = store.list_deliveries(order).await?.into_iter().find(|it| {
                it.delivery.channel == report.channel
                    && it.delivery.recipient_hash == hash
                    && it
                        .history
                        .iter()
                        .any(|attempt| is_named(report, attempt.id.as_uuid()))
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Whether the report is about this try.
fn is_named(report: &Report<'_>, attempt: Uuid) -> bool {
    if report.channel == Channel::Phone {
        report.attempt == call_out_id(attempt)
    } else {
        report.attempt.parse() == Ok(attempt)
    }
}

fn doubtful(reported: &Claimed) -> Doubtful {
    let delivery = &reported.delivery;
    Doubtful {
        message_id: delivery.id.as_uuid(),
        generation: delivery.generation,
        attempts: reported
            .history
            .iter()
            .map(|attempt| DoubtfulAttempt {
                id: attempt.id.as_uuid(),
                start_time: attempt.start_time,
            })
            .collect(),
        unrecorded_since: None,
        to: SecretString::from(delivery.recipient.reveal()),
        content: None,
        taken: std::collections::HashSet::new(),
    }
}
