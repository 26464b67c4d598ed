//! The orders of the benchmark: three lines each, over five thousand articles or one.

use countersign_proto::{common, v1};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Articles in the catalogue.
pub(super) const SKUS: u32 = 5_000;
/// Customers with a record.
pub(super) const CUSTOMERS: u32 = 2_000;
/// Lines of an order.
const LINES: usize = 3;
/// Price of everything, minor units.
pub(super) const PRICE_MINOR: i64 = 1_999;

/// Makes orders that pass every rule.
#[derive(Debug)]
pub(super) struct Orders {
    run: String,
    random: SmallRng,
    next: u64,
    hot: bool,
}

impl Orders {
    /// Orders named after `run`, which must be its own for each maker.
    pub(super) fn new(run: &str, seed: u64, hot: bool) -> Self {
        Self {
            run: run.to_owned(),
            random: SmallRng::seed_from_u64(seed),
            next: 0,
            hot,
        }
    }

    /// The next order, of a customer who wants texts.
    pub(super) fn make_by_text(&mut self) -> v1::CreateOrderRequest {
        let mut request = self.make();
        if let Some(contact) = request.order.as_mut().and_then(|it| it.contact.as_mut()) {
            contact.preferred_channel = v1::Channel::Sms.into();
        }
        request
    }

    /// The next order.
    pub(super) fn make(&mut self) -> v1::CreateOrderRequest {
        self.next += 1;
        let reference = format!("{}-{}", self.run, self.next);
        let customer = self.random.random_range(0..CUSTOMERS);
        let mut units = 0;
        let lines = (0..LINES)
            .map(|line| {
                let sku = if self.hot && line == 0 {
                    0
                } else {
                    self.random.random_range(1..SKUS)
                };
                let quantity = self.random.random_range(1..=3);
                units += quantity;
                v1::OrderLine {
                    sku: sku_name(sku),
                    goods_name: format!("Article {sku}, enamelled"),
                    specification: "blue, 30 cm".into(),
                    quantity,
                    unit_price: Some(money(PRICE_MINOR)),
                    ..v1::OrderLine::default()
                }
            })
            .collect();
        v1::CreateOrderRequest {
            request_id: reference.clone(),
            validate_only: false,
            order: Some(v1::Order {
                client_reference: reference,
                order_type: "ECOMMERCE".into(),
                source_channel: "web".into(),
                customer: customer_code(customer),
                contact: Some(v1::Contact {
                    display_name: format!("Customer {customer}"),
                    email: format!("customer{customer}@example.com"),
                    phone: format!("+86138{customer:08}"),
                    ..v1::Contact::default()
                }),
                lines,
                delivery: Some(v1::Delivery {
                    address: Some(common::PostalAddress {
                        region_code: "DE".into(),
                        postal_code: "10115".into(),
                        locality: "Berlin".into(),
                        address_lines: vec![format!("Invalidenstraße {}", customer % 200 + 1)],
                        ..common::PostalAddress::default()
                    }),
                    ..v1::Delivery::default()
                }),
                payment_method: v1::PaymentMethod::Prepaid.into(),
                total: Some(money(PRICE_MINOR * units)),
                ..v1::Order::default()
            }),
        }
    }
}

/// Name of an article.
pub(super) fn sku_name(sku: u32) -> String {
    format!("SKU-{sku:05}")
}

/// Code of a customer.
pub(super) fn customer_code(customer: u32) -> String {
    format!("C{customer:06}")
}

/// An amount in EUR.
pub(super) fn money(minor: i64) -> common::Money {
    common::Money {
        currency_code: "EUR".into(),
        units: minor / 100,
        nanos: i32::try_from(minor % 100).unwrap_or(0) * 10_000_000,
    }
}
