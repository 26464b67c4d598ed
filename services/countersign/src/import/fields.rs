//! The fields that a mapping can fill, and how one is filled from a row.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

use super::record::Record;

/// Where the value of a field comes from: a column's name or path, or a table that says more.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Form")]
pub(crate) struct Field {
    column: Option<String>,
    template: Option<String>,
    constant: Option<String>,
    default: String,
    map: BTreeMap<String, String>,
    others: Option<String>,
    /// The column may be missing.
    pub(crate) optional: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Column(String),
    Table(Box<Table>),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    /// Name of a column, or path.
    column: Option<String>,
    /// Text with `{column}` in it; empty when one of the columns is.
    template: Option<String>,
    /// The same for every row.
    constant: Option<String>,
    /// Where there is nothing else.
    default: String,
    /// What stands in the file → what is sent.
    map: BTreeMap<String, String>,
    /// What is sent for values that `map` does not have; themselves when left out.
    others: Option<String>,
    optional: bool,
}

impl From<Form> for Field {
    fn from(form: Form) -> Self {
        let table = match form {
            Form::Column(column) => Table {
                column: Some(column),
                ..Table::default()
            },
            Form::Table(table) => *table,
        };
        Self {
            column: table.column,
            template: table.template,
            constant: table.constant,
            default: table.default,
            map: table.map,
            others: table.others,
            optional: table.optional,
        }
    }
}

impl Field {
    /// The value for a row, without white space at its ends; empty when there is none.
    pub(crate) fn text(&self, record: &Record) -> String {
        if let Some(constant) = &self.constant {
            return constant.clone();
        }
        let raw = match (&self.column, &self.template) {
            (Some(column), _) => record
                .first(column)
                .map(Cow::into_owned)
                .unwrap_or_default(),
            (None, Some(template)) => render(template, record).unwrap_or_default(),
            (None, None) => String::new(),
        };
        self.settle(raw.trim())
    }

    /// All values for a row, where the path names a list.
    pub(crate) fn texts(&self, record: &Record) -> Vec<String> {
        let Some(column) = self.column.as_deref().filter(|path| path.contains("[]")) else {
            return vec![self.text(record)];
        };
        record
            .all(column)
            .into_iter()
            .map(|value| self.settle(value.trim()))
            .collect()
    }

    fn settle(&self, raw: &str) -> String {
        let value = match self.map.get(raw) {
            Some(value) => value.as_str(),
            None if raw.is_empty() => "",
            None => self.others.as_deref().unwrap_or(raw),
        };
        if value.is_empty() {
            self.default.clone()
        } else {
            value.to_owned()
        }
    }

    /// Names of the columns that it reads.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let named = self
            .template
            .as_deref()
            .map(placeholders)
            .unwrap_or_default();
        self.column.as_deref().into_iter().chain(named).collect()
    }
}

fn placeholders(template: &str) -> Vec<&str> {
    template
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name)
        .collect()
}

fn render(template: &str, record: &Record) -> Option<String> {
    let mut parts = template.split('{');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}')?;
        text.push_str(record.first(name)?.trim());
        text.push_str(rest);
    }
    Some(text)
}

/// A struct of fields of which each may be left out.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident { $($field:ident)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name { $(pub(crate) $field: Option<Field>,)* }

        impl $name {
            /// Those that the mapping fills.
            pub(crate) fn given(&self) -> Vec<&Field> {
                [$(&self.$field),*].into_iter().flatten().collect()
            }
        }
    )* };
}

fields! {
    /// Of an order.
    OrderFields {
        client_reference order_type transaction_type source_channel entered_by handler customer guest locale time_zone
        contact_name email phone preferred_channel payment_method currency total freight discount shortage_policy
        place_time promised_time window_start window_end consignee delivery_phone wishes
        country postal_code area city street
    }
    /// Of a line of an order.
    LineFields {
        sku goods_name specification quantity unit unit_price accessories processing_instructions customization
    }
    /// Of a customer.
    CustomerFields {
        code display_name tier email phone preferred_channel locale time_zone currency credit_limit shortage_policy
        delivery_area unloading_conditions delivery_notes country postal_code area city street blocked block_reason
    }
    /// Of a product.
    ProductFields {
        sku display_name specification accessories weight_grams volume_millilitres usual_quantity_max discontinued
        warranty_months
    }
    /// Of a price.
    PriceFields { price_list sku currency unit_price quantity_min start_time end_time }
    /// Of a stock level.
    StockFields { warehouse sku on_hand }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(text: &str) -> Field {
        #[derive(Deserialize)]
        struct Holder {
            field: Field,
        }
        toml::from_str::<Holder>(&format!("field = {text}"))
            .unwrap()
            .field
    }

    #[test]
    fn a_field_is_filled_as_the_mapping_says() {
        let row = Record::Tree(json!({
            "country": "EIRE", "name": " Ann ", "id": "7", "none": "",
            "payments": [{"value": "1"}, {"value": "2"}],
        }));
        let cases = [
            ("\"name\"", "Ann"),
            ("{ constant = \"GBP\" }", "GBP"),
            ("{ column = \"country\", map = { EIRE = \"IE\" } }", "IE"),
            ("{ column = \"country\", map = { UK = \"GB\" } }", "EIRE"),
            (
                "{ column = \"country\", map = { UK = \"GB\" }, others = \"ZZ\" }",
                "ZZ",
            ),
            (
                "{ column = \"none\", default = \"x\", others = \"ZZ\" }",
                "x",
            ),
            ("{ template = \"c{id}@example.com\" }", "c7@example.com"),
            ("{ template = \"c{none}@example.com\" }", ""),
        ];
        for (text, value) in cases {
            assert_eq!(field(text).text(&row), value, "{text}");
        }
        assert_eq!(field("\"payments[].value\"").texts(&row), ["1", "2"]);
        assert_eq!(
            field("{ template = \"{a} {b.c}\" }").columns(),
            ["a", "b.c"]
        );
    }

    #[test]
    fn a_misspelt_field_or_key_is_refused() {
        assert!(toml::from_str::<StockFields>("warehous = \"w\"").is_err());
        assert!(toml::from_str::<StockFields>("sku = { columm = \"w\" }").is_err());
    }
}
