//! Putting orders together: all of them are read, judged and written as one.

use countersign_domain::{
    decide::{self, Change, Context, MergeRefusal, Merging},
    ids::OrderId,
    order::Order,
};
use countersign_proto::v1;
use countersign_store::{SaveExtras, Saved};
use prost::Message as _;

use super::{
    Deciding,
    command::{Call, RUNS_MAX},
    idempotency::Answer,
    make::Ids,
};
use crate::{convert, error::ServiceError};

impl Deciding {
    /// Puts the orders into the first of them. What is refused is answered and not remembered: it may be right later.
    pub(crate) async fn merge(
        &self,
        ids: &[OrderId],
        actor: &str,
        reason: &str,
        call: &Call,
    ) -> Result<Answer<v1::MergeOrdersResponse>, ServiceError> {
        for _ in 0..RUNS_MAX {
            if let Some(answer) = self.replay_merge(call).await? {
                return Ok(answer);
            }
            let (survivor, others) = self.get_all(ids).await?;
            let now = self.store.now().await?;
            let context = Context {
                now,
                actor,
                request_id: &call.request_id,
                traceparent: call.traceparent.as_deref(),
            };
            let merging = self
                .decide_merge(&survivor, &others, reason, &context)
                .await?;
            let (change, merged) = match merging {
                Merging::Changes { survivor, merged } => (survivor, merged),
                Merging::Already => {
                    return Ok(Answer::fresh(done(&survivor, others.iter())));
                }
                Merging::Refused(refusals) => return Ok(Answer::fresh(refused(&refusals))),
            };
            let mut answer = done(&change.order, merged.iter().map(|it| &it.order));
            let ids = Ids::at(now);
            let extras_of = |change: &Change| SaveExtras {
                outbox_ids: ids.outbox(change.messages.len()),
                ..SaveExtras::default()
            };
            let mut extras = extras_of(&change);
            extras.request = call.key.map(|key| ids.record(&key, to_memory(&mut answer)));
            let more: Vec<SaveExtras> = merged.iter().map(extras_of).collect();
            let mut together = vec![(&*change, &extras)];
            together.extend(merged.iter().zip(&more));
            match self.store.save_together(ids.commit(), &together).await {
                Ok(Saved::Done) => {
                    self.watch.nudge();
                    return Ok(Answer::fresh(answer));
                }
                // Somebody else was faster, or made this very call: read again.
                Ok(Saved::Outdated | Saved::StockTaken | Saved::Repeated | Saved::NotNow) => {}
                Err(error) => {
                    // The commit may have been carried out although its answer was lost.
                    if error.is_connection_lost()
                        && let Some(answer) = self.replay_merge(call).await?
                    {
                        return Ok(answer);
                    }
                    return Err(error.into());
                }
            }
        }
        Err(ServiceError::Aborted {
            reason: "ORDER_CONTENTION",
        })
    }

    async fn decide_merge(
        &self,
        survivor: &Order,
        others: &[Order],
        reason: &str,
        context: &Context<'_>,
    ) -> Result<Merging, ServiceError> {
        let skus: Vec<&str> = others
            .iter()
            .flat_map(|order| &order.lines)
            .map(|line| line.sku.as_str())
            .collect();
        let mut gathered = self.gather(survivor, &skus).await?;
        let mut open = Vec::new();
        for order in std::iter::once(survivor).chain(others) {
            open.extend(self.store.find_open_round(order.id).await?);
        }
        Ok(gathered.with(self, context.now, |facts| {
            decide::merge(survivor, others, &open, reason, facts, context)
        })?)
    }

    /// The first order and the others; each must be there.
    async fn get_all(&self, ids: &[OrderId]) -> Result<(Order, Vec<Order>), ServiceError> {
        let mut orders = self.store.find_orders(ids).await?;
        if let Some(missing) = ids
            .iter()
            .find(|id| !orders.iter().any(|order| order.id == **id))
        {
            return Err(ServiceError::not_found(missing.resource_name()));
        }
        let survivor = orders.remove(0);
        Ok((survivor, orders))
    }

    async fn replay_merge(
        &self,
        call: &Call,
    ) -> Result<Option<Answer<v1::MergeOrdersResponse>>, ServiceError> {
        let Some(key) = call.key else { return Ok(None) };
        let found: Option<v1::MergeOrdersResponse> = key.find(&self.store).await?;
        Ok(found.map(|mut answer| {
            answer.order = answer.order.map(convert::order::from_memory);
            Answer::replayed(answer)
        }))
    }
}

fn done<'a>(survivor: &Order, merged: impl Iterator<Item = &'a Order>) -> v1::MergeOrdersResponse {
    v1::MergeOrdersResponse {
        order: Some(convert::order::to_proto(survivor)),
        merged_orders: merged.map(|order| order.id.resource_name()).collect(),
        refusals: Vec::new(),
    }
}

fn refused(refusals: &[MergeRefusal]) -> v1::MergeOrdersResponse {
    v1::MergeOrdersResponse {
        refusals: refusals
            .iter()
            .map(|refusal| v1::MergeRefusal {
                order: refusal.order.resource_name(),
                field: refusal.field.to_owned(),
                description: refusal.description.clone(),
            })
            .collect(),
        ..v1::MergeOrdersResponse::default()
    }
}

/// As an order is remembered: without the actions, which follow from the rest.
fn to_memory(answer: &mut v1::MergeOrdersResponse) -> Vec<u8> {
    let actions = answer
        .order
        .as_mut()
        .map(|order| std::mem::take(&mut order.allowed_actions));
    let bytes = answer.encode_to_vec();
    if let (Some(order), Some(actions)) = (&mut answer.order, actions) {
        order.allowed_actions = actions;
    }
    bytes
}
