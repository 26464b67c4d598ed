//! Commands on one order: load, decide, write on condition, decide again when somebody else was faster.

mod decision;
pub(crate) mod facts;
mod feedback;

use chrono::{DateTime, Utc};
use countersign_domain::{
    confirmation::{AnswerChannel, Objection},
    decide::{
        Amendment, Answer, CallResult, Cancellation, Change, Context, Decision, RoundRequest, Stage,
    },
    feedback::FeedbackAnswer,
    hold::HoldReason,
    ids::{HoldId, OrderId},
    money::Money,
    order::Channel,
    tracking::TrackingEvent,
};
use countersign_proto::v1;
use countersign_runtime::callers::{Caller, Roles};
use countersign_store::{Life, RecordedContact, SaveExtras, Saved};
use prost::Message as _;

use super::{Deciding, idempotency::CallKey, make::Ids};
use crate::{convert, error::ServiceError};

/// How often a command is decided anew before the caller is asked to try again.
pub(crate) const RUNS_MAX: u32 = 8;

/// Who calls, and what names the call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) request_id: String,
    /// None for timers and for calls without a request id.
    pub(crate) key: Option<CallKey>,
    /// The order must still have this tag, if it is given.
    pub(crate) etag: String,
    pub(crate) traceparent: Option<String>,
    /// The process, where it acts by itself.
    pub(crate) life: Option<Life>,
}

impl Call {
    /// What happens by itself: a timer is due.
    pub(crate) fn by_system(life: &Life) -> Self {
        Self {
            caller: Caller::new("system", Roles::ALL),
            request_id: String::new(),
            key: None,
            etag: String::new(),
            traceparent: None,
            life: Some(life.clone()),
        }
    }
}

/// A hold to be laid.
#[derive(Clone, Debug)]
pub(crate) struct NewHold {
    pub(crate) reason: HoldReason,
    pub(crate) note: String,
    pub(crate) owner: String,
    pub(crate) review_time: Option<DateTime<Utc>>,
}

/// What is asked for.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives for the length of a call"
)]
pub(crate) enum Command {
    Audit,
    Approve {
        reason: String,
        channels: Vec<Channel>,
    },
    Reject {
        reason: String,
    },
    Hold(NewHold),
    ReleaseHold {
        hold_id: HoldId,
        note: String,
    },
    Assign {
        handler: Option<String>,
    },
    Prioritize {
        score: i32,
        reason: String,
        expire_time: DateTime<Utc>,
    },
    Amend(Amendment),
    Cancel(Cancellation),
    OpenRound(RoundRequest),
    Accept {
        round: Option<u32>,
        answer: Given,
        amount: Option<Money>,
    },
    Object {
        round: Option<u32>,
        answer: Given,
        objection: Objection,
    },
    VerifyCode {
        round: Option<u32>,
        answer: Given,
        code: String,
    },
    CallResult {
        round: Option<u32>,
        answer: Given,
        result: CallResult,
        objection: Option<Objection>,
    },
    Allocate,
    Progress {
        stage: Stage,
        units: Vec<(u32, i64)>,
    },
    Track(TrackingEvent),
    Remind {
        round: u32,
    },
    Expire {
        round: u32,
    },
    Complete,
    Survey,
    RecordFeedback {
        answer: FeedbackAnswer,
        given_by: String,
        receive_time: Option<DateTime<Utc>>,
    },
    ResolveFeedback {
        resolution: String,
        resolved_by: String,
    },
}

/// An answer as it was given; what is left open is filled in from the call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) channel: Option<AnswerChannel>,
    pub(crate) answered_by: String,
    pub(crate) receive_time: Option<DateTime<Utc>>,
    /// The right code came with it.
    pub(crate) with_code: bool,
}

impl Given {
    /// Filled in. An answer cannot have been received later than now.
    fn fill(&self, caller: &str, now: DateTime<Utc>) -> Answer {
        Answer {
            channel: self.channel.unwrap_or(AnswerChannel::Staff),
            answered_by: if self.answered_by.is_empty() {
                caller.to_owned()
            } else {
                self.answered_by.clone()
            },
            receive_time: self.receive_time.map_or(now, |received| received.min(now)),
            with_code: self.with_code,
        }
    }
}

/// What came of a command.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) order: v1::Order,
    /// The call had been carried out before.
    pub(crate) replayed: bool,
    /// What was written, if anything was.
    pub(crate) change: Option<Box<Change>>,
}

