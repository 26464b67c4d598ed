//! What each command needs to know, and what the domain makes of it.

use countersign_domain::{
    confirmation::{AnswerChannel, CODE_ATTEMPTS_MAX, Round},
    decide::{self, Amendment, CallOutcome, Context, Decision, Formality, TrackingFacts},
    hold::Hold,
    ids::OrderId,
    money::Money,
    order::Order,
    stock_book::StockBook,
    tracking::TrackingEvent,
};
use countersign_proto::v1;
use countersign_store::SaveExtras;

use super::{Call, Command, Decided, Given};
use crate::{
    app::{Deciding, make::Ids},
    convert,
    error::ServiceError,
};

impl Deciding {
    /// Gathers the facts that a command needs and has the domain decide.
    pub(super) async fn decide(
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
            Command::Remind { round } => match store.find_round(order.id, *round).await? {
                Some(round) => decide::remind(order, &round, context),
                None => Decision::Already,
            },
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
            Command::Survey => self.survey(order, context).await?,
            Command::RecordFeedback {
                answer,
                given_by,
                receive_time,
            } => {
                self.record_feedback(order, answer, given_by, *receive_time, context)
                    .await?
            }
            Command::ResolveFeedback {
                resolution,
                resolved_by,
            } => {
                self.resolve_feedback(order, resolution, resolved_by, context)
                    .await?
            }
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
                with_code: true,
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
            actor: call.caller.name(),
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
}
