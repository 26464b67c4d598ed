//! One message on its way: written, sent, judged. Whatever happens here happens to this message alone.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    confirmation::Round,
    ids::AttemptId,
    message::DeliveryState,
    order::{Channel, Order},
};
use countersign_runtime::telemetry::{current_traceparent, set_parent_from_traceparent};
use countersign_store::{Claimed, Finish, IfTaken, SYSTEM, StoreError, Verdict};
use futures::FutureExt as _;
use secrecy::SecretString;
use tokio::{sync::mpsc, time::Instant};
use tracing::Instrument as _;
use uuid::Uuid;

use super::Courier;
use crate::{
    account::{Change, Permit},
    channel::{Content, Outcome, Outgoing, Reason, ReasonCode, Reconciled},
    context::language,
    failpoint,
    template::library::{Unwritable, Words},
    verdict::{Judged, Resolved, Tried, id_taken, judge, resolve, unknown_template},
};

/// How far a job has come, for the case that it panics.
#[derive(Default)]
struct Progress {
    /// Number of the try on record; 0 before there is one.
    number: AtomicU32,
    handed_over: AtomicBool,
}

pub(super) fn stopped() -> Reason {
    Reason::new(
        ReasonCode::Unconfirmed,
        "the worker stopped before the answer came",
    )
}

/// A try on record.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) attempt: AttemptId,
    /// Of the message's tries.
    pub(super) number: u32,
}

/// A claimed message with what it says.
pub(super) struct Job {
    pub(super) claimed: Claimed,
    pub(super) order: Option<Arc<Order>>,
    pub(super) round: Option<Round>,
    pub(super) token: Uuid,
    /// The try on record; none when the last one is in doubt and must be cleared up first.
    pub(super) begun: Option<Begun>,
    /// The token in the order's link, where an older key made it.
    pub(super) older_link: Option<String>,
    /// What it is written with; none when its order is not there.
    pub(super) words: Option<Words>,
    /// When it was claimed: by the database, by which everything is due, and by the machine, which counts on from there.
    pub(super) claimed_at: (DateTime<Utc>, Instant),
}

