//! From the outbox to deliveries. A row's existence is all the state there is: rows that commit late are found like any
//! other, because nobody remembers how far he came (RELIABILITY, B-12).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use countersign_domain::{
    confirmation::Round,
    event::{MessageDetails, MessageKind, OutboxMessage},
    ids::{DeliveryId, OrderId, OutboxId},
    message::{Delivery, DeliveryState, Recipient},
    order::{Channel, Order},
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{
        LockBehavior, LockType,
        extension::mysql::{IndexHintScope, MySqlSelectStatementExt as _},
    },
};
use uuid::Uuid;

use crate::{
    Store, confirmations,
    data_keys::DataKeys,
    delivery_rows::{DELIVERIES, lock_standings, padded, push_delivery},
    entity::{confirmations as rounds, orders, outbox},
    error::{During, StoreError},
    gates::open_gates,
    order_rows,
    rows::At,
    sealed::OUTBOX_DETAILS,
};

/// A message that waits to be dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Ours.
    pub id: OutboxId,
    /// What to tell.
    pub message: OutboxMessage,
    /// When the change that it follows from was made.
    pub create_time: DateTime<Utc>,
}

/// What a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct DispatchFacts<'a> {
    /// The message.
    pub row: &'a OutboxRow,
    /// The order without its lines.
    pub order: &'a Order,
    /// The round that the message asks for.
    pub round: Option<&'a Round>,
    /// Time of the database.
    pub now: DateTime<Utc>,
}

/// One channel by which a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Of the delivery.
    pub id: DeliveryId,
    /// By what way.
    pub channel: Channel,
    /// To whom.
    pub recipient: Recipient,
    /// Keyed hash of the recipient.
    pub recipient_hash: [u8; 32],
    /// When this channel's turn comes.
    pub due_time: DateTime<Utc>,
}

/// What one call of [`Store::dispatch`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispatched {
    /// Rows taken off the outbox.
    pub messages: usize,
    /// Deliveries made of them.
    pub deliveries: usize,
}

