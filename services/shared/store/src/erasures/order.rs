//! Erasing one order with all that hangs on it, in one transaction.

use chrono::{DateTime, Utc};
use countersign_domain::{
    chain::{Salt, details_commitment},
    document::DeliveryNote,
    erasure::{erase_note, erase_order, erase_round},
    ids::{ErasureId, OrderId},
    message::DeliveryState,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QuerySelect, Statement, Value,
};
use uuid::Uuid;

use super::{DOING, Erasure, acts::erase_acts, count_order, pseudonym_of};
use crate::{
    Store,
    chain::{CommitRows, fresh_commit},
    confirmations::round,
    data_keys::DataKeys,
    delivery_rows::padded,
    entity::{confirmations, deliveries, delivery_notes, order_events, orders, outbox},
    error::{During, StoreError},
    gates::end_outdated_in,
    sealed::{
        EVENTS_DETAILS, NOTES_NOTE, ORDERS_PRIORITY, ORDERS_PROGRESS, ORDERS_TERMS, ROUNDS_DETAILS,
    },
};

/// Rows of other tables, by the order's id. An empty cell stands for a value that is gone for good.
const BY_ORDER: [&str; 6] = [
    "UPDATE order_lines SET extras = NULL WHERE order_id = ? AND extras IS NOT NULL",
    "UPDATE tracking_events SET details = X'' WHERE order_id = ?",
    "UPDATE contacts SET summary = X'' WHERE order_id = ?",
    "DELETE FROM replies WHERE order_id = ?",
    "DELETE FROM mailbox WHERE order_id = ?",
    "UPDATE deliveries SET recipient = X'', provider_id = NULL, last_error = '', details = X'' WHERE order_id = ?",
];

