//! Which message of an order may go next.

use std::{collections::BTreeMap, sync::LazyLock};

use chrono::{DateTime, Utc};
use countersign_domain::{event::MessageKind, message::DeliveryState, retention::opens_the_next};
use opentelemetry::{global, metrics::Counter};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::{
    data_keys::DataKeys,
    delivery_rows::{Standing, end_deliveries, lock_standings, padded},
    entity::deliveries,
    error::{During, StoreError},
    send_checks::{Current, OUTDATED},
    unreachable,
};

/// Messages that make no sense without the one before them, which was given up; counted whenever somebody comes by.
static BLOCKED: LazyLock<Counter<u64>> = LazyLock::new(|| {
    global::meter("countersign-store")
        .u64_counter("messages_blocked_total")
        .with_description("Looks at messages that wait for one that was given up")
        .build()
});

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
    let_go(transaction, rows, now).await
}

async fn let_go(
    transaction: &DatabaseTransaction,
    rows: &[Standing],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let gates = gates(rows);
    end_outdated(transaction, gates.blocked, now).await?;
    if gates.opened.is_empty() {
        return Ok(());
    }
    deliveries::Entity::update_many()
        .col_expr(
            deliveries::Column::State,
            DeliveryState::Ready.as_str().into(),
        )
        .filter(deliveries::Column::Id.is_in(padded(gates.opened)))
        .filter(deliveries::Column::State.eq(DeliveryState::Waiting.as_str()))
        .exec(transaction)
        .await
        .during("let waiting messages go")?;
    Ok(())
}

/// Ends what has lost its sense in these orders and is not under way: what is blocked, and what would be claimed only to be
/// passed over, such as the next channel of a question whose round is over, hours before its turn. Whatever moves the order's messages
/// ends what is blocked, too; but not every change that takes the sense away has a message of its own.
pub(crate) async fn end_outdated_in(
    transaction: &DatabaseTransaction,
    orders: Vec<Uuid>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut rows = lock_standings(transaction, orders).await?;
    let ready = rows
        .iter()
        .filter(|row| row.state == DeliveryState::Ready.as_str())
        .map(|row| row.id);
    let (over, _) = by_sense(transaction, ready.collect(), now).await?;
    for row in rows.iter_mut().filter(|row| over.contains(&row.id)) {
        DeliveryState::Superseded
            .as_str()
            .clone_into(&mut row.state);
    }
    end_deliveries(transaction, over, DeliveryState::Superseded, OUTDATED, now).await?;
    // What came after them in the sequence has waited for them.
    let_go(transaction, &rows, now).await
}

/// Ends what is blocked and has lost its sense: nobody can send the message before it any more, so it would wait for ever, and
/// with it the erasure of the customer's data.
async fn end_outdated(
    transaction: &DatabaseTransaction,
    blocked: Vec<Uuid>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (over, waits) = by_sense(transaction, blocked, now).await?;
    for row in waits {
        BLOCKED.add(1, &[]);
        tracing::error!(order = %row.order_id, seq = row.seq, "a message is blocked: the one before it was given up");
    }
    end_deliveries(transaction, over, DeliveryState::Superseded, OUTDATED, now).await
}

/// Those of these rows that have lost their sense, and the others.
async fn by_sense(
    transaction: &DatabaseTransaction,
    ids: Vec<Uuid>,
    now: DateTime<Utc>,
) -> Result<(Vec<Uuid>, Vec<deliveries::Model>), StoreError> {
    if ids.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let rows = deliveries::Entity::find()
        .filter(deliveries::Column::Id.is_in(padded(ids)))
        .all(transaction)
        .await
        .during("look at messages that may have lost their sense")?;
    let current = Current::read(transaction, rows.iter(), now).await?;
    let (over, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| current.is_outdated(row));
    Ok((over.into_iter().map(|row| row.id).collect(), others))
}

/// Which waiting rows may go, and which cannot for the one before them was given up.
#[derive(Debug, Default)]
struct Gates {
    opened: Vec<Uuid>,
    blocked: Vec<Uuid>,
}

fn gates(rows: &[Standing]) -> Gates {
    let mut orders: BTreeMap<Uuid, BTreeMap<i32, Vec<&Standing>>> = BTreeMap::new();
    for row in rows {
        orders
            .entry(row.order_id)
            .or_default()
            .entry(row.seq)
            .or_default()
            .push(row);
    }
    let mut gates = Gates::default();
    for messages in orders.values() {
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
                gates.blocked.extend(waiting.map(|row| row.id));
                continue;
            }
            gates.opened.extend(waiting.map(|row| row.id));
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
    gates
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
        gates(&rows).opened.iter().map(Uuid::as_u128).collect()
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
            let gates = gates(&rows);
            [gates.opened, gates.blocked]
                .map(|ids| ids.iter().map(Uuid::as_u128).collect::<Vec<_>>())
        };
        let (independent, leaning) = (
            MessageKind::OrderConfirmed,
            MessageKind::ConfirmationReminder,
        );
        assert_eq!(opened(Dead, independent), [vec![21], vec![]]);
        assert_eq!(opened(Dead, leaning), [vec![31], vec![21]]);
        assert_eq!(opened(Sent, leaning), [vec![21], vec![]]);
        assert_eq!(opened(Failed, leaning), [vec![21], vec![]]);
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