impl Store {
    /// Turns at most `limit` rows of the outbox into deliveries, in one transaction: what crashes half-way has done
    /// nothing. `plan` names the channels in the order to be tried; a message that it names none for is kept as a failed
    /// delivery, for staff to see. Rows that another dispatcher has are passed over.
    pub async fn dispatch<P>(
        &self,
        limit: u64,
        now: DateTime<Utc>,
        plan: P,
    ) -> Result<Dispatched, StoreError>
    where
        P: Fn(&DispatchFacts<'_>) -> Vec<Planned> + Send + Sync,
    {
        let plan = &plan;
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            let result = self.dispatch_in(&transaction, limit, now, plan).await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn dispatch_in<P>(
        &self,
        transaction: &DatabaseTransaction,
        limit: u64,
        now: DateTime<Utc>,
        plan: &P,
    ) -> Result<Dispatched, StoreError>
    where
        P: Fn(&DispatchFacts<'_>) -> Vec<Planned> + Send + Sync,
    {
        const DOING: &str = "dispatch";
        // What a newer program has put there is left to it.
        let claimed = outbox::Entity::find()
            .filter(outbox::Column::Kind.is_in(known_kinds()))
            .order_by_asc(outbox::Column::Id)
            .limit(limit)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(transaction)
            .await
            .during(DOING)?;
        if claimed.is_empty() {
            return Ok(Dispatched::default());
        }
        let ids: Vec<Uuid> = claimed.iter().map(|row| row.id).collect();
        let of: Vec<Uuid> = claimed
            .iter()
            .map(|row| row.order_id)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let orders = orders_of(transaction, &self.keys, of.clone()).await?;
        let asked: BTreeSet<Uuid> = claimed
            .iter()
            .filter(|row| asks(&row.kind))
            .map(|row| row.order_id)
            .collect();
        let rounds = rounds_of(transaction, &self.keys, asked.into_iter().collect()).await?;
        let mut deliveries = Vec::new();
        for row in claimed {
            let row = outbox_row(&self.keys, &row)?;
            deliver(
                &mut deliveries,
                &row,
                orders.get(&row.message.order_id),
                &rounds,
                now,
                plan,
            );
        }
        let uncertain = settle_states(&mut deliveries);
        let mut values = Vec::new();
        for delivery in &deliveries {
            push_delivery(&mut values, &self.keys, delivery)?;
        }
        DELIVERIES
            .insert_new(transaction, self.kind, self.backend(), values)
            .await?;
        let rows = lock_standings(transaction, uncertain).await?;
        open_gates(transaction, &self.keys, &rows, now).await?;
        let messages = ids.len();
        outbox::Entity::delete_many()
            .filter(outbox::Column::Id.is_in(padded(ids)))
            .exec(transaction)
            .await
            .during(DOING)?;
        Ok(Dispatched {
            messages,
            deliveries: deliveries.len(),
        })
    }

    /// When the oldest message was put into the outbox, for a gauge.
    pub async fn oldest_outbox_time(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row = outbox::Entity::find()
            .order_by_asc(outbox::Column::Id)
            .one(&self.db)
            .await
            .during("find the oldest outbox row")?;
        Ok(row.map(|row| row.create_time))
    }
}

pub(crate) fn known_kinds() -> impl Iterator<Item = &'static str> {
    MessageKind::ALL.iter().map(|kind| kind.as_str())
}

/// Whether a kind of message belongs to a round.
fn asks(kind: &str) -> bool {
    kind == MessageKind::ConfirmationRequest.as_str()
        || kind == MessageKind::ConfirmationReminder.as_str()
}

/// By the primary key, however long the list is: with some hundreds of keys and statistics that lag behind, the server
/// would rather read the whole table.
fn by_key<E: EntityTrait>(mut select: Select<E>) -> Select<E> {
    QuerySelect::query(&mut select).force_index("PRIMARY", IndexHintScope::All);
    select
}

async fn orders_of(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    ids: Vec<Uuid>,
) -> Result<HashMap<OrderId, Order>, StoreError> {
    by_key(orders::Entity::find().filter(orders::Column::Id.is_in(padded(ids))))
        .all(transaction)
        .await
        .during("find the orders of messages")?
        .into_iter()
        .map(|row| {
            let order = order_rows::order(keys, row, Vec::new())?;
            Ok((order.id, order))
        })
        .collect()
}

async fn rounds_of(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    orders: Vec<Uuid>,
) -> Result<HashMap<(OrderId, u32), Round>, StoreError> {
    if orders.is_empty() {
        return Ok(HashMap::new());
    }
    by_key(rounds::Entity::find().filter(rounds::Column::OrderId.is_in(padded(orders))))
        .all(transaction)
        .await
        .during("find the rounds of messages")?
        .iter()
        .map(|row| {
            let round = confirmations::round(keys, row)?;
            Ok(((round.order_id, round.round), round))
        })
        .collect()
}

fn outbox_row(keys: &DataKeys, row: &outbox::Model) -> Result<OutboxRow, StoreError> {
    let at = At {
        table: "outbox",
        row: &row.id,
    };
    Ok(OutboxRow {
        id: OutboxId::from_uuid(row.id),
        message: OutboxMessage {
            order_id: OrderId::from_uuid(row.order_id),
            seq: at.unsigned("seq", row.seq)?,
            kind: at.word("kind", &row.kind)?,
            revision: at.unsigned("revision", row.revision)?,
            details: OUTBOX_DETAILS.open_json::<MessageDetails>(keys, &row.id, &row.details)?,
        },
        create_time: row.create_time,
    })
}

/// Appends the deliveries of one message, all of them waiting.
fn deliver<P>(
    deliveries: &mut Vec<Delivery>,
    row: &OutboxRow,
    order: Option<&Order>,
    rounds: &HashMap<(OrderId, u32), Round>,
    now: DateTime<Utc>,
    plan: &P,
) where
    P: Fn(&DispatchFacts<'_>) -> Vec<Planned>,
{
    let message = &row.message;
    let round = message.details.round;
    let planned = order.map_or_else(Vec::new, |order| {
        plan(&DispatchFacts {
            row,
            order,
            round: round.and_then(|round| rounds.get(&(message.order_id, round))),
            now,
        })
    });
    let template = Delivery {
        // A message without a channel is kept under the id that it had in the outbox.
        id: DeliveryId::from_uuid(row.id.as_uuid()),
        order_id: message.order_id,
        seq: message.seq,
        kind: message.kind,
        revision: message.revision,
        round: round.unwrap_or(0),
        channel: Channel::Email,
        step: 1,
        generation: 1,
        recipient: Recipient::new(""),
        recipient_hash: [0; 32],
        state: DeliveryState::Failed,
        due_time: now,
        attempts: 0,
        provider_id: None,
        last_error: "NO_ADDRESS: the customer cannot be reached by any channel".to_owned(),
        template_version: None,
        details: message.details.clone(),
        create_time: now,
        finish_time: Some(now),
    };
    if planned.is_empty() {
        tracing::warn!(order = %message.order_id, kind = %message.kind, "a message has no channel to go by");
        deliveries.push(template);
        return;
    }
    for (step, planned) in (1..).zip(planned) {
        deliveries.push(Delivery {
            id: planned.id,
            channel: planned.channel,
            step,
            recipient: planned.recipient,
            recipient_hash: planned.recipient_hash,
            state: DeliveryState::Waiting,
            due_time: planned.due_time,
            last_error: String::new(),
            finish_time: None,
            ..template.clone()
        });
    }
}

/// Lets the first message of each order go, and tells for which orders the database must be asked: those whose first
/// message in this batch is not the order's first, or was finished before it began.
fn settle_states(deliveries: &mut [Delivery]) -> Vec<Uuid> {
    let mut first: BTreeMap<OrderId, u32> = BTreeMap::new();
    let mut uncertain: BTreeSet<Uuid> = BTreeSet::new();
    for delivery in deliveries.iter() {
        let seq = first.entry(delivery.order_id).or_insert(delivery.seq);
        *seq = delivery.seq.min(*seq);
        if delivery.state.is_finished() {
            uncertain.insert(delivery.order_id.as_uuid());
        }
    }
    for delivery in deliveries.iter_mut() {
        if delivery.state == DeliveryState::Waiting && delivery.seq == 1 {
            delivery.state = DeliveryState::Ready;
        }
    }
    uncertain.extend(
        first
            .iter()
            .filter(|(_, seq)| **seq > 1)
            .map(|(order, _)| order.as_uuid()),
    );
    uncertain.into_iter().collect()
}
