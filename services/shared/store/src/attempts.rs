//! Tries to send: what is put on record right before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{AttemptId, DeliveryId},
    message::{AttemptOutcome, DeliveryState},
    sending::{Passage, SendingRefusal, Toll},
};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::{
    Store,
    attempt_results::hurry,
    bulk::Bulk,
    delivery_rows::{end_deliveries, lock_standings, padded},
    entity::{attempts, deliveries},
    error::{During, StoreError},
    gates::open_gates,
    rows::{At, int},
    send_checks::{Current, OUTDATED},
};

const ATTEMPTS: Bulk = Bulk {
    operation: "insert attempts",
    table: "attempts",
    columns: &[
        "delivery_id",
        "number",
        "id",
        "outcome",
        "start_time",
        "error",
        "lease_token",
        "gateway",
    ],
};

/// A try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Ours; gateways give it back in their callbacks.
    pub id: AttemptId,
    /// 1, 2, 3 … within the delivery.
    pub number: u32,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// When it was begun.
    pub start_time: DateTime<Utc>,
    /// When its result was written.
    pub finish_time: Option<DateTime<Utc>>,
    /// Code and explanation in our own words; empty when it was sent.
    pub error: String,
    /// Name of the account that it was made through.
    pub gateway: String,
}

/// A try to be begun.
#[derive(Clone, Debug)]
pub struct Start {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Id of the try, if it is made.
    pub attempt: AttemptId,
    /// What it counts for; nothing for letters, and nothing when an earlier try has counted.
    pub toll: Option<Toll>,
    /// Version of the words that it is written with; kept with the delivery's first try.
    pub template_version: u32,
}

/// Whether a try may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// It is on record as under way: send now.
    Go {
        /// Number of the try.
        number: u32,
    },
    /// Somebody else has the delivery, or nothing may be sent: leave it alone.
    Lost,
    /// The order has changed since; the delivery is finished.
    Superseded,
    /// The recipient does not want it; the delivery is finished and the next channel is due.
    Suppressed,
    /// Its number has had enough for now; the delivery is still the claimer's, who puts it off until then.
    Waits {
        /// When the number may be written to again.
        until: DateTime<Utc>,
    },
    /// There are more than may be; the delivery is put before staff and the next channel is due.
    Refused(SendingRefusal),
}

