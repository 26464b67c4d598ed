//! One message on its way: written, sent, judged. Whatever happens here happens to this message alone.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
};

use chrono::{DateTime, Utc};
use countersign_domain::{
    confirmation::Round,
    ids::AttemptId,
    message::Delivery,
    order::{Channel, Order},
};
use countersign_runtime::telemetry::{current_traceparent, set_parent_from_traceparent};
use countersign_store::{Claimed, Finish, Start, StartOutcome, StoreError};
use futures::FutureExt as _;
use secrecy::SecretString;
use tokio::{sync::mpsc, time::Instant};
use tracing::Instrument as _;
use uuid::Uuid;

use super::Courier;
use crate::{
    channel::{self, Content, Doubtful, DoubtfulAttempt, Outcome, Outgoing, Reason, ReasonCode},
    context::language,
    transport::Transport,
    verdict::{Judged, Resolved, Tried, judge, resolve},
};

/// A claimed message with what it says.
pub(super) struct Job {
    pub(super) claimed: Claimed,
    pub(super) order: Option<Order>,
    pub(super) round: Option<Round>,
    pub(super) token: Uuid,
    /// The try on record; none when the last one is in doubt and must be cleared up first.
    pub(super) attempt: Option<(AttemptId, u32)>,
    /// When it was claimed: by the database, by which everything is due, and by the machine, which counts on from there.
    pub(super) claimed_at: (DateTime<Utc>, Instant),
}

impl Job {
    /// Sends it and hands its result on.
    pub(super) async fn run(self, courier: &Courier, results: &mpsc::Sender<Finish>) {
        let delivery = &self.claimed.delivery;
        let span = tracing::info_span!(
            "deliver",
            delivery = %delivery.id,
            order = %delivery.order_id,
            kind = %delivery.kind,
            channel = %delivery.channel,
        );
        if let Some(traceparent) = &delivery.details.traceparent {
            set_parent_from_traceparent(&span, traceparent);
        }
        let finish = self.work(courier).instrument(span).await;
        match finish {
            Some(finish) => {
                if results.send(finish).await.is_err() {
                    tracing::error!("results are no longer taken");
                }
            }
            None => {
                courier.held_now().remove(&self.claimed.delivery.id);
            }
        }
    }

    async fn work(&self, courier: &Courier) -> Option<Finish> {
        let handed_over = AtomicBool::new(false);
        let begun = match self.attempt {
            Some(attempt) => Ok(Some(attempt)),
            None => match self.clear_up(courier).await {
                Resolved::Write(judged) => {
                    return Some(
                        self.finish(courier, *judged, self.claimed.delivery.attempts)
                            .await,
                    );
                }
                Resolved::Resend => self.begin_again(courier).await,
            },
        };
        let (attempt, number) = match begun {
            Ok(attempt) => attempt?,
            // Nothing was sent: the lease ends, and another try is made.
            Err(error) => {
                tracing::warn!(error = %error, "a message in doubt could not be cleared up");
                return None;
            }
        };
        let sending = AssertUnwindSafe(self.send(courier, attempt, &handed_over)).catch_unwind();
        let judged = sending.await.unwrap_or_else(|_| {
            tracing::error!("sending panicked");
            let text = "our own program failed";
            self.judged(
                courier,
                &if handed_over.load(Ordering::Relaxed) {
                    Outcome::InDoubt {
                        reason: Reason::new(ReasonCode::Unconfirmed, text),
                    }
                } else {
                    Outcome::not_sent(Reason::new(ReasonCode::MessageInvalid, text))
                },
            )
        });
        Some(self.finish(courier, judged, number).await)
    }

    async fn send(
        &self,
        courier: &Courier,
        attempt: AttemptId,
        handed_over: &AtomicBool,
    ) -> Judged {
        let delivery = &self.claimed.delivery;
        let content = match self.content(courier) {
            Ok(content) => content,
            Err(problem) => {
                tracing::error!(problem, "a message cannot be written");
                return Judged::unrenderable(format!("RENDER: {problem}"));
            }
        };
        let outgoing = Outgoing {
            message_id: delivery.id.as_uuid(),
            generation: delivery.generation,
            attempt_id: attempt.as_uuid(),
            created_at: delivery.create_time,
            to: SecretString::from(delivery.recipient.reveal()),
            content,
            traceparent: current_traceparent().or_else(|| delivery.details.traceparent.clone()),
            deadline: self.round.as_ref().map(|round| round.expire_time),
        };
        handed_over.store(true, Ordering::Relaxed);
        let outcome = courier
            .transports
            .of_channel(delivery.channel)
            .send(delivery, &outgoing, courier.clock.now())
            .await;
        self.judged(courier, &outcome)
    }

