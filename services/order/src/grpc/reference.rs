//! What the services of reference data share: the mask of an update, imports row by row, and calls that are made twice.

use std::{future::Future, pin::Pin};

use chrono::{DateTime, Utc};
use countersign_proto::v1;
use countersign_store::{Put, RequestRecord, Store, StoreError};
use futures::{Stream, StreamExt as _, stream};
use prost::Message;
use prost_types::FieldMask;
use tonic::{Request, Response, Status, Streaming};

use super::call::{caller_of, key_of};
use crate::{
    app::{
        erasures::Eraser,
        idempotency::{Answer, CallKey, Keyed},
        make::Ids,
    },
    error::{ServiceError, Violations},
};

/// Rows of an import that are written in one transaction.
const IMPORT_ROWS: usize = 200;
/// Transactions of one import at a time. Rows of one key must stay in sequence, so that the last one given stands.
const IMPORT_BATCHES: usize = 1;
/// How often a write is tried anew when a rival was faster.
pub(crate) const RUNS_MAX: u32 = 5;

/// The reference data behind gRPC.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) store: Store,
    pub(crate) eraser: Eraser,
    pub(crate) default_region: Option<countersign_domain::place::CountryCode>,
    /// For how long the company keeps backups of the database, if it has said so.
    pub(crate) backups_kept: Option<chrono::TimeDelta>,
}

/// The answers of an import.
pub(crate) type Rows = Pin<Box<dyn Stream<Item = Result<v1::ImportRowResponse, Status>> + Send>>;

/// A call that writes: what was asked, and its name.
pub(crate) struct Write<M> {
    pub(crate) inner: M,
    pub(crate) key: CallKey,
}

impl<M: Keyed> Write<M> {
    /// Takes a request apart; one without a proper request id is refused.
    pub(crate) fn of(request: Request<M>, method: &str) -> Result<Self, ServiceError> {
        let caller = caller_of(&request)?;
        let inner = request.into_inner();
        let mut violations = Violations::new();
        let key = key_of(&caller, method, &inner, "", &mut violations);
        violations.check()?;
        let key = key.ok_or_else(|| ServiceError::internal("a call without a name"))?;
        Ok(Self { inner, key })
    }

    /// The row that remembers the call.
    pub(crate) fn record(&self, answer: &impl Message, now: DateTime<Utc>) -> RequestRecord {
        Ids::at(now).record(&self.key, answer.encode_to_vec())
    }
}

/// Answers what was answered before, or runs `work`; after a rival took the name of the call, what the rival answered.
/// `work` answers nothing when it must be run anew.
pub(crate) async fn once<T, F>(
    store: &Store,
    key: &CallKey,
    work: impl Fn() -> F + Send + Sync,
) -> Result<Response<T>, ServiceError>
where
    T: Message + Default,
    F: Future<Output = Result<Option<T>, ServiceError>> + Send,
{
    for _ in 0..RUNS_MAX {
        if let Some(answer) = key.find(store).await? {
            return Ok(Answer::replayed(answer).into_response());
        }
        if let Some(answer) = work().await? {
            return Ok(Answer::fresh(answer).into_response());
        }
    }
    Err(ServiceError::Aborted { reason: "CONFLICT" })
}

/// What a write of one row came to; nothing when it must be run anew.
pub(crate) fn written(result: Result<Vec<Put>, StoreError>) -> Result<Option<Put>, ServiceError> {
    match result {
        Ok(puts) => Ok(puts.first().copied()),
        Err(error) if error.is_unique_violation() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Paths of a mask; `known` are those that may be changed. An absent mask means all, as `*` does (AIP-134).
pub(crate) fn masked<'k>(
    mask: Option<&FieldMask>,
    known: &[&'k str],
) -> Result<Vec<&'k str>, ServiceError> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        return Ok(known.to_vec());
    };
    if mask.paths.iter().any(|path| path == "*") {
        return Ok(known.to_vec());
    }
    let mut violations = Violations::new();
    let mut paths = Vec::with_capacity(mask.paths.len().min(known.len()));
    for path in &mask.paths {
        match known.iter().find(|known| *known == path) {
            Some(path) => paths.push(*path),
            None => violations.add(
                "update_mask",
                format!("must name only {}", known.join(", ")),
            ),
        }
    }
    violations.check()?;
    Ok(paths)
}

/// The tag of a version.
pub(crate) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// A row of an import: its number, and what it says or why it is refused.
pub(crate) struct ImportRow<T> {
    pub(crate) row: i64,
    pub(crate) name: String,
    pub(crate) read: Result<T, ServiceError>,
}

/// Reads rows as they come, writes those that arrived together in one transaction, answers each by itself. A batch that
/// fails as a whole is written row by row, so that one bad row never fails its neighbours.
pub(crate) fn import<M, T, P, F>(
    requests: Streaming<M>,
    read: impl Fn(M) -> ImportRow<T> + Send + 'static,
    put: P,
) -> Rows
where
    M: Send + 'static,
    T: Clone + Send + Sync + 'static,
    P: Fn(Vec<T>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Vec<Put>, StoreError>> + Send + 'static,
{
    requests
        .ready_chunks(IMPORT_ROWS)
        .map(move |chunk| {
            let put = put.clone();
            let rows: Vec<Result<ImportRow<T>, Status>> =
                chunk.into_iter().map(|row| row.map(&read)).collect();
            write_chunk(rows, put)
        })
        .buffered(IMPORT_BATCHES)
        .flat_map(stream::iter)
        .boxed()
}

async fn write_chunk<T, P, F>(
    rows: Vec<Result<ImportRow<T>, Status>>,
    put: P,
) -> Vec<Result<v1::ImportRowResponse, Status>>
where
    T: Clone,
    P: Fn(Vec<T>) -> F,
    F: Future<Output = Result<Vec<Put>, StoreError>>,
{
    let good: Vec<T> = rows
        .iter()
        .filter_map(|row| row.as_ref().ok()?.read.as_ref().ok().cloned())
        .collect();
    let mut puts = Vec::with_capacity(good.len());
    match put(good.clone()).await {
        Ok(all) => puts.extend(all.into_iter().map(Ok)),
        Err(error) => {
            tracing::debug!(error = %error, "an import's batch is written row by row");
            for one in good {
                puts.push(
                    put(vec![one])
                        .await
                        .map(|put| put.first().copied().unwrap_or(Put::Conflict)),
                );
            }
        }
    }
    let mut puts = puts.into_iter();
    rows.into_iter()
        .map(|row| {
            let row = row?;
            let outcome = match row.read {
                Ok(_) => match puts.next() {
                    Some(result) => result.map_err(ServiceError::from),
                    None => Err(ServiceError::internal("a row without an outcome")),
                },
                Err(refused) => Err(refused),
            };
            let (name, outcome, error) = match outcome {
                Ok(Put::Created) => (row.name, "created", String::new()),
                Ok(Put::Replaced) => (row.name, "replaced", String::new()),
                Ok(Put::Unchanged) => (row.name, "unchanged", String::new()),
                Ok(Put::Conflict) => (
                    String::new(),
                    "",
                    "on_hand: must cover what is promised to orders".to_owned(),
                ),
                Err(error) => (String::new(), "", Status::from(error).message().to_owned()),
            };
            Ok(v1::ImportRowResponse {
                row: row.row,
                name,
                error,
                outcome: outcome.to_owned(),
            })
        })
        .collect()
}
