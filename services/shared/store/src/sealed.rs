//! Columns that hold personal data: sealed where rows are made, opened where they are read. A value is bound to its table,
//! column and row, so that it cannot be moved to another. No error tells what a value holds.

use std::fmt::Write as _;

use countersign_domain::erasure::ERASED;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    data_keys::{DataKeys, SealError},
    error::StoreError,
};

/// A column whose values are sealed.
#[derive(Debug)]
pub(crate) struct SealedColumn {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    /// The columns of the primary key, in its sequence: what a value is bound to.
    pub(crate) key: &'static [KeyColumn],
    /// What an empty cell stands for, where a value may be erased for good. Elsewhere an empty cell is no value.
    pub(crate) erased: Option<&'static str>,
}

/// A column of a primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyColumn {
    /// A UUID.
    Id(&'static str),
    /// A number.
    Number(&'static str),
    /// A text.
    Text(&'static str),
}

impl KeyColumn {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Id(name) | Self::Number(name) | Self::Text(name) => name,
        }
    }
}

/// The primary key of a row, as bytes that no other row of the table has.
pub(crate) trait RowKey {
    fn push(&self, place: &mut Vec<u8>);
}

impl RowKey for Uuid {
    fn push(&self, place: &mut Vec<u8>) {
        place.extend_from_slice(self.as_bytes());
    }
}

impl RowKey for i32 {
    fn push(&self, place: &mut Vec<u8>) {
        place.extend_from_slice(&self.to_be_bytes());
    }
}

/// Stands alone or last in a key, so it needs no end.
impl RowKey for str {
    fn push(&self, place: &mut Vec<u8>) {
        place.extend_from_slice(self.as_bytes());
    }
}

impl<A: RowKey, B: RowKey> RowKey for (A, B) {
    fn push(&self, place: &mut Vec<u8>) {
        self.0.push(place);
        self.1.push(place);
    }
}

/// A key as it was read from the database.
impl RowKey for [u8] {
    fn push(&self, place: &mut Vec<u8>) {
        place.extend_from_slice(self);
    }
}

const fn id_of(table: &'static str, column: &'static str) -> SealedColumn {
    SealedColumn {
        table,
        column,
        key: &[KeyColumn::Id("id")],
        erased: None,
    }
}

const fn keyed(
    table: &'static str,
    column: &'static str,
    key: &'static [KeyColumn],
) -> SealedColumn {
    SealedColumn {
        table,
        column,
        key,
        erased: None,
    }
}

pub(crate) const ORDERS_PRIORITY: SealedColumn = id_of("orders", "priority");
pub(crate) const ORDERS_TERMS: SealedColumn = id_of("orders", "terms");
pub(crate) const ORDERS_PROGRESS: SealedColumn = id_of("orders", "progress");
pub(crate) const LINES_EXTRAS: SealedColumn = keyed(
    "order_lines",
    "extras",
    &[KeyColumn::Id("order_id"), KeyColumn::Number("line_number")],
);
pub(crate) const EVENTS_DETAILS: SealedColumn = keyed(
    "order_events",
    "details",
    &[KeyColumn::Id("commit_id"), KeyColumn::Number("ordinal")],
)
.erased("{}");
pub(crate) const ROUNDS_DETAILS: SealedColumn = keyed(
    "confirmations",
    "details",
    &[KeyColumn::Id("order_id"), KeyColumn::Number("round")],
);
pub(crate) const REQUESTS_RESPONSE: SealedColumn = id_of("requests", "response").erased("");
pub(crate) const NOTES_NOTE: SealedColumn = keyed(
    "delivery_notes",
    "note",
    &[KeyColumn::Id("order_id"), KeyColumn::Number("revision")],
);
pub(crate) const PACKS_PACK: SealedColumn =
    keyed("service_packs", "pack", &[KeyColumn::Id("order_id")]);
pub(crate) const TRACKING_DETAILS: SealedColumn = keyed(
    "tracking_events",
    "details",
    &[KeyColumn::Id("order_id"), KeyColumn::Id("id")],
)
.erased("{}");
pub(crate) const CONTACTS_SUMMARY: SealedColumn = keyed(
    "contacts",
    "summary",
    &[KeyColumn::Id("order_id"), KeyColumn::Id("id")],
)
.erased("");
pub(crate) const CUSTOMERS_PROFILE: SealedColumn =
    keyed("customers", "profile", &[KeyColumn::Text("code")]);
