//! Outbox rows that no program that is running can read: left to a newer one for a while, then made dead letters.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use countersign_domain::{
    event::{MessageDetails, MessageKind},
    ids::{DeliveryId, OrderId},
    message::{Delivery, DeliveryState, Recipient},
    order::Channel,
};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{LockBehavior, LockType},
};
use uuid::Uuid;

use crate::{
    Store,
    data_keys::DataKeys,
    delivery_rows::{DELIVERIES, lock_standings, padded, push_delivery},
    entity::outbox,
    error::{During, StoreError},
    gates::open_gates,
    outbox::known_kinds,
    rows::At,
    sealed::{DELIVERIES_DETAILS, OUTBOX_DETAILS},
};

impl Store {
    /// Makes dead letters of messages that no program that is running can read, when they have waited for a newer one long
    /// enough (RELIABILITY, H-03). Answers how many.
    pub async fn bury_unreadable_messages(&self, now: DateTime<Utc>) -> Result<usize, StoreError> {
        const DOING: &str = "bury unreadable messages";
        let before = now - crate::claims::UNREADABLE;
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let buried = async {
                let rows = outbox::Entity::find()
                    .filter(outbox::Column::Id.lte(last_id_at(before)))
                    .filter(outbox::Column::Kind.is_not_in(known_kinds()))
                    .order_by_asc(outbox::Column::Id)
                    .limit(100)
                    .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
                    .all(&transaction)
                    .await
                    .during(DOING)?;
                if rows.is_empty() {
                    return Ok(0);
                }
                let count = rows.len();
                let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
                let orders: BTreeSet<Uuid> = rows.iter().map(|row| row.order_id).collect();
                let mut values = Vec::new();
                for row in rows {
                    push_unreadable(&mut values, &self.keys, row, now)?;
                }
                DELIVERIES
                    .insert_new(&transaction, self.kind, self.backend(), values)
                    .await?;
                outbox::Entity::delete_many()
                    .filter(outbox::Column::Id.is_in(padded(ids)))
                    .exec(&transaction)
                    .await
                    .during(DOING)?;
                let rows = lock_standings(&transaction, orders.into_iter().collect()).await?;
                open_gates(&transaction, &self.keys, &rows, now).await?;
                Ok(count)
            };
            let result = buried.await;
            self.conclude(transaction, result).await
        })
        .await
    }
}

/// The greatest id that was given out by then.
fn last_id_at(time: DateTime<Utc>) -> Uuid {
    let mut bytes = [0xff; 16];
    let millis = time.timestamp_millis().to_be_bytes();
    for (byte, of_millis) in bytes.iter_mut().zip(millis.iter().skip(2)) {
        *byte = *of_millis;
    }
    Uuid::from_bytes(bytes)
}

/// Appends a row of [`DELIVERIES`] with the words that stand in the outbox, whatever they mean.
fn push_unreadable(
    values: &mut Vec<sea_orm::Value>,
    keys: &DataKeys,
    row: outbox::Model,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let at = At {
        table: "outbox",
        row: &row.id,
    };
    tracing::error!(message = %row.id, "no version of the program that is running knows this kind of message");
    let dead = Delivery {
        id: DeliveryId::from_uuid(row.id),
        order_id: OrderId::from_uuid(row.order_id),
        seq: at.unsigned("seq", row.seq)?,
        kind: MessageKind::Acknowledgement,
        revision: at.unsigned("revision", row.revision)?,
        round: 0,
        channel: Channel::Email,
        step: 1,
        generation: 1,
        recipient: Recipient::new(""),
        recipient_hash: [0; 32],
        state: DeliveryState::Dead,
        due_time: now,
        attempts: 0,
        provider_id: None,
        last_error:
            "UNREADABLE: no version of the program that is running knows this kind of message"
                .to_owned(),
        template_version: None,
        details: MessageDetails::default(),
        create_time: row.create_time,
        finish_time: Some(now),
    };
    let begin = values.len();
    push_delivery(values, keys, &dead)?;
    let details = OUTBOX_DETAILS.open(keys, &row.id, &row.details)?;
    let details = DELIVERIES_DETAILS.seal(keys, &row.id, &details)?;
    for (column, value) in [("kind", row.kind.into()), ("details", details.into())] {
        let place = DELIVERIES.columns.iter().position(|name| *name == column);
        if let Some(cell) = place.and_then(|place| values.get_mut(begin + place)) {
            *cell = value;
        }
    }
    Ok(())
}
