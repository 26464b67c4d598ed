//! Hashes of the links to customers' order pages. The links themselves are derived anew when a message is rendered.

use chrono::{DateTime, Utc};
use countersign_domain::ids::OrderId;
use sea_orm::{EntityTrait, Value};

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
}
