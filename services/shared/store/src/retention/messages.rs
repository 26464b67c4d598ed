//! Messages of closed orders, and their tries.

use std::collections::{BTreeSet, HashMap};

use countersign_domain::{message::DeliveryState, retention::messages_below};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect,
};
use uuid::Uuid;

use super::{DOING, KEYS_MAX};
use crate::{
    Store,
    delivery_rows::padded,
    entity::{attempts, deliveries},
    error::{During, StoreError},
    gates::end_outdated_in,
    operator_acts::note_orders,
    rows::At,
};

#[derive(Clone)]
pub(super) struct Message {
    pub(super) id: Uuid,
    order: Uuid,
    seq: u32,
    pub(super) state: DeliveryState,
}

/// Those that no later message of their order needs any more.
pub(super) fn superfluous(messages: Vec<Message>) -> Vec<Message> {
    let mut by_order: HashMap<Uuid, Vec<(u32, DeliveryState)>> = HashMap::new();
    for it in &messages {
        let standings = by_order.entry(it.order).or_default();
        standings.push((it.seq, it.state));
    }
    messages
        .into_iter()
        .filter(|it| {
            by_order
                .get(&it.order)
                .and_then(|standings| messages_below(standings))
                .is_some_and(|below| it.seq < below)
        })
        .collect()
}

impl Store {
    /// What would never be sent, though it waits for its turn, ends here, for it would keep all others. A look without
    /// consequences (`dry_run`) counts what is there.
    pub(super) async fn messages_of_closed(
        &self,
        of: Vec<Uuid>,
        dry_run: bool,
    ) -> Result<Vec<Message>, StoreError> {
        let messages = self.messages_of(of.clone()).await?;
        let waits =
            |it: &&Message| matches!(it.state, DeliveryState::Waiting | DeliveryState::Ready);
        let orders: BTreeSet<Uuid> = messages.iter().filter(waits).map(|it| it.order).collect();
        if dry_run || orders.is_empty() {
            return Ok(messages);
        }
        let now = self.now().await?;
        self.write(|transaction| {
            let orders = orders.iter().copied().collect();
            Box::pin(async move { end_outdated_in(transaction, orders, now).await })
        })
        .await?;
        self.messages_of(of).await
    }

    pub(super) async fn messages_of(&self, of: Vec<Uuid>) -> Result<Vec<Message>, StoreError> {
        let rows: Vec<(Uuid, Uuid, i32, String)> = deliveries::Entity::find()
            .select_only()
            .columns([
                deliveries::Column::Id,
                deliveries::Column::OrderId,
                deliveries::Column::Seq,
                deliveries::Column::State,
            ])
            .filter(deliveries::Column::OrderId.is_in(of))
            .into_tuple()
            .all(&self.db)
            .await
            .during(DOING)?;
        rows.into_iter()
            .map(|(id, order, seq, state)| {
                let at = At {
                    table: "deliveries",
                    row: &id,
                };
                Ok(Message {
                    id,
                    order,
                    seq: at.unsigned("seq", seq)?,
                    state: at.word("state", &state)?,
                })
            })
            .collect()
    }

    pub(super) async fn purge_attempts(
        &self,
        of: Vec<Uuid>,
        dry_run: bool,
    ) -> Result<u64, StoreError> {
        let mut rows = 0;
        for part in of.chunks(KEYS_MAX) {
            let part = padded(part.to_vec());
            if dry_run {
                let found =
                    attempts::Entity::find().filter(attempts::Column::DeliveryId.is_in(part));
                rows += found.count(&self.db).await.during(DOING)?;
                continue;
            }
            rows += self
                .write(|transaction| {
                    let part = part.clone();
                    Box::pin(delete_attempts_in(transaction, part))
                })
                .await?;
        }
        Ok(rows)
    }

    /// Messages go with their tries.
    pub(super) async fn purge_messages(
        &self,
        gone: &[Message],
        dry_run: bool,
    ) -> Result<u64, StoreError> {
        if dry_run {
            return Ok(gone.len() as u64);
        }
        let mut rows = 0;
        for part in gone.chunks(KEYS_MAX) {
            rows += self
                .write(|transaction| {
                    let part = part.to_vec();
                    Box::pin(async move {
                        let orders = part.iter().map(|it| (it.id, it.order)).collect();
                        note_orders(transaction, orders).await?;
                        let part = padded(part.iter().map(|it| it.id).collect());
                        delete_attempts_in(transaction, part.clone()).await?;
                        let deleted = deliveries::Entity::delete_many()
                            .filter(deliveries::Column::Id.is_in(part))
                            .exec(transaction)
                            .await
                            .during(DOING)?;
                        Ok(deleted.rows_affected)
                    })
                })
                .await?;
        }
        Ok(rows)
    }
}

/// Answers how many tries of these messages there were.
async fn delete_attempts_in(
    transaction: &DatabaseTransaction,
    messages: Vec<Uuid>,
) -> Result<u64, StoreError> {
    let deleted = attempts::Entity::delete_many()
        .filter(attempts::Column::DeliveryId.is_in(messages))
        .exec(transaction)
        .await
        .during(DOING)?;
    Ok(deleted.rows_affected)
}
