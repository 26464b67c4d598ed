//! A line of goods and the counters that say how much of it has come how far.

use serde::{Deserialize, Serialize};

use crate::money::Money;

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderLine {
    /// 1, 2, 3 … in the order given.
    pub line_number: u32,
    /// The seller's article number.
    pub sku: String,
    /// Name of the goods as the customer saw it.
    pub goods_name: String,
    /// Size, colour, model and the like.
    pub specification: String,
    /// "piece", "kg", "box" …
    pub unit: String,
    /// Price of one unit.
    pub unit_price: Money,
    /// What else belongs to the line.
    pub extras: LineExtras,
    /// Warehouse that serves the line, once goods are reserved there.
    pub warehouse: Option<String>,
    /// How much has come how far.
    pub counters: LineCounters,
}

/// What only some lines have.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineExtras {
    /// Parts that must come with the goods (R31).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accessories: Vec<String>,
    /// Processing, packing, gift and label wishes (T6).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub processing_instructions: String,
    /// What is made to the customer's wish (R6).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub customization: String,
}

impl LineExtras {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// Units of a line, each counted at every stage it has reached, except that `reserved` counts only units that are
/// promised from stock and not yet shipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounters {
    /// Asked for. Never shrinks but by an amendment.
    pub ordered: i64,
    /// Called off.
    pub cancelled: i64,
    /// Promised from stock and still in the warehouse.
    pub reserved: i64,
    /// Taken from the shelf.
    pub picked: i64,
    /// In a parcel.
    pub packed: i64,
    /// Left the warehouse.
    pub shipped: i64,
    /// Arrived.
    pub delivered: i64,
    /// Came back.
    pub returned: i64,
}

impl LineCounters {
    /// What is still to be delivered or has been: ordered − cancelled.
    pub const fn wanted(&self) -> i64 {
        self.ordered - self.cancelled
    }

    /// What can still be called off: wanted − shipped.
    pub const fn cancellable(&self) -> i64 {
        self.wanted() - self.shipped
    }

    /// What is wanted but neither reserved nor shipped.
    pub const fn short(&self) -> i64 {
        self.wanted() - self.shipped - self.reserved
    }

    /// The rules that hold at every moment; the first broken one is named.
    pub fn check(&self) -> Result<(), &'static str> {
        let Self {
            ordered,
            cancelled,
            reserved,
            picked,
            packed,
            shipped,
            delivered,
            returned,
        } = *self;
        let rules = [
            (ordered > 0, "ordered must be positive"),
            (
                cancelled >= 0 && cancelled <= ordered,
                "0 ≤ cancelled ≤ ordered",
            ),
            (reserved >= 0, "0 ≤ reserved"),
            (
                reserved + shipped <= ordered - cancelled,
                "reserved + shipped ≤ ordered − cancelled",
            ),
            (picked <= shipped + reserved, "picked ≤ shipped + reserved"),
            (packed >= 0 && packed <= picked, "0 ≤ packed ≤ picked"),
            (shipped >= 0 && shipped <= packed, "0 ≤ shipped ≤ packed"),
            (
                delivered >= 0 && delivered <= shipped,
                "0 ≤ delivered ≤ shipped",
            ),
            (
                returned >= 0 && returned <= shipped,
                "0 ≤ returned ≤ shipped",
            ),
        ];
        rules
            .iter()
            .find(|(holds, _)| !holds)
            .map_or(Ok(()), |(_, rule)| Err(*rule))
    }
}

crate::hidden::hidden!(LineExtras);
