//! Looking orders up.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_domain::{ids::OrderId, number::OrderNumber, order::Order};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
};
use uuid::Uuid;

use crate::{
    Store,
    bulk::{JsonType, json_rows},
    delivery_rows::padded,
    entity::{order_lines, order_numbers, orders},
    error::{During, StoreError},
    order_rows,
    rows::json_text,
};

/// Orders whose callers are read with one statement.
const CALLERS_AT_ONCE: usize = 256;

impl Store {
    /// An order with its lines.
    pub async fn find_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let Some(row) = orders::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during("find an order")?
        else {
            return Ok(None);
        };
        Ok(self.with_lines(vec![row]).await?.pop())
    }

    /// Whether an order is there and a caller brought it in.
    pub async fn is_order_of(&self, id: OrderId, caller: &str) -> Result<bool, StoreError> {
        let found: Option<Uuid> = orders::Entity::find_by_id(id.as_uuid())
            .filter(orders::Column::Caller.eq(caller))
            .select_only()
            .column(orders::Column::Id)
            .into_tuple()
            .one(&self.db)
            .await
            .during("find an order's caller")?;
        Ok(found.is_some())
    }

    /// Who brought orders in; what is not there is left out.
    pub async fn find_callers(
        &self,
        ids: &[OrderId],
    ) -> Result<HashMap<OrderId, String>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        for part in ids.chunks(CALLERS_AT_ONCE) {
            let rows: Vec<(Uuid, String)> = orders::Entity::find()
                .filter(
                    orders::Column::Id.is_in(padded(part.iter().map(OrderId::as_uuid).collect())),
                )
                .select_only()
                .column(orders::Column::Id)
                .column(orders::Column::Caller)
                .into_tuple()
                .all(&self.db)
                .await
                .during("find orders' callers")?;
            found.extend(
                rows.into_iter()
                    .map(|(id, caller)| (OrderId::from_uuid(id), caller)),
            );
        }
        Ok(found)
    }

    /// Orders in the sequence asked for; what is not there is left out.
    pub async fn find_orders(&self, ids: &[OrderId]) -> Result<Vec<Order>, StoreError> {
        let rows = orders::Entity::find()
            .filter(orders::Column::Id.is_in(padded(ids.iter().map(OrderId::as_uuid).collect())))
            .all(&self.db)
            .await
            .during("find orders")?;
        let mut found: HashMap<OrderId, Order> = self
            .with_lines(rows)
            .await?
            .into_iter()
            .map(|order| (order.id, order))
            .collect();
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// The versions that orders have now; what is not there is left out.
    pub async fn order_versions(
        &self,
        ids: &[OrderId],
    ) -> Result<HashMap<OrderId, i64>, StoreError> {
        let rows: Vec<(Uuid, i64)> = orders::Entity::find()
            .select_only()
            .columns([orders::Column::Id, orders::Column::Version])
            .filter(orders::Column::Id.is_in(padded(ids.iter().map(OrderId::as_uuid).collect())))
            .into_tuple()
            .all(&self.db)
            .await
            .during("find the versions of orders")?;
        Ok(rows
            .into_iter()
            .map(|(id, version)| (OrderId::from_uuid(id), version))
            .collect())
    }

    /// The order behind a formal number.
    pub async fn find_order_by_number(
        &self,
        number: &OrderNumber,
    ) -> Result<Option<OrderId>, StoreError> {
        let row = order_numbers::Entity::find_by_id(number.digits())
            .one(&self.db)
            .await
            .during("find an order number")?;
        Ok(row.map(|row| OrderId::from_uuid(row.order_id)))
    }

    /// The order behind a sender's own number.
    pub async fn find_order_by_reference(
        &self,
        caller: &str,
        client_reference: &str,
    ) -> Result<Option<OrderId>, StoreError> {
        let row = orders::Entity::find()
            .filter(orders::Column::Caller.eq(caller))
            .filter(orders::Column::ClientReference.eq(client_reference))
            .one(&self.db)
            .await
            .during("find an order by its reference")?;
        Ok(row.map(|row| OrderId::from_uuid(row.id)))
    }

    /// Orders of the same customers with the same goods and total since a moment: probable duplicates. One statement for
    /// a whole batch.
    pub async fn find_like_orders(
        &self,
        contents: &[(&str, i64)],
        since: DateTime<Utc>,
    ) -> Result<Vec<LikeOrder>, StoreError> {
        const DOING: &str = "find like orders";
        let since_ms = since.timestamp_millis().max(0).unsigned_abs();
        // Ids are in order of time: the first id of that millisecond bounds the search.
        let first = uuid::Builder::from_unix_timestamp_millis(since_ms, &[0; 10]).into_uuid();
        let sql = format!(
            "SELECT o.id, o.customer, o.content_hash, o.caller, o.client_reference FROM {} \
             JOIN orders AS o ON o.customer = n.customer AND o.content_hash = n.content_hash \
             WHERE o.id >= ? LIMIT {LIKE_ORDERS_MAX}",
            json_rows(
                self.kind,
                &[
                    ("customer", JsonType::Key),
                    ("content_hash", JsonType::Long)
                ]
            ),
        );
        let rows = self
            .db
            .query_all_raw(Statement::from_sql_and_values(
                self.backend(),
                sql,
                [json_text(DOING, &contents)?.into(), first.into()],
            ))
            .await
            .during(DOING)?;
        rows.iter()
            .map(|row| {
                Ok(LikeOrder {
                    id: OrderId::from_uuid(row.try_get("", "id").during(DOING)?),
                    customer: row.try_get("", "customer").during(DOING)?,
                    content_hash: row.try_get("", "content_hash").during(DOING)?,
                    caller: row.try_get("", "caller").during(DOING)?,
                    client_reference: row.try_get("", "client_reference").during(DOING)?,
                })
            })
            .collect()
    }

    /// Adds the lines of all orders with one statement.
    pub(crate) async fn with_lines(
        &self,
        rows: Vec<orders::Model>,
    ) -> Result<Vec<Order>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let lines = order_lines::Entity::find()
            .filter(
                order_lines::Column::OrderId.is_in(padded(rows.iter().map(|row| row.id).collect())),
            )
            .order_by_asc(order_lines::Column::OrderId)
            .order_by_asc(order_lines::Column::LineNumber)
            .all(&self.db)
            .await
            .during("find order lines")?;
        let mut by_order: HashMap<Uuid, Vec<order_lines::Model>> = HashMap::new();
        for line in lines {
            by_order.entry(line.order_id).or_default().push(line);
        }
        rows.into_iter()
            .map(|row| {
                let lines = by_order.remove(&row.id).unwrap_or_default();
                order_rows::order(&self.keys, row, lines)
            })
            .collect()
    }
}

/// Rows that a search for duplicates gives at most; more of them would only say the same.
const LIKE_ORDERS_MAX: u32 = 500;

/// What tells a probable duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LikeOrder {
    /// Which order.
    pub id: OrderId,
    /// Whose.
    pub customer: String,
    /// Of what goods and total.
    pub content_hash: i64,
    /// Who sent it.
    pub caller: String,
    /// Under what number.
    pub client_reference: String,
}
