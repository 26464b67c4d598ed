//! A customer's order that passes every default rule, to be made wrong in one place by each test.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use countersign_proto::{
    common::{Money, PostalAddress},
    v1,
};
use prost_types::Timestamp;

/// An article that every test database has.
#[derive(Clone, Copy, Debug)]
pub struct Goods {
    /// Article number.
    pub sku: &'static str,
    /// What customers read.
    pub name: &'static str,
    /// Size, colour.
    pub specification: &'static str,
    /// List price in fen.
    pub price_minor: i64,
    /// Units on the shelf at the start.
    pub on_hand: i64,
    /// Months of warranty.
    pub warranty_months: u32,
}

/// The one warehouse.
pub const WAREHOUSE: &str = "WH-SH";

/// What is sold.
pub const CATALOG: [Goods; 4] = [
    Goods {
        sku: "KETTLE-17",
        name: "Electric kettle 电热水壶",
        specification: "1.7 l, steel",
        price_minor: 12_900,
        on_hand: 10_000,
        warranty_months: 24,
    },
    Goods {
        sku: "CUP-4",
        name: "Cup, set of four",
        specification: "white",
        price_minor: 5_950,
        on_hand: 10_000,
        warranty_months: 0,
    },
    Goods {
        sku: "TEA-100",
        name: "Longjing tea 龙井",
        specification: "100 g",
        price_minor: 8_800,
        on_hand: 10_000,
        warranty_months: 0,
    },
    // Few are left: orders for more are short.
    Goods {
        sku: "VASE-1",
        name: "Vase",
        specification: "blue",
        price_minor: 199_900,
        on_hand: 3,
        warranty_months: 12,
    },
];

/// Where to mail the customer of [`order_builder`].
pub const EMAIL: &str = "wei.zhang@example.com";
/// Where to ring them, in E.164.
pub const PHONE: &str = "+8613812345678";
/// Where they live.
pub const CITY: &str = "Shanghai";

/// Yuan.
pub fn cny(minor: i64) -> Money {
    Money {
        currency_code: "CNY".to_owned(),
        units: minor / 100,
        nanos: i32::try_from(minor % 100).expect("below 100") * 10_000_000,
    }
}

/// Fen of an amount of yuan.
pub fn minor(money: &Money) -> i64 {
    assert_eq!(money.currency_code, "CNY");
    money.units * 100 + i64::from(money.nanos / 10_000_000)
}

/// For the wire.
pub fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).expect("below a second"),
    }
}

/// A name that this process has not used yet.
pub fn fresh_id(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{:05}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Puts an order together.
#[derive(Clone, Debug)]
pub struct OrderBuilder {
    order: v1::Order,
    total_given: bool,
}

/// An e-commerce order by a customer of its own: two kettles and a set of cups, reachable by e-mail and phone.
pub fn order_builder() -> OrderBuilder {
    OrderBuilder {
        order: v1::Order {
            client_reference: fresh_id("shop"),
            order_type: "ECOMMERCE".to_owned(),
            source_channel: "web".to_owned(),
            entered_by: "shop-frontend".to_owned(),
            customer: fresh_id("C"),
            contact: Some(v1::Contact {
                display_name: "Zhang Wei".to_owned(),
                email: EMAIL.to_owned(),
                phone: "138 1234 5678".to_owned(),
                preferred_channel: 0,
            }),
            delivery: Some(v1::Delivery {
                address: Some(PostalAddress {
                    region_code: "CN".to_owned(),
                    postal_code: "200040".to_owned(),
                    administrative_area: CITY.to_owned(),
                    locality: CITY.to_owned(),
                    address_lines: vec!["1266 West Nanjing Road, Apt 1804".to_owned()],
                    ..PostalAddress::default()
                }),
                wishes: "Ring twice".to_owned(),
                ..v1::Delivery::default()
            }),
            payment_method: v1::PaymentMethod::Prepaid.into(),
            ..v1::Order::default()
        },
        total_given: false,
    }
    .line("KETTLE-17", 2)
    .line("CUP-4", 1)
}

impl OrderBuilder {
    /// Adds a line of the catalog's goods, or of unknown ones at a yuan each.
    #[must_use]
    pub fn line(mut self, sku: &str, quantity: i64) -> Self {
        let goods = CATALOG.iter().find(|goods| goods.sku == sku);
        self.order.lines.push(v1::OrderLine {
            sku: sku.to_owned(),
            goods_name: goods
                .map_or("Something else", |goods| goods.name)
                .to_owned(),
            specification: goods
                .map_or("as shown", |goods| goods.specification)
                .to_owned(),
            quantity,
            unit_price: Some(cny(goods.map_or(100, |goods| goods.price_minor))),
            ..v1::OrderLine::default()
        });
        self
    }

    /// Takes the lines out.
    #[must_use]
    pub fn no_lines(mut self) -> Self {
        self.order.lines.clear();
        self
    }

    /// Changes anything.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut v1::Order)) -> Self {
        change(&mut self.order);
        self
    }

    /// Another total than the lines make.
    #[must_use]
    pub fn total(mut self, total: Money) -> Self {
        self.order.total = Some(total);
        self.total_given = true;
        self
    }

    /// The order, its total what lines, freight and discount make.
    pub fn build(self) -> v1::Order {
        let mut order = self.order;
        if !self.total_given {
            let goods: i64 = order
                .lines
                .iter()
                .map(|line| line.quantity * line.unit_price.as_ref().map_or(0, minor))
                .sum();
            let freight = order.freight.as_ref().map_or(0, minor);
            let discount = order.discount.as_ref().map_or(0, minor);
            order.total = Some(cny(goods + freight - discount));
        }
        order
    }

    /// The call that sends it in, under an id of its own.
    pub fn request(self) -> v1::CreateOrderRequest {
        v1::CreateOrderRequest {
            order: Some(self.build()),
            request_id: fresh_id("create"),
            validate_only: false,
        }
    }
}
