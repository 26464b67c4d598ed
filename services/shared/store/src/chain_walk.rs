//! Verifying the audit chain: reads it page by page, while what was read before is hashed, and holds no more than two pages.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use countersign_domain::chain::{
    ActFields, Anchor, CommitSeen, EntryKind, EventFields, GENESIS, Hash, RecordName, RecordSeen,
    Salt, Summary, Walk, act_commitment, act_hash, details_commitment, erasure_hash, event_hash,
    version_hash,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement};
use uuid::Uuid;

use crate::{
    Store,
    chain::version_key,
    data_keys::DataKeys,
    entity::{
        audit_entries, audit_rules, commits, erasures, operator_acts, order_events, order_policies,
    },
    erasures::reason_of,
    error::{During, StoreError},
    operator_acts::fingerprint,
    sealed::{ACTS_REASON, EVENTS_DETAILS},
};

mod strays;

const DOING: &str = "read the audit chain";
/// Records of a page, unless one commit has more.
const PAGE_RECORDS: i64 = 8_000;
/// Commits of a page.
const PAGE_COMMITS: u64 = 1_000;
/// Keys that a statement names: with more, MySQL reads whole tables.
const KEYS: usize = 100;

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainProgress {
    /// Up to here.
    pub position: i64,
    /// Where the chain ended when it was asked last.
    pub head: i64,
    /// Records looked at.
    pub records: u64,
    /// Faults found.
    pub faults: u64,
}

/// Commits with all that belongs to them.
struct ChainPage {
    commits: Vec<commits::Model>,
    events: Vec<order_events::Model>,
    entries: Vec<(audit_entries::Model, Option<Hash>)>,
}

impl Store {
    /// Walks along the chain from a position on (the first is 1), past these anchors. From the first position on, it also
    /// looks for records that are in no commit. Services may go on working meanwhile.
    pub async fn verify_chain(
        &self,
        from: i64,
        anchors: Vec<Anchor>,
        progress: &(dyn Fn(ChainProgress) + Send + Sync),
    ) -> Result<Summary, StoreError> {
        let before = from - 1;
        let start = if before <= 0 {
            Some(GENESIS)
        } else {
            commits::Entity::find()
                .filter(commits::Column::Position.eq(before))
                .one(&self.db)
                .await
                .during(DOING)?
                .and_then(|row| row.chain_hash.as_deref().and_then(hash_of))
        };
        let mut walk = Walk::new(before.max(0), start, anchors);
        let mut head = self.chain_head().await?;
        loop {
            let mut page = self
                .chain_page(walk.summary().position, head.position)
                .await?;
            while let Some(found) = page {
                let last = found
                    .commits
                    .last()
                    .and_then(|row| row.position)
                    .unwrap_or(head.position);
                let keys = self.keys.clone();
                let hashing = tokio::task::spawn_blocking(move || take(&keys, walk, &found));
                let (taken, next) = tokio::join!(hashing, self.chain_page(last, head.position));
                walk = taken.map_err(|error| StoreError::Unstorable {
                    operation: DOING,
                    problem: error.to_string(),
                })?;
                page = next?;
                let summary = walk.summary();
                progress(ChainProgress {
                    position: summary.position,
                    head: head.position,
                    records: summary.records,
                    faults: summary.fault_count,
                });
            }
            let moved = self.chain_head().await?;
            if moved.position <= head.position {
                break;
            }
            head = moved;
        }
        self.look_behind(&mut walk).await?;
        if from <= 1 {
            self.look_for_strays(&mut walk).await?;
        }
        Ok(walk.finish(head.position, &head.hash))
    }

    /// Commits after a position up to another, with all that belongs to them. None when there are none.
    async fn chain_page(&self, after: i64, last: i64) -> Result<Option<ChainPage>, StoreError> {
        let mut found = commits::Entity::find()
            .filter(commits::Column::Position.gt(after))
            .filter(commits::Column::Position.lte(last))
            .order_by_asc(commits::Column::Position)
            .limit(PAGE_COMMITS)
            .all(&self.db)
            .await
            .during(DOING)?;
        let mut records = 0_i64;
        let fitting = found
            .iter()
            .take_while(|row| {
                records += i64::from(row.records.unwrap_or(1).max(1));
                records <= PAGE_RECORDS
            })
            .count();
        found.truncate(fitting.max(1));
        let Some(end) = found.last().and_then(|row| row.position) else {
            return Ok(None);
        };
        let bounds = [after.into(), end.into()];
        let events = order_events::Entity::find()
            .from_raw_sql(Statement::from_sql_and_values(
                self.backend(),
                "SELECT e.* FROM commits c JOIN order_events e ON e.commit_id = c.id \
                 WHERE c.position > ? AND c.position <= ? ORDER BY c.position, e.ordinal",
                bounds.clone(),
            ))
            .all(&self.db)
            .await
            .during(DOING)?;
        let entries = audit_entries::Entity::find()
            .from_raw_sql(Statement::from_sql_and_values(
                self.backend(),
                "SELECT e.* FROM commits c JOIN audit_entries e ON e.commit_id = c.id \
                 WHERE c.position > ? AND c.position <= ? ORDER BY c.position, e.ordinal",
                bounds,
            ))
            .all(&self.db)
            .await
            .during(DOING)?;
        let entries = self.with_found_hashes(entries).await?;
        Ok(Some(ChainPage {
            commits: found,
            events,
            entries,
        }))
    }

