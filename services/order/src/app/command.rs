//! Commands on one order: load, decide, write on condition, decide again when somebody else was faster.

use chrono::{DateTime, Utc};
use countersign_domain::{
    confirmation::{AnswerChannel, CODE_ATTEMPTS_MAX, Objection, Round},
    decide::{
        self, Amendment, Answer, CallOutcome, CallResult, Cancellation, Change, Context, Decision,
        Facts, Formality, RoundRequest, Stage, TrackingFacts,
    },
    hold::{Hold, HoldReason},
    ids::{HoldId, OrderId},
    money::Money,
    order::{Channel, Order},
    policy::OrderPolicy,
    stock_book::StockBook,
    tracking::TrackingEvent,
};
use countersign_proto::v1;
use countersign_store::{RecordedContact, SaveExtras, Saved};
use prost::Message as _;

use super::{Deciding, idempotency::CallKey, make::Ids, references::Known};
use crate::{convert, error::ServiceError};

/// How often a command is decided anew before the caller is asked to try again.
const RUNS_MAX: u32 = 8;

/// Who calls, and what names the call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub(crate) caller: String,
    pub(crate) request_id: String,
    /// None for timers and for calls without a request id.
    pub(crate) key: Option<CallKey>,
    /// The order must still have this tag, if it is given.
    pub(crate) etag: String,
    pub(crate) traceparent: Option<String>,
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
    Expire {
        round: u32,
    },
    Complete,
}

