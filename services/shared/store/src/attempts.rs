//! Tries to send: what is checked right before, and what is written right after.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use countersign_domain::{
    confirmation::ConfirmationState,
    ids::{AttemptId, DeliveryId, OrderId},
    message::{AttemptOutcome, DeliveryState},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
    Statement,
};
use uuid::Uuid;

use crate::{
    Store,
    bulk::{Bulk, JsonType, json_rows},
    connection::DatabaseKind,
    delivery_rows::{end_deliveries, lock_orders_deliveries, open_gates, padded},
    entity::{attempts, confirmations, deliveries, opt_outs, orders},
    error::{During, StoreError},
    rows::{At, cut, json_text, time_text},
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
    ],
};

/// Characters that the columns for errors hold.
const ERROR_MAX: usize = 250;

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
}

/// A try to be begun.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Id of the try, if it is made.
    pub attempt: AttemptId,
}

/// Whether a try may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// It is on record as under way: send now.
    Go {
        /// Number of the try.
        number: u32,
    },
    /// Somebody else has the delivery: leave it alone.
    Lost,
    /// The order has changed since; the delivery is finished.
    Superseded,
    /// The recipient does not want it; the delivery is finished.
    Suppressed,
}

/// What is to become of the delivery after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Finished.
    End(DeliveryState),
    /// Try again at this time.
    Again(DateTime<Utc>),
}

/// What a finished try means for the next channel of the same message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Its turn comes when it was planned.
    AsPlanned,
    /// Its turn is now.
    Now,
}

/// The result of a try.
#[derive(Clone, Debug)]
pub struct Finish {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// About which order.
    pub order_id: OrderId,
    /// The token that the delivery was claimed with.
    pub token: Uuid,
    /// Number of the try.
    pub number: u32,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// Code and explanation in our own words; empty when it was sent.
    pub error: String,
    /// The gateway's or relay's id of the message.
    pub provider_id: Option<String>,
    /// What is to become of the delivery.
    pub verdict: Verdict,
    /// What it means for the next channel.
    pub next: NextStep,
}

/// A result that was not written, because the delivery belongs to somebody else by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub delivery: DeliveryId,
}