impl Store {
    /// The last checks before sending, and the record that a try is under way: still ours, the order's revision and round
    /// still in force, the recipient still willing. `gateway` names the account that they go through. One transaction for
    /// all that were claimed together.
    pub async fn start_attempts(
        &self,
        token: Uuid,
        gateway: &str,
        starts: &[Start],
        now: DateTime<Utc>,
    ) -> Result<HashMap<DeliveryId, StartOutcome>, StoreError> {
        if starts.is_empty() {
            return Ok(HashMap::new());
        }
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .start_in(&transaction, token, gateway, starts, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn start_in(
        &self,
        transaction: &DatabaseTransaction,
        token: Uuid,
        gateway: &str,
        starts: &[Start],
        now: DateTime<Utc>,
    ) -> Result<HashMap<DeliveryId, StartOutcome>, StoreError> {
        const DOING: &str = "start attempts";
        if !self.may_begin(transaction).await? {
            let lost = |start: &Start| (start.delivery, StartOutcome::Lost);
            return Ok(starts.iter().map(lost).collect());
        }
        let ids = padded(
            starts
                .iter()
                .map(|start| start.delivery.as_uuid())
                .collect(),
        );
        let held: HashMap<Uuid, deliveries::Model> = deliveries::Entity::find()
            .filter(deliveries::Column::Id.is_in(ids))
            .lock_exclusive()
            .all(transaction)
            .await
            .during(DOING)?
            .into_iter()
            .filter(|row| {
                row.lease_token == Some(token)
                    && row.state == DeliveryState::Leased.as_str()
                    && row.due_time > now
            })
            .map(|row| (row.id, row))
            .collect();
        let current = Current::read(transaction, held.values(), now).await?;
        let passages = self
            .passages(transaction, starts, &held, &current, now)
            .await?;
        let mut outcomes = HashMap::new();
        // By the version of words that they begin with; none where an earlier try has settled it.
        let mut begun: BTreeMap<Option<u32>, Vec<Uuid>> = BTreeMap::new();
        let mut values = Vec::new();
        let mut superseded = Vec::new();
        let mut suppressed = Vec::new();
        let mut refused: BTreeMap<SendingRefusal, Vec<Uuid>> = BTreeMap::new();
        let mut passed_over = Vec::new();
        let mut ended_orders = BTreeSet::new();
        for start in starts {
            let outcome = match held.get(&start.delivery.as_uuid()) {
                None => StartOutcome::Lost,
                Some(row) if current.is_outdated(row) => {
                    superseded.push(row.id);
                    ended_orders.insert(row.order_id);
                    StartOutcome::Superseded
                }
                Some(row) if current.is_unwelcome(row) => {
                    suppressed.push(row.id);
                    passed_over.push((row.order_id, row.seq, row.step));
                    ended_orders.insert(row.order_id);
                    StartOutcome::Suppressed
                }
                Some(row)
                    if let Some(Passage::Refused(refusal)) = passages.get(&row.id).copied() =>
                {
                    refused.entry(refusal).or_default().push(row.id);
                    passed_over.push((row.order_id, row.seq, row.step));
                    ended_orders.insert(row.order_id);
                    StartOutcome::Refused(refusal)
                }
                Some(row) if let Some(Passage::Wait(until)) = passages.get(&row.id).copied() => {
                    StartOutcome::Waits {
                        until: DateTime::from_timestamp(until, 0).unwrap_or(now),
                    }
                }
                Some(row) => {
                    let number = row.attempts + 1;
                    let begins = row
                        .template_version
                        .is_none()
                        .then_some(start.template_version);
                    begun.entry(begins).or_default().push(row.id);
                    values.extend([
                        row.id.into(),
                        number.into(),
                        start.attempt.as_uuid().into(),
                        AttemptOutcome::Sending.as_str().into(),
                        now.into(),
                        "".into(),
                        token.into(),
                        gateway.into(),
                    ]);
                    StartOutcome::Go {
                        number: number.unsigned_abs(),
                    }
                }
            };
            outcomes.insert(start.delivery, outcome);
        }
        ATTEMPTS.insert(transaction, self.backend(), values).await?;
        for (version, ids) in begun {
            let mut update = deliveries::Entity::update_many().col_expr(
                deliveries::Column::Attempts,
                sea_orm::sea_query::Expr::cust("attempts + 1"),
            );
            if let Some(version) = version {
                let version = int(DOING, version)?;
                update = update.col_expr(deliveries::Column::TemplateVersion, version.into());
            }
            update
                .filter(deliveries::Column::Id.is_in(padded(ids)))
                .exec(transaction)
                .await
                .during(DOING)?;
        }
        end_deliveries(
            transaction,
            superseded,
            DeliveryState::Superseded,
            OUTDATED,
            now,
        )
        .await?;
        end_deliveries(
            transaction,
            suppressed,
            DeliveryState::Suppressed,
            "OPTED_OUT: the recipient does not want to be written to",
            now,
        )
        .await?;
        for (refusal, ids) in refused {
            let error = format!("{refusal}: {}", refusal.words());
            end_deliveries(transaction, ids, DeliveryState::Dead, &error, now).await?;
        }
        let rows = lock_standings(transaction, ended_orders.into_iter().collect()).await?;
        hurry(transaction, &rows, &passed_over, now).await?;
        open_gates(transaction, &self.keys, &rows, now).await?;
        Ok(outcomes)
    }

    /// Whether the texts and calls among these may go, by delivery.
    async fn passages(
        &self,
        transaction: &DatabaseTransaction,
        starts: &[Start],
        held: &HashMap<Uuid, deliveries::Model>,
        current: &Current,
        now: DateTime<Utc>,
    ) -> Result<HashMap<Uuid, Passage>, StoreError> {
        let (ids, tolls): (Vec<Uuid>, Vec<&Toll>) = starts
            .iter()
            .filter_map(|start| {
                let row = held.get(&start.delivery.as_uuid())?;
                let goes = !current.is_outdated(row) && !current.is_unwelcome(row);
                goes.then_some((row.id, start.toll.as_ref()?))
            })
            .unzip();
        let passages = self.pass_tolls(transaction, &tolls, now).await?;
        Ok(ids.into_iter().zip(passages).collect())
    }
}

/// Rows as records, by delivery.
pub(crate) fn records(
    rows: Vec<attempts::Model>,
) -> Result<HashMap<Uuid, Vec<AttemptRecord>>, StoreError> {
    let mut histories: HashMap<Uuid, Vec<AttemptRecord>> = HashMap::new();
    for row in rows {
        let at = At {
            table: "attempts",
            row: &row.delivery_id,
        };
        let record = AttemptRecord {
            id: AttemptId::from_uuid(row.id),
            number: at.unsigned("number", row.number)?,
            outcome: at.word("outcome", &row.outcome)?,
            start_time: row.start_time,
            finish_time: row.finish_time,
            error: row.error,
            gateway: row.gateway,
        };
        histories.entry(row.delivery_id).or_default().push(record);
    }
    Ok(histories)
}
