//! The stock as a batch of decisions sees it: what one order takes, the next one no longer has.

use std::collections::BTreeMap;

use crate::catalog::{StockDelta, StockLevel};

/// Stock levels by SKU, warehouses in the order in which they serve.
#[derive(Clone, Debug, Default)]
pub struct StockBook {
    levels: BTreeMap<String, Vec<StockLevel>>,
}

/// What a line got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// From where; absent when nothing was taken.
    pub warehouse: Option<String>,
    /// How much was taken.
    pub quantity: i64,
    /// How much one warehouse could have given.
    pub available: i64,
    /// Whether any warehouse keeps the goods at all.
    pub stocked: bool,
}

impl StockBook {
    /// From levels in any order; warehouses serve in the order of their names.
    pub fn new(levels: impl IntoIterator<Item = StockLevel>) -> Self {
        let mut book = Self::default();
        for level in levels {
            book.levels
                .entry(level.sku.clone())
                .or_default()
                .push(level);
        }
        for levels in book.levels.values_mut() {
            levels.sort_by(|a, b| a.warehouse.cmp(&b.warehouse));
        }
        book
    }

    /// Takes all of `quantity` from the first warehouse that has it; with `partial`, as much as the best one has.
    pub fn take(&mut self, sku: &str, quantity: i64, partial: bool) -> Taken {
        let Some(levels) = self.levels.get_mut(sku) else {
            return Taken::default();
        };
        let most = levels
            .iter()
            .map(StockLevel::available)
            .max()
            .unwrap_or(0)
            .max(0);
        let wanted = if partial {
            quantity.min(most)
        } else {
            quantity
        };
        let mut taken = Taken {
            stocked: true,
            available: most,
            ..Taken::default()
        };
        if wanted > 0
            && let Some(level) = levels.iter_mut().find(|level| level.available() >= wanted)
        {
            level.reserved += wanted;
            taken.warehouse = Some(level.warehouse.clone());
            taken.quantity = wanted;
        }
        taken
    }

    /// Applies a change, such as goods given back.
    pub fn apply(&mut self, delta: &StockDelta) {
        if let Some(level) = self.levels.get_mut(&delta.sku).and_then(|levels| {
            levels
                .iter_mut()
                .find(|level| level.warehouse == delta.warehouse)
        }) {
            level.reserved += delta.reserved;
            level.on_hand += delta.on_hand;
        }
    }
}

/// Adds up changes of the same warehouse and SKU and leaves out those that come to nothing; sorted, so that
/// transactions lock rows in one order.
pub fn net(deltas: impl IntoIterator<Item = StockDelta>) -> Vec<StockDelta> {
    let mut sums: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    for delta in deltas {
        let sum = sums.entry((delta.warehouse, delta.sku)).or_default();
        sum.0 += delta.reserved;
        sum.1 += delta.on_hand;
    }
    sums.into_iter()
        .filter(|(_, sum)| *sum != (0, 0))
        .map(|((warehouse, sku), (reserved, on_hand))| StockDelta {
            warehouse,
            sku,
            reserved,
            on_hand,
        })
        .collect()
}
