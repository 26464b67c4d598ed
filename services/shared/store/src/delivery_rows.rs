//! Deliveries as rows, and back.

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{DeliveryId, OrderId},
    message::{Delivery, DeliveryState, Recipient},
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value,
};
use uuid::Uuid;

use crate::{
    bulk::Bulk,
    data_keys::DataKeys,
    entity::deliveries,
    error::{During, StoreError},
    rows::{At, int},
    sealed::{DELIVERIES_DETAILS, DELIVERIES_RECIPIENT},
};

pub(crate) const DELIVERIES: Bulk = Bulk {
    operation: "insert deliveries",
    table: "deliveries",
    columns: &[
        "id",
        "order_id",
        "seq",
        "kind",
        "revision",
        "round",
        "channel",
        "step",
        "generation",
        "recipient",
        "recipient_hash",
        "state",
        "due_time",
        "attempts",
        "last_error",
        "details",
        "create_time",
        "finish_time",
    ],
};

/// Appends a row of [`DELIVERIES`].
pub(crate) fn push_delivery(
    values: &mut Vec<Value>,
    keys: &DataKeys,
    delivery: &Delivery,
) -> Result<(), StoreError> {
    const DOING: &str = "insert deliveries";
    let id = delivery.id.as_uuid();
    values.extend([
        id.into(),
        delivery.order_id.as_uuid().into(),
        int(DOING, delivery.seq)?.into(),
        delivery.kind.as_str().into(),
        int(DOING, delivery.revision)?.into(),
        int(DOING, delivery.round)?.into(),
        delivery.channel.as_str().into(),
        int(DOING, delivery.step)?.into(),
        int(DOING, delivery.generation)?.into(),
        DELIVERIES_RECIPIENT
            .seal_text(keys, &id, delivery.recipient.reveal())?
            .into(),
        delivery.recipient_hash.to_vec().into(),
        delivery.state.as_str().into(),
        delivery.due_time.into(),
        int(DOING, delivery.attempts)?.into(),
        delivery.last_error.as_str().into(),
        DELIVERIES_DETAILS
            .seal_json(keys, &id, &delivery.details)?
            .into(),
        delivery.create_time.into(),
        delivery.finish_time.into(),
    ]);
    Ok(())
}

/// A row as a delivery.
pub(crate) fn delivery(keys: &DataKeys, row: deliveries::Model) -> Result<Delivery, StoreError> {
    let at = At {
        table: "deliveries",
        row: &row.id,
    };
    Ok(Delivery {
        id: DeliveryId::from_uuid(row.id),
        order_id: OrderId::from_uuid(row.order_id),
        seq: at.unsigned("seq", row.seq)?,
        kind: at.word("kind", &row.kind)?,
        revision: at.unsigned("revision", row.revision)?,
        round: at.unsigned("round", row.round)?,
        channel: at.word("channel", &row.channel)?,
        step: at.unsigned("step", row.step)?,
        generation: at.unsigned("generation", row.generation)?,
        recipient_hash: at.hash("recipient_hash", &row.recipient_hash)?,
        state: at.word("state", &row.state)?,
        due_time: row.due_time,
        attempts: at.unsigned("attempts", row.attempts)?,
        details: DELIVERIES_DETAILS.open_json(keys, &row.id, &row.details)?,
        recipient: Recipient::new(DELIVERIES_RECIPIENT.open_text(keys, &row.id, &row.recipient)?),
        provider_id: row.provider_id,
        last_error: row.last_error,
        template_version: row
            .template_version
            .map(|version| at.unsigned("template_version", version))
            .transpose()?,
        create_time: row.create_time,
        finish_time: row.finish_time,
    })
}

/// Fills a list for `IN (…)` up to a power of two by repeating its last value, so that few statements are prepared.
pub(crate) fn padded(mut ids: Vec<Uuid>) -> Vec<Uuid> {
    if let Some(last) = ids.last().copied() {
        ids.resize(ids.len().next_power_of_two(), last);
    }
    ids
}

/// How a delivery stands among those of its order: what decides which message may go next.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) id: Uuid,
    pub(crate) order_id: Uuid,
    pub(crate) seq: i32,
    pub(crate) kind: String,
    pub(crate) round: i32,
    pub(crate) step: i32,
    pub(crate) state: String,
    pub(crate) due_time: DateTime<Utc>,
    pub(crate) lease_token: Option<Uuid>,
    pub(crate) attempts: i32,
}

impl From<&deliveries::Model> for Standing {
    fn from(row: &deliveries::Model) -> Self {
        Self {
            id: row.id,
            order_id: row.order_id,
            seq: row.seq,
            kind: row.kind.clone(),
            round: row.round,
            step: row.step,
            state: row.state.clone(),
            due_time: row.due_time,
            lease_token: row.lease_token,
            attempts: row.attempts,
        }
    }
}

/// As [`lock_orders_deliveries`], without what only the sending needs: most of a row is texts.
pub(crate) async fn lock_standings(
    transaction: &DatabaseTransaction,
    orders: Vec<Uuid>,
) -> Result<Vec<Standing>, StoreError> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let rows = deliveries::Entity::find()
        .select_only()
        .columns([
            deliveries::Column::Id,
            deliveries::Column::OrderId,
            deliveries::Column::Seq,
            deliveries::Column::Kind,
            deliveries::Column::Round,
            deliveries::Column::Step,
            deliveries::Column::State,
            deliveries::Column::DueTime,
            deliveries::Column::LeaseToken,
            deliveries::Column::Attempts,
        ])
        .filter(deliveries::Column::OrderId.is_in(padded(orders)))
        .order_by_asc(deliveries::Column::OrderId)
        .order_by_asc(deliveries::Column::Seq)
        .lock_exclusive()
        .into_tuple()
        .all(transaction)
        .await
        .during("lock the deliveries of orders")?;
    Ok(rows
        .into_iter()
        .map(
            |(id, order_id, seq, kind, round, step, state, due_time, lease_token, attempts)| {
                Standing {
                    id,
                    order_id,
                    seq,
                    kind,
                    round,
                    step,
                    state,
                    due_time,
                    lease_token,
                    attempts,
                }
            },
        )
        .collect())
}

/// Locks all deliveries of these orders, always in the same sequence, so that two transactions cannot cross.
pub(crate) async fn lock_orders_deliveries(
    transaction: &DatabaseTransaction,
    orders: Vec<Uuid>,
) -> Result<Vec<deliveries::Model>, StoreError> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    deliveries::Entity::find()
        .filter(deliveries::Column::OrderId.is_in(padded(orders)))
        .order_by_asc(deliveries::Column::OrderId)
        .order_by_asc(deliveries::Column::Seq)
        .lock_exclusive()
        .all(transaction)
        .await
        .during("lock the deliveries of orders")
}

/// Sets the state of some deliveries that end without being sent.
pub(crate) async fn end_deliveries(
    transaction: &DatabaseTransaction,
    ids: Vec<Uuid>,
    state: DeliveryState,
    error: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    deliveries::Entity::update_many()
        .col_expr(deliveries::Column::State, state.as_str().into())
        .col_expr(deliveries::Column::LastError, error.into())
        .col_expr(deliveries::Column::FinishTime, now.into())
        .col_expr(deliveries::Column::DueTime, now.into())
        .col_expr(deliveries::Column::LeaseToken, Option::<Uuid>::None.into())
        .filter(deliveries::Column::Id.is_in(padded(ids)))
        .exec(transaction)
        .await
        .during("end deliveries")?;
    Ok(())
}
