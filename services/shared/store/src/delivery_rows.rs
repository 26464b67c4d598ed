//! Deliveries as rows, and back; and which message of an order may go next.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    event::MessageKind,
    ids::{DeliveryId, OrderId},
    message::{Delivery, DeliveryState, Recipient},
    retention::opens_the_next,
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
    unreachable,
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
        "dedupe_key",
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
        delivery.dedupe_key().to_vec().into(),
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

/// Lets the first message of each order that is not yet out go: `rows` are all deliveries of those orders, as they stand
/// now. Messages start in the order's sequence; one that has reached the customer by any channel, or can no longer, makes
/// room for the next. Where no channel has led to a customer who was asked something, staff will be told.
pub(crate) async fn open_gates(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    rows: &[Standing],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    unreachable::tell(transaction, keys, rows, now).await?;
    let opened = gates(rows);
    if opened.is_empty() {
        return Ok(());
    }
    deliveries::Entity::update_many()
        .col_expr(
            deliveries::Column::State,
            DeliveryState::Ready.as_str().into(),
        )
        .filter(deliveries::Column::Id.is_in(padded(opened)))
        .filter(deliveries::Column::State.eq(DeliveryState::Waiting.as_str()))
        .exec(transaction)
        .await
        .during("let waiting messages go")?;
    Ok(())
}

/// Ids of waiting rows that may go.
fn gates(rows: &[Standing]) -> Vec<Uuid> {
    let mut orders: BTreeMap<Uuid, BTreeMap<i32, Vec<&Standing>>> = BTreeMap::new();
    for row in rows {
        orders
            .entry(row.order_id)
            .or_default()
            .entry(row.seq)
            .or_default()
            .push(row);
    }
    let mut opened = Vec::new();
    for (order, messages) in &orders {
        let mut missed = false;
        for (expected, (seq, steps)) in (begin_of(messages)..).zip(messages) {
            // The message before it is still in the outbox.
            if *seq != expected {
                break;
            }
            let waiting = steps
                .iter()
                .filter(|row| row.state == DeliveryState::Waiting.as_str());
            let leans = steps.iter().any(|row| leans_on_the_last(row));
            if missed && leans {
                // Staff may send the one before it again; what comes after does not wait for that.
                if waiting.count() > 0 {
                    tracing::error!(%order, seq, "a message is blocked: the one before it was given up");
                }
                continue;
            }
            opened.extend(waiting.map(|row| row.id));
            let mut states = steps
                .iter()
                .filter_map(|row| row.state.parse::<DeliveryState>().ok());
            let out = states.clone().any(DeliveryState::is_out);
            missed = !out && states.clone().any(|state| state == DeliveryState::Dead);
            if !out && !states.all(DeliveryState::is_finished) {
                break;
            }
        }
    }
    opened
}

/// Where the sequence begins that is still on record. The first messages of an old order may be forgotten.
fn begin_of(messages: &BTreeMap<i32, Vec<&Standing>>) -> i32 {
    let Some((seq, steps)) = messages.first_key_value() else {
        return 1;
    };
    let mut states = steps.iter().filter_map(|row| row.state.parse().ok());
    if states.any(opens_the_next) { *seq } else { 1 }
}

/// Whether a message means nothing without the one before it.
fn leans_on_the_last(row: &Standing) -> bool {
    row.kind
        .parse::<MessageKind>()
        .is_ok_and(|kind| !kind.is_independent())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: i32, step: i32, state: DeliveryState) -> Standing {
        Standing {
            id: Uuid::from_u128(u128::from(seq.unsigned_abs() * 10 + step.unsigned_abs())),
            order_id: Uuid::from_u128(1),
            seq,
            kind: String::new(),
            round: 0,
            step,
            state: state.as_str().to_owned(),
            due_time: DateTime::UNIX_EPOCH,
            lease_token: None,
            attempts: 0,
        }
    }

    fn opened(rows: &[(i32, i32, DeliveryState)]) -> Vec<u128> {
        let rows: Vec<_> = rows.iter().map(|it| row(it.0, it.1, it.2)).collect();
        gates(&rows).iter().map(Uuid::as_u128).collect()
    }

    #[test]
    fn only_the_first_message_that_is_not_out_may_go() {
        use DeliveryState::{Dead, Failed, Leased, Ready, Sent, Waiting};
        assert_eq!(opened(&[(1, 1, Leased), (2, 1, Waiting)]), []);
        assert_eq!(opened(&[(1, 1, Sent), (2, 1, Waiting)]), [21]);
        assert_eq!(
            opened(&[(1, 1, Dead), (2, 1, Waiting), (3, 1, Waiting)]),
            [21]
        );
        // A later channel of a message that is out does not hold the next one up.
        assert_eq!(
            opened(&[(1, 1, Sent), (1, 2, Ready), (2, 1, Waiting)]),
            [21]
        );
        assert_eq!(
            opened(&[(1, 1, Failed), (1, 2, Ready), (2, 1, Waiting)]),
            []
        );
        // All channels of a message are let go together; their due times keep them apart.
        assert_eq!(
            opened(&[(1, 1, Sent), (2, 1, Waiting), (2, 2, Waiting)]),
            [21, 22]
        );
    }

    #[test]
    fn m_09_what_leans_on_a_dead_letter_is_blocked_and_all_else_goes_on() {
        use DeliveryState::{Dead, Failed, Sent, Waiting};
        let opened = |first: DeliveryState, kind: MessageKind| {
            let mut rows = [row(1, 1, first), row(2, 1, Waiting), row(3, 1, Waiting)];
            kind.as_str().clone_into(&mut rows[1].kind);
            gates(&rows).iter().map(Uuid::as_u128).collect::<Vec<_>>()
        };
        assert_eq!(opened(Dead, MessageKind::OrderConfirmed), [21]);
        assert_eq!(opened(Dead, MessageKind::ConfirmationReminder), [31]);
        assert_eq!(opened(Sent, MessageKind::ConfirmationReminder), [21]);
        assert_eq!(opened(Failed, MessageKind::ConfirmationReminder), [21]);
    }

    #[test]
    fn a_message_waits_for_one_that_is_still_in_the_outbox() {
        use DeliveryState::{Sent, Waiting};
        assert_eq!(opened(&[(2, 1, Waiting)]), []);
        assert_eq!(opened(&[(1, 1, Sent), (3, 1, Waiting)]), []);
    }

    #[test]
    fn a_message_of_an_old_order_does_not_wait_for_those_that_are_forgotten() {
        use DeliveryState::{Failed, Sent, Waiting};
        assert_eq!(opened(&[(4, 1, Sent), (5, 1, Waiting)]), [51]);
        // It was finished before it began, so nobody knows whether the one before it was.
        assert_eq!(opened(&[(4, 1, Failed), (5, 1, Waiting)]), []);
        assert_eq!(opened(&[(4, 1, Sent), (6, 1, Waiting)]), []);
    }
}
