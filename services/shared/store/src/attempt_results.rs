//! What is written right after a try to send.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{DeliveryId, OrderId},
    message::{AttemptOutcome, DeliveryState},
};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::{
    Store,
    bulk::JsonType,
    delivery_rows::{Standing, lock_standings, padded},
    entity::deliveries,
    error::{During, StoreError},
    gates::open_gates,
    joined::JoinedUpdate,
    rows::{cut, time_text},
    taken_ids::IfTaken,
};

/// Characters that the columns for errors hold.
const ERROR_MAX: usize = 250;

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
    /// What is written instead where `provider_id` is another message's; none where ids say nothing, as those of mail relays.
    pub if_taken: Option<IfTaken>,
}

/// A result that was not written as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub delivery: DeliveryId,
    /// Why.
    pub why: Why,
}

/// Why a result was not written as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The delivery belongs to somebody else by now; nothing was written.
    LeaseLost,
    /// The gateway's id is another message's; what was to be written then is.
    IdTaken,
}

impl Store {
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
        let mut rows = lock_standings(transaction, orders.into_iter().collect()).await?;
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
                    why: Why::LeaseLost,
                });
                continue;
            };
            finish.state().as_str().clone_into(&mut row.state);
            row.lease_token = None;
            if finish.next == NextStep::Now {
                hurried.push((row.order_id, row.seq, row.step));
            }
            written.push(finish);
        }
        if written.is_empty() {
            return Ok(refused);
        }
        self.write_results(transaction, written.clone(), now)
            .await?;
        let instead = self.take_back_ids(transaction, &written, now).await?;
        for finish in &instead {
            let place = places.get(&finish.delivery.as_uuid());
            if let Some(row) = place.and_then(|place| rows.get_mut(*place)) {
                finish.state().as_str().clone_into(&mut row.state);
                if finish.next == NextStep::Now {
                    hurried.push((row.order_id, row.seq, row.step));
                }
            }
            refused.push(Refused {
                delivery: finish.delivery,
                why: Why::IdTaken,
            });
        }
        self.write_results(transaction, instead.iter().collect(), now)
            .await?;
        hurry(transaction, &rows, &hurried, now).await?;
        open_gates(transaction, &self.keys, &rows, now).await?;
        Ok(refused)
    }

    /// `written` are locked and known to be ours.
    async fn write_results(
        &self,
        transaction: &DatabaseTransaction,
        written: Vec<&Finish>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        const DELIVERIES: &str = "finish deliveries";
        const ATTEMPTS: &str = "finish attempts";
        let key = |finish: &Finish| finish.delivery.as_uuid().simple().to_string();
        // Nearly all are simply sent; what they share is said once.
        let (sent, others): (Vec<&Finish>, Vec<&Finish>) =
            written.into_iter().partition(|it| it.is_plainly_sent());
        let rows: Vec<_> = sent
            .iter()
            .map(|it| (key(it), it.provider_id.as_deref().map(|id| cut(id, 128))))
            .collect();
        self.update_joined(
            transaction,
            &SENT_DELIVERIES,
            DELIVERIES,
            &rows,
            &[now.into(), now.into()],
        )
        .await?;
        let rows: Vec<_> = others
            .iter()
            .map(|it| self.delivery_values(it, now))
            .collect();
        self.update_joined(transaction, &FINISH_DELIVERIES, DELIVERIES, &rows, &[])
            .await?;
        // Where no try was made, there is none on record.
        let rows: Vec<_> = sent
            .iter()
            .filter(|it| it.number > 0)
            .map(|it| (key(it), it.number))
            .collect();
        self.update_joined(transaction, &SENT_ATTEMPTS, ATTEMPTS, &rows, &[now.into()])
            .await?;
        let rows: Vec<_> = others
            .iter()
            .filter(|it| it.number > 0)
            .map(|it| {
                (
                    key(it),
                    it.number,
                    it.outcome.as_str(),
                    cut(&it.error, ERROR_MAX),
                )
            })
            .collect();
        self.update_joined(
            transaction,
            &FINISH_ATTEMPTS,
            ATTEMPTS,
            &rows,
            &[now.into()],
        )
        .await
    }

    fn delivery_values(
        &self,
        finish: &Finish,
        now: DateTime<Utc>,
    ) -> (
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
            state.as_str(),
            time_text(self.kind, due_time),
            finish_time.map(|time| time_text(self.kind, time)),
            finish.provider_id.as_deref().map(|id| cut(id, 128)),
            cut(&finish.error, ERROR_MAX),
        )
    }
}

impl Finish {
    /// Sent, and nothing to add.
    fn is_plainly_sent(&self) -> bool {
        self.verdict == Verdict::End(DeliveryState::Sent)
            && self.outcome == AttemptOutcome::Sent
            && self.error.is_empty()
    }
}

const SENT_DELIVERIES: JoinedUpdate = JoinedUpdate {
    table: "deliveries",
    columns: &[("id", JsonType::Key), ("new_provider", JsonType::Text)],
    on: "t.id = UNHEX(n.id)",
    set: &[
        ("state", "'SENT'"),
        ("due_time", "?"),
        ("finish_time", "?"),
        ("provider_id", "COALESCE(n.new_provider, t.provider_id)"),
        ("last_error", "''"),
        ("lease_token", "NULL"),
    ],
};

const FINISH_DELIVERIES: JoinedUpdate = JoinedUpdate {
    table: "deliveries",
    columns: &[
        ("id", JsonType::Key),
        ("new_state", JsonType::Key),
        ("new_due", JsonType::Key),
        ("new_finish", JsonType::Key),
        ("new_provider", JsonType::Text),
        ("new_error", JsonType::Text),
    ],
    on: "t.id = UNHEX(n.id)",
    set: &[
        ("state", "n.new_state"),
        ("due_time", "n.new_due"),
        ("finish_time", "n.new_finish"),
        ("provider_id", "COALESCE(n.new_provider, t.provider_id)"),
        ("last_error", "n.new_error"),
        ("lease_token", "NULL"),
    ],
};

const SENT_ATTEMPTS: JoinedUpdate = JoinedUpdate {
    table: "attempts",
    columns: &[("id", JsonType::Key), ("nr", JsonType::Long)],
    on: "t.delivery_id = UNHEX(n.id) AND t.number = n.nr",
    set: &[("outcome", "'SENT'"), ("finish_time", "?"), ("error", "''")],
};

const FINISH_ATTEMPTS: JoinedUpdate = JoinedUpdate {
    table: "attempts",
    columns: &[
        ("id", JsonType::Key),
        ("nr", JsonType::Long),
        ("new_outcome", JsonType::Key),
        ("new_error", JsonType::Text),
    ],
    on: "t.delivery_id = UNHEX(n.id) AND t.number = n.nr",
    set: &[
        ("outcome", "n.new_outcome"),
        ("finish_time", "?"),
        ("error", "n.new_error"),
    ],
};

/// Makes the next channel of messages due now whose channel before it has failed or may not be used.
pub(crate) async fn hurry(
    transaction: &DatabaseTransaction,
    rows: &[Standing],
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