impl Store {
    /// The last checks before sending, and the record that a try is under way: still ours, the order's revision and round
    /// still in force, the recipient still willing. One transaction for all that were claimed together.
    pub async fn start_attempts(
        &self,
        token: Uuid,
        starts: &[Start],
        now: DateTime<Utc>,
    ) -> Result<HashMap<DeliveryId, StartOutcome>, StoreError> {
        if starts.is_empty() {
            return Ok(HashMap::new());
        }
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self.start_in(&transaction, token, starts, now).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn start_in(
        &self,
        transaction: &DatabaseTransaction,
        token: Uuid,
        starts: &[Start],
        now: DateTime<Utc>,
    ) -> Result<HashMap<DeliveryId, StartOutcome>, StoreError> {
        const DOING: &str = "start attempts";
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
        let mut outcomes = HashMap::new();
        let mut begun = Vec::new();
        let mut values = Vec::new();
        let mut superseded = Vec::new();
        let mut suppressed = Vec::new();
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
                    ended_orders.insert(row.order_id);
                    StartOutcome::Suppressed
                }
                Some(row) => {
                    let number = row.attempts + 1;
                    begun.push(row.id);
                    values.extend([
                        row.id.into(),
                        number.into(),
                        start.attempt.as_uuid().into(),
                        AttemptOutcome::Sending.as_str().into(),
                        now.into(),
                        "".into(),
                        token.into(),
                    ]);
                    StartOutcome::Go {
                        number: number.unsigned_abs(),
                    }
                }
            };
            outcomes.insert(start.delivery, outcome);
        }
        ATTEMPTS.insert(transaction, self.backend(), values).await?;
        if !begun.is_empty() {
            deliveries::Entity::update_many()
                .col_expr(
                    deliveries::Column::Attempts,
                    sea_orm::sea_query::Expr::cust("attempts + 1"),
                )
                .filter(deliveries::Column::Id.is_in(padded(begun)))
                .exec(transaction)
                .await
                .during(DOING)?;
        }
        end_deliveries(
            transaction,
            superseded,
            DeliveryState::Superseded,
            "SUPERSEDED: the order or its round has moved on",
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
        let rows = lock_orders_deliveries(transaction, ended_orders.into_iter().collect()).await?;
        open_gates(transaction, &rows).await?;
        Ok(outcomes)
    }

    /// Writes the results of tries and lets the next messages of their orders go; one transaction for all that are given.
    /// Answers what was refused: a worker that slept through its lease changes nothing any more.
    pub async fn finish_attempts(
        &self,
        finishes: &[Finish],
        now: DateTime<Utc>,
    ) -> Result<Vec<Refused>, StoreError> {
        if finishes.is_empty() {
            return Ok(Vec::new());
        }
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self.finish_in(&transaction, finishes, now).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn finish_in(
        &self,
        transaction: &DatabaseTransaction,
        finishes: &[Finish],
        now: DateTime<Utc>,
    ) -> Result<Vec<Refused>, StoreError> {
        let orders: BTreeSet<Uuid> = finishes.iter().map(|it| it.order_id.as_uuid()).collect();
        let mut rows = lock_orders_deliveries(transaction, orders.into_iter().collect()).await?;
        let places: HashMap<Uuid, usize> = rows
            .iter()
            .enumerate()
            .map(|(place, row)| (row.id, place))
            .collect();
        let mut refused = Vec::new();
        let mut written = Vec::new();
        let mut hurried = Vec::new();
        for finish in finishes {
            let row = places
                .get(&finish.delivery.as_uuid())
                .and_then(|place| rows.get_mut(*place))
                .filter(|row| {
                    row.lease_token == Some(finish.token)
                        && row.state == DeliveryState::Leased.as_str()
                        && row.attempts.unsigned_abs() == finish.number
                });
            let Some(row) = row else {
                tracing::warn!(delivery = %finish.delivery, "a result came after the lease was lost; it changes nothing");
                refused.push(Refused {
                    delivery: finish.delivery,
                });
                continue;
            };
            let state = match finish.verdict {
                Verdict::End(state) => state,
                Verdict::Again(_) => DeliveryState::Ready,
            };
            state.as_str().clone_into(&mut row.state);
            row.lease_token = None;
            if finish.next == NextStep::Now {
                hurried.push((row.order_id, row.seq, row.step));
            }
            written.push(finish);
        }
        if written.is_empty() {
            return Ok(refused);
        }
        let deliveries: Vec<_> = written
            .iter()
            .map(|finish| self.delivery_values(finish, now))
            .collect();
        self.update_joined(
            transaction,
            &FINISH_DELIVERIES,
            json_text("finish attempts", &deliveries)?,
        )
        .await?;
        let results: Vec<_> = written
            .iter()
            .map(|finish| {
                (
                    finish.delivery.as_uuid().simple().to_string(),
                    finish.number,
                    finish.outcome.as_str(),
                    time_text(self.kind, now),
                    cut(&finish.error, ERROR_MAX),
                )
            })
            .collect();
        self.update_joined(
            transaction,
            &FINISH_ATTEMPTS,
            json_text("finish attempts", &results)?,
        )
        .await?;
        hurry(transaction, &rows, &hurried, now).await?;
        open_gates(transaction, &rows).await?;
        Ok(refused)
    }

    fn delivery_values(
        &self,
        finish: &Finish,
        now: DateTime<Utc>,
    ) -> (
        String,
        String,
        &'static str,
        String,
        Option<String>,
        Option<String>,
        String,
    ) {
        let (state, due_time, finish_time) = match finish.verdict {
            Verdict::End(state) => (state, now, Some(now)),
            Verdict::Again(due_time) => (DeliveryState::Ready, due_time, None),
        };
        (
            finish.delivery.as_uuid().simple().to_string(),
            finish.token.simple().to_string(),
            state.as_str(),
            time_text(self.kind, due_time),
            finish_time.map(|time| time_text(self.kind, time)),
            finish.provider_id.as_deref().map(|id| cut(id, 128)),
            cut(&finish.error, ERROR_MAX),
        )
    }

    async fn update_joined(
        &self,
        transaction: &DatabaseTransaction,
        update: &JoinedUpdate,
        rows: String,
    ) -> Result<(), StoreError> {
        transaction
            .execute_raw(Statement::from_sql_and_values(
                self.backend(),
                update.sql(self.kind),
                [rows.into()],
            ))
            .await
            .during("finish attempts")?;
        Ok(())
    }
}

/// An UPDATE of many rows, each with values of its own, by one statement with one JSON parameter.
struct JoinedUpdate {
    table: &'static str,
    columns: &'static [(&'static str, JsonType)],
    /// Of the table's columns as `t.`, of the given ones as `n.`.
    on: &'static str,
    /// Column and expression.
    set: &'static [(&'static str, &'static str)],
}

const FINISH_DELIVERIES: JoinedUpdate = JoinedUpdate {
    table: "deliveries",
    columns: &[
        ("id", JsonType::Key),
        ("token", JsonType::Key),
        ("new_state", JsonType::Key),
        ("new_due", JsonType::Key),
        ("new_finish", JsonType::Key),
        ("new_provider", JsonType::Text),
        ("new_error", JsonType::Text),
    ],
    on: "t.id = UNHEX(n.id) AND t.lease_token = UNHEX(n.token)",
    set: &[
        ("state", "n.new_state"),
        ("due_time", "n.new_due"),
        ("finish_time", "n.new_finish"),
        ("provider_id", "COALESCE(n.new_provider, t.provider_id)"),
        ("last_error", "n.new_error"),
        ("lease_token", "NULL"),
    ],
};

const FINISH_ATTEMPTS: JoinedUpdate = JoinedUpdate {
    table: "attempts",
    columns: &[
        ("id", JsonType::Key),
        ("nr", JsonType::Long),
        ("new_outcome", JsonType::Key),
        ("new_finish", JsonType::Key),
        ("new_error", JsonType::Text),
    ],
    on: "t.delivery_id = UNHEX(n.id) AND t.number = n.nr",
    set: &[
        ("outcome", "n.new_outcome"),
        ("finish_time", "n.new_finish"),
        ("error", "n.new_error"),
    ],
};