    fn content(&self, courier: &Courier) -> Result<Content, String> {
        let delivery = &self.claimed.delivery;
        let order = self.order.as_ref().ok_or("there is no such order")?;
        let kind = delivery
            .kind
            .as_str()
            .parse()
            .map_err(|error: crate::template::RenderError| error.to_string())?;
        let context = courier.writer.context(delivery, order, self.round.as_ref());
        courier
            .templates
            .render(kind, carried_by(delivery), language(order), &context)
            .map_err(|error| error.to_string())
    }

    fn tried<'a>(&'a self, courier: &Courier) -> Tried<'a> {
        Tried {
            channel: self.claimed.delivery.channel,
            history: &self.claimed.history,
            now: self.claimed_at.0 + self.claimed_at.1.elapsed(),
            jitter: courier.ids.jitter(),
        }
    }

    fn judged(&self, courier: &Courier, outcome: &Outcome) -> Judged {
        let channel = self.claimed.delivery.channel.as_str();
        courier.metrics.attempt(channel, outcome.as_str());
        if let Some(reason) = outcome.reason() {
            tracing::warn!(outcome = outcome.as_str(), reason = %reason, "a try did not succeed");
        }
        judge(outcome, &self.tried(courier))
    }

    /// What is to become of a message whose last try may have reached the customer.
    async fn clear_up(&self, courier: &Courier) -> Resolved {
        let delivery = &self.claimed.delivery;
        match courier.transports.of_channel(delivery.channel) {
            // Putting it in twice is putting it in once.
            Transport::Mailbox(_) => Resolved::Resend,
            Transport::Carrier(carrier) => {
                let reconciled = carrier
                    .reconcile(&self.doubtful(courier), courier.clock.now())
                    .await;
                resolve(&reconciled, &self.tried(courier))
            }
        }
    }

    fn doubtful(&self, courier: &Courier) -> Doubtful {
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
            to: SecretString::from(delivery.recipient.reveal()),
            content: self.content(courier).ok(),
        }
    }

    /// Puts another try on record for a message in doubt.
    async fn begin_again(&self, courier: &Courier) -> Result<Option<(AttemptId, u32)>, StoreError> {
        let now = courier.store.now().await?;
        let id = self.claimed.delivery.id;
        let attempt = courier.ids.make(now, AttemptId::new_v7);
        let start = Start {
            delivery: id,
            attempt,
        };
        let outcomes = courier
            .store
            .start_attempts(self.token, &[start], now)
            .await?;
        let Some(StartOutcome::Go { number }) = outcomes.get(&id) else {
            return Ok(None);
        };
        courier
            .metrics
            .possible_duplicate(self.claimed.delivery.channel.as_str());
        Ok(Some((attempt, *number)))
    }

    async fn finish(&self, courier: &Courier, judged: Judged, number: u32) -> Finish {
        let delivery = &self.claimed.delivery;
        if let Some(reason) = judged.opt_out
            && let Err(error) = self.opt_out(courier, reason).await
        {
            tracing::warn!(error = %error, "an address that is not to be used again was not noted");
        }
        Finish {
            delivery: delivery.id,
            order_id: delivery.order_id,
            token: self.token,
            number,
            outcome: judged.outcome,
            error: judged.error,
            provider_id: judged.provider_id,
            verdict: judged.verdict,
            next: judged.next,
        }
    }

    async fn opt_out(
        &self,
        courier: &Courier,
        reason: countersign_domain::message::OptOutReason,
    ) -> Result<(), StoreError> {
        let delivery = &self.claimed.delivery;
        let now = courier.store.now().await?;
        courier
            .store
            .insert_opt_out(&delivery.recipient_hash, delivery.channel, reason, now)
            .await
    }
}

/// The channel in the words of the senders.
const fn carried_by(delivery: &Delivery) -> channel::Channel {
    match delivery.channel {
        Channel::Email => channel::Channel::Email,
        Channel::Sms => channel::Channel::Sms,
        Channel::Phone => channel::Channel::Phone,
    }
}
