//! The shop's own data: `sample/*.csv`, in the form that `import` takes without a mapping.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use countersign_proto::v1::{
    Customer, ImportCustomersRequest, ImportPricesRequest, ImportProductsRequest,
    ImportStockLevelsRequest, ListStockLevelsRequest, Price, Product, StockLevel,
    catalog_service_client::CatalogServiceClient, customer_service_client::CustomerServiceClient,
};

use crate::import::{
    mapping::Mapping,
    reading::Problem,
    record::Record,
    reference,
    rows::Rows,
    send::{self, Connection},
};

/// An article with what it costs.
pub(super) struct Article {
    pub(super) product: Product,
    pub(super) price: Price,
}

/// See the module.
pub(super) struct Shop {
    pub(super) customers: Vec<Customer>,
    /// By currency, which is how a customer's assortment is told.
    pub(super) articles: HashMap<String, Vec<Article>>,
    products: Vec<Product>,
    prices: Vec<Price>,
    stock: Vec<StockLevel>,
}

impl Shop {
    /// Reads what is built in.
    pub(super) fn read() -> anyhow::Result<Self> {
        let mapping = Mapping::load("countersign")?;
        let (Some(customer), Some(product), Some(price), Some(stock)) = (
            &mapping.customers,
            &mapping.products,
            &mapping.prices,
            &mapping.stock,
        ) else {
            anyhow::bail!("the mapping that ships lacks a section");
        };
        let customers = table(include_str!("../../sample/customers.csv"), |row| {
            reference::customer(&mapping, customer, row)
        })?;
        let products = table(include_str!("../../sample/products.csv"), |row| {
            reference::product(&mapping, product, row)
        })?;
        let prices = table(include_str!("../../sample/prices.csv"), |row| {
            reference::price(&mapping, price, row)
        })?;
        let stock = table(include_str!("../../sample/stock.csv"), |row| {
            reference::stock(&mapping, stock, row)
        })?;
        let mut articles: HashMap<String, Vec<Article>> = HashMap::new();
        for product in &products {
            let sku = product.name.trim_start_matches("products/");
            let price = prices
                .iter()
                .find(|price: &&Price| price.sku == sku)
                .with_context(|| format!("the sample has no price of {sku}"))?;
            let currency = price.unit_price.clone().unwrap_or_default().currency_code;
            articles.entry(currency).or_default().push(Article {
                product: product.clone(),
                price: price.clone(),
            });
        }
        Ok(Self {
            customers,
            articles,
            products,
            prices,
            stock,
        })
    }

    /// Makes everything, unless it has been made: counting the stock again would undo what was sold since. Nothing is sold
    /// before all of it is there, so what was cut off half-way is made once more.
    pub(super) async fn register(&self, connection: &Connection) -> anyhow::Result<()> {
        let mut catalog = CatalogServiceClient::new(connection.clone());
        if self.is_registered(&mut catalog).await? {
            return Ok(());
        }
        let customers = CustomerServiceClient::new(connection.clone());
        let rows = numbered(&self.customers, |row, customer| ImportCustomersRequest {
            row,
            customer: Some(customer),
        });
        let open = |stream| {
            let mut client = customers.clone();
            async move { client.import_customers(stream).await }
        };
        send::stream(rows, open, |_, answer| accepted(&answer.error)).await?;
        let rows = numbered(&self.products, |row, product| ImportProductsRequest {
            row,
            product: Some(product),
        });
        let open = |stream| {
            let mut client = catalog.clone();
            async move { client.import_products(stream).await }
        };
        send::stream(rows, open, |_, answer| accepted(&answer.error)).await?;
        let rows = numbered(&self.prices, |row, price| ImportPricesRequest {
            row,
            price: Some(price),
        });
        let open = |stream| {
            let mut client = catalog.clone();
            async move { client.import_prices(stream).await }
        };
        send::stream(rows, open, |_, answer| accepted(&answer.error)).await?;
        let rows = numbered(&self.stock, |row, level| ImportStockLevelsRequest {
            row,
            stock_level: Some(level),
        });
        let open = |stream| {
            let mut client = catalog.clone();
            async move { client.import_stock_levels(stream).await }
        };
        send::stream(rows, open, |_, answer| accepted(&answer.error)).await
    }
}

impl Shop {
    /// Whether all stock has been counted. Levels are imported in several batches, so the last one says nothing.
    async fn is_registered(
        &self,
        catalog: &mut CatalogServiceClient<Connection>,
    ) -> anyhow::Result<bool> {
        let mut missing: HashSet<&str> = self.stock.iter().map(|it| it.name.as_str()).collect();
        let mut page_token = String::new();
        loop {
            let request = ListStockLevelsRequest {
                parent: "warehouses/-".to_owned(),
                page_size: 1_000,
                page_token,
            };
            let page = catalog
                .list_stock_levels(request)
                .await
                .context("look for the sample's stock")?
                .into_inner();
            for level in &page.stock_levels {
                missing.remove(level.name.as_str());
            }
            if missing.is_empty() || page.next_page_token.is_empty() {
                return Ok(missing.is_empty());
            }
            page_token = page.next_page_token;
        }
    }
}

fn numbered<T: Clone, Q>(
    items: &[T],
    make: impl Fn(i64, T) -> Q,
) -> impl Iterator<Item = anyhow::Result<(i64, Q)>> {
    (1..)
        .zip(items)
        .map(move |(row, item)| Ok((row, make(row, item.clone()))))
}

fn accepted(error: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        error.is_empty(),
        "the service refuses the sample's own data: {error}"
    );
    Ok(())
}

fn table<T>(
    text: &'static str,
    make: impl Fn(&Record) -> (T, Vec<Problem>),
) -> anyhow::Result<Vec<T>> {
    Rows::of_csv(text)?
        .map(|row| {
            let (line, record) = row?;
            let (value, problems) = make(&record);
            anyhow::ensure!(
                problems.is_empty(),
                "line {line} of the sample: {problems:?}"
            );
            Ok(value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_customer_of_the_sample_finds_articles_in_their_currency() {
        let shop = Shop::read().unwrap();

        assert_eq!(shop.customers.len(), 40);
        assert!(shop.products.len() >= 58);
        for customer in &shop.customers {
            let currency = &customer.credit_limit.as_ref().unwrap().currency_code;
            assert!(shop.articles[currency].len() >= 12, "{currency}");
        }
        let warehouses: std::collections::BTreeSet<&str> = shop
            .stock
            .iter()
            .filter_map(|level| level.name.split('/').nth(1))
            .collect();
        assert_eq!(warehouses.len(), 3);
    }
}