impl Job {
    /// Sends it and hands its result on.
    pub(super) async fn run(
        self,
        courier: &Courier,
        permit: &mut Permit,
        results: &mpsc::Sender<Finish>,
    ) {
        let delivery = &self.claimed.delivery;
        let span = tracing::info_span!(
            "deliver",
            delivery = %delivery.id,
            order = %delivery.order_id,
            kind = %delivery.kind,
            channel = %delivery.channel,
            gateway = permit.account.name,
        );
        if let Some(traceparent) = &delivery.details.traceparent {
            set_parent_from_traceparent(&span, traceparent);
        }
        let finish = self.guarded(courier, permit).instrument(span).await;
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

    /// A panic is this message's misfortune, not the worker's (RELIABILITY, H-01).
    async fn guarded(&self, courier: &Courier, permit: &mut Permit) -> Option<Finish> {
        let progress = Progress::default();
        let work = AssertUnwindSafe(self.work(courier, permit, &progress)).catch_unwind();
        if let Ok(finish) = work.await {
            return finish;
        }
        tracing::error!("sending panicked");
        let begun = progress.number.load(Ordering::Relaxed);
        let doubt = || Reason::new(ReasonCode::Unconfirmed, "our own program failed");
        let judged = if progress.handed_over.load(Ordering::Relaxed) {
            self.judged(courier, &Outcome::InDoubt { reason: doubt() })
        } else if begun > 0 {
            let text = "our own program failed before anything was sent";
            let reason = Reason::new(ReasonCode::Poison, text);
            self.judged(courier, &Outcome::not_sent(reason))
        } else {
            let unknown = Reconciled::Unknown { reason: doubt() };
            match resolve(&unknown, &self.tried(courier)) {
                Resolved::Write(judged) => *judged,
                Resolved::Resend => return None,
            }
        };
        let number = if begun > 0 {
            begun
        } else {
            self.claimed.delivery.attempts
        };
        Some(self.finish(courier, judged, number).await)
    }

    async fn work(
        &self,
        courier: &Courier,
        permit: &mut Permit,
        progress: &Progress,
    ) -> Option<Finish> {
        let begun = match self.begun {
            Some(begun) => Ok(Some(begun)),
            None => match self.clear_up(courier, permit).await {
                Resolved::Write(judged) => {
                    let number = self.claimed.delivery.attempts;
                    let asked = self.claimed.history.last();
                    let gateway = asked.map_or("", |last| last.gateway.as_str());
                    let by_our_key = judged.by_our_key;
                    let finish = self.finish(courier, *judged, number).await;
                    return Some(self.claim_id(courier, finish, gateway, by_our_key));
                }
                Resolved::Resend => self.begin_again(courier, permit).await,
            },
        };
        let Begun { attempt, number } = match begun {
            Ok(begun) => begun?,
            // Nothing was sent.
            Err(error) => {
                tracing::warn!(error = %error, "a message in doubt could not be cleared up");
                courier
                    .give_back(self.token, &[self.claimed.delivery.id])
                    .await;
                return None;
            }
        };
        progress.number.store(number, Ordering::Relaxed);
        let judged = self.send(courier, permit, attempt, progress).await;
        let finish = self.finish(courier, judged, number).await;
        Some(self.claim_id(courier, finish, &permit.account.name, false))
    }

    async fn send(
        &self,
        courier: &Courier,
        permit: &mut Permit,
        attempt: AttemptId,
        progress: &Progress,
    ) -> Judged {
        let delivery = &self.claimed.delivery;
        let content = match self.content(courier) {
            Ok(content) => content,
            Err(Unwritable::Unknown(problem)) => {
                tracing::warn!(
                    problem,
                    "a message is left to a newer version of the program"
                );
                return unknown_template(&problem, &self.tried(courier));
            }
            Err(Unwritable::Wrong(problem)) => {
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
            deadline: self.deadline(),
        };
        progress.handed_over.store(true, Ordering::Relaxed);
        let account = permit.account.clone();
        let sending = account
            .transport
            .send(delivery, &outgoing, courier.clock.now());
        let outcome = tokio::select! {
            biased;
            outcome = sending => outcome,
            () = courier.cut.cancelled() => Outcome::InDoubt { reason: stopped() },
        };
        failpoint::hit("answered");
        let change = permit.report(&outcome);
        self.share(courier, &account.name, change, &outcome).await;
        self.judged(courier, &outcome)
    }

    /// Tells all replicas that an account cannot work as it is set up, or that it works again.
    async fn share(
        &self,
        courier: &Courier,
        gateway: &str,
        change: Option<Change>,
        outcome: &Outcome,
    ) {
        let store = &courier.store;
        let told = async {
            let now = store.now().await?;
            match change {
                Some(Change::Opened {
                    pause,
                    config: true,
                }) => {
                    let reason = outcome.reason().map_or_else(String::new, Reason::to_string);
                    let until = TimeDelta::from_std(pause).ok().map(|pause| now + pause);
                    // The first message of all may come before the account has been made known.
                    let account = (gateway.to_owned(), self.claimed.delivery.channel);
                    store.register_gateways(&[account], now).await?;
                    store
                        .hold_gateway(gateway, &reason, until, SYSTEM, now)
                        .await
                }
                Some(Change::Closed) => store.release_gateway(gateway, SYSTEM, now).await,
                _ => Ok(false),
            }
        };
        if change.is_some()
            && let Err(error) = told.await
        {
            tracing::warn!(error = %error, gateway, "the other replicas find out for themselves");
        }
    }

    pub(super) fn content(&self, courier: &Courier) -> Result<Content, Unwritable> {
        let delivery = &self.claimed.delivery;
        #[cfg(test)]
        crate::tests::break_here(delivery.recipient.reveal());
        let wrong = |problem: String| Unwritable::Wrong(problem);
        let order = self
            .order
            .as_ref()
            .ok_or_else(|| wrong("there is no such order".to_owned()))?;
        let words = self
            .words
            .as_ref()
            .ok_or_else(|| wrong("there are no words for it".to_owned()))?;
        let context = courier.writer.context(
            delivery,
            order,
            self.round.as_ref(),
            self.older_link.as_deref(),
        );
        let kind = delivery.kind.as_str();
        let mut rendered = words.write(kind, delivery.channel, language(order), &context)?;
        if let Content::Email(letter) = &mut rendered
            && delivery.kind.may_be_declined()
        {
            letter.unsubscribe = courier.writer.unsubscribe_link(delivery);
        }
        Ok(rendered)
    }

    /// After this moment the message is of no use.
    fn deadline(&self) -> Option<DateTime<Utc>> {
        self.round.as_ref().map(|round| round.expire_time)
    }

    pub(super) fn tried<'a>(&'a self, courier: &Courier) -> Tried<'a> {
        Tried {
            channel: self.claimed.delivery.channel,
            history: &self.claimed.history,
            now: self.claimed_at.0 + self.claimed_at.1.elapsed(),
            jitter: courier.ids.jitter(),
            deadline: self.deadline(),
        }
    }

    fn judged(&self, courier: &Courier, outcome: &Outcome) -> Judged {
        let channel = self.claimed.delivery.channel.as_str();
        let reason = outcome.reason().map_or("", |reason| reason.code.as_str());
        courier.metrics.attempt(channel, outcome.as_str(), reason);
        if let Some(reason) = outcome.reason() {
            tracing::warn!(outcome = outcome.as_str(), reason = %reason, "a try did not succeed");
        }
        judge(outcome, &self.tried(courier))
    }

    async fn finish(&self, courier: &Courier, judged: Judged, number: u32) -> Finish {
        let delivery = &self.claimed.delivery;
        if let Some(reason) = judged.opt_out
            && let Err(error) = self.opt_out(courier, reason).await
        {
            tracing::warn!(error = %error, "an address that is not to be used again was not noted");
        }
        let channel = delivery.channel.as_str();
        match judged.verdict {
            Verdict::End(DeliveryState::Sent) => courier.metrics.sent(channel),
            Verdict::End(DeliveryState::Dead) => {
                let code = judged.error.split(':').next().unwrap_or_default();
                tracing::error!(delivery = %delivery.id, code, "a message was given up");
                courier.metrics.dead_letter(channel, code.to_owned());
            }
            _ => {}
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
            if_taken: None,
        }
    }

    /// A gateway's id is of one message only; relays use theirs again.
    fn claim_id(
        &self,
        courier: &Courier,
        finish: Finish,
        gateway: &str,
        by_our_key: bool,
    ) -> Finish {
        let channel = self.claimed.delivery.channel;
        if finish.provider_id.is_none() || channel == Channel::Email {
            return finish;
        }
        let is_new = finish.number > self.claimed.delivery.attempts;
        let judged = id_taken(is_new, by_our_key, &self.tried(courier));
        Finish {
            if_taken: Some(IfTaken {
                channel,
                gateway: gateway.to_owned(),
                outcome: judged.outcome,
                error: judged.error,
                verdict: judged.verdict,
                next: judged.next,
            }),
            ..finish
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