impl Store {
    /// Erases an order, unless it was changed meanwhile or a message about it is under way: then the next batch meets it
    /// again.
    pub(super) async fn erase_order(
        &self,
        erasure: &Erasure,
        id: OrderId,
        link_hashes: &(dyn Fn(OrderId) -> Vec<[u8; 32]> + Send + Sync),
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let links = link_hashes(id);
        let links = links.as_slice();
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .erase_order_in(&transaction, erasure, id, links, now)
                .await;
            match result {
                Ok(true) => self.conclude(transaction, Ok(true)).await,
                Ok(false) => {
                    transaction.rollback().await.during(DOING)?;
                    Ok(false)
                }
                Err(error) => self.conclude(transaction, Err(error)).await,
            }
        })
        .await
    }

    /// Erases what came to orders of this erasure after they had been erased: a reply that was under way, a note that staff
    /// were just writing.
    pub(super) async fn erase_late_rows(&self, id: ErasureId) -> Result<(), StoreError> {
        for order in self.erased_orders(id).await? {
            self.write(|transaction| {
                Box::pin(async move {
                    for sql in BY_ORDER {
                        execute(transaction, sql, vec![order.into()]).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Orders that an erasure has been through.
    pub(super) async fn erased_orders(&self, id: ErasureId) -> Result<Vec<Uuid>, StoreError> {
        orders::Entity::find()
            .select_only()
            .column(orders::Column::Id)
            .filter(orders::Column::Customer.eq(pseudonym_of(id)))
            .into_tuple()
            .all(&self.db)
            .await
            .during(DOING)
    }

    async fn erase_order_in(
        &self,
        transaction: &DatabaseTransaction,
        erasure: &Erasure,
        id: OrderId,
        links: &[[u8; 32]],
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (backend, keys, row) = (self.backend(), &self.keys, id.as_uuid());
        let Some(order) = self.find_order(id).await? else {
            return Ok(false);
        };
        let (erased, event) = erase_order(&order, erasure.id, &erasure.actor, now);
        let updated = orders::Entity::update_many()
            .set(orders::ActiveModel {
                customer: Set(erased.customer.clone()),
                version: Set(erased.version),
                content_hash: Set(0),
                update_time: Set(erased.update_time),
                priority: Set(ORDERS_PRIORITY.seal_json(keys, &row, &erased.priority)?),
                terms: Set(ORDERS_TERMS.seal_json(keys, &row, &erased.terms)?),
                progress: Set(ORDERS_PROGRESS.seal_json(keys, &row, &erased.progress)?),
                ..Default::default()
            })
            .filter(orders::Column::Id.eq(id.as_uuid()))
            .filter(orders::Column::Version.eq(order.version))
            .exec(transaction)
            .await
            .during(DOING)?;
        if updated.rows_affected != 1 {
            return Ok(false);
        }
        end_outdated_in(transaction, vec![row], now).await?;
        // The outbox first: what leaves it between the two looks is seen by the second one.
        let unsent = outbox::Entity::find()
            .filter(outbox::Column::OrderId.eq(id.as_uuid()))
            .one(transaction)
            .await
            .during(DOING)?;
        let messages = deliveries::Entity::find()
            .filter(deliveries::Column::OrderId.eq(id.as_uuid()))
            .all(transaction)
            .await
            .during(DOING)?;
        let under_way = |row: &deliveries::Model| {
            let state = row.state.parse::<DeliveryState>();
            state.is_ok_and(|state| !state.is_finished())
        };
        if unsent.is_some() || messages.iter().any(under_way) {
            return Ok(false);
        }
        erase_acts(transaction, keys, &order, &messages).await?;
        erase_events(transaction, keys, id).await?;
        erase_rounds(transaction, keys, id).await?;
        erase_notes(transaction, keys, id).await?;
        let run = |sql: &'static str, values: Vec<Value>| execute(transaction, sql, values);
        let key: Value = id.as_uuid().into();
        for sql in BY_ORDER {
            run(sql, vec![key.clone()]).await?;
        }
        run(
            "UPDATE deliveries SET recipient_hash = ? WHERE order_id = ?",
            vec![vec![0_u8; 32].into(), key.clone()],
        )
        .await?;
        for link in links {
            run(
                "DELETE FROM order_links WHERE token_hash = ?",
                vec![link.to_vec().into()],
            )
            .await?;
        }
        let customer: Value = pseudonym_of(erasure.id).into();
        run(
            "UPDATE surveys SET customer = ? WHERE order_id = ?",
            vec![customer.clone(), key.clone()],
        )
        .await?;
        run(
            "UPDATE feedback SET customer = ?, words = X'', given_by = '', \
             resolution = CASE WHEN resolution IS NULL THEN NULL ELSE X'' END WHERE order_id = ?",
            vec![customer, key],
        )
        .await?;
        for message in &messages {
            run(
                "UPDATE attempts SET error = '' WHERE delivery_id = ?",
                vec![message.id.into()],
            )
            .await?;
        }
        let mut commit = CommitRows::new(fresh_commit(now), now);
        commit.push_event(keys, &event)?;
        commit.insert(transaction, backend).await?;
        count_order(transaction, erasure.id).await?;
        Ok(true)
    }
}

async fn execute(
    transaction: &DatabaseTransaction,
    sql: &str,
    values: Vec<Value>,
) -> Result<(), StoreError> {
    let backend = transaction.get_database_backend();
    transaction
        .execute_raw(Statement::from_sql_and_values(backend, sql, values))
        .await
        .during(DOING)
        .map(|_| ())
}

pub(super) fn note(
    keys: &DataKeys,
    row: &delivery_notes::Model,
) -> Result<DeliveryNote, StoreError> {
    NOTES_NOTE.open_json(keys, &(row.order_id, row.revision), &row.note)
}

/// Takes details and salts away; the commitments stay.
async fn erase_events(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    id: OrderId,
) -> Result<(), StoreError> {
    let rows = order_events::Entity::find()
        .filter(order_events::Column::OrderId.eq(id.as_uuid()))
        .all(transaction)
        .await
        .during(DOING)?;
    for row in rows {
        let key = (row.commit_id, row.ordinal);
        let details = EVENTS_DETAILS.open_text(keys, &key, &row.details)?;
        let salt: Option<Salt> = row.salt.and_then(|salt| salt.try_into().ok());
        order_events::Entity::update_many()
            .set(order_events::ActiveModel {
                details: Set(Vec::new()),
                commitment: match &salt {
                    Some(salt) => Set(Some(details_commitment(salt, &details).to_vec())),
                    None => Set(row.commitment),
                },
                salt: Set(None),
                ..Default::default()
            })
            .filter(order_events::Column::CommitId.eq(row.commit_id))
            .filter(order_events::Column::Ordinal.eq(row.ordinal))
            .exec(transaction)
            .await
            .during(DOING)?;
    }
    Ok(())
}

async fn erase_rounds(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    id: OrderId,
) -> Result<(), StoreError> {
    let rows = confirmations::Entity::find()
        .filter(confirmations::Column::OrderId.eq(id.as_uuid()))
        .all(transaction)
        .await
        .during(DOING)?;
    for row in rows {
        let details = erase_round(&round(keys, &row)?.details);
        let key = (row.order_id, row.round);
        confirmations::Entity::update_many()
            .set(confirmations::ActiveModel {
                details: Set(ROUNDS_DETAILS.seal_json(keys, &key, &details)?),
                ..Default::default()
            })
            .filter(confirmations::Column::OrderId.eq(id.as_uuid()))
            .filter(confirmations::Column::Round.eq(row.round))
            .exec(transaction)
            .await
            .during(DOING)?;
    }
    Ok(())
}

async fn erase_notes(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    id: OrderId,
) -> Result<(), StoreError> {
    let rows = delivery_notes::Entity::find()
        .filter(delivery_notes::Column::OrderId.eq(id.as_uuid()))
        .all(transaction)
        .await
        .during(DOING)?;
    for row in rows {
        let note = note(keys, &row)?;
        let key = (row.order_id, row.revision);
        delivery_notes::Entity::update_many()
            .set(delivery_notes::ActiveModel {
                note: Set(NOTES_NOTE.seal_json(keys, &key, &erase_note(&note))?),
                ..Default::default()
            })
            .filter(delivery_notes::Column::OrderId.eq(id.as_uuid()))
            .filter(delivery_notes::Column::Revision.eq(row.revision))
            .exec(transaction)
            .await
            .during(DOING)?;
    }
    Ok(())
}

/// Ids for `IN (…)`.
pub(super) fn order_keys(ids: &[OrderId]) -> Vec<Uuid> {
    padded(ids.iter().map(OrderId::as_uuid).collect())
}
