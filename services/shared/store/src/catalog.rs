//! Products and price lists.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    catalog::{Price, Product},
    money::{Currency, Money},
};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::{
    Store,
    entity::{prices, products},
    error::{During, StoreError},
    puts::PutOptions,
    rows::At,
};

/// Some rows of a longer list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// As many as asked for, or fewer at the end.
    pub items: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

impl<T> Page<T> {
    /// Cuts rows of which one more than wanted was read.
    pub(crate) fn cut<R>(mut rows: Vec<R>, limit: u64, convert: impl Fn(R) -> T) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Self {
            items: rows.into_iter().map(convert).collect(),
            more,
        }
    }
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was none.
    Created,
    /// It was different.
    Replaced,
    /// It was the same.
    Unchanged,
    /// Somebody else changed it meanwhile.
    Conflict,
}

/// The moment that stands for "always" where a key cannot be NULL.
pub(crate) const ALWAYS: DateTime<Utc> = DateTime::UNIX_EPOCH;

impl Store {
    /// Products by SKU.
    pub async fn find_products(
        &self,
        skus: &[&str],
    ) -> Result<HashMap<String, Product>, StoreError> {
        let mut found = HashMap::with_capacity(skus.len());
        for chunk in skus.chunks(LOOKUP_CHUNK) {
            let rows = products::Entity::find()
                .filter(products::Column::Sku.is_in(chunk.iter().copied()))
                .all(&self.db)
                .await
                .during("find products")?;
            for row in rows {
                let product = product(row)?;
                found.insert(product.sku.clone(), product);
            }
        }
        Ok(found)
    }

    /// A page of products by SKU.
    pub async fn list_products(
        &self,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Page<Product>, StoreError> {
        let mut query = products::Entity::find()
            .order_by_asc(products::Column::Sku)
            .limit(limit + 1);
        if let Some(after) = after {
            query = query.filter(products::Column::Sku.gt(after));
        }
        let rows = query.all(&self.db).await.during("list products")?;
        let page = Page::cut(rows, limit, product);
        Ok(Page {
            items: page.items.into_iter().collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    /// Creates or replaces a product. With `version` only that version is replaced; 0 means that there must be none.
    pub async fn put_product(
        &self,
        product: &Product,
        version: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<Put, StoreError> {
        let options = PutOptions {
            version,
            request: None,
        };
        let puts = self
            .put_products(std::slice::from_ref(product), options, now)
            .await?;
        Ok(puts.first().copied().unwrap_or(Put::Conflict))
    }

    /// Prices of these SKUs in all lists.
    pub async fn find_prices(
        &self,
        skus: &[&str],
    ) -> Result<HashMap<String, Vec<Price>>, StoreError> {
        let mut found: HashMap<String, Vec<Price>> = HashMap::new();
        for chunk in skus.chunks(LOOKUP_CHUNK) {
            let rows = prices::Entity::find()
                .filter(prices::Column::Sku.is_in(chunk.iter().copied()))
                .all(&self.db)
                .await
                .during("find prices")?;
            for row in rows {
                let price = price(row)?;
                found.entry(price.sku.clone()).or_default().push(price);
            }
        }
        Ok(found)
    }

    /// A page of prices by SKU, list, quantity and start, of a list and a SKU or of all.
    pub async fn list_prices(
        &self,
        price_list: Option<&str>,
        sku: Option<&str>,
        after: Option<&PriceKey>,
        limit: u64,
    ) -> Result<Page<Price>, StoreError> {
        use prices::Column as C;
        let mut query = prices::Entity::find()
            .order_by_asc(C::Sku)
            .order_by_asc(C::PriceList)
            .order_by_asc(C::QuantityMin)
            .order_by_asc(C::StartTime)
            .limit(limit + 1);
        if let Some(list) = price_list {
            query = query.filter(C::PriceList.eq(list));
        }
        if let Some(sku) = sku {
            query = query.filter(C::Sku.eq(sku));
        }
        if let Some(key) = after {
            let start = key.start_time.unwrap_or(ALWAYS);
            let in_quantity = Condition::any()
                .add(C::QuantityMin.gt(key.quantity_min))
                .add(
                    Condition::all()
                        .add(C::QuantityMin.eq(key.quantity_min))
                        .add(C::StartTime.gt(start)),
                );
            let in_list = Condition::any()
                .add(C::PriceList.gt(key.price_list.as_str()))
                .add(
                    Condition::all()
                        .add(C::PriceList.eq(key.price_list.as_str()))
                        .add(in_quantity),
                );
            query = query.filter(C::Sku.gte(key.sku.as_str())).filter(
                Condition::any()
                    .add(C::Sku.gt(key.sku.as_str()))
                    .add(in_list),
            );
        }
        let rows = query.all(&self.db).await.during("list prices")?;
        let page = Page::cut(rows, limit, price);
        Ok(Page {
            items: page.items.into_iter().collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    /// Creates or replaces a price.
    pub async fn put_price(&self, price: &Price) -> Result<(), StoreError> {
        self.put_prices(std::slice::from_ref(price), None, ALWAYS)
            .await
            .map(|_| ())
    }
}

/// Where a page of prices ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceKey {
    /// Of the last price.
    pub sku: String,
    /// Of the last price.
    pub price_list: String,
    /// Of the last price.
    pub quantity_min: i64,
    /// Of the last price.
    pub start_time: Option<DateTime<Utc>>,
}

/// Keys that one look-up asks for.
const LOOKUP_CHUNK: usize = 256;

fn product(row: products::Model) -> Result<Product, StoreError> {
    let at = At {
        table: "products",
        row: &row.sku,
    };
    Ok(Product {
        version: row.version,
        profile: at.json("profile", &row.profile)?,
        sku: row.sku,
    })
}

fn price(row: prices::Model) -> Result<Price, StoreError> {
    let at = At {
        table: "prices",
        row: &row.sku,
    };
    let currency = Currency::parse(&row.currency).map_err(|error| at.wrong("currency", error))?;
    Ok(Price {
        unit_price: Money::new(row.unit_price_minor, currency),
        start_time: (row.start_time != ALWAYS).then_some(row.start_time),
        end_time: row.end_time,
        quantity_min: row.quantity_min,
        price_list: row.price_list,
        sku: row.sku,
    })
}
