//! Hashes of the links to customers' order pages. The links themselves are derived anew when a message is rendered.

use chrono::{DateTime, Utc};
use countersign_domain::{
    erasure::is_pseudonym,
    ids::OrderId,
    secrets::{LinkKey, token_hash},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value};
use uuid::Uuid;

use crate::{
    Store,
    bulk::Bulk,
    entity::{order_links, orders},
    error::{During, StoreError},
};

pub(crate) const LINKS: Bulk = Bulk {
    operation: "insert links",
    table: "order_links",
    columns: &["token_hash", "order_id", "generation", "create_time"],
};

/// Links that are looked for in one statement: with many more a server would rather read the whole table.
const LINKS_AT_ONCE: usize = 100;

/// Orders whose links tell whether a key is this database's.
const NEWEST: u64 = 100;

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
    /// Whether customers' links are made with one of these keys: that of at least one of the newest orders, when there are any that
    /// have one. With another key nobody's link would open a page.
    pub async fn knows_links_of(&self, key: &LinkKey) -> Result<bool, StoreError> {
        let newest: Vec<(Uuid, String)> = orders::Entity::find()
            .select_only()
            .columns([orders::Column::Id, orders::Column::Customer])
            .order_by_desc(orders::Column::Id)
            .limit(NEWEST)
            .into_tuple()
            .all(&self.db)
            .await
            .during("find the newest orders")?;
        // Those of erased customers have lost their links.
        let hashes: Vec<[u8; 32]> = newest
            .into_iter()
            .filter(|(_, customer)| !is_pseudonym(customer))
            .flat_map(|(order, _)| {
                let order = OrderId::from_uuid(order);
                key.each()
                    .map(move |key| token_hash(&key.link_token(order, FIRST_GENERATION)))
            })
            .collect();
        Ok(hashes.is_empty() || !self.find_orders_by_links(&hashes).await?.is_empty())
    }

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
