//! Orders that messages were just about: an order's acknowledgement and its question to the customer follow each other
//! within moments, and its texts and lines are most of what a message is made of.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use countersign_domain::{ids::OrderId, order::Order};
use countersign_store::{Store, StoreError};

/// Orders of one generation; there are two. Some kilobytes each.
const GENERATION: usize = 2_048;

/// Orders as they were last read. Whoever wants one learns by its version whether it is still so.
#[derive(Default)]
pub(crate) struct RecentOrders(Mutex<Generations>);

/// What is not asked for while a whole generation comes in is forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<OrderId, Arc<Order>>,
    old: HashMap<OrderId, Arc<Order>>,
}

impl RecentOrders {
    /// The orders as they stand now; what is not there is left out.
    pub(super) async fn find(
        &self,
        store: &Store,
        ids: &HashSet<OrderId>,
    ) -> Result<HashMap<OrderId, Arc<Order>>, StoreError> {
        let mut found = self.known(ids);
        if !found.is_empty() {
            let known: Vec<OrderId> = found.keys().copied().collect();
            let versions = store.order_versions(&known).await?;
            found.retain(|id, order| versions.get(id) == Some(&order.version));
        }
        let missing: Vec<OrderId> = ids
            .iter()
            .filter(|id| !found.contains_key(id))
            .copied()
            .collect();
        if !missing.is_empty() {
            let read: Vec<Arc<Order>> = store
                .find_orders(&missing)
                .await?
                .into_iter()
                .map(Arc::new)
                .collect();
            found.extend(read.iter().map(|order| (order.id, order.clone())));
            self.keep(read);
        }
        Ok(found)
    }

    fn known(&self, ids: &HashSet<OrderId>) -> HashMap<OrderId, Arc<Order>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter()
            .filter_map(|id| {
                Some((
                    *id,
                    kept.young.get(id).or_else(|| kept.old.get(id))?.clone(),
                ))
            })
            .collect()
    }

    fn keep(&self, orders: Vec<Arc<Order>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for order in orders {
            if kept.young.len() >= GENERATION {
                kept.old = std::mem::take(&mut kept.young);
            }
            kept.young.insert(order.id, order);
        }
    }
}
