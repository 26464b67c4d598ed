//! What can only be found by looking through a whole table: answers that belong to no order, and remembered calls.

use std::collections::BTreeSet;

use countersign_domain::{
    ids::{ErasureId, OrderId},
    order::Order,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{DOING, ErasureReport, order::order_keys};
use crate::{
    Store,
    delivery_rows::padded,
    entity::{deliveries, erasures, orders, replies, requests},
    error::{During, StoreError},
    rows::json_text,
    sealed::{DELIVERIES_RECIPIENT, REPLIES_PAYLOAD, REQUESTS_RESPONSE},
};

/// Rows of a page.
const ROWS: u64 = 500;
/// Orders of a page.
const ORDERS: u64 = 100;
/// Pages of answers that are looked through before it is written down how far that came: a call that waits for it has ten
/// seconds, and whoever goes on after a crash does not begin anew.
const PAGES: usize = 4;

impl Store {
    /// Takes away what came back from the customer's addresses and was brought to no order, some pages from where the last piece
    /// has ended. True when all of it has been looked through.
    pub(super) async fn erase_loose_replies(
        &self,
        row: &erasures::Model,
        mut report: ErasureReport,
    ) -> Result<bool, StoreError> {
        let addresses = self.addresses(&row.customer).await?;
        if addresses.is_empty() {
            return Ok(true);
        }
        let mut after = report.replies_after.unwrap_or(Uuid::nil());
        for _ in 0..PAGES {
            let page = replies::Entity::find()
                .filter(replies::Column::OrderId.is_null())
                .filter(replies::Column::Id.gt(after))
                .order_by_asc(replies::Column::Id)
                .limit(ROWS)
                .all(&self.db)
                .await
                .during(DOING)?;
            let Some(last) = page.last() else {
                return Ok(true);
            };
            after = last.id;
            let mut hit: Vec<Uuid> = Vec::new();
            for reply in &page {
                let text = REPLIES_PAYLOAD.open_text(&self.keys, &reply.id, &reply.payload)?;
                let text = text.to_lowercase();
                if addresses.iter().any(|address| text.contains(address)) {
                    hit.push(reply.id);
                }
            }
            if !hit.is_empty() {
                replies::Entity::delete_many()
                    .filter(replies::Column::Id.is_in(padded(hit)))
                    .exec(&self.db)
                    .await
                    .during(DOING)?;
            }
        }
        report.replies_after = Some(after);
        // Somebody else may be going on with it as well, and have come further.
        erasures::Entity::update_many()
            .col_expr(erasures::Column::Report, json_text(DOING, &report)?.into())
            .filter(erasures::Column::Id.eq(row.id))
            .filter(erasures::Column::State.eq(row.state.as_str()))
            .filter(erasures::Column::Report.eq(row.report.as_str()))
            .exec(&self.db)
            .await
            .during(DOING)?;
        Ok(false)
    }

    /// Every e-mail address and telephone number of a customer, in small letters, numbers without their plus.
    async fn addresses(&self, customer: &str) -> Result<BTreeSet<String>, StoreError> {
        let mut found = Addresses::default();
        let records = self.find_customers(&[customer]).await?;
        for record in records.values() {
            record
                .profile
                .email
                .iter()
                .for_each(|it| found.add(it.as_str()));
            record
                .profile
                .phone
                .iter()
                .for_each(|it| found.add(it.as_e164()));
        }
        let mut after = Uuid::nil();
        loop {
            let ids: Vec<Uuid> = orders::Entity::find()
                .select_only()
                .column(orders::Column::Id)
                .filter(orders::Column::Customer.eq(customer))
                .filter(orders::Column::Id.gt(after))
                .order_by_asc(orders::Column::Id)
                .limit(ORDERS)
                .into_tuple()
                .all(&self.db)
                .await
                .during(DOING)?;
            let Some(last) = ids.last() else {
                return Ok(found.0);
            };
            after = *last;
            let ids: Vec<OrderId> = ids.into_iter().map(OrderId::from_uuid).collect();
            let orders: Vec<Order> = self.find_orders(&ids).await?;
            for order in &orders {
                let terms = &order.terms;
                terms
                    .contact
                    .email
                    .iter()
                    .for_each(|it| found.add(it.as_str()));
                terms
                    .contact
                    .phone
                    .iter()
                    .for_each(|it| found.add(it.as_e164()));
                terms
                    .delivery
                    .phone
                    .iter()
                    .for_each(|it| found.add(it.as_e164()));
            }
            let messages = deliveries::Entity::find()
                .filter(deliveries::Column::OrderId.is_in(order_keys(&ids)))
                .all(&self.db)
                .await
                .during(DOING)?;
            for row in &messages {
                found.add(&DELIVERIES_RECIPIENT.open_text(&self.keys, &row.id, &row.recipient)?);
            }
        }
    }

    /// Forgets the answers of calls about the customer and the erased orders. The calls themselves stay known, so that none is
    /// carried out once more: one that is repeated is told that its id was used for something else.
    pub(super) async fn erase_requests(
        &self,
        id: ErasureId,
        customer: &str,
    ) -> Result<(), StoreError> {
        let wanted = self.wanted(id, customer).await?;
        let mut after = Uuid::nil();
        while let Some(page) = self.requests_page(after).await? {
            after = page.last().map_or(after, |row| row.0);
            let hit: Vec<Uuid> = page
                .iter()
                .filter(|row| wanted.is_in(&row.1))
                .map(|row| row.0)
                .collect();
            if !hit.is_empty() {
                requests::Entity::update_many()
                    .set(requests::ActiveModel {
                        response: sea_orm::ActiveValue::Set(Vec::new()),
                        fingerprint: sea_orm::ActiveValue::Set(vec![0; 32]),
                        ..Default::default()
                    })
                    .filter(requests::Column::Id.is_in(padded(hit)))
                    .exec(&self.db)
                    .await
                    .during(DOING)?;
            }
        }
        Ok(())
    }

    /// Counts remembered calls, and those that still tell something.
    pub(super) async fn count_requests(
        &self,
        id: ErasureId,
        customer: &str,
    ) -> Result<(u64, u64), StoreError> {
        let wanted = self.wanted(id, customer).await?;
        let (mut looked_at, mut left) = (0, 0);
        let mut after = Uuid::nil();
        while let Some(page) = self.requests_page(after).await? {
            after = page.last().map_or(after, |row| row.0);
            looked_at += page.len() as u64;
            left += page.iter().filter(|row| wanted.is_in(&row.1)).count() as u64;
        }
        Ok((looked_at, left))
    }

    /// Remembered calls with their answers; none behind the last page.
    async fn requests_page(&self, after: Uuid) -> Result<Option<Vec<(Uuid, Vec<u8>)>>, StoreError> {
        let page = requests::Entity::find()
            .filter(requests::Column::Id.gt(after))
            .order_by_asc(requests::Column::Id)
            .limit(ROWS)
            .all(&self.db)
            .await
            .during(DOING)?;
        let page = page
            .into_iter()
            .map(|row| {
                let answer = REQUESTS_RESPONSE.open(&self.keys, &row.id, &row.response)?;
                Ok((row.id, answer))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(Some(page).filter(|page| !page.is_empty()))
    }

    async fn wanted(&self, id: ErasureId, customer: &str) -> Result<Wanted, StoreError> {
        let orders = self.erased_orders(id).await?;
        Ok(Wanted {
            orders: orders
                .into_iter()
                .map(|id| id.hyphenated().to_string().into_bytes())
                .collect(),
            customer: format!("customers/{customer}").into_bytes(),
        })
    }
}

/// Addresses in the one way of writing them that is looked for.
#[derive(Default)]
struct Addresses(BTreeSet<String>);

impl Addresses {
    fn add(&mut self, address: &str) {
        let address = address.trim().trim_start_matches('+').to_lowercase();
        // What is shorter would be found in other people's words.
        if address.len() >= 7 {
            self.0.insert(address);
        }
    }
}

/// Names that stand in answers about a customer.
struct Wanted {
    /// Ids as they are written.
    orders: BTreeSet<Vec<u8>>,
    customer: Vec<u8>,
}

impl Wanted {
    fn is_in(&self, answer: &[u8]) -> bool {
        const ORDERS: &[u8] = b"orders/";
        let about_order = answer.windows(ORDERS.len() + 36).any(|window| {
            window.starts_with(ORDERS) && self.orders.contains(&window[ORDERS.len()..])
        });
        // A field of an encoded message has its length before it, so that no longer code begins alike.
        let length = u8::try_from(self.customer.len()).unwrap_or(u8::MAX);
        about_order
            || answer
                .windows(self.customer.len() + 1)
                .any(|window| window.first() == Some(&length) && window[1..] == *self.customer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_by_the_names_in_them() {
        let order = "01932e4f-7a3c-7cc1-9b5a-3f0e8c2d4b6a";
        let wanted = Wanted {
            orders: BTreeSet::from([order.as_bytes().to_vec()]),
            customer: b"customers/C-1".to_vec(),
        };
        assert!(wanted.is_in(format!("\n+orders/{order}\u{12}").as_bytes()));
        assert!(!wanted.is_in(b"\n+orders/01932e4f-7a3c-7cc1-9b5a-3f0e8c2d4b6b"));
        assert!(wanted.is_in(b"\n\x0dcustomers/C-1\x12\x03abc"));
        assert!(!wanted.is_in(b"\n\x0ecustomers/C-10"));
        assert!(!wanted.is_in(b""));
    }
}