pub(crate) const OUTBOX_DETAILS: SealedColumn = id_of("outbox", "details");
pub(crate) const DELIVERIES_RECIPIENT: SealedColumn = id_of("deliveries", "recipient").erased("");
pub(crate) const DELIVERIES_DETAILS: SealedColumn = id_of("deliveries", "details").erased("{}");
pub(crate) const REPLIES_PAYLOAD: SealedColumn = id_of("replies", "payload");
pub(crate) const MAILBOX_RECIPIENT: SealedColumn = id_of("mailbox", "recipient");
pub(crate) const MAILBOX_CONTENT: SealedColumn = id_of("mailbox", "content");
pub(crate) const FEEDBACK_WORDS: SealedColumn = id_of("feedback", "words").erased("");
pub(crate) const FEEDBACK_RESOLUTION: SealedColumn = id_of("feedback", "resolution").erased(ERASED);
pub(crate) const ACTS_REASON: SealedColumn = id_of("operator_acts", "reason").erased(ERASED);
pub(crate) const GATEWAYS_REASON: SealedColumn =
    keyed("gateways", "reason", &[KeyColumn::Text("name")]);

pub(crate) const SAFE_MODE_REASON: SealedColumn =
    keyed("safe_mode", "sealed_reason", &[KeyColumn::Number("id")]);
pub(crate) const ERASURES_REASON: SealedColumn = id_of("erasures", "sealed_reason");

/// All of them, for whoever goes through the whole database.
pub(crate) const ALL: [&SealedColumn; 24] = [
    &ORDERS_PRIORITY,
    &ORDERS_TERMS,
    &ORDERS_PROGRESS,
    &LINES_EXTRAS,
    &EVENTS_DETAILS,
    &ROUNDS_DETAILS,
    &REQUESTS_RESPONSE,
    &NOTES_NOTE,
    &PACKS_PACK,
    &TRACKING_DETAILS,
    &CONTACTS_SUMMARY,
    &CUSTOMERS_PROFILE,
    &OUTBOX_DETAILS,
    &DELIVERIES_RECIPIENT,
    &DELIVERIES_DETAILS,
    &REPLIES_PAYLOAD,
    &MAILBOX_RECIPIENT,
    &MAILBOX_CONTENT,
    &FEEDBACK_WORDS,
    &FEEDBACK_RESOLUTION,
    &ACTS_REASON,
    &GATEWAYS_REASON,
    &SAFE_MODE_REASON,
    &ERASURES_REASON,
];

impl SealedColumn {
    /// The same column, of which a value may be erased: an empty cell then stands for this.
    const fn erased(self, erased: &'static str) -> Self {
        Self {
            erased: Some(erased),
            ..self
        }
    }

    /// Seals bytes for a row.
    pub(crate) fn seal(
        &self,
        keys: &DataKeys,
        row: &(impl RowKey + ?Sized),
        plain: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        keys.seal(&self.place(row), plain.len(), |out| {
            out.extend_from_slice(plain);
            Ok(())
        })
        .map_err(|error| self.unsealable(error))
    }

    /// Seals a text for a row.
    pub(crate) fn seal_text(
        &self,
        keys: &DataKeys,
        row: &(impl RowKey + ?Sized),
        text: &str,
    ) -> Result<Vec<u8>, StoreError> {
        self.seal(keys, row, text.as_bytes())
    }

    /// Seals a JSON document for a row. It stands nowhere else in the clear.
    pub(crate) fn seal_json<T: Serialize>(
        &self,
        keys: &DataKeys,
        row: &(impl RowKey + ?Sized),
        value: &T,
    ) -> Result<Vec<u8>, StoreError> {
        keys.seal(&self.place(row), TYPICAL_BYTES, |out| {
            serde_json::to_writer(out, value).map_err(|_| SealError::NotJson)
        })
        .map_err(|error| self.unsealable(error))
    }

    /// Opens the value of a row.
    pub(crate) fn open(
        &self,
        keys: &DataKeys,
        row: &(impl RowKey + ?Sized),
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        if let (Some(erased), true) = (self.erased, sealed.is_empty()) {
            return Ok(erased.as_bytes().to_vec());
        }
        keys.open(&self.place(row), sealed)
            .map_err(|error| self.wrong(row, error.to_string()))
    }

