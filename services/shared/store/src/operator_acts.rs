//! What staff do, kept with who, when and why in the transaction that does it. A repeated call finds what it did before.

use std::{collections::HashMap, fmt};

use chrono::{DateTime, Utc};
use countersign_domain::{
    chain::{ActFields, EntryKind, Hash, Salt, act_commitment, act_hash},
    ids::DeliveryId,
    operator::{ActKind, ActOutcome},
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Value,
    sea_query::Expr,
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Store,
    bulk::Bulk,
    chain::{CommitRows, fresh_commit, fresh_salt},
    data_keys::DataKeys,
    entity::operator_acts,
    error::{During, StoreError},
    rows::{At, cut, int, json_text},
    sealed::ACTS_REASON,
};

const ACTS: Bulk = Bulk {
    operation: "insert operators' acts",
    table: "operator_acts",
    columns: &[
        "id",
        "request_hash",
        "fingerprint",
        "subject",
        "action",
        "generation",
        "outcome",
        "actor",
        "approver",
        "reason",
        "result",
        "create_time",
    ],
};

/// Who wants something done, why, and what tells a repeated call. `Debug` does not show why.
#[derive(Clone)]
pub struct ActCall {
    /// In order of time; of the record.
    pub id: Uuid,
    /// SHA-256 over caller, method and request id.
    pub request_hash: [u8; 32],
    /// SHA-256 over what was asked for.
    pub fingerprint: [u8; 32],
    /// Who.
    pub actor: String,
    /// The second person, where one is needed.
    pub approver: String,
    /// Why.
    pub reason: String,
}

impl fmt::Debug for ActCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActCall({} by {})", self.id, self.actor)
    }
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActRecord {
    /// What.
    pub action: ActKind,
    /// What came of it.
    pub outcome: ActOutcome,
    /// Generation of the message that it was done to; 0 where there is none.
    pub generation: u32,
    /// Who.
    pub actor: String,
    /// The second person.
    pub approver: String,
    /// Why.
    pub reason: String,
    /// When.
    pub create_time: DateTime<Utc>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted<T, R> {
    /// Carried out, now or by an earlier call with the same request id.
    Answered(T, ActOutcome),
    /// There is no such thing.
    NotFound,
    /// It may not be done.
    Refused(R),
    /// The request id was used for something else.
    OtherRequest,
}

/// What an act was done to and what came of it.
pub(crate) struct Entry<'a, T> {
    pub(crate) subject: &'a str,
    pub(crate) action: ActKind,
    pub(crate) generation: u32,
    pub(crate) outcome: ActOutcome,
    pub(crate) result: &'a T,
}

/// Rows of the table, and what puts them into the audit chain.
#[derive(Default)]
pub(crate) struct Acts {
    rows: Vec<Value>,
    records: Vec<(Uuid, Salt, Hash)>,
    time: DateTime<Utc>,
}

impl ActCall {
    /// An act that is not asked for by a call which could come twice. `id` is new and in order of time.
    pub fn own(id: Uuid, actor: impl Into<String>, reason: impl Into<String>) -> Self {
        let mut request_hash = [0; 32];
        request_hash[..16].copy_from_slice(id.as_bytes());
        Self {
            id,
            request_hash,
            fingerprint: [0; 32],
            actor: actor.into(),
            approver: String::new(),
            reason: reason.into(),
        }
    }

    /// Appends the record of an act.
    pub(crate) fn push<T: Serialize>(
        &self,
        acts: &mut Acts,
        keys: &DataKeys,
        entry: &Entry<'_, T>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let generation = int(ACTS.operation, entry.generation)?;
        let (actor, approver) = (cut(&self.actor, 64), cut(&self.approver, 64));
        let reason = cut(&self.reason, 500);
        let result = json_text(ACTS.operation, entry.result)?;
        let salt = fresh_salt();
        let commitment = act_commitment(&salt, entry.subject, &self.fingerprint, &reason, &result);
        let fields = ActFields {
            id: self.id,
            request_hash: &self.request_hash,
            action: entry.action.as_str(),
            generation,
            outcome: entry.outcome.as_str(),
            actor: &actor,
            approver: &approver,
            create_time: now,
        };
        acts.records
            .push((self.id, salt, act_hash(&fields, &commitment)));
        acts.time = now;
        acts.rows.extend([
            self.id.into(),
            self.request_hash.to_vec().into(),
            self.hidden_fingerprint(keys).to_vec().into(),
            entry.subject.into(),
            entry.action.as_str().into(),
            generation.into(),
            entry.outcome.as_str().into(),
            actor.into(),
            approver.into(),
            ACTS_REASON.seal_text(keys, &self.id, &reason)?.into(),
            result.into(),
            now.into(),
        ]);
        Ok(())
    }

    /// Whoever has a copy of the database could find what was asked for by guessing it, were the fingerprint in the clear.
    fn hidden_fingerprint(&self, keys: &DataKeys) -> [u8; 32] {
        let lookup = keys.lookup();
        lookup.hidden(&self.request_hash, &self.fingerprint)
    }
}

/// What was asked for, as the chain has it.
pub(crate) fn fingerprint(
    keys: &DataKeys,
    row: &operator_acts::Model,
) -> Result<[u8; 32], StoreError> {
    let at = At {
        table: "operator_acts",
        row: &row.id,
    };
    let stored = at.hash("fingerprint", &row.fingerprint)?;
    Ok(keys.lookup().hidden(&row.request_hash, &stored))
}

