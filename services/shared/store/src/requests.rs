//! Answers kept for repeated calls (RELIABILITY 3.1): written in the transaction that carries the call out, so that an
//! answer is there exactly when its effect is.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, Value,
};
use uuid::Uuid;

use crate::{
    Store,
    bulk::Bulk,
    data_keys::DataKeys,
    entity::requests,
    error::{During, StoreError},
    rows::At,
    sealed::REQUESTS_RESPONSE,
};

/// A call to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// In order of time.
    pub id: Uuid,
    /// SHA-256 over caller, method and request id.
    pub key_hash: [u8; 32],
    /// SHA-256 over the call's fields in a canonical form.
    pub fingerprint: [u8; 32],
    /// The encoded answer.
    pub response: Vec<u8>,
}

/// A call that was carried out before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRequest {
    /// See [`RequestRecord`].
    pub key_hash: [u8; 32],
    /// See [`RequestRecord`].
    pub fingerprint: [u8; 32],
    /// The encoded answer.
    pub response: Vec<u8>,
}

pub(crate) const REQUESTS: Bulk = Bulk {
    operation: "insert requests",
    table: "requests",
    columns: &["id", "key_hash", "fingerprint", "response", "create_time"],
};

/// Appends a row of [`REQUESTS`].
pub(crate) fn push_request(
    values: &mut Vec<Value>,
    keys: &DataKeys,
    record: &RequestRecord,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    values.extend([
        record.id.into(),
        record.key_hash.to_vec().into(),
        hidden(keys, record).into(),
        REQUESTS_RESPONSE
            .seal(keys, &record.id, &record.response)?
            .into(),
        now.into(),
    ]);
    Ok(())
}

/// Whoever has a copy of the database could find what was asked for by guessing it, were the fingerprint in the clear.
fn hidden(keys: &DataKeys, record: &RequestRecord) -> Vec<u8> {
    let lookup = keys.lookup();
    lookup
        .hidden(&record.key_hash, &record.fingerprint)
        .to_vec()
}

/// Inserts one record; it comes first in its transaction, so that a rival waits on its row.
pub(crate) async fn insert_request(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    record: &RequestRecord,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = requests::ActiveModel {
        id: Set(record.id),
        key_hash: Set(record.key_hash.to_vec()),
        fingerprint: Set(hidden(keys, record)),
        response: Set(REQUESTS_RESPONSE.seal(keys, &record.id, &record.response)?),
        create_time: Set(now),
    };
    requests::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .during("insert a request")?;
    Ok(())
}

impl Store {
    /// The calls among these that were carried out before.
    pub async fn find_requests(
        &self,
        key_hashes: &[[u8; 32]],
    ) -> Result<Vec<StoredRequest>, StoreError> {
        let rows = requests::Entity::find()
            .filter(requests::Column::KeyHash.is_in(key_hashes.iter().map(|hash| hash.to_vec())))
            .all(&self.db)
            .await
            .during("find requests")?;
        rows.into_iter()
            .map(|row| {
                let at = At {
                    table: "requests",
                    row: &row.id,
                };
                let key_hash = at.hash("key_hash", &row.key_hash)?;
                let fingerprint = at.hash("fingerprint", &row.fingerprint)?;
                Ok(StoredRequest {
                    key_hash,
                    fingerprint: self.keys.lookup().hidden(&key_hash, &fingerprint),
                    response: REQUESTS_RESPONSE.open(&self.keys, &row.id, &row.response)?,
                })
            })
            .collect()
    }
}
