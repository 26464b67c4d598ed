//! The rows by which a transaction puts what it records into the audit chain: one commit with a digest over its records.
//! They go with the transaction and cost it neither a statement nor a lock; where the commit stands is decided afterwards.

use chrono::{DateTime, Utc};
use countersign_domain::{
    chain::{EntryKind, Hash, Salt, digest},
    event::OrderEvent,
    ids::CommitId,
};
use rand::Rng as _;
use sea_orm::{DatabaseTransaction, DbBackend, Value};

use crate::{
    bulk::Bulk,
    data_keys::DataKeys,
    error::StoreError,
    order_rows::{EVENTS, push_event},
};

pub(crate) const COMMITS: Bulk = Bulk {
    operation: "insert commits",
    table: "commits",
    columns: &["id", "create_time", "records", "digest"],
};

const ENTRIES: Bulk = Bulk {
    operation: "insert audit entries",
    table: "audit_entries",
    columns: &["commit_id", "ordinal", "kind", "entry_key", "hash", "salt"],
};

/// A commit being put together.
pub(crate) struct CommitRows {
    commit: CommitId,
    time: DateTime<Utc>,
    events: Vec<Value>,
    entries: Vec<Value>,
    hashes: Vec<Hash>,
}

impl CommitRows {
    pub(crate) const fn new(commit: CommitId, time: DateTime<Utc>) -> Self {
        Self {
            commit,
            time,
            events: Vec::new(),
            entries: Vec::new(),
            hashes: Vec::new(),
        }
    }

    fn ordinal(&self) -> i32 {
        i32::try_from(self.hashes.len()).unwrap_or(i32::MAX)
    }

    /// Records an event of an order.
    pub(crate) fn push_event(
        &mut self,
        keys: &DataKeys,
        event: &OrderEvent,
    ) -> Result<(), StoreError> {
        let ordinal = self.ordinal();
        let hash = push_event(&mut self.events, keys, self.commit, ordinal, event)?;
        self.hashes.push(hash);
        Ok(())
    }

    /// Records a row of another table. With a salt, a part of it may be erased one day.
    pub(crate) fn push_entry(
        &mut self,
        kind: EntryKind,
        key: &str,
        salt: Option<&Salt>,
        hash: Hash,
    ) {
        self.entries.extend([
            self.commit.as_uuid().into(),
            self.ordinal().into(),
            kind.as_str().into(),
            key.into(),
            hash.to_vec().into(),
            salt.map(|salt| salt.to_vec()).into(),
        ]);
        self.hashes.push(hash);
    }

    /// The row of [`COMMITS`].
    pub(crate) fn commit_row(&self) -> Vec<Value> {
        vec![
            self.commit.as_uuid().into(),
            self.time.into(),
            self.ordinal().into(),
            digest(self.hashes.iter()).to_vec().into(),
        ]
    }

    pub(crate) fn into_events(self) -> Vec<Value> {
        self.events
    }

    /// Writes everything.
    pub(crate) async fn insert(
        self,
        transaction: &DatabaseTransaction,
        backend: DbBackend,
    ) -> Result<(), StoreError> {
        COMMITS
            .insert(transaction, backend, self.commit_row())
            .await?;
        EVENTS.insert(transaction, backend, self.events).await?;
        ENTRIES.insert(transaction, backend, self.entries).await
    }
}

/// Key of a version of a policy or a rule in the chain.
pub(crate) fn version_key(name: &str, version: i32) -> String {
    format!("{name}/{version}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "bytes that nobody may guess; nothing is decided by them"
)]
pub(crate) fn fresh_salt() -> Salt {
    rand::rng().random()
}

/// An id for a commit whose caller brings none.
#[expect(
    clippy::disallowed_methods,
    reason = "an id that nobody has used before; nothing is decided by it"
)]
pub(crate) fn fresh_commit(now: DateTime<Utc>) -> CommitId {
    CommitId::new_v7(now, &mut rand::rng())
}
