//! `--register`: the customers and products that stand in a file of orders, and stock of each.

use std::collections::BTreeMap;

use countersign_proto::v1::{
    Customer, ImportCustomersRequest, ImportProductsRequest, ImportStockLevelsRequest, Product,
    catalog_service_client::CatalogServiceClient, customer_service_client::CustomerServiceClient,
};

use super::reference::send_rows;
use crate::import::{
    mapping::Register,
    orders::Made,
    reference::stock_level,
    results::{Outcome, Results},
    send::Connection,
};

/// Who and what stands in a file of orders; what stood first counts.
#[derive(Debug, Default)]
pub(super) struct Known {
    customers: BTreeMap<String, Customer>,
    products: BTreeMap<String, Product>,
}

impl Known {
    /// Notes an order's customer and goods. Nobody knows who a guest is.
    pub(super) fn note(&mut self, made: Made) {
        let order = made.request.order.unwrap_or_default();
        if !made.guest
            && !order.customer.is_empty()
            && !self.customers.contains_key(&order.customer)
        {
            let contact = order.contact.clone().unwrap_or_default();
            let address = order.delivery.as_ref().and_then(|it| it.address.clone());
            let customer = Customer {
                name: format!("customers/{}", order.customer),
                display_name: contact.display_name,
                email: contact.email,
                phone: contact.phone,
                preferred_channel: contact.preferred_channel,
                locale: order.locale.clone(),
                time_zone: order.time_zone.clone(),
                address: address.filter(|it| !it.region_code.is_empty()),
                ..Customer::default()
            };
            self.customers.insert(order.customer.clone(), customer);
        }
        for line in order.lines.iter().filter(|line| !line.sku.is_empty()) {
            if !self.products.contains_key(&line.sku) {
                let product = Product {
                    name: format!("products/{}", line.sku),
                    display_name: line.goods_name.clone(),
                    specification: line.specification.clone(),
                    ..Product::default()
                };
                self.products.insert(line.sku.clone(), product);
            }
        }
    }

    /// Makes them all.
    pub(super) async fn register(
        self,
        register: &Register,
        connection: &Connection,
    ) -> anyhow::Result<()> {
        let customers = CustomerServiceClient::new(connection.clone());
        let catalog = CatalogServiceClient::new(connection.clone());
        let mut results = Results::new(None)?;
        let mut tell = |outcome: &Outcome| results.add(outcome);

        let total = self.customers.len() as u64;
        let rows = (1..)
            .zip(self.customers.into_values())
            .map(|(row, customer)| {
                let customer = Some(customer);
                Ok((row, ImportCustomersRequest { row, customer }))
            });
        let open = |stream| {
            let mut client = customers.clone();
            async move { client.import_customers(stream).await }
        };
        send_rows("customers", total, rows, open, &mut tell).await?;

        let total = self.products.len() as u64;
        let skus: Vec<String> = self.products.keys().cloned().collect();
        let rows = (1..)
            .zip(self.products.into_values())
            .map(|(row, product)| {
                let product = Some(product);
                Ok((row, ImportProductsRequest { row, product }))
            });
        let open = |stream| {
            let mut client = catalog.clone();
            async move { client.import_products(stream).await }
        };
        send_rows("products", total, rows, open, &mut tell).await?;

        let rows = (1..).zip(skus).map(|(row, sku)| {
            let stock_level = Some(stock_level(&register.warehouse, &sku, register.on_hand));
            Ok((row, ImportStockLevelsRequest { row, stock_level }))
        });
        let open = |stream| {
            let mut client = catalog.clone();
            async move { client.import_stock_levels(stream).await }
        };
        send_rows("stock", total, rows, open, &mut tell).await?;
        results.finish("registered customers, products and stock levels", None)
    }
}
