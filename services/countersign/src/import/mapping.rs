//! Mappings: which column of a foreign file is what. Three ship with the program; see `mappings/countersign.toml` for all
//! that one can say.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Deserialize;

use super::{
    fields::{
        CustomerFields, Field, LineFields, OrderFields, PriceFields, ProductFields, StockFields,
    },
    reading::{self, Amount},
    record::{Header, Record},
};

/// Mappings that ship with the program, by name.
const SHIPPED: [(&str, &str); 3] = [
    (
        "countersign",
        include_str!("../../mappings/countersign.toml"),
    ),
    (
        "uci-online-retail",
        include_str!("../../mappings/uci-online-retail.toml"),
    ),
    ("olist", include_str!("../../mappings/olist.toml")),
];

/// What a file's columns mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mapping {
    /// Names the sender; part of every request id and, where the mapping says nothing else, the source channel.
    pub(crate) source: String,
    /// Currency of amounts where no column tells.
    #[serde(default)]
    currency: String,
    /// Decimal mark of numbers.
    #[serde(default = "dot")]
    decimal: char,
    /// How times are written; RFC 3339 and ISO 8601 when left out.
    #[serde(default)]
    time_format: Option<String>,
    /// Zone of times that are written without one.
    #[serde(default)]
    time_zone: Tz,
    /// Orders.
    #[serde(default)]
    pub(crate) orders: Option<Orders>,
    /// What happened to the goods.
    #[serde(default)]
    pub(crate) tracking: Option<Tracking>,
    /// Customers.
    #[serde(default)]
    pub(crate) customers: Option<CustomerFields>,
    /// Products.
    #[serde(default)]
    pub(crate) products: Option<ProductFields>,
    /// Prices.
    #[serde(default)]
    pub(crate) prices: Option<PriceFields>,
    /// Stock levels.
    #[serde(default)]
    pub(crate) stock: Option<StockFields>,
}

const fn dot() -> char {
    '.'
}

/// How rows become orders.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Orders {
    /// Rows with the same value in this column are the lines of one order, wherever in the file they stand.
    #[serde(default)]
    pub(crate) group_by: Option<String>,
    /// Path of the list that holds the lines, where one row is a whole order.
    #[serde(default)]
    pub(crate) lines_at: Option<String>,
    /// Fields of the order, taken from its first row.
    pub(crate) fields: OrderFields,
    /// Fields of a line.
    pub(crate) lines: LineFields,
    /// What is kept with the order besides.
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, Field>,
    /// Rows that are no orders.
    #[serde(default)]
    pub(crate) refused: Vec<Refused>,
    /// Rows that take back goods of earlier orders.
    #[serde(default)]
    pub(crate) cancellations: Option<Cancellations>,
    /// Orders that were cancelled whole later on.
    #[serde(default)]
    pub(crate) cancelled: Vec<Cancelled>,
    /// Orders that the customer has confirmed to the sender.
    #[serde(default)]
    pub(crate) confirmed: Option<Confirmed>,
    /// What `--register` makes.
    #[serde(default)]
    pub(crate) register: Register,
}

/// A test of one column.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    /// Name or path.
    column: String,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    equals: Option<String>,
    /// Whatever it is, it is not empty.
    #[serde(default)]
    given: bool,
}

impl Test {
    /// Whether the row passes.
    pub(crate) fn holds(&self, record: &Record) -> bool {
        let value = record.first(&self.column).unwrap_or_default();
        (self.given && !value.trim().is_empty())
            || self
                .prefix
                .as_ref()
                .is_some_and(|prefix| value.starts_with(prefix))
            || self
                .equals
                .as_ref()
                .is_some_and(|wanted| value == wanted.as_str())
    }
}

/// Rows that are no orders, and why.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    /// Which rows.
    pub(crate) when: Test,
    /// Told in the results.
    pub(crate) reason: String,
}

/// Rows that take back goods of earlier orders of the same customer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancellations {
    /// Which rows.
    pub(crate) when: Test,
    /// What the customer is told.
    pub(crate) reason: String,
}

/// Orders that were cancelled whole.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancelled {
    /// Which rows.
    pub(crate) when: Test,
    /// What the customer is told.
    pub(crate) reason: String,
    /// `CUSTOMER_CHANGED_MIND`, `OUT_OF_STOCK` …
    #[serde(default = "changed_mind")]
    pub(crate) cause: String,
    /// `CUSTOMER`, `SELLER` or `SYSTEM`.
    #[serde(default = "customer")]
    pub(crate) initiator: String,
}

fn changed_mind() -> String {
    "CUSTOMER_CHANGED_MIND".to_owned()
}

fn customer() -> String {
    "CUSTOMER".to_owned()
}

