//! After a restore: every message that would be sent is asked about first, and what its carrier has is not sent again
//! (RELIABILITY, L-05).

use std::collections::{BTreeMap, HashSet};

use anyhow::Context as _;
use countersign_domain::{
    ids::{AttemptId, CommitId, DeliveryId},
    message::{Delivery, DeliveryState},
    order::Channel,
};
use countersign_store::{ActCall, Claimed, Finding, StoreError, UnfinishedKey};
use futures::{StreamExt as _, stream};
use uuid::Uuid;

use super::{Courier, job::Job};
use crate::{
    channel::{Doubtful, Reconciled},
    transport::Transport,
};

/// Messages of one look.
const PAGE: u64 = 200;
/// Carriers are asked so many questions at the same time.
const AT_ONCE: usize = 8;
/// In this sequence: what is settled lets the next message of its order go, from waiting to ready.
const STATES: [DeliveryState; 3] = [
    DeliveryState::Leased,
    DeliveryState::Waiting,
    DeliveryState::Ready,
];

/// What asking came to, for one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconciledCount {
    /// The carrier has it: it is not sent again.
    pub sent: u64,
    /// The carrier has never had it: it goes out when safe mode is off.
    pub not_sent: u64,
    /// The carrier gave no answer that tells: ask again.
    pub unknown: u64,
    /// Nobody keeps a record that could be asked: it goes out when safe mode is off.
    pub nobody_to_ask: u64,
    /// A call that nobody can tell of: left to staff, for a call is never placed twice by itself.
    pub left_to_staff: u64,
}

/// What asking came to, by channel.
pub type ReconcileReport = BTreeMap<Channel, ReconciledCount>;

/// What is to become of a message.
enum Fate {
    Sent {
        provider_id: String,
        gateway: String,
    },
    NotSent,
    Unknown,
    NobodyToAsk,
}

impl Fate {
    /// What two accounts come to that were asked about the same message: one that has it settles it, and it was not sent only
    /// if both say so.
    fn or(self, other: Self) -> Self {
        let weight = |fate: &Self| match fate {
            Self::Sent { .. } => 3,
            Self::Unknown => 2,
            Self::NobodyToAsk => 1,
            Self::NotSent => 0,
        };
        if weight(&other) > weight(&self) {
            other
        } else {
            self
        }
    }
}

impl Courier {
    /// Asks about every message that is not finished. With `dry_run` nothing is written. `told` hears how many have been
    /// looked at.
    pub(crate) async fn reconcile(
        &self,
        actor: &str,
        reason: &str,
        dry_run: bool,
        told: &(dyn Fn(u64) + Send + Sync),
    ) -> anyhow::Result<ReconcileReport> {
        let mut report = ReconcileReport::new();
        let mut seen: HashSet<DeliveryId> = HashSet::new();
        for (channel, state) in Channel::ALL
            .iter()
            .flat_map(|channel| STATES.map(|state| (*channel, state)))
        {
            let mut after: Option<UnfinishedKey> = None;
            loop {
                let (mut page, next) = self
                    .store
                    .list_unfinished(channel, state, after, PAGE)
                    .await
                    .context("list what would be sent")?;
                let Some(next) = next else { break };
                after = Some(next);
                page.retain(|it| seen.insert(it.delivery.id));
                let count = report.entry(channel).or_default();
                for (delivery, fate) in self.ask_all(page).await? {
                    self.settle(&delivery, fate, (actor, reason, dry_run), count)
                        .await
                        .context("write down what was found out")?;
                }
                told(seen.len() as u64);
            }
        }
        Ok(report)
    }

    async fn ask_all(&self, page: Vec<Claimed>) -> Result<Vec<(Delivery, Fate)>, StoreError> {
        let now = self.store.now().await?;
        let facts = self.facts(&page).await?;
        let asked = page
            .into_iter()
            .map(|claimed| Self::job(claimed, &facts, Uuid::nil(), now, None))
            .map(|job| self.ask(job));
        Ok(stream::iter(asked)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await)
    }

    /// Asks every account of the channel: the one that took it after the backup may be another than the one on record.
    async fn ask(&self, job: Job) -> (Delivery, Fate) {
        let delivery = &job.claimed.delivery;
        // It was not sent before its order was there. When the message itself was made, the backup may not know.
        let since = job.order.as_ref().map(|order| order.create_time);
        let message = Doubtful {
            unrecorded_since: Some(since.unwrap_or(delivery.create_time)),
            ..job.doubtful(self)
        };
        let mut fate = None;
        let accounts = self.transports.accounts().iter();
        for account in accounts.filter(|account| account.channel == delivery.channel) {
            let told = match &account.transport {
                // Putting it in twice is putting it in once.
                Transport::Mailbox(_) => Fate::NotSent,
                Transport::Carrier(carrier) => {
                    match carrier.reconcile(&message, self.clock.now()).await {
                        Reconciled::Accepted { provider_id, .. } => Fate::Sent {
                            provider_id,
                            gateway: account.name.clone(),
                        },
                        Reconciled::NotFound => Fate::NotSent,
                        Reconciled::Unknown { reason } => {
                            tracing::warn!(delivery = %delivery.id, gateway = account.name, reason = %reason, "the carrier does not tell");
                            Fate::Unknown
                        }
                        Reconciled::NobodyToAsk => Fate::NobodyToAsk,
                    }
                }
            };
            fate = Some(match fate {
                Some(known) => told.or(known),
                None => told,
            });
            if matches!(fate, Some(Fate::Sent { .. })) {
                break;
            }
        }
        (job.claimed.delivery, fate.unwrap_or(Fate::NobodyToAsk))
    }

    async fn settle(
        &self,
        delivery: &Delivery,
        fate: Fate,
        (actor, reason, dry_run): (&str, &str, bool),
        count: &mut ReconciledCount,
    ) -> Result<(), StoreError> {
        let finding = match &fate {
            Fate::NotSent => {
                count.not_sent += 1;
                return Ok(());
            }
            Fate::NobodyToAsk if delivery.channel != Channel::Phone => {
                count.nobody_to_ask += 1;
                return Ok(());
            }
            Fate::Unknown => {
                count.unknown += 1;
                return Ok(());
            }
            Fate::NobodyToAsk => {
                count.left_to_staff += 1;
                Finding::Untold
            }
            Fate::Sent {
                provider_id,
                gateway,
            } => {
                count.sent += 1;
                let now = self.store.now().await?;
                Finding::Sent {
                    provider_id,
                    gateway,
                    attempt: self.ids.make(now, AttemptId::new_v7),
                }
            }
        };
        if dry_run {
            return Ok(());
        }
        let now = self.store.now().await?;
        let call = ActCall::own(
            self.ids.make(now, CommitId::new_v7).as_uuid(),
            actor,
            reason,
        );
        let written = self
            .store
            .settle_unfinished(delivery, &finding, &call, now)
            .await?;
        if !written {
            tracing::warn!(delivery = %delivery.id, "a message changed meanwhile; it is left as it is");
        }
        Ok(())
    }
}
