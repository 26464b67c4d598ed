//! Products and price lists.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    catalog::{Price, Product},
    money::{Currency, Money},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};

use crate::{
    Store,
    entity::{prices, products},
    error::{During, StoreError},
    policies::{ReferenceKind, bump},
    rows::{At, json_text},
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
        const DOING: &str = "put a product";
        let profile = json_text(DOING, &product.profile)?;
        let sku = product.sku.clone();
        let put = self
            .write(|transaction| {
                let (sku, profile) = (sku.clone(), profile.clone());
                Box::pin(async move {
                    let old = products::Entity::find_by_id(sku.clone())
                        .one(transaction)
                        .await
                        .during(DOING)?;
                    let Some(old) = old else {
                        if version.is_some_and(|version| version != 0) {
                            return Ok(Put::Conflict);
                        }
                        let row = products::ActiveModel {
                            sku: Set(sku),
                            version: Set(1),
                            profile: Set(profile),
                            create_time: Set(now),
                            update_time: Set(now),
                        };
                        products::Entity::insert(row)
                            .exec_without_returning(transaction)
                            .await
                            .during(DOING)?;
                        return Ok(Put::Created);
                    };
                    if version.is_some_and(|version| version != old.version) {
                        return Ok(Put::Conflict);
                    }
                    if old.profile == profile {
                        return Ok(Put::Unchanged);
                    }
                    let updated = products::Entity::update_many()
                        .set(products::ActiveModel {
                            version: Set(old.version + 1),
                            profile: Set(profile),
                            update_time: Set(now),
                            ..Default::default()
                        })
                        .filter(products::Column::Sku.eq(sku))
                        .filter(products::Column::Version.eq(old.version))
                        .exec(transaction)
                        .await
                        .during(DOING)?;
                    Ok(if updated.rows_affected == 1 {
                        Put::Replaced
                    } else {
                        Put::Conflict
                    })
                })
            })
            .await?;
        if matches!(put, Put::Created | Put::Replaced) {
            bump(self, ReferenceKind::Products).await?;
        }
        Ok(put)
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

    /// A page of prices, of a list and a SKU or of all.
    pub async fn list_prices(
        &self,
        price_list: Option<&str>,
        sku: Option<&str>,
        offset: u64,
        limit: u64,
    ) -> Result<Page<Price>, StoreError> {
        let mut query = prices::Entity::find()
            .order_by_asc(prices::Column::Sku)
            .order_by_asc(prices::Column::PriceList)
            .order_by_asc(prices::Column::QuantityMin)
            .order_by_asc(prices::Column::StartTime)
            .offset(offset)
            .limit(limit + 1);
        if let Some(list) = price_list {
            query = query.filter(prices::Column::PriceList.eq(list));
        }
        if let Some(sku) = sku {
            query = query.filter(prices::Column::Sku.eq(sku));
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
        let row = prices::ActiveModel {
            sku: Set(price.sku.clone()),
            price_list: Set(price.price_list.clone()),
            quantity_min: Set(price.quantity_min),
            start_time: Set(price.start_time.unwrap_or(ALWAYS)),
            end_time: Set(price.end_time),
            unit_price_minor: Set(price.unit_price.minor),
            currency: Set(price.unit_price.currency.code().to_owned()),
        };
        prices::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([
                    prices::Column::Sku,
                    prices::Column::PriceList,
                    prices::Column::QuantityMin,
                    prices::Column::StartTime,
                ])
                .update_columns([
                    prices::Column::EndTime,
                    prices::Column::UnitPriceMinor,
                    prices::Column::Currency,
                ])
                .to_owned(),
            )
            .exec_without_returning(&self.db)
            .await
            .during("put a price")?;
        bump(self, ReferenceKind::Prices).await
    }
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
