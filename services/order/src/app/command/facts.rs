//! The facts that decisions are made on.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use countersign_domain::{
    customer::Customer, decide::Facts, number::OrderNumber, order::Order, policy::OrderPolicy,
    stock_book::StockBook,
};

use crate::{
    app::{Deciding, make::Ids, references::Known},
    error::ServiceError,
};

impl Deciding {
    /// The policy in force for the order's type.
    pub(crate) async fn policy(&self, order: &Order) -> Result<Arc<OrderPolicy>, ServiceError> {
        self.references
            .policies()
            .await?
            .current(&order.order_type)
            .ok_or_else(|| ServiceError::FailedPrecondition {
                reason: "NO_POLICY",
                message: format!("there is no policy for orders of type {}", order.order_type),
            })
    }

    pub(super) async fn know_goods(&self, order: &Order) -> Result<Known, ServiceError> {
        let skus: Vec<&str> = order.lines.iter().map(|line| line.sku.as_str()).collect();
        Ok(self.references.know(&skus, &[]).await?)
    }

    /// The order's number, or a fresh one.
    pub(super) async fn number_for(
        &self,
        order: &Order,
        now: DateTime<Utc>,
    ) -> Result<OrderNumber, ServiceError> {
        match order.order_number {
            Some(number) => Ok(number),
            None => self.numbers.next(now).await,
        }
    }

    /// Everything that judging needs.
    pub(crate) async fn gather(
        &self,
        order: &Order,
        more_skus: &[&str],
    ) -> Result<Gathered, ServiceError> {
        let mut skus: Vec<&str> = order.lines.iter().map(|line| line.sku.as_str()).collect();
        skus.extend(more_skus);
        skus.sort_unstable();
        skus.dedup();
        let (known, stock, policy) = tokio::try_join!(
            async { Ok(self.references.know(&skus, &[&order.customer]).await?) },
            async { Ok(self.store.find_stock(&skus).await?) },
            self.policy(order),
        )?;
        Ok(Gathered {
            customer: known.customer(&order.customer),
            known,
            stock: StockBook::new(stock),
            policy,
        })
    }
}

/// What judging needs, owned.
pub(crate) struct Gathered {
    pub(crate) known: Known,
    stock: StockBook,
    pub(crate) policy: Arc<OrderPolicy>,
    pub(crate) customer: Option<Arc<Customer>>,
}

impl Gathered {
    /// Lends it as the domain wants it.
    pub(crate) fn with<T>(
        &mut self,
        deciding: &Deciding,
        now: DateTime<Utc>,
        work: impl FnOnce(&mut Facts<'_>) -> T,
    ) -> T {
        let known = &self.known;
        let ids = Ids::at(now);
        work(&mut Facts {
            policy: &self.policy,
            rules: &known.policies.rules,
            customer: self.customer.as_deref(),
            product: &|sku| known.product(sku),
            prices: &|sku| known.prices(sku),
            stock: &mut self.stock,
            duplicate_of: None,
            link_key: &deciding.link_key,
            hold_id: &mut || ids.hold(),
        })
    }
}