impl JoinedUpdate {
    fn sql(&self, kind: DatabaseKind) -> String {
        let rows = json_rows(kind, self.columns);
        let table = self.table;
        let on = self.on;
        let set = |prefix: &str| {
            self.set
                .iter()
                .map(|(column, value)| format!("{prefix}{column} = {value}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        match kind {
            DatabaseKind::Sqlite => {
                format!("UPDATE {table} AS t SET {} FROM {rows} WHERE {on}", set(""))
            }
            // The rows were locked in sequence before; the join only finds them by their keys.
            DatabaseKind::MySql | DatabaseKind::MariaDb => format!(
                "UPDATE {rows} STRAIGHT_JOIN {table} AS t ON {on} SET {}",
                set("t.")
            ),
        }
    }
}

/// Makes the next channel of messages due now whose channel before it has failed.
pub(crate) async fn hurry(
    transaction: &DatabaseTransaction,
    rows: &[deliveries::Model],
    failed: &[(Uuid, i32, i32)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let next: Vec<Uuid> = failed
        .iter()
        .filter_map(|(order, seq, step)| {
            rows.iter()
                .filter(|row| row.order_id == *order && row.seq == *seq && row.step > *step)
                .filter(|row| {
                    row.state == DeliveryState::Ready.as_str()
                        || row.state == DeliveryState::Waiting.as_str()
                })
                .min_by_key(|row| row.step)
                .filter(|row| row.due_time > now)
                .map(|row| row.id)
        })
        .collect();
    if next.is_empty() {
        return Ok(());
    }
    deliveries::Entity::update_many()
        .col_expr(deliveries::Column::DueTime, now.into())
        .filter(deliveries::Column::Id.is_in(padded(next)))
        .exec(transaction)
        .await
        .during("make the next channel due")?;
    Ok(())
}

/// What must still hold when a message goes out.
struct Current {
    revisions: HashMap<Uuid, i32>,
    open_rounds: HashSet<(Uuid, i32)>,
    opted_out: HashSet<(Vec<u8>, String)>,
}

impl Current {
    async fn read(
        transaction: &DatabaseTransaction,
        rows: impl Iterator<Item = &deliveries::Model> + Clone + Send,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        const DOING: &str = "check before sending";
        let of: BTreeSet<Uuid> = rows.clone().map(|row| row.order_id).collect();
        if of.is_empty() {
            return Ok(Self {
                revisions: HashMap::new(),
                open_rounds: HashSet::new(),
                opted_out: HashSet::new(),
            });
        }
        let revisions = orders::Entity::find()
            .select_only()
            .column(orders::Column::Id)
            .column(orders::Column::Revision)
            .filter(orders::Column::Id.is_in(padded(of.into_iter().collect())))
            .into_tuple::<(Uuid, i32)>()
            .all(transaction)
            .await
            .during(DOING)?
            .into_iter()
            .collect();
        let asking: BTreeSet<Uuid> = rows
            .clone()
            .filter(|row| row.round > 0)
            .map(|row| row.order_id)
            .collect();
        let open_rounds = if asking.is_empty() {
            HashSet::new()
        } else {
            confirmations::Entity::find()
                .select_only()
                .column(confirmations::Column::OrderId)
                .column(confirmations::Column::Round)
                .filter(confirmations::Column::OrderId.is_in(padded(asking.into_iter().collect())))
                .filter(confirmations::Column::State.eq(ConfirmationState::Open.as_str()))
                .filter(confirmations::Column::ExpireTime.gt(now))
                .into_tuple::<(Uuid, i32)>()
                .all(transaction)
                .await
                .during(DOING)?
                .into_iter()
                .collect()
        };
        let hashes: BTreeSet<Vec<u8>> = rows.map(|row| row.recipient_hash.clone()).collect();
        let mut hashes: Vec<Vec<u8>> = hashes.into_iter().collect();
        if let Some(last) = hashes.last().cloned() {
            hashes.resize(hashes.len().next_power_of_two(), last);
        }
        let opted_out = opt_outs::Entity::find()
            .filter(opt_outs::Column::RecipientHash.is_in(hashes))
            .all(transaction)
            .await
            .during(DOING)?
            .into_iter()
            .map(|row| (row.recipient_hash, row.channel))
            .collect();
        Ok(Self {
            revisions,
            open_rounds,
            opted_out,
        })
    }

    /// A newer revision, a round that is over, or an order that is gone.
    fn is_outdated(&self, row: &deliveries::Model) -> bool {
        self.revisions
            .get(&row.order_id)
            .is_none_or(|revision| *revision != row.revision)
            || (row.round > 0 && !self.open_rounds.contains(&(row.order_id, row.round)))
    }

    fn is_unwelcome(&self, row: &deliveries::Model) -> bool {
        self.opted_out
            .contains(&(row.recipient_hash.clone(), row.channel.clone()))
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
        };
        histories.entry(row.delivery_id).or_default().push(record);
    }
    Ok(histories)
}
