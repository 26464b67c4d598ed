//! Customers to whom no channel leads: the order service is told, once for each time that they were to be asked.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    event::MessageKind,
    ids::{OrderId, ReplyId},
    message::DeliveryState,
    reply::{ReplyContent, ReplyState},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::{
    data_keys::DataKeys,
    delivery_rows::Standing,
    entity::replies,
    error::{During, StoreError},
    sealed::REPLIES_PAYLOAD,
};

/// Who brings such news into the inbox.
const SOURCE: &str = "DELIVERIES";

/// Puts into the inbox who could not be asked; the inbox hands it on until the order service has heard it. `rows` are all
/// deliveries of their orders, locked, as they stand now.
pub(crate) async fn tell(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    rows: &[Standing],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    const DOING: &str = "tell that a customer cannot be reached";
    for (order, seq, round, first) in unreachable(rows) {
        let event = format!("{}/{seq}/{round}", OrderId::from_uuid(order));
        let told = replies::Entity::find()
            .filter(replies::Column::Source.eq(SOURCE))
            .filter(replies::Column::SourceEventId.eq(event.as_str()))
            .one(transaction)
            .await
            .during(DOING)?;
        if told.is_some() {
            continue;
        }
        tracing::error!(order = %OrderId::from_uuid(order), round, "no channel leads to the customer; staff are told");
        let content = ReplyContent::Unreachable { round };
        let id = ReplyId::from_uuid(first).as_uuid();
        replies::Entity::insert(replies::ActiveModel {
            // There is one reply of this kind for each first delivery, and ids of replies are ids in time like any other.
            id: Set(id),
            source: Set(SOURCE.to_owned()),
            source_event_id: Set(event),
            kind: Set(content.kind().to_owned()),
            order_id: Set(Some(order)),
            payload: Set(REPLIES_PAYLOAD.seal_json(keys, &id, &content)?),
            state: Set(ReplyState::Pending.as_str().to_owned()),
            due_time: Set(now),
            attempts: Set(0),
            result: Set(String::new()),
            receive_time: Set(now),
        })
        .exec_without_returning(transaction)
        .await
        .during(DOING)?;
    }
    Ok(())
}

/// Requests all of whose channels have failed: order, sequence, round, and the first delivery. A round that is over needs
/// nobody.
fn unreachable(rows: &[Standing]) -> Vec<(Uuid, i32, u32, Uuid)> {
    let mut requests: BTreeMap<(Uuid, i32), Vec<&Standing>> = BTreeMap::new();
    for row in rows {
        if row.round > 0 && row.kind == MessageKind::ConfirmationRequest.as_str() {
            requests
                .entry((row.order_id, row.seq))
                .or_default()
                .push(row);
        }
    }
    requests
        .into_iter()
        .filter(|(_, steps)| {
            steps.iter().all(|row| {
                matches!(
                    row.state.parse(),
                    Ok(DeliveryState::Failed
                        | DeliveryState::Suppressed
                        | DeliveryState::Dead
                        | DeliveryState::Requeued)
                )
            })
        })
        .filter_map(|((order, seq), steps)| {
            let first = steps.iter().min_by_key(|row| row.step)?;
            Some((order, seq, first.round.unsigned_abs(), first.id))
        })
        .collect()
}