/// An answer as it was given; what is left open is filled in from the call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) channel: Option<AnswerChannel>,
    pub(crate) answered_by: String,
    pub(crate) receive_time: Option<DateTime<Utc>>,
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
            if !call.etag.is_empty() && call.etag != convert::order::etag(order.version) {
                return Err(ServiceError::etag_mismatch());
            }
            let context = Context {
                now,
                actor: &call.caller,
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

    /// Gathers the facts that a command needs and has the domain decide.
    async fn decide(
        &self,
        order: &Order,
        command: &Command,
        context: &Context<'_>,
    ) -> Result<Decided, ServiceError> {
        let store = &self.store;
        let decision = match command {
            Command::Audit => {
                let mut gathered = self.gather(order, &[]).await?;
                // Goods stay promised as they are; only what is short is looked for, and not taken.
                let mut copy = order.clone();
                let lines = gathered.with(self, context.now, |facts| {
                    decide::reserve(&mut copy, facts, context.now, &mut Vec::new())
                });
                let findings = gathered.known.policies.rules.evaluate(
                    &countersign_domain::audit::AuditInput {
                        order,
                        customer: gathered.customer.as_deref(),
                        policy: &gathered.policy,
                        lines: &lines,
                        duplicate_of: None,
                        now: context.now,
                    },
                );
                decide::audit_again(order, findings, context)?
            }
            Command::Approve { reason, channels } => {
                let policy = self.policy(order).await?;
                decide::approve(order, reason, channels, &policy, &self.link_key, context)?
            }
            Command::Reject { reason } => decide::reject(
                order,
                store.find_open_round(order.id).await?.as_ref(),
                reason,
                context,
            )?,
            Command::Hold(new) => decide::hold(
                order,
                Hold {
                    id: Ids::at(context.now).hold(),
                    reason: new.reason,
                    note: new.note.clone(),
                    owner: new.owner.clone(),
                    review_time: new.review_time,
                    create_time: context.now,
                    created_by: context.actor.to_owned(),
                },
                context,
            )?,
            Command::ReleaseHold { hold_id, note } => {
                decide::release_hold(order, *hold_id, note, context)?
            }
            Command::Assign { handler } => decide::assign(order, handler.as_deref(), context)?,
            Command::Prioritize {
                score,
                reason,
                expire_time,
            } => decide::prioritize(order, *score, reason, *expire_time, context)?,
            Command::Amend(amendment) => {
                return self
                    .amend(order, amendment, context)
                    .await
                    .map(Decided::from);
            }
            Command::Cancel(cancellation) => decide::cancel(
                order,
                store.find_open_round(order.id).await?.as_ref(),
                cancellation,
                context,
            )?,
            Command::OpenRound(request) => {
                let policy = self.policy(order).await?;
                let open = store.find_open_round(order.id).await?;
                decide::open_round(
                    order,
                    open.as_ref(),
                    request,
                    &policy,
                    &self.link_key,
                    context,
                )?
            }
            Command::Accept {
                round,
                answer,
                amount,
            } => {
                let round = self.round(order, *round).await?;
                return self.accept(order, &round, answer, *amount, context).await;
            }
            Command::Object {
                round,
                answer,
                objection,
            } => {
                let round = self.round(order, *round).await?;
                decide::object(
                    order,
                    &round,
                    &answer.fill(context.actor, context.now),
                    objection,
                    context,
                )?
            }
            Command::VerifyCode {
                round,
                answer,
                code,
            } => {
                let round = self.round(order, *round).await?;
                return self.verify_code(order, &round, answer, code, context).await;
            }
            Command::CallResult {
                round,
                answer,
                result,
                objection,
            } => match result.outcome {
                CallOutcome::AnsweredConfirmed => {
                    let round = self.round(order, *round).await?;
                    return self.accept(order, &round, answer, None, context).await;
                }
                CallOutcome::AnsweredObjected => {
                    let round = self.round(order, *round).await?;
                    let objection = objection.as_ref().ok_or_else(|| {
                        ServiceError::invalid("objection", "must be given with ANSWERED_OBJECTED")
                    })?;
                    decide::object(
                        order,
                        &round,
                        &answer.fill(context.actor, context.now),
                        objection,
                        context,
                    )?
                }
                _ => decide::call_result(order, result, context)?,
            },
            Command::Allocate => {
                let skus: Vec<&str> = order.lines.iter().map(|line| line.sku.as_str()).collect();
                let mut stock = StockBook::new(store.find_stock(&skus).await?);
                decide::allocate(order, &mut stock, context)?
            }
            Command::Progress { stage, units } => {
                let policy = self.policy(order).await?;
                decide::progress(order, *stage, units, &policy, context)?
            }
            Command::Track(event) => return self.track(order, event, context).await,
            Command::Expire { round } => {
                let Some(round) = store.find_round(order.id, *round).await? else {
                    return Ok(Decision::Already.into());
                };
                let known = self.know_goods(order).await?;
                let policy = self.policy(order).await?;
                let number = self.number_for(order, context.now).await?;
                decide::expire(
                    order,
                    &round,
                    &Formality {
                        order_number: number,
                        policy: &policy,
                        warranty_months: &|sku| known.warranty_months(sku),
                    },
                    context,
                )?
            }
            Command::Complete => decide::complete(order, context)?,
        };
        Ok(decision.into())
    }

    async fn accept(
        &self,
        order: &Order,
        round: &Round,
        answer: &Given,
        amount: Option<Money>,
        context: &Context<'_>,
    ) -> Result<Decided, ServiceError> {
        let (known, policy) = tokio::try_join!(self.know_goods(order), self.policy(order))?;
        let number = self.number_for(order, context.now).await?;
        let answer = answer.fill(context.actor, context.now);
        let formality = Formality {
            order_number: number,
            policy: &policy,
            warranty_months: &|sku| known.warranty_months(sku),
        };
        Ok(decide::accept(order, round, &answer, amount, &formality, context)?.into())
    }

    async fn verify_code(
        &self,
        order: &Order,
        round: &Round,
        answer: &Given,
        code: &str,
        context: &Context<'_>,
    ) -> Result<Decided, ServiceError> {
        let used = round.details.code_attempts;
        if used >= CODE_ATTEMPTS_MAX {
            return Err(ServiceError::FailedPrecondition {
                reason: "CODE_LOCKED",
                message: format!(
                    "{CODE_ATTEMPTS_MAX} wrong codes were given: use the link, or ask the customer again"
                ),
            });
        }
        if self
            .link_key
            .code_matches(order.id, round.round, code, &round.code_hash)
        {
            let answer = Given {
                channel: Some(answer.channel.unwrap_or(AnswerChannel::Code)),
                ..answer.clone()
            };
            return self.accept(order, round, &answer, None, context).await;
        }
        Ok(Decided {
            refusal: Some(ServiceError::invalid(
                "code",
                format!(
                    "is not the code of this order; {} more tries",
                    CODE_ATTEMPTS_MAX - used - 1
                ),
            )),
            ..decide::code_refused(order, round, context).into()
        })
    }

    async fn track(
        &self,
        order: &Order,
        event: &TrackingEvent,
        context: &Context<'_>,
    ) -> Result<Decided, ServiceError> {
        let (known, policy) = tokio::try_join!(
            async { Ok(self.store.list_tracking_events(order.id).await?) },
            self.policy(order)
        )?;
        let mut event = event.clone();
        event.receive_time = context.now;
        event.id = Ids::at(context.now).tracking_event();
        let facts = TrackingFacts {
            known: &known,
            policy: &policy,
        };
        let decision = decide::track(order, &mut event, &facts, context)?;
        Ok(Decided {
            extras: SaveExtras {
                tracking_event: Some(event),
                ..SaveExtras::default()
            },
            ..decision.into()
        })
    }

    async fn amend(
        &self,
        order: &Order,
        amendment: &Amendment,
        context: &Context<'_>,
    ) -> Result<Decision, ServiceError> {
        let skus: Vec<&str> = amendment
            .lines
            .iter()
            .flatten()
            .map(|line| line.sku.as_str())
            .collect();
        let mut gathered = self.gather(order, &skus).await?;
        let open = self.store.find_open_round(order.id).await?;
        Ok(gathered.with(self, context.now, |facts| {
            decide::amend(order, open.as_ref(), amendment, facts, context)
        })?)
    }

    /// What an amendment would come to, without writing it.
    pub(crate) async fn preview_amendment(
        &self,
        id: OrderId,
        amendment: &Amendment,
        call: &Call,
    ) -> Result<v1::Order, ServiceError> {
        let order = self.get(id).await?;
        let context = Context {
            now: self.store.now().await?,
            actor: &call.caller,
            request_id: &call.request_id,
            traceparent: None,
        };
        Ok(match self.amend(&order, amendment, &context).await? {
            Decision::Change(change) => convert::order::to_proto(&change.order),
            Decision::Already => convert::order::to_proto(&order),
        })
    }

    /// A round by its number, else the last one: an answer that comes too late is recorded there.
    async fn round(&self, order: &Order, number: Option<u32>) -> Result<Round, ServiceError> {
        let number = number.unwrap_or(order.progress.last_round);
        self.store
            .find_round(order.id, number)
            .await?
            .ok_or_else(|| {
                ServiceError::not_found(format!(
                    "{}/confirmations/{number}",
                    order.id.resource_name()
                ))
            })
    }

    /// The policy in force for the order's type.
    pub(crate) async fn policy(
        &self,
        order: &Order,
    ) -> Result<std::sync::Arc<OrderPolicy>, ServiceError> {
        self.references
            .policies()
            .await?
            .current(&order.order_type)
            .ok_or_else(|| ServiceError::FailedPrecondition {
                reason: "NO_POLICY",
                message: format!("there is no policy for orders of type {}", order.order_type),
            })
    }

    async fn know_goods(&self, order: &Order) -> Result<Known, ServiceError> {
        let skus: Vec<&str> = order.lines.iter().map(|line| line.sku.as_str()).collect();
        Ok(self.references.know(&skus, &[]).await?)
    }

    /// The order's number, or a fresh one.
    async fn number_for(
        &self,
        order: &Order,
        now: DateTime<Utc>,
    ) -> Result<countersign_domain::number::OrderNumber, ServiceError> {
        match order.order_number {
            Some(number) => Ok(number),
            None => self.numbers.next(now).await,
        }
    }

    /// Everything that judging needs.
    async fn gather(&self, order: &Order, more_skus: &[&str]) -> Result<Gathered, ServiceError> {
        let mut skus: Vec<&str> = order.lines.iter().map(|line| line.sku.as_str()).collect();
        skus.extend(more_skus);
        skus.sort_unstable();
        skus.dedup();
        let (known, stock, policy) = tokio::try_join!(
            async { Ok(self.references.know(&skus, &[&order.customer]).await?) },
            async { Ok(self.store.find_stock(&skus).await?) },
            self.policy(order),
        )?;
        Ok(Gathered {
            customer: known.customer(&order.customer),
            known,
            stock: StockBook::new(stock),
            policy,
        })
    }
}

/// What judging needs, owned.
struct Gathered {
    known: Known,
    stock: StockBook,
    policy: std::sync::Arc<OrderPolicy>,
    customer: Option<std::sync::Arc<countersign_domain::customer::Customer>>,
}

impl Gathered {
    /// Lends it as the domain wants it.
    fn with<T>(
        &mut self,
        deciding: &Deciding,
        now: DateTime<Utc>,
        work: impl FnOnce(&mut Facts<'_>) -> T,
    ) -> T {
        let known = &self.known;
        let ids = Ids::at(now);
        work(&mut Facts {
            policy: &self.policy,
            rules: &known.policies.rules,
            customer: self.customer.as_deref(),
            product: &|sku| known.product(sku),
            prices: &|sku| known.prices(sku),
            stock: &mut self.stock,
            duplicate_of: None,
            link_key: &deciding.link_key,
            hold_id: &mut || ids.hold(),
        })
    }
}
