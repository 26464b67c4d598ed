//! Products, prices and stock as the audit sees them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::money::Money;

/// An article that can be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The seller's article number.
    pub sku: String,
    /// Grows by one with each change.
    pub version: i64,
    /// The rest.
    pub profile: ProductProfile,
}

/// What is only read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProductProfile {
    /// For people.
    pub display_name: String,
    /// Size, colour, model.
    pub specification: String,
    /// Parts that belong to it.
    pub accessories: Vec<String>,
    /// Of one unit.
    pub weight_grams: i64,
    /// Of one unit.
    pub volume_millilitres: i64,
    /// Orders above this are reviewed; no limit when 0.
    pub usual_quantity_max: i64,
    /// No longer sold.
    pub discontinued: bool,
    /// Months of warranty.
    pub warranty_months: u32,
}

/// A price of a list, from a quantity on, for a time (T5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// "default", a customer tier or a customer's code.
    pub price_list: String,
    /// Of what.
    pub sku: String,
    /// From this quantity on.
    pub quantity_min: i64,
    /// Of one unit.
    pub unit_price: Money,
    /// Valid from; always when absent.
    pub start_time: Option<DateTime<Utc>>,
    /// Valid until; for ever when absent.
    pub end_time: Option<DateTime<Utc>>,
}

/// Goods of one article in one warehouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockLevel {
    /// Where.
    pub warehouse: String,
    /// What.
    pub sku: String,
    /// Counted.
    pub on_hand: i64,
    /// Promised to orders.
    pub reserved: i64,
}

impl StockLevel {
    /// What can still be promised.
    pub const fn available(&self) -> i64 {
        self.on_hand - self.reserved
    }
}

/// A change of what is reserved and on hand, applied on condition that 0 ≤ reserved ≤ on hand afterwards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StockDelta {
    /// Where.
    pub warehouse: String,
    /// What.
    pub sku: String,
    /// Added to what is reserved.
    pub reserved: i64,
    /// Added to what is on hand.
    pub on_hand: i64,
}

/// The price that holds for a customer, a quantity and a moment: the customer's own list before their tier's before
/// the default one; within a list the entry of the greatest quantity reached.
pub fn list_price<'a>(
    prices: &'a [Price],
    customer: &str,
    tier: Option<&str>,
    quantity: i64,
    now: DateTime<Utc>,
) -> Option<&'a Price> {
    let rank = |price: &Price| {
        if price.price_list == customer {
            Some(3)
        } else if Some(price.price_list.as_str()) == tier {
            Some(2)
        } else if price.price_list == DEFAULT_PRICE_LIST {
            Some(1)
        } else {
            None
        }
    };
    prices
        .iter()
        .filter(|price| {
            price.quantity_min <= quantity
                && price.start_time.is_none_or(|start| start <= now)
                && price.end_time.is_none_or(|end| now < end)
        })
        .filter_map(|price| rank(price).map(|rank| ((rank, price.quantity_min), price)))
        .max_by_key(|(key, _)| *key)
        .map(|(_, price)| price)
}

/// The price list that holds for everybody.
pub const DEFAULT_PRICE_LIST: &str = "default";