    /// Entries with the hashes of the rows that they stand for, as those are now.
    async fn with_found_hashes(
        &self,
        entries: Vec<audit_entries::Model>,
    ) -> Result<Vec<(audit_entries::Model, Option<Hash>)>, StoreError> {
        let mut hashes: HashMap<(String, String), Hash> = HashMap::new();
        for chunk in entries.chunks(KEYS) {
            let of = |kind: EntryKind| {
                let of_kind = chunk.iter().filter(move |it| it.kind == kind.as_str());
                of_kind.map(|entry| entry.entry_key.as_str())
            };
            let ids = |kind| of(kind).filter_map(|key| Uuid::parse_str(key).ok());
            let acts: Vec<Uuid> = ids(EntryKind::Act).collect();
            if !acts.is_empty() {
                let rows = operator_acts::Entity::find()
                    .filter(operator_acts::Column::Id.is_in(acts))
                    .all(&self.db)
                    .await
                    .during(DOING)?;
                for row in rows {
                    let key = row.id.to_string();
                    let entry = chunk.iter().find(|entry| entry.entry_key == key);
                    if let Some(hash) =
                        entry.and_then(|entry| act_row_hash(&self.keys, entry, &row))
                    {
                        hashes.insert((EntryKind::Act.as_str().to_owned(), key), hash);
                    }
                }
            }
            let erased: Vec<Uuid> = ids(EntryKind::Erasure).collect();
            if !erased.is_empty() {
                let rows = erasures::Entity::find()
                    .filter(erasures::Column::Id.is_in(erased))
                    .all(&self.db)
                    .await
                    .during(DOING)?;
                for row in rows {
                    // What cannot be opened was changed: it can be brought to no hash.
                    let hash = reason_of(&self.keys, &row).map_or_else(
                        |_| Hash::default(),
                        |reason| {
                            erasure_hash(
                                row.id,
                                &row.customer_hash,
                                &row.actor,
                                &reason,
                                row.create_time,
                            )
                        },
                    );
                    let kind = EntryKind::Erasure.as_str().to_owned();
                    hashes.insert((kind, row.id.to_string()), hash);
                }
            }
            if of(EntryKind::Policy).next().is_some() {
                for (key, hash, _) in self.policy_hashes().await? {
                    hashes.insert((EntryKind::Policy.as_str().to_owned(), key), hash);
                }
            }
            if of(EntryKind::Rule).next().is_some() {
                for (key, hash, _) in self.rule_hashes().await? {
                    hashes.insert((EntryKind::Rule.as_str().to_owned(), key), hash);
                }
            }
        }
        Ok(entries
            .into_iter()
            .map(|entry| {
                let key = (entry.kind.clone(), entry.entry_key.clone());
                let hash = hashes.get(&key).copied();
                (entry, hash)
            })
            .collect())
    }

    async fn policy_hashes(&self) -> Result<Vec<(String, Hash, DateTime<Utc>)>, StoreError> {
        let rows = order_policies::Entity::find()
            .all(&self.db)
            .await
            .during(DOING)?;
        let kind = EntryKind::Policy.as_str();
        Ok(rows
            .iter()
            .map(|row| {
                let (name, at) = (&row.order_type, row.create_time);
                let hash = version_hash(kind, name, row.version, &row.policy, at);
                (version_key(name, row.version), hash, at)
            })
            .collect())
    }

    async fn rule_hashes(&self) -> Result<Vec<(String, Hash, DateTime<Utc>)>, StoreError> {
        let rows = audit_rules::Entity::find()
            .all(&self.db)
            .await
            .during(DOING)?;
        let kind = EntryKind::Rule.as_str();
        Ok(rows
            .iter()
            .map(|row| {
                let (name, at) = (&row.id, row.create_time);
                let hash = version_hash(kind, name, row.version, &row.rule, at);
                (version_key(name, row.version), hash, at)
            })
            .collect())
    }
}

