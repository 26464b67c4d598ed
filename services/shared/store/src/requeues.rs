//! Messages that were given up go once more: as a new row of the next generation, so that the record of the old one stays.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::DeliveryId,
    message::{Delivery, DeliveryState},
    operator::{ActKind, ActOutcome, BULK_SPACING_MS, RequeueRefusal, may_requeue},
    order::Channel,
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    ActCall, Acted, DeadLetterKey, DeadLetterQuery, Store,
    data_keys::DataKeys,
    dead_letters::{First, find},
    delivery_rows::{DELIVERIES, delivery, lock_orders_deliveries, padded, push_delivery},
    entity::{deliveries, gateways},
    error::{During, StoreError},
    operator_acts::{Acts, Earlier, Entry, earlier, last_act},
    rows::At,
    send_checks::Current,
};

const DOING: &str = "requeue deliveries";

/// Ids for one new generation.
#[derive(Clone, Copy, Debug)]
pub struct FreshIds {
    /// Of the new delivery.
    pub delivery: DeliveryId,
    /// Of the record of what was done.
    pub act: Uuid,
}

/// What came of a bulk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkRequeued {
    /// New generations made.
    pub requeued: u32,
    /// How many were refused, by reason.
    pub refused: BTreeMap<String, u32>,
    /// When the last of them is due.
    pub last_due_time: Option<DateTime<Utc>>,
    /// Where to go on; nothing when all that fits was looked at.
    pub next: Option<(DateTime<Utc>, DeliveryId)>,
}

impl BulkRequeued {
    /// Where to go on.
    pub fn next_key(&self) -> Option<DeadLetterKey> {
        self.next
            .map(|(due_time, id)| DeadLetterKey { due_time, id })
    }
}

/// What is remembered of a requeue.
#[derive(Serialize, Deserialize)]
struct Successor {
    delivery: DeliveryId,
}

/// What a bulk writes.
#[derive(Default)]
struct Batch {
    old: Vec<Uuid>,
    deliveries: Vec<sea_orm::Value>,
    acts: Acts,
}

