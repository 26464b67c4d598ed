//! `CatalogService`.

pub(crate) mod convert;

use chrono::{DateTime, Utc};
use countersign_domain::{
    catalog::{Product, StockLevel},
    text::{TextKind, checked_text},
};
use countersign_proto::v1::{
    self, catalog_service_server::CatalogService, update_stock_level_request::Change,
};
use countersign_store::{PriceKey, Put, PutOptions, StockChange};
use tonic::{Request, Response, Status, Streaming};

use self::convert::{
    PATHS, UNITS_MAX, level_to_proto, merge, price_to_proto, product_to_proto, read_level_name,
    read_price, read_product, read_units,
};
use super::reference::{ImportRow, Reference, Rows, Write, etag, import, masked, once, written};
use crate::{app::page, error::ServiceError};

impl Reference {
    async fn product(&self, name: &str) -> Result<Product, ServiceError> {
        let sku = name
            .strip_prefix("products/")
            .filter(|sku| !sku.is_empty())
            .ok_or_else(|| ServiceError::invalid("name", "must be products/{sku}"))?;
        let mut found = self.store.find_products(&[sku]).await?;
        found
            .remove(sku)
            .ok_or_else(|| ServiceError::not_found(name))
    }
}

#[tonic::async_trait]
impl CatalogService for Reference {
    async fn get_product(
        &self,
        request: Request<v1::GetProductRequest>,
    ) -> Result<Response<v1::Product>, Status> {
        Ok(Response::new(product_to_proto(
            &self.product(&request.get_ref().name).await?,
        )))
    }

    async fn list_products(
        &self,
        request: Request<v1::ListProductsRequest>,
    ) -> Result<Response<v1::ListProductsResponse>, Status> {
        let request = request.into_inner();
        let after: Option<String> = page::read_key(&request.page_token, "products")?;
        let found = self
            .store
            .list_products(after.as_deref(), page::size(request.page_size)?)
            .await
            .map_err(ServiceError::from)?;
        let next_page_token = match found.items.last() {
            Some(end) if found.more => page::key_token(&end.sku, "products")?,
            _ => String::new(),
        };
        Ok(Response::new(v1::ListProductsResponse {
            products: found.items.iter().map(product_to_proto).collect(),
            next_page_token,
        }))
    }

    async fn create_product(
        &self,
        request: Request<v1::CreateProductRequest>,
    ) -> Result<Response<v1::Product>, Status> {
        let write = Write::of(request, "CreateProduct")?;
        let given = write.inner.product.clone().unwrap_or_default();
        let product = read_product(&write.inner.product_id, "product_id", &given)?;
        let answer = product_to_proto(&product);
        let done = once(&self.store, &write.key, || async {
            let now = self.store.now().await?;
            let record = write.record(&answer, now);
            let options = PutOptions {
                version: Some(0),
                request: Some(&record),
            };
            let put = self
                .store
                .put_products(std::slice::from_ref(&product), options, now)
                .await;
            match written(put)? {
                Some(Put::Conflict) => Err(ServiceError::AlreadyExists {
                    name: answer.name.clone(),
                }),
                Some(_) => Ok(Some(answer.clone())),
                None => Ok(None),
            }
        })
        .await?;
        Ok(done)
    }

    async fn update_product(
        &self,
        request: Request<v1::UpdateProductRequest>,
    ) -> Result<Response<v1::Product>, Status> {
        let write = Write::of(request, "UpdateProduct")?;
        let paths = masked(write.inner.update_mask.as_ref(), PATHS)?;
        let given = write.inner.product.clone().unwrap_or_default();
        let done = once(&self.store, &write.key, || async {
            let old = self.product(&given.name).await?;
            if !given.etag.is_empty() && given.etag != etag(old.version) {
                return Err(ServiceError::etag_mismatch());
            }
            let merged = merge(&product_to_proto(&old), &given, &paths);
            let mut new = read_product(&old.sku, "product.name", &merged)?;
            new.version = old.version;
            if new != old {
                new.version += 1;
            }
            let (answer, now) = (product_to_proto(&new), self.store.now().await?);
            let record = write.record(&answer, now);
            let options = PutOptions {
                version: Some(old.version),
                request: Some(&record),
            };
            let put = self
                .store
                .put_products(std::slice::from_ref(&new), options, now)
                .await;
            Ok(written(put)?
                .filter(|put| *put != Put::Conflict)
                .map(|_| answer))
        })
        .await?;
        Ok(done)
    }