fn row_name(kind: &str, key: &str) -> RecordName {
    let table = match kind.parse() {
        Ok(EntryKind::Act) => "operator_acts",
        Ok(EntryKind::Policy) => "order_policies",
        Ok(EntryKind::Rule) => "audit_rules",
        Ok(EntryKind::Erasure) => "erasures",
        Err(_) => kind,
    };
    RecordName::Row(format!("{table}/{key}"))
}

fn hash_of(bytes: &[u8]) -> Option<Hash> {
    bytes.try_into().ok()
}

fn salt_of(bytes: Option<&Vec<u8>>) -> Option<Salt> {
    bytes.and_then(|bytes| bytes.as_slice().try_into().ok())
}

/// The hash of what stands in `operator_acts` now; none when neither salt nor commitment is there.
fn act_row_hash(
    keys: &DataKeys,
    entry: &audit_entries::Model,
    row: &operator_acts::Model,
) -> Option<Hash> {
    let opened = fingerprint(keys, row).and_then(|fingerprint| {
        let reason = ACTS_REASON.open_text(keys, &row.id, &row.reason)?;
        Ok((fingerprint, reason))
    });
    // What cannot be opened was changed: it can be brought to no hash.
    let Ok((fingerprint, reason)) = opened else {
        return Some(Hash::default());
    };
    let commitment = match salt_of(entry.salt.as_ref()) {
        Some(salt) => act_commitment(&salt, &row.subject, &fingerprint, &reason, &row.result),
        None => entry.commitment.as_deref().and_then(hash_of)?,
    };
    let fields = ActFields {
        id: row.id,
        request_hash: &row.request_hash,
        action: &row.action,
        generation: row.generation,
        outcome: &row.outcome,
        actor: &row.actor,
        approver: &row.approver,
        create_time: row.create_time,
    };
    Some(act_hash(&fields, &commitment))
}

/// The hash of an event as it stands now; none, too, when its details cannot be opened.
fn event_row_hash(keys: &DataKeys, row: &order_events::Model) -> Option<Hash> {
    let commitment = match salt_of(row.salt.as_ref()) {
        Some(salt) => {
            let key = (row.commit_id, row.ordinal);
            let details = EVENTS_DETAILS.open_text(keys, &key, &row.details).ok()?;
            details_commitment(&salt, &details)
        }
        None => row.commitment.as_deref().and_then(hash_of)?,
    };
    let fields = EventFields {
        order: row.order_id,
        version: row.version,
        kind: &row.kind,
        revision: row.revision,
        from_state: &row.from_state,
        to_state: &row.to_state,
        actor: &row.actor,
        create_time: row.create_time,
    };
    Some(event_hash(&fields, &commitment))
}

/// Walks along a page.
fn take(keys: &DataKeys, mut walk: Walk, page: &ChainPage) -> Walk {
    let mut records: HashMap<Uuid, Vec<(i32, RecordSeen)>> =
        HashMap::with_capacity(page.commits.len());
    for row in &page.events {
        let seen = RecordSeen {
            name: RecordName::Event {
                order: row.order_id,
                version: row.version,
            },
            written: row.hash.as_deref().and_then(hash_of),
            // An event without salt and commitment was changed: it can be brought to no hash.
            found: Some(event_row_hash(keys, row).unwrap_or_default()),
            erased: row.commitment.is_some(),
        };
        let of_commit = records.entry(row.commit_id).or_default();
        of_commit.push((row.ordinal, seen));
    }
    for (entry, found) in &page.entries {
        let seen = RecordSeen {
            name: row_name(&entry.kind, &entry.entry_key),
            written: hash_of(&entry.hash),
            found: *found,
            erased: entry.commitment.is_some(),
        };
        let of_commit = records.entry(entry.commit_id).or_default();
        of_commit.push((entry.ordinal, seen));
    }
    for row in &page.commits {
        let mut own = records.remove(&row.id).unwrap_or_default();
        own.sort_by_key(|(ordinal, _)| *ordinal);
        walk.take(&CommitSeen {
            position: row.position.unwrap_or_default(),
            id: row.id,
            create_time: row.create_time,
            record_count: row.records,
            digest: row.digest.as_deref().and_then(hash_of),
            hash: row.chain_hash.as_deref().and_then(hash_of),
            records: own.into_iter().map(|(_, seen)| seen).collect(),
        });
    }
    walk
}