    /// Opens the text of a row.
    pub(crate) fn open_text(
        &self,
        keys: &DataKeys,
        row: &(impl RowKey + ?Sized),
        sealed: &[u8],
    ) -> Result<String, StoreError> {
        let plain = self.open(keys, row, sealed)?;
        String::from_utf8(plain).map_err(|_| self.wrong(row, "is not text".to_owned()))
    }

    /// Opens the JSON document of a row.
    pub(crate) fn open_json<T: DeserializeOwned>(
        &self,
        keys: &DataKeys,
        row: &(impl RowKey + ?Sized),
        sealed: &[u8],
    ) -> Result<T, StoreError> {
        let plain = self.open(keys, row, sealed)?;
        // The parser's own words quote the document.
        serde_json::from_slice(&plain).map_err(|error| {
            let problem = format!(
                "does not fit at byte {} of line {}",
                error.column(),
                error.line()
            );
            self.wrong(row, problem)
        })
    }

    /// What a value is bound to: the words end with a zero byte, so no two places run together to the same bytes.
    fn place(&self, row: &(impl RowKey + ?Sized)) -> Vec<u8> {
        let mut place = Vec::with_capacity(self.table.len() + self.column.len() + 34);
        for word in [self.table, self.column] {
            place.extend_from_slice(word.as_bytes());
            place.push(0);
        }
        row.push(&mut place);
        place
    }

    fn wrong(&self, row: &(impl RowKey + ?Sized), problem: String) -> StoreError {
        let mut key = Vec::new();
        row.push(&mut key);
        StoreError::Inconsistent {
            table: self.table,
            column: self.column,
            row: hex(&key),
            problem,
        }
    }

    fn unsealable(&self, problem: SealError) -> StoreError {
        StoreError::Unstorable {
            operation: "seal personal data",
            problem: format!("table {}, column {}: {problem}", self.table, self.column),
        }
    }
}

/// Bytes as they are written in SQL and in errors.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Most documents fit; a longer one grows.
const TYPICAL_BYTES: usize = 768;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn keys() -> DataKeys {
        DataKeys::new(&[1; 32], &[(1, [2; 32])]).unwrap()
    }

    #[test]
    fn a_value_cannot_be_moved_to_another_row_column_or_table() {
        let (keys, row) = (keys(), Uuid::from_u128(1));
        let sealed = ORDERS_TERMS.seal_json(&keys, &row, &"Li Wei").unwrap();
        let opened: String = ORDERS_TERMS.open_json(&keys, &row, &sealed).unwrap();
        assert_eq!(opened, "Li Wei");
        let other = Uuid::from_u128(2);
        assert!(ORDERS_TERMS.open(&keys, &other, &sealed).is_err());
        assert!(ORDERS_PROGRESS.open(&keys, &row, &sealed).is_err());
        assert!(OUTBOX_DETAILS.open(&keys, &row, &sealed).is_err());
    }

    #[test]
    fn no_error_tells_what_a_value_holds() {
        let (keys, row) = (keys(), Uuid::from_u128(1));
        let sealed = ORDERS_TERMS.seal_json(&keys, &row, &"Li Wei").unwrap();
        let error = ORDERS_TERMS
            .open_json::<u32>(&keys, &row, &sealed)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "table orders, column terms, row 00000000000000000000000000000001: does not fit at byte 8 of line 1"
        );
        let error = ORDERS_TERMS
            .open_json::<u32>(&keys, &row, b"{\"name\":\"Li Wei\"}")
            .unwrap_err();
        assert!(error.to_string().ends_with("is not a sealed value"));
    }

    #[test]
    fn an_empty_cell_is_a_value_only_where_one_may_be_erased() {
        let (keys, row) = (keys(), Uuid::from_u128(1));
        assert!(ORDERS_TERMS.open(&keys, &row, &[]).is_err());
        let words = FEEDBACK_WORDS.open_text(&keys, &row, &[]);
        assert_eq!(words.unwrap(), "");
        let reason = ACTS_REASON.open_text(&keys, &row, &[]);
        assert_eq!(reason.unwrap(), ERASED);
    }

    #[test]
    fn every_column_is_named_once_and_all_of_a_table_have_its_key() {
        let names: BTreeSet<_> = ALL.iter().map(|it| (it.table, it.column)).collect();
        assert_eq!(names.len(), ALL.len());
        let mut of_table = BTreeMap::new();
        for column in ALL {
            assert_eq!(
                *of_table.entry(column.table).or_insert(column.key),
                column.key
            );
        }
    }
}
