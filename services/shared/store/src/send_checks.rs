//! What is checked right before a message goes out, in the transaction that puts the try on record.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use countersign_domain::{
    confirmation::ConfirmationState, event::MessageKind, message::OptOutReason,
    operator::RequeueRefusal, order::OrderState,
};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::{
    delivery_rows::padded,
    entity::{confirmations, deliveries, opt_outs, orders},
    error::{During, StoreError},
};

/// What a message says that has lost its sense.
pub(crate) const OUTDATED: &str = "SUPERSEDED: the order or its round has moved on";

/// What must still hold when a message goes out.
pub(crate) struct Current {
    orders: HashMap<Uuid, (i32, String)>,
    open_rounds: HashSet<(Uuid, i32)>,
    opted_out: HashMap<(Vec<u8>, String), String>,
}

impl Current {
    pub(crate) async fn read(
        transaction: &DatabaseTransaction,
        rows: impl Iterator<Item = &deliveries::Model> + Clone + Send,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        const DOING: &str = "check before sending";
        let of: BTreeSet<Uuid> = rows.clone().map(|row| row.order_id).collect();
        if of.is_empty() {
            return Ok(Self {
                orders: HashMap::new(),
                open_rounds: HashSet::new(),
                opted_out: HashMap::new(),
            });
        }
        let orders = orders::Entity::find()
            .select_only()
            .column(orders::Column::Id)
            .column(orders::Column::Revision)
            .column(orders::Column::State)
            .filter(orders::Column::Id.is_in(padded(of.into_iter().collect())))
            .into_tuple::<(Uuid, i32, String)>()
            .all(transaction)
            .await
            .during(DOING)?
            .into_iter()
            .map(|(id, revision, state)| (id, (revision, state)))
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
            .map(|row| ((row.recipient_hash, row.channel), row.reason))
            .collect();
        Ok(Self {
            orders,
            open_rounds,
            opted_out,
        })
    }

    /// Whether the message has lost its sense.
    pub(crate) fn is_outdated(&self, row: &deliveries::Model) -> bool {
        self.outdated(row).is_some()
    }

    /// A newer revision, a round that is over, an order that was called off or refused, or that is gone. Of an order that
    /// is called off the customer hears just that.
    pub(crate) fn outdated(&self, row: &deliveries::Model) -> Option<RequeueRefusal> {
        let Some((revision, state)) = self.orders.get(&row.order_id) else {
            return Some(RequeueRefusal::OrderGone);
        };
        let ended = match state.parse() {
            Ok(OrderState::Cancelled) => row.kind != MessageKind::OrderCancelled.as_str(),
            Ok(OrderState::Rejected) => {
                row.kind != MessageKind::OrderRejected.as_str()
                    && row.kind != MessageKind::ProblemFound.as_str()
            }
            _ => false,
        };
        if ended {
            Some(RequeueRefusal::OrderEnded)
        } else if *revision != row.revision {
            Some(RequeueRefusal::NewerRevision)
        } else if row.round > 0 && !self.open_rounds.contains(&(row.order_id, row.round)) {
            Some(RequeueRefusal::RoundOver)
        } else {
            None
        }
    }

    pub(crate) fn is_unwelcome(&self, row: &deliveries::Model) -> bool {
        let key = (row.recipient_hash.clone(), row.channel.clone());
        let Some(reason) = self.opted_out.get(&key) else {
            return false;
        };
        match (reason.parse::<OptOutReason>(), row.kind.parse()) {
            (Ok(reason), Ok(kind)) => reason.stops(kind),
            // A word of a newer program: rather silent than unwelcome.
            _ => true,
        }
    }
}