impl Store {
    /// Sends a message once more that was given up, now. Whoever comes second is told of the generation that the first one
    /// made, and the record names both (RELIABILITY, H-05).
    pub async fn requeue_delivery(
        &self,
        id: DeliveryId,
        new: DeliveryId,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<Delivery, RequeueRefusal>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self.requeue_in(&transaction, id, new, call, now).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn requeue_in(
        &self,
        transaction: &DatabaseTransaction,
        id: DeliveryId,
        new: DeliveryId,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<Delivery, RequeueRefusal>, StoreError> {
        match earlier::<Successor>(transaction, &self.keys, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same(made, outcome) => {
                return Ok(match find_one(transaction, made.delivery).await? {
                    Some(row) => Acted::Answered(delivery(&self.keys, row)?, outcome),
                    None => Acted::NotFound,
                });
            }
            Earlier::None => {}
        }
        let Some(found) = find_one(transaction, id).await? else {
            return Ok(Acted::NotFound);
        };
        let rows = lock_orders_deliveries(transaction, vec![found.order_id]).await?;
        let Some(row) = rows.iter().find(|row| row.id == id.as_uuid()) else {
            return Ok(Acted::NotFound);
        };
        let mut acts = Acts::default();
        if row.state == DeliveryState::Requeued.as_str()
            && let Some(made) = successor(&rows, row)
        {
            let made = delivery(&self.keys, made.clone())?;
            record(
                &mut acts,
                &self.keys,
                call,
                row,
                ActOutcome::Already,
                made.id,
                now,
            )?;
            self.insert_acts(transaction, acts).await?;
            return Ok(Acted::Answered(made, ActOutcome::Already));
        }
        let current = Current::read(transaction, std::iter::once(row), now).await?;
        let next = match next_generation(&self.keys, &rows, row, &current, new, now) {
            Ok(next) => next,
            Err(refusal) => return Ok(Acted::Refused(refusal)),
        };
        let mut batch = Batch::default();
        record(
            &mut batch.acts,
            &self.keys,
            call,
            row,
            ActOutcome::Done,
            new,
            now,
        )?;
        batch.old.push(row.id);
        push_delivery(&mut batch.deliveries, &self.keys, &next)?;
        self.write_requeues(transaction, batch).await?;
        Ok(Acted::Answered(next, ActOutcome::Done))
    }

    /// Requeues the oldest that a query of one channel finds, `fresh.len()` at most. They are due ten a second, behind those
    /// of earlier bulks (RELIABILITY, H-06).
    pub async fn requeue_deliveries(
        &self,
        channel: Channel,
        query: &DeadLetterQuery,
        fresh: &[FreshIds],
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<BulkRequeued, RequeueRefusal>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .requeue_many_in(&transaction, channel, query, fresh, call, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn requeue_many_in(
        &self,
        transaction: &DatabaseTransaction,
        channel: Channel,
        query: &DeadLetterQuery,
        fresh: &[FreshIds],
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<BulkRequeued, RequeueRefusal>, StoreError> {
        match earlier::<BulkRequeued>(transaction, &self.keys, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same(done, outcome) => return Ok(Acted::Answered(done, outcome)),
            Earlier::None => {}
        }
        lock_gateways(transaction, channel).await?;
        let subject = format!("channels/{channel}");
        let mut due_time = now.max(self.free_from(transaction, &subject).await?);
        let (found, more) = find(transaction, query, First::Oldest).await?;
        let orders: BTreeSet<Uuid> = found.iter().map(|row| row.order_id).collect();
        let rows = lock_orders_deliveries(transaction, orders.into_iter().collect()).await?;
        let mut by_order: BTreeMap<Uuid, Vec<deliveries::Model>> = BTreeMap::new();
        for row in rows {
            by_order.entry(row.order_id).or_default().push(row);
        }
        let current = Current::read(transaction, found.iter(), now).await?;
        let mut done = BulkRequeued::default();
        let mut batch = Batch::default();
        for (row, ids) in found.iter().zip(fresh) {
            let of_order = by_order.get(&row.order_id).map_or(&[][..], Vec::as_slice);
            // As it stands now that it is locked.
            let Some(row) = of_order.iter().find(|it| it.id == row.id) else {
                continue;
            };
            match next_generation(&self.keys, of_order, row, &current, ids.delivery, due_time) {
                Err(refusal) => *done.refused.entry(refusal.to_string()).or_default() += 1,
                Ok(next) => {
                    let own = ActCall {
                        id: ids.act,
                        request_hash: of_one(&call.request_hash, row.id),
                        ..call.clone()
                    };
                    record(
                        &mut batch.acts,
                        &self.keys,
                        &own,
                        row,
                        ActOutcome::Done,
                        next.id,
                        now,
                    )?;
                    batch.old.push(row.id);
                    push_delivery(
                        &mut batch.deliveries,
                        &self.keys,
                        &Delivery {
                            create_time: now,
                            ..next
                        },
                    )?;
                    done.requeued += 1;
                    done.last_due_time = Some(due_time);
                    due_time += Duration::milliseconds(BULK_SPACING_MS);
                }
            }
        }
        done.next = found
            .last()
            .filter(|_| more)
            .map(|row| (row.due_time, DeliveryId::from_uuid(row.id)));
        let entry = Entry {
            subject: &subject,
            action: ActKind::RequeueMany,
            generation: 0,
            outcome: ActOutcome::Done,
            result: &done,
        };
        call.push(&mut batch.acts, &self.keys, &entry, now)?;
        self.write_requeues(transaction, batch).await?;
        Ok(Acted::Answered(done, ActOutcome::Done))
    }

    /// When a channel has sent all that earlier bulks gave it.
    async fn free_from(
        &self,
        transaction: &DatabaseTransaction,
        subject: &str,
    ) -> Result<DateTime<Utc>, StoreError> {
        let Some(act) = last_act(transaction, subject, ActKind::RequeueMany).await? else {
            return Ok(DateTime::UNIX_EPOCH);
        };
        let at = At {
            table: "operator_acts",
            row: &act.id,
        };
        let before: BulkRequeued = at.json("result", &act.result)?;
        Ok(before.last_due_time.map_or(DateTime::UNIX_EPOCH, |last| {
            last + Duration::milliseconds(BULK_SPACING_MS)
        }))
    }

    async fn write_requeues(
        &self,
        transaction: &DatabaseTransaction,
        batch: Batch,
    ) -> Result<(), StoreError> {
        if !batch.old.is_empty() {
            // They are locked, and were looked at since.
            deliveries::Entity::update_many()
                .col_expr(
                    deliveries::Column::State,
                    DeliveryState::Requeued.as_str().into(),
                )
                .filter(deliveries::Column::Id.is_in(padded(batch.old)))
                .exec(transaction)
                .await
                .during(DOING)?;
        }
        DELIVERIES
            .insert(transaction, self.backend(), batch.deliveries)
            .await?;
        self.insert_acts(transaction, batch.acts).await
    }
}

async fn find_one(
    transaction: &DatabaseTransaction,
    id: DeliveryId,
) -> Result<Option<deliveries::Model>, StoreError> {
    deliveries::Entity::find_by_id(id.as_uuid())
        .one(transaction)
        .await
        .during(DOING)
}

/// One bulk of a channel after the other, so that together they keep to its rate.
async fn lock_gateways(
    transaction: &DatabaseTransaction,
    channel: Channel,
) -> Result<(), StoreError> {
    gateways::Entity::find()
        .filter(gateways::Column::Channel.eq(channel.as_str()))
        .order_by_asc(gateways::Column::Name)
        .lock_exclusive()
        .all(transaction)
        .await
        .during("wait for other bulks")?;
    Ok(())
}

/// The generation that came after a row.
fn successor<'a>(
    rows: &'a [deliveries::Model],
    row: &deliveries::Model,
) -> Option<&'a deliveries::Model> {
    rows.iter()
        .filter(|it| it.seq == row.seq && it.step == row.step && it.generation > row.generation)
        .min_by_key(|it| it.generation)
}

/// The same message once more, if nothing stands in its way.
fn next_generation(
    keys: &DataKeys,
    rows: &[deliveries::Model],
    row: &deliveries::Model,
    current: &Current,
    id: DeliveryId,
    due_time: DateTime<Utc>,
) -> Result<Delivery, RequeueRefusal> {
    let old = delivery(keys, row.clone()).map_err(|_| RequeueRefusal::Unreadable)?;
    let in_the_way = current.outdated(row).or_else(|| {
        current
            .is_unwelcome(row)
            .then_some(RequeueRefusal::OptedOut)
    });
    may_requeue(&old, in_the_way)?;
    let last = rows
        .iter()
        .filter(|it| it.seq == row.seq && it.step == row.step)
        .map(|it| it.generation.unsigned_abs())
        .max();
    Ok(Delivery {
        id,
        generation: last.unwrap_or(old.generation) + 1,
        state: DeliveryState::Ready,
        due_time,
        attempts: 0,
        provider_id: None,
        last_error: String::new(),
        template_version: None,
        create_time: due_time,
        finish_time: None,
        ..old
    })
}

/// Appends the record of one message.
fn record(
    acts: &mut Acts,
    keys: &DataKeys,
    call: &ActCall,
    row: &deliveries::Model,
    outcome: ActOutcome,
    made: DeliveryId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let entry = Entry {
        subject: &DeliveryId::from_uuid(row.id).resource_name(),
        action: ActKind::Requeue,
        generation: row.generation.unsigned_abs(),
        outcome,
        result: &Successor { delivery: made },
    };
    call.push(acts, keys, &entry, now)
}

/// What tells one message's part of a bulk.
fn of_one(bulk: &[u8; 32], row: Uuid) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(bulk);
    hasher.update(row.as_bytes());
    hasher.finalize().into()
}
