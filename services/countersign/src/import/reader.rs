//! Values of a row as the API takes them, and what is wrong about those that it cannot take.

use countersign_proto::{common, v1};

use super::{
    fields::Field,
    mapping::{Mapping, text},
    reading::{Amount, Problem, timestamp},
    record::Record,
};

/// What a row's values come to, with what is wrong about them.
pub(crate) struct Reader<'m> {
    mapping: &'m Mapping,
    /// What cannot be sent.
    pub(crate) problems: Vec<Problem>,
}

impl<'m> Reader<'m> {
    pub(crate) const fn new(mapping: &'m Mapping) -> Self {
        Self {
            mapping,
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, field: &str, description: String) {
        self.problems.push(Problem {
            field: field.to_owned(),
            description,
        });
    }

    /// The sum of a field's values; nothing when there is none.
    pub(crate) fn amount(
        &mut self,
        field: Option<&Field>,
        record: &Record,
        path: &str,
    ) -> Option<Amount> {
        let mut sum = None;
        for value in field?
            .texts(record)
            .iter()
            .filter(|value| !value.is_empty())
        {
            match self.mapping.amount(value) {
                Some(amount) => sum = Some(Amount(sum.map_or(0, |it: Amount| it.0) + amount.0)),
                None => self.problem(path, format!("{value:?} is not an amount")),
            }
        }
        sum
    }

    /// A whole number; 0 when there is none.
    pub(crate) fn whole(&mut self, field: Option<&Field>, record: &Record, path: &str) -> i64 {
        let value = text(field, record);
        if value.is_empty() {
            return 0;
        }
        self.mapping
            .amount(&value)
            .and_then(Amount::whole)
            .unwrap_or_else(|| {
                self.problem(path, format!("{value:?} is not a whole number"));
                0
            })
    }

    /// A time; nothing when there is none.
    pub(crate) fn time(
        &mut self,
        field: Option<&Field>,
        record: &Record,
        path: &str,
    ) -> Option<prost_types::Timestamp> {
        let value = text(field, record);
        if value.is_empty() {
            return None;
        }
        let time = self.mapping.time(&value);
        if time.is_none() {
            self.problem(path, format!("{value:?} is not a time"));
        }
        time.map(timestamp)
    }

    /// A word of the API, given with or without its prefix: `CARD` for `PAYMENT_METHOD_CARD`.
    pub(crate) fn word(
        &mut self,
        field: Option<&Field>,
        record: &Record,
        path: &str,
        prefix: &str,
        named: impl Fn(&str) -> Option<i32>,
    ) -> i32 {
        let value = text(field, record);
        if value.is_empty() {
            return 0;
        }
        let bare = value.to_uppercase().replace([' ', '-'], "_");
        named(&bare)
            .or_else(|| named(&format!("{prefix}{bare}")))
            .unwrap_or_else(|| {
                self.problem(
                    path,
                    format!("{value:?} is not one of the words that the API knows"),
                );
                0
            })
    }
}

/// Values of the API's enums by name.
pub(crate) fn channel(name: &str) -> Option<i32> {
    v1::Channel::from_str_name(name).map(Into::into)
}

/// See [`channel`].
pub(crate) fn shortage(name: &str) -> Option<i32> {
    v1::ShortagePolicy::from_str_name(name).map(Into::into)
}

/// Country, postal code, area, city and street of a row.
pub(crate) fn address(fields: [&Option<Field>; 5], record: &Record) -> common::PostalAddress {
    let [
        region_code,
        postal_code,
        administrative_area,
        locality,
        street,
    ] = fields.map(|field| text(field.as_ref(), record));
    common::PostalAddress {
        region_code,
        postal_code,
        administrative_area,
        locality,
        address_lines: street.lines().map(ToOwned::to_owned).collect(),
        ..common::PostalAddress::default()
    }
}

/// Entries of a list that is written with semicolons.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(';')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}