/// What was decided, with what is written beside it.
struct Decided {
    decision: Decision,
    extras: SaveExtras,
    /// Told to the caller although something was written: a wrong code is counted, and refused.
    refusal: Option<ServiceError>,
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Self {
        Self {
            decision,
            extras: SaveExtras::default(),
            refusal: None,
        }
    }
}

impl Deciding {
    /// Carries a command out.
    pub(crate) async fn run(
        &self,
        id: OrderId,
        command: &Command,
        call: &Call,
    ) -> Result<Outcome, ServiceError> {
        if let Some(outcome) = self.replay(call).await? {
            return Ok(outcome);
        }
        for _ in 0..RUNS_MAX {
            let (order, now) =
                tokio::try_join!(self.get(id), async { Ok(self.store.now().await?) })?;
            if order.is_erased() {
                return Err(ServiceError::order_erased());
            }
            if !call.etag.is_empty() && call.etag != convert::order::etag(order.version) {
                return Err(ServiceError::etag_mismatch());
            }
            let context = Context {
                now,
                actor: call.caller.name(),
                request_id: &call.request_id,
                traceparent: call.traceparent.as_deref(),
            };
            let Decided {
                decision,
                mut extras,
                refusal,
            } = self.decide(&order, command, &context).await?;
            let Decision::Change(change) = decision else {
                // The order and its rounds are read one after the other: what happened in between is told, too.
                if self.get(id).await?.version != order.version {
                    continue;
                }
                return Ok(Outcome {
                    order: convert::order::to_proto(&order),
                    replayed: false,
                    change: None,
                });
            };
            let mut answer = convert::order::to_proto(&change.order);
            let ids = Ids::at(now);
            extras.outbox_ids = ids.outbox(change.messages.len());
            extras.life.clone_from(&call.life);
            extras.request = call
                .key
                .filter(|_| refusal.is_none())
                .map(|key| ids.record(&key, convert::order::to_memory(&mut answer)));
            match self.store.save(ids.commit(), &change, &extras).await {
                Ok(Saved::Done) => {
                    self.watch.nudge();
                    if let Some(refusal) = refusal {
                        return Err(refusal);
                    }
                    return Ok(Outcome {
                        order: answer,
                        replayed: false,
                        change: Some(change),
                    });
                }
                Ok(Saved::Outdated | Saved::StockTaken) => {}
                Ok(Saved::NotNow) => {
                    return Err(ServiceError::Aborted {
                        reason: "SAFE_MODE",
                    });
                }
                Ok(Saved::Repeated) => {
                    if let Some(outcome) = self.replay(call).await? {
                        return Ok(outcome);
                    }
                }
                Err(error) if error.is_unique_violation() => {
                    // The same tracking event by a rival: what it came to is read in the next run.
                    tracing::debug!(error = %error, "a rival wrote the same row");
                }
                Err(error) => {
                    // The commit may have been carried out although its answer was lost.
                    if error.is_connection_lost()
                        && let Some(outcome) = self.replay(call).await?
                    {
                        return Ok(outcome);
                    }
                    return Err(error.into());
                }
            }
        }
        Err(ServiceError::Aborted {
            reason: "ORDER_CONTENTION",
        })
    }

    /// The answer of a call that was carried out before.
    async fn replay(&self, call: &Call) -> Result<Option<Outcome>, ServiceError> {
        let Some(key) = call.key else { return Ok(None) };
        let found: Option<v1::Order> = key.find(&self.store).await?;
        Ok(found.map(|order| Outcome {
            order: convert::order::from_memory(order),
            replayed: true,
            change: None,
        }))
    }

    /// Puts a contact on record, once for each call.
    pub(crate) async fn record_contact(
        &self,
        contact: RecordedContact,
        answer: v1::OrderContact,
        call: &Call,
    ) -> Result<(v1::OrderContact, bool), ServiceError> {
        let Some(key) = call.key else {
            return Err(ServiceError::internal("a call without a key"));
        };
        if let Some(first) = key.find(&self.store).await? {
            return Ok((first, true));
        }
        let request = Ids::at(contact.create_time).record(&key, answer.encode_to_vec());
        if self.store.insert_contact(&contact, &request).await? {
            return Ok((answer, false));
        }
        let first = key.find(&self.store).await?;
        Ok((
            first.ok_or_else(|| ServiceError::internal("a remembered call is gone"))?,
            true,
        ))
    }
}
