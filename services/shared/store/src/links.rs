//! Hashes of the links to customers' order pages. The links themselves are derived anew when a message is rendered.

use chrono::{DateTime, Utc};
use countersign_domain::ids::OrderId;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Value};

use crate::{
    Store,
    bulk::Bulk,
    entity::order_links,
    error::{During, StoreError},
};

pub(crate) const LINKS: Bulk = Bulk {
    operation: "insert links",
    table: "order_links",
    columns: &["token_hash", "order_id", "generation", "create_time"],
};

/// Links that are looked for in one statement: with many more a server would rather read the whole table.
const LINKS_AT_ONCE: usize = 100;

/// Generation of the link that an order is given when it comes in.
pub const FIRST_GENERATION: u32 = 1;

/// Appends a row of [`LINKS`].
pub(crate) fn push_link(
    values: &mut Vec<Value>,
    hash: &[u8; 32],
    order: OrderId,
    now: DateTime<Utc>,
) {
    values.extend([
        hash.to_vec().into(),
        order.as_uuid().into(),
        1_i32.into(),
        now.into(),
    ]);
}

impl Store {
    /// The order behind a link.
    pub async fn find_order_by_link(
        &self,
        token_hash: &[u8; 32],
    ) -> Result<Option<OrderId>, StoreError> {
        let row = order_links::Entity::find_by_id(token_hash.to_vec())
            .one(&self.db)
            .await
            .during("find a link")?;
        Ok(row.map(|row| OrderId::from_uuid(row.order_id)))
    }

    /// Those of some links that there are, with their orders.
    pub async fn find_orders_by_links(
        &self,
        token_hashes: &[[u8; 32]],
    ) -> Result<Vec<([u8; 32], OrderId)>, StoreError> {
        let mut found = Vec::new();
        for part in token_hashes.chunks(LINKS_AT_ONCE) {
            let rows = order_links::Entity::find()
                .filter(order_links::Column::TokenHash.is_in(part.iter().map(|hash| hash.to_vec())))
                .all(&self.db)
                .await
                .during("find links")?;
            found.extend(rows.into_iter().filter_map(|row| {
                let hash = row.token_hash.try_into().ok()?;
                Some((hash, OrderId::from_uuid(row.order_id)))
            }));
        }
        Ok(found)
    }
}