    type ImportProductsStream = Rows;

    async fn import_products(
        &self,
        request: Request<Streaming<v1::ImportProductsRequest>>,
    ) -> Result<Response<Rows>, Status> {
        let store = self.store.clone();
        let read = |row: v1::ImportProductsRequest| {
            let given = row.product.unwrap_or_default();
            let sku = given.name.strip_prefix("products/").unwrap_or_default();
            ImportRow {
                row: row.row,
                name: given.name.clone(),
                read: read_product(sku, "product.name", &given),
            }
        };
        Ok(Response::new(import(
            request.into_inner(),
            read,
            move |rows| {
                let store = store.clone();
                async move {
                    let now = store.now().await?;
                    store.put_products(&rows, PutOptions::default(), now).await
                }
            },
        )))
    }

    async fn list_prices(
        &self,
        request: Request<v1::ListPricesRequest>,
    ) -> Result<Response<v1::ListPricesResponse>, Status> {
        type Key = (String, String, i64, Option<DateTime<Utc>>);
        let request = request.into_inner();
        let list = format!("prices\n{}\n{}", request.price_list, request.sku);
        let after: Option<Key> = page::read_key(&request.page_token, &list)?;
        let after = after.map(|(sku, price_list, quantity_min, start_time)| PriceKey {
            sku,
            price_list,
            quantity_min,
            start_time,
        });
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (price_list, sku) = (some(&request.price_list), some(&request.sku));
        let limit = page::size(request.page_size)?;
        let found = self
            .store
            .list_prices(price_list.as_deref(), sku.as_deref(), after.as_ref(), limit)
            .await
            .map_err(ServiceError::from)?;
        let next_page_token = match found.items.last() {
            Some(end) if found.more => {
                let key: Key = (
                    end.sku.clone(),
                    end.price_list.clone(),
                    end.quantity_min,
                    end.start_time,
                );
                page::key_token(&key, &list)?
            }
            _ => String::new(),
        };
        Ok(Response::new(v1::ListPricesResponse {
            prices: found.items.iter().map(price_to_proto).collect(),
            next_page_token,
        }))
    }

    async fn update_price(
        &self,
        request: Request<v1::UpdatePriceRequest>,
    ) -> Result<Response<v1::Price>, Status> {
        let write = Write::of(request, "UpdatePrice")?;
        let price = read_price(&write.inner.price.clone().unwrap_or_default())?;
        let answer = price_to_proto(&price);
        let done = once(&self.store, &write.key, || async {
            let now = self.store.now().await?;
            let record = write.record(&answer, now);
            let put = self
                .store
                .put_prices(std::slice::from_ref(&price), Some(&record), now)
                .await;
            Ok(written(put)?.map(|_| answer.clone()))
        })
        .await?;
        Ok(done)
    }

    type ImportPricesStream = Rows;

    async fn import_prices(
        &self,
        request: Request<Streaming<v1::ImportPricesRequest>>,
    ) -> Result<Response<Rows>, Status> {
        let store = self.store.clone();
        let read = |row: v1::ImportPricesRequest| {
            let given = row.price.unwrap_or_default();
            ImportRow {
                row: row.row,
                name: format!("priceLists/{}/prices/{}", given.price_list, given.sku),
                read: read_price(&given),
            }
        };
        Ok(Response::new(import(
            request.into_inner(),
            read,
            move |rows| {
                let store = store.clone();
                async move {
                    let now = store.now().await?;
                    store.put_prices(&rows, None, now).await
                }
            },
        )))
    }

    async fn get_stock_level(
        &self,
        request: Request<v1::GetStockLevelRequest>,
    ) -> Result<Response<v1::StockLevel>, Status> {
        let name = request.into_inner().name;
        let (warehouse, sku) = read_level_name(&name, "name")?;
        let levels = self
            .store
            .find_stock(&[&sku])
            .await
            .map_err(ServiceError::from)?;
        let level = levels
            .iter()
            .find(|level| level.warehouse == warehouse)
            .ok_or_else(|| ServiceError::not_found(name))?;
        Ok(Response::new(level_to_proto(level)))
    }