/// An act of staff on a message that goes is found by its order from now on: an erasure must find it. `orders` by message.
pub(crate) async fn note_orders(
    transaction: &DatabaseTransaction,
    orders: HashMap<Uuid, Uuid>,
) -> Result<(), StoreError> {
    const DOING: &str = "note the orders of acts";
    let orders: HashMap<String, Uuid> = orders
        .into_iter()
        .map(|(message, order)| (DeliveryId::from_uuid(message).resource_name(), order))
        .collect();
    let acts: Vec<(Uuid, String)> = operator_acts::Entity::find()
        .select_only()
        .columns([operator_acts::Column::Id, operator_acts::Column::Subject])
        .filter(operator_acts::Column::Subject.is_in(orders.keys().map(String::as_str)))
        .into_tuple()
        .all(transaction)
        .await
        .during(DOING)?;
    for (act, subject) in acts {
        operator_acts::Entity::update_many()
            .col_expr(
                operator_acts::Column::OrderId,
                Expr::value(orders.get(&subject).copied()),
            )
            .filter(operator_acts::Column::Id.eq(act))
            .exec(transaction)
            .await
            .during(DOING)?;
    }
    Ok(())
}

/// An earlier call with the same request id.
pub(crate) enum Earlier<T> {
    None,
    Same(T, ActOutcome),
    Other,
}

/// What an earlier call with the same request id came to.
pub(crate) async fn earlier<T: DeserializeOwned>(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    call: &ActCall,
) -> Result<Earlier<T>, StoreError> {
    let found = operator_acts::Entity::find()
        .filter(operator_acts::Column::RequestHash.eq(call.request_hash.to_vec()))
        .one(transaction)
        .await
        .during("find an earlier act")?;
    let Some(row) = found else {
        return Ok(Earlier::None);
    };
    if row.fingerprint != call.hidden_fingerprint(keys) {
        return Ok(Earlier::Other);
    }
    let at = At {
        table: "operator_acts",
        row: &row.id,
    };
    Ok(Earlier::Same(
        at.json("result", &row.result)?,
        at.word("outcome", &row.outcome)?,
    ))
}

/// The last act of a kind on a subject, with what came of it.
pub(crate) async fn last_act(
    transaction: &DatabaseTransaction,
    subject: &str,
    action: ActKind,
) -> Result<Option<operator_acts::Model>, StoreError> {
    operator_acts::Entity::find()
        .filter(operator_acts::Column::Subject.eq(subject))
        .filter(operator_acts::Column::Action.eq(action.as_str()))
        .order_by_desc(operator_acts::Column::Id)
        .one(transaction)
        .await
        .during("find the last act")
}

impl Store {
    pub(crate) async fn insert_acts(
        &self,
        transaction: &DatabaseTransaction,
        acts: Acts,
    ) -> Result<(), StoreError> {
        if acts.records.is_empty() {
            return Ok(());
        }
        let mut commit = CommitRows::new(fresh_commit(acts.time), acts.time);
        for (id, salt, hash) in &acts.records {
            commit.push_entry(EntryKind::Act, &id.to_string(), Some(salt), *hash);
        }
        ACTS.insert(transaction, self.backend(), acts.rows).await?;
        commit.insert(transaction, self.backend()).await
    }

    /// Runs an act again that met a rival with the same request id: the second run finds what the rival did.
    pub(crate) async fn act<T, F, W>(&self, work: F) -> Result<T, StoreError>
    where
        F: Fn() -> W + Send + Sync,
        W: Future<Output = Result<T, StoreError>> + Send,
    {
        match self.again(&work).await {
            Err(error) if error.is_unique_violation() => self.again(&work).await,
            result => result,
        }
    }

    /// What staff did about a message, first to last.
    pub async fn list_delivery_acts(&self, id: DeliveryId) -> Result<Vec<ActRecord>, StoreError> {
        self.list_acts(&id.resource_name()).await
    }

    /// What staff did about an account at a gateway, first to last.
    pub async fn list_gateway_acts(&self, name: &str) -> Result<Vec<ActRecord>, StoreError> {
        self.list_acts(&gateway_subject(name)).await
    }

    async fn list_acts(&self, subject: &str) -> Result<Vec<ActRecord>, StoreError> {
        operator_acts::Entity::find()
            .filter(operator_acts::Column::Subject.eq(subject))
            .order_by_asc(operator_acts::Column::Id)
            .all(&self.db)
            .await
            .during("list acts")?
            .into_iter()
            .map(|row| {
                let at = At {
                    table: "operator_acts",
                    row: &row.id,
                };
                Ok(ActRecord {
                    action: at.word("action", &row.action)?,
                    outcome: at.word("outcome", &row.outcome)?,
                    generation: at.unsigned("generation", row.generation)?,
                    actor: row.actor,
                    approver: row.approver,
                    reason: ACTS_REASON.open_text(&self.keys, &row.id, &row.reason)?,
                    create_time: row.create_time,
                })
            })
            .collect()
    }
}

pub(crate) fn gateway_subject(name: &str) -> String {
    format!("gateways/{name}")
}
