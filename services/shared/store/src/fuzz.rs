//! What of this crate reads stored bytes that somebody may have changed, as functions of bytes; see
//! [`countersign_domain::fuzz`].

use countersign_domain::{
    event::{EventDetails, MessageDetails},
    fuzz::Entry,
    order::{Progress, Terms},
    reply::ReplyContent,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    data_keys::DataKeys,
    sealed::{
        ACTS_REASON, EVENTS_DETAILS, ORDERS_PROGRESS, ORDERS_TERMS, OUTBOX_DETAILS,
        REPLIES_PAYLOAD, SealedColumn,
    },
};

/// The readers of this crate.
pub const ENTRIES: [Entry; 1] = [("sealed", sealed)];

/// Sealed values as they are in a table, and documents as they are inside of them.
fn sealed(bytes: &[u8]) {
    let Ok(keys) = DataKeys::new(&[1; 32], &[(1, [2; 32])]) else {
        return;
    };
    let row = Uuid::from_u128(1);
    let opened = ORDERS_TERMS.open(&keys, &row, bytes);
    assert!(opened.is_err(), "nobody but us seals");
    ACTS_REASON.open_text(&keys, &row, bytes).ok();
    document::<Terms>(&ORDERS_TERMS, &keys, bytes);
    document::<Progress>(&ORDERS_PROGRESS, &keys, bytes);
    document::<EventDetails>(&EVENTS_DETAILS, &keys, bytes);
    document::<MessageDetails>(&OUTBOX_DETAILS, &keys, bytes);
    document::<ReplyContent>(&REPLIES_PAYLOAD, &keys, bytes);
}

fn document<T: DeserializeOwned>(column: &SealedColumn, keys: &DataKeys, bytes: &[u8]) {
    let row = Uuid::from_u128(1);
    if let Ok(sealed) = column.seal(keys, &row, bytes)
        && let Err(error) = column.open_json::<T>(keys, &row, &sealed)
    {
        assert!(error.to_string().len() < 200, "it does not quote the value");
    }
}
