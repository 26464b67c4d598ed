//! What keeps a customer's data from being erased.

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{DeliveryId, OrderId},
    message::DeliveryState,
    order::OrderState,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};
use uuid::Uuid;

use super::DOING;
use crate::{
    entity::{deliveries, orders, outbox},
    error::{During, StoreError},
    gates::end_outdated_in,
    rows::At,
};

/// Obstacles that are named.
const NAMED: u64 = 10;

/// What stands in the way of an erasure: the first of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// Orders that are not at their end.
    pub orders: Vec<(OrderId, OrderState)>,
    /// Messages under way.
    pub messages: Vec<DeliveryId>,
    /// Changes whose messages are not yet made.
    pub unsent: Vec<OrderId>,
}

impl Obstacles {
    /// Nothing stands in the way.
    pub const fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.messages.is_empty() && self.unsent.is_empty()
    }
}

/// Ends messages that would never be sent, though they wait for their turn: they are no obstacle.
pub(super) async fn end_outdated_of(
    transaction: &DatabaseTransaction,
    customer: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let rows = transaction
        .query_all_raw(Statement::from_sql_and_values(
            transaction.get_database_backend(),
            "SELECT DISTINCT d.order_id AS id FROM orders o JOIN deliveries d ON d.order_id = o.id \
             WHERE o.customer = ? AND d.state IN (?, ?)",
            [
                customer.into(),
                DeliveryState::Waiting.as_str().into(),
                DeliveryState::Ready.as_str().into(),
            ],
        ))
        .await
        .during(DOING)?;
    let orders = rows
        .iter()
        .map(|row| row.try_get("", "id").during(DOING))
        .collect::<Result<Vec<Uuid>, StoreError>>()?;
    end_outdated_in(transaction, orders, now).await
}

/// The first of what stands in the way of a customer's erasure.
pub(super) async fn obstacles(
    transaction: &DatabaseTransaction,
    customer: &str,
) -> Result<Obstacles, StoreError> {
    let terminal = OrderState::ALL.iter().filter(|state| state.is_terminal());
    let open: Vec<(Uuid, String)> = orders::Entity::find()
        .select_only()
        .column(orders::Column::Id)
        .column(orders::Column::State)
        .filter(orders::Column::Customer.eq(customer))
        .filter(orders::Column::State.is_not_in(terminal.map(|state| state.as_str())))
        .order_by_asc(orders::Column::Id)
        .limit(NAMED)
        .into_tuple()
        .all(transaction)
        .await
        .during(DOING)?;
    let orders = open
        .into_iter()
        .map(|(id, state)| {
            let at = At {
                table: "orders",
                row: &id,
            };
            Ok((OrderId::from_uuid(id), at.word("state", &state)?))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let backend = transaction.get_database_backend();
    let under_way: Vec<&str> = DeliveryState::ALL
        .iter()
        .filter(|state| !state.is_finished())
        .map(|state| state.as_str())
        .collect();
    let marks = vec!["?"; under_way.len()].join(",");
    let mut values: Vec<sea_orm::Value> = vec![customer.into()];
    values.extend(under_way.iter().map(|state| (*state).into()));
    let messages = deliveries::Entity::find()
        .from_raw_sql(Statement::from_sql_and_values(
            backend,
            format!(
                "SELECT d.* FROM orders o JOIN deliveries d ON d.order_id = o.id \
                 WHERE o.customer = ? AND d.state IN ({marks}) LIMIT {NAMED}"
            ),
            values,
        ))
        .all(transaction)
        .await
        .during(DOING)?;
    let unsent = outbox::Entity::find()
        .from_raw_sql(Statement::from_sql_and_values(
            backend,
            format!(
                "SELECT x.* FROM outbox x JOIN orders o ON o.id = x.order_id WHERE o.customer = ? LIMIT {NAMED}"
            ),
            [customer.into()],
        ))
        .all(transaction)
        .await
        .during(DOING)?;
    Ok(Obstacles {
        orders,
        messages: messages
            .iter()
            .map(|row| DeliveryId::from_uuid(row.id))
            .collect(),
        unsent: unsent
            .iter()
            .map(|row| OrderId::from_uuid(row.order_id))
            .collect(),
    })
}