/// Orders that the customer has confirmed to the sender before they came here: they are approved and confirmed in the
/// sender's name. What is cancelled is not confirmed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmed {
    /// Which rows.
    pub(crate) when: Test,
    /// Why the findings of the audit are accepted.
    pub(crate) reason: String,
}

/// What `--register` makes beside customers and products: enough stock of everything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Register {
    /// Code of the warehouse.
    pub(crate) warehouse: String,
    /// Of each product.
    pub(crate) on_hand: i64,
}

impl Default for Register {
    fn default() -> Self {
        Self {
            warehouse: "MAIN".to_owned(),
            on_hand: 1_000_000,
        }
    }
}

/// How rows become reports about goods on their way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tracking {
    /// The sender's own number of the order.
    pub(crate) order: Field,
    /// In the sequence in which they are sent.
    pub(crate) events: Vec<TrackingReport>,
}

/// A report that a row may hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrackingReport {
    /// `PICKED_UP` …
    pub(crate) status: String,
    /// When it happened; nothing is reported when empty.
    pub(crate) time: Field,
    /// Reported even without a time where this holds: the service then says what is missing.
    #[serde(default)]
    pub(crate) expected_when: Option<Test>,
    /// Words.
    #[serde(default)]
    pub(crate) note: String,
}

impl Mapping {
    /// Reads a mapping: the file at this path, or one that ships with the program, by its name.
    pub(crate) fn load(name: &str) -> anyhow::Result<Self> {
        let bare = name.strip_suffix(".toml").unwrap_or(name);
        let text = match SHIPPED.iter().find(|(shipped, _)| *shipped == bare) {
            // A file of the same name is meant only when it is named as one.
            Some((_, text)) if name == bare || !Path::new(name).exists() => (*text).to_owned(),
            _ => fs::read_to_string(name).with_context(|| {
                let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
                format!(
                    "read the mapping {name}; those that ship are {}",
                    names.join(", ")
                )
            })?,
        };
        let mapping: Self = toml::from_str(&text).with_context(|| format!("mapping {name}"))?;
        let source = &mapping.source;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
        if source.is_empty() || source.len() > 32 || !source.bytes().all(plain) {
            bail!("mapping {name}: source must be 1 to 32 characters of A–Z a–z 0–9 . _ : @ -");
        }
        Ok(mapping)
    }

    /// Refuses a file that lacks columns which the fields need: every row would lack them.
    pub(crate) fn check(header: Option<&Header>, fields: &[&Field]) -> anyhow::Result<()> {
        let Some(header) = header else { return Ok(()) };
        let mut missing: Vec<&str> = fields
            .iter()
            .filter(|field| !field.optional)
            .flat_map(|field| field.columns())
            .filter(|column| !header.contains_key(*column))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let mut known: Vec<_> = header.keys().map(String::as_str).collect();
            known.sort_unstable();
            bail!(
                "the file has no column {}; it has {}. Name the right ones in a mapping",
                missing.join(", "),
                known.join(", ")
            );
        }
        Ok(())
    }

    /// An amount, if the text is one.
    pub(crate) fn amount(&self, text: &str) -> Option<Amount> {
        Amount::parse(text, self.decimal)
    }

    /// A time, if the text is one.
    pub(crate) fn time(&self, text: &str) -> Option<DateTime<Utc>> {
        reading::time(text, self.time_format.as_deref(), self.time_zone)
    }

    /// The currency of a row.
    pub(crate) fn currency(&self, field: Option<&Field>, record: &Record) -> String {
        field
            .map(|field| field.text(record))
            .filter(|code| !code.is_empty())
            .unwrap_or_else(|| self.currency.clone())
    }
}

/// The value of a field that may be left out.
pub(crate) fn text(field: Option<&Field>, record: &Record) -> String {
    field.map(|field| field.text(record)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mapping_that_ships_can_be_read() {
        for (name, _) in SHIPPED {
            Mapping::load(name).unwrap();
        }
    }

    #[test]
    fn a_source_that_cannot_name_a_caller_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, "source = \"our shop\"").unwrap();
        let error = Mapping::load(path.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("source must be"), "{error}");
    }

    #[test]
    fn a_missing_column_is_named_beside_those_that_are_there() {
        let mapping = Mapping::load("uci-online-retail").unwrap();
        let header: Header = [("invoice".to_owned(), 0), ("country".to_owned(), 1)].into();
        let fields = mapping.orders.as_ref().unwrap().lines.given();
        let error = Mapping::check(Some(&header), &fields)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no column description, quantity, stock_code, unit_price"),
            "{error}"
        );
        assert!(error.contains("it has country, invoice"), "{error}");
    }
}
