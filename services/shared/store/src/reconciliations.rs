//! Messages that would be sent, and what a carrier says of them after a restore (RELIABILITY, L-05).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{AttemptId, DeliveryId},
    message::{AttemptOutcome, Delivery, DeliveryState},
    operator::{ActKind, ActOutcome},
    order::Channel,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use crate::{
    ActCall, Claimed, Store,
    attempt_results::hurry,
    delivery_rows::{delivery, lock_standings},
    entity::{attempts, deliveries},
    error::{During, StoreError},
    gates::open_gates,
    operator_acts::{Acts, Entry},
    rows::{At, cut, int},
    taken_ids::take_back_id,
};

const UNFINISHED: [DeliveryState; 3] = [
    DeliveryState::Ready,
    DeliveryState::Waiting,
    DeliveryState::Leased,
];
/// What a call says that nobody can be asked about.
const NOT_TOLD: &str = "UNCONFIRMED: nobody can say whether the call was placed before the restore";

/// The last message of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedKey {
    /// When it is due.
    pub due_time: DateTime<Utc>,
    /// Which.
    pub id: DeliveryId,
}

/// Messages of a channel that are not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedCount {
    /// By which way they go.
    pub channel: Channel,
    /// How many.
    pub messages: u64,
}

/// What was found out about a message.
#[derive(Clone, Debug)]
pub enum Finding<'a> {
    /// Its carrier has it, under this id.
    Sent {
        /// The carrier's id.
        provider_id: &'a str,
        /// The account that was asked.
        gateway: &'a str,
        /// Of the try that is put on record for it.
        attempt: AttemptId,
    },
    /// Nobody can tell, and it must not go twice: it is left to staff.
    Untold,
}

impl Store {
    /// Messages of a channel and state that are not finished, by the time at which they are due; and where the next page
    /// begins. What a newer version has written is passed over.
    pub async fn list_unfinished(
        &self,
        channel: Channel,
        state: DeliveryState,
        after: Option<UnfinishedKey>,
        limit: u64,
    ) -> Result<(Vec<Claimed>, Option<UnfinishedKey>), StoreError> {
        use deliveries::Column as C;
        let mut query = deliveries::Entity::find()
            .filter(C::State.eq(state.as_str()))
            .filter(C::Channel.eq(channel.as_str()));
        if let Some(after) = after {
            let later = Condition::any().add(C::DueTime.gt(after.due_time)).add(
                Condition::all()
                    .add(C::DueTime.eq(after.due_time))
                    .add(C::Id.gt(after.id.as_uuid())),
            );
            query = query.filter(later);
        }
        let rows = query
            .order_by_asc(C::DueTime)
            .order_by_asc(C::Id)
            .limit(limit)
            .all(&self.db)
            .await
            .during("list unfinished messages")?;
        let next = rows.last().map(|row| UnfinishedKey {
            due_time: row.due_time,
            id: DeliveryId::from_uuid(row.id),
        });
        let mut histories = self
            .histories(rows.iter().map(|row| row.id).collect())
            .await?;
        let found = rows.into_iter().filter_map(|row| {
            let history = histories.remove(&row.id).unwrap_or_default();
            let delivery = delivery(&self.keys, row)
                .inspect_err(|error| tracing::warn!(error = %error, "a message is passed over"))
                .ok()?;
            Some(Claimed { delivery, history })
        });
        Ok((found.collect(), next))
    }

    /// How many messages of each channel are not finished.
    pub async fn count_unfinished(&self) -> Result<Vec<UnfinishedCount>, StoreError> {
        const DOING: &str = "count unfinished messages";
        let rows: Vec<(String, i64)> = deliveries::Entity::find()
            .select_only()
            .column(deliveries::Column::Channel)
            .column_as(deliveries::Column::Id.count(), "many")
            .filter(deliveries::Column::State.is_in(UNFINISHED.map(DeliveryState::as_str)))
            .group_by(deliveries::Column::Channel)
            .into_tuple()
            .all(&self.db)
            .await
            .during(DOING)?;
        let counts: BTreeMap<String, i64> = rows.into_iter().collect();
        counts
            .iter()
            .map(|(channel, many)| {
                let at = At {
                    table: "deliveries",
                    row: channel,
                };
                Ok(UnfinishedCount {
                    channel: at.word("channel", channel)?,
                    messages: many.unsigned_abs(),
                })
            })
            .collect()
    }