    async fn list_stock_levels(
        &self,
        request: Request<v1::ListStockLevelsRequest>,
    ) -> Result<Response<v1::ListStockLevelsResponse>, Status> {
        let request = request.into_inner();
        let warehouse = request
            .parent
            .strip_prefix("warehouses/")
            .filter(|warehouse| !warehouse.is_empty())
            .ok_or_else(|| {
                ServiceError::invalid("parent", "must be warehouses/{warehouse} or warehouses/-")
            })?;
        let list = format!("stock\n{warehouse}");
        let after: Option<(String, String)> = page::read_key(&request.page_token, &list)?;
        let found = self
            .store
            .list_stock(
                (warehouse != "-").then_some(warehouse),
                after
                    .as_ref()
                    .map(|(sku, place)| (sku.as_str(), place.as_str())),
                page::size(request.page_size)?,
            )
            .await
            .map_err(ServiceError::from)?;
        let next_page_token = match found.items.last() {
            Some(end) if found.more => page::key_token(&(&end.sku, &end.warehouse), &list)?,
            _ => String::new(),
        };
        Ok(Response::new(v1::ListStockLevelsResponse {
            stock_levels: found.items.iter().map(level_to_proto).collect(),
            next_page_token,
        }))
    }

    async fn update_stock_level(
        &self,
        request: Request<v1::UpdateStockLevelRequest>,
    ) -> Result<Response<v1::StockLevel>, Status> {
        let write = Write::of(request, "UpdateStockLevel")?;
        let (warehouse, sku) = read_level_name(&write.inner.name, "name")?;
        let change = match write.inner.change {
            Some(Change::OnHand(units)) => StockChange::Counted(read_units(units, 0, "on_hand")?),
            Some(Change::Adjustment(units)) => {
                StockChange::Added(read_units(units, -UNITS_MAX, "adjustment")?)
            }
            None => {
                return Err(ServiceError::invalid(
                    "on_hand",
                    "on_hand or adjustment must be given",
                )
                .into());
            }
        };
        checked_text(&write.inner.reason, 0, 500, TextKind::MultiLine)
            .map_err(|error| ServiceError::invalid("reason", error.to_string()))?;
        let done = once(&self.store, &write.key, || async {
            let now = self.store.now().await?;
            let remember = |level: &StockLevel| write.record(&level_to_proto(level), now);
            let changed = self
                .store
                .change_stock_level(&warehouse, &sku, change, &remember, now)
                .await;
            match changed {
                Ok(Some(level)) => Ok(Some(level_to_proto(&level))),
                Ok(None) => Err(ServiceError::FailedPrecondition {
                    reason: "STOCK_PROMISED",
                    message: "less would be on hand than is promised to orders".to_owned(),
                }),
                Err(error) if error.is_unique_violation() => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        Ok(done)
    }

    type ImportStockLevelsStream = Rows;

    async fn import_stock_levels(
        &self,
        request: Request<Streaming<v1::ImportStockLevelsRequest>>,
    ) -> Result<Response<Rows>, Status> {
        let store = self.store.clone();
        let read = |row: v1::ImportStockLevelsRequest| {
            let given = row.stock_level.unwrap_or_default();
            ImportRow {
                row: row.row,
                read: read_level_name(&given.name, "stock_level.name").and_then(|(place, sku)| {
                    Ok((
                        place,
                        sku,
                        read_units(given.on_hand, 0, "stock_level.on_hand")?,
                    ))
                }),
                name: given.name,
            }
        };
        Ok(Response::new(import(
            request.into_inner(),
            read,
            move |rows: Vec<(String, String, i64)>| {
                let store = store.clone();
                async move {
                    let rows: Vec<(&str, &str, i64)> = rows
                        .iter()
                        .map(|(place, sku, units)| (place.as_str(), sku.as_str(), *units))
                        .collect();
                    store.put_stock_levels(&rows).await
                }
            },
        )))
    }
}
