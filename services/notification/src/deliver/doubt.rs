//! A message whose last try may have reached the customer: cleared up, or tried once more.

use std::collections::HashSet;

use countersign_domain::ids::AttemptId;
use countersign_store::{Start, StartOutcome, StoreError};
use secrecy::SecretString;

use super::{
    Courier,
    job::{Begun, Job, stopped},
};
use crate::{
    account::Permit,
    channel::{Doubtful, DoubtfulAttempt, Reason, ReasonCode, Reconciled},
    failpoint,
    transport::Transport,
    verdict::{Resolved, resolve},
};

/// Messages to the same recipient whose ids are known not to be this one's.
const OTHERS: u64 = 200;

impl Job {
    /// What is to become of a message whose last try may have reached the customer.
    pub(super) async fn clear_up(&self, courier: &Courier, permit: &Permit) -> Resolved {
        let asked = self
            .claimed
            .history
            .last()
            .map_or("", |last| last.gateway.as_str());
        // The account that was given the message is asked, not the one that is used now.
        let account = if asked.is_empty() {
            Some(&permit.account)
        } else {
            courier.transports.named(asked)
        };
        let reconciled = match account.map(|account| &account.transport) {
            // Putting it in twice is putting it in once.
            Some(Transport::Mailbox(_)) => return Resolved::Resend,
            Some(Transport::Carrier(carrier)) => {
                let delivery = &self.claimed.delivery;
                let others = courier
                    .store
                    .find_ids_of_others(&delivery.recipient_hash, delivery.id, OTHERS)
                    .await;
                let taken = match others {
                    Ok(taken) => taken,
                    Err(error) => {
                        tracing::warn!(error = %error, "the ids of other messages are not known");
                        let text = "the database did not tell the ids of other messages";
                        let reason = Reason::new(ReasonCode::Unconfirmed, text);
                        return resolve(&Reconciled::Unknown { reason }, &self.tried(courier));
                    }
                };
                let message = Doubtful {
                    taken,
                    ..self.doubtful(courier)
                };
                let asking = carrier.reconcile(&message, courier.clock.now());
                tokio::select! {
                    biased;
                    reconciled = asking => reconciled,
                    () = courier.cut.cancelled() => Reconciled::Unknown { reason: stopped() },
                }
            }
            None => Reconciled::NobodyToAsk,
        };
        failpoint::hit("asked");
        resolve(&reconciled, &self.tried(courier))
    }

    /// What its carrier can be asked by.
    pub(super) fn doubtful(&self, courier: &Courier) -> Doubtful {
        let delivery = &self.claimed.delivery;
        Doubtful {
            message_id: delivery.id.as_uuid(),
            generation: delivery.generation,
            attempts: self
                .claimed
                .history
                .iter()
                .map(|attempt| DoubtfulAttempt {
                    id: attempt.id.as_uuid(),
                    start_time: attempt.start_time,
                })
                .collect(),
            unrecorded_since: None,
            to: SecretString::from(delivery.recipient.reveal()),
            content: self.content(courier).ok(),
            taken: HashSet::new(),
        }
    }

    /// Puts another try on record for a message in doubt.
    pub(super) async fn begin_again(
        &self,
        courier: &Courier,
        permit: &Permit,
    ) -> Result<Option<Begun>, StoreError> {
        let now = courier.store.now().await?;
        let id = self.claimed.delivery.id;
        let attempt = courier.ids.make(now, AttemptId::new_v7);
        let start = Start {
            delivery: id,
            attempt,
            // It has counted when it was first tried.
            toll: None,
            template_version: self.claimed.delivery.template_version.unwrap_or(0),
        };
        let outcomes = courier
            .store
            .start_attempts(self.token, &permit.account.name, &[start], now)
            .await?;
        failpoint::hit("begun_again");
        let Some(StartOutcome::Go { number }) = outcomes.get(&id) else {
            return Ok(None);
        };
        courier
            .metrics
            .possible_duplicate(self.claimed.delivery.channel.as_str());
        Ok(Some(Begun {
            attempt,
            number: *number,
        }))
    }
}