    /// Ends a message that need not, or must not, be sent any more. False when it has been ended or tried meanwhile: nothing
    /// is changed then.
    pub async fn settle_unfinished(
        &self,
        delivery: &Delivery,
        finding: &Finding<'_>,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .settle_in(&transaction, delivery, finding, call, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn settle_in(
        &self,
        transaction: &DatabaseTransaction,
        delivery: &Delivery,
        finding: &Finding<'_>,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "settle an unfinished message";
        let mut rows = lock_standings(transaction, vec![delivery.order_id.as_uuid()]).await?;
        let attempts_so_far = int(DOING, delivery.attempts)?;
        let row = rows.iter_mut().find(|row| {
            row.id == delivery.id.as_uuid()
                && row.attempts == attempts_so_far
                && UNFINISHED.iter().any(|state| state.as_str() == row.state)
        });
        let Some(row) = row else {
            return Ok(false);
        };
        let mut written = deliveries::ActiveModel {
            due_time: Set(now),
            finish_time: Set(Some(now)),
            lease_token: Set(None),
            ..Default::default()
        };
        let state = match finding {
            Finding::Sent {
                provider_id,
                gateway,
                attempt,
            } => {
                let number = attempts_so_far + 1;
                let try_made = attempts::ActiveModel {
                    delivery_id: Set(row.id),
                    number: Set(number),
                    id: Set(attempt.as_uuid()),
                    outcome: Set(AttemptOutcome::Sent.as_str().to_owned()),
                    start_time: Set(now),
                    finish_time: Set(Some(now)),
                    error: Set(String::new()),
                    lease_token: Set(attempt.as_uuid()),
                    gateway: Set((*gateway).to_owned()),
                };
                attempts::Entity::insert(try_made)
                    .exec_without_returning(transaction)
                    .await
                    .during(DOING)?;
                written.attempts = Set(number);
                written.provider_id = Set(Some(cut(provider_id, 128)));
                written.last_error = Set(String::new());
                DeliveryState::Sent
            }
            Finding::Untold => {
                written.last_error = Set(NOT_TOLD.to_owned());
                DeliveryState::InDoubt
            }
        };
        written.state = Set(state.as_str().to_owned());
        state.as_str().clone_into(&mut row.state);
        let (id, seq, step) = (row.id, row.seq, row.step);
        deliveries::Entity::update_many()
            .set(written)
            .filter(deliveries::Column::Id.eq(id))
            .exec(transaction)
            .await
            .during(DOING)?;
        if let Finding::Sent {
            provider_id,
            gateway,
            ..
        } = finding
            && delivery.channel != Channel::Email
        {
            let (told, had) = (cut(provider_id, 128), delivery.provider_id.clone());
            take_back_id(transaction, id, Some(gateway), &told, had, now).await?;
        }
        let entry = Entry {
            subject: &delivery.id.resource_name(),
            action: ActKind::Reconcile,
            generation: delivery.generation,
            outcome: ActOutcome::Done,
            result: &(),
        };
        let mut acts = Acts::default();
        call.push(&mut acts, &self.keys, &entry, now)?;
        self.insert_acts(transaction, acts).await?;
        if state == DeliveryState::InDoubt {
            let failed = [(delivery.order_id.as_uuid(), seq, step)];
            hurry(transaction, &rows, &failed, now).await?;
        }
        open_gates(transaction, &self.keys, &rows, now).await?;
        Ok(true)
    }
}
