//! What was sent about an order, for its record (R16).

use chrono::{DateTime, Utc};
use countersign_domain::ids::{DeliveryId, OrderId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::{
    Store,
    entity::deliveries,
    error::{During, StoreError},
    sealed::DELIVERIES_RECIPIENT,
};

/// One message to one recipient by one channel, without the recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// Ours.
    pub id: DeliveryId,
    /// `CONFIRMATION_REQUEST` …
    pub kind: String,
    /// "EMAIL", "SMS", "PHONE".
    pub channel: String,
    /// Recipient with most of it masked.
    pub recipient_masked: String,
    /// How it stands.
    pub state: String,
    /// Tries so far.
    pub attempts: i32,
    /// Revision of the order that it is about.
    pub revision: i32,
    /// When it was decided on.
    pub create_time: DateTime<Utc>,
    /// When it came to an end.
    pub finish_time: Option<DateTime<Utc>>,
}

impl Store {
    /// Every message about an order, in the order in which they were decided on.
    pub async fn list_message_summaries(
        &self,
        order: OrderId,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let rows = deliveries::Entity::find()
            .filter(deliveries::Column::OrderId.eq(order.as_uuid()))
            .order_by_asc(deliveries::Column::Seq)
            .order_by_asc(deliveries::Column::Step)
            .all(&self.db)
            .await
            .during("list messages")?;
        rows.into_iter()
            .map(|row| {
                let recipient =
                    DELIVERIES_RECIPIENT.open_text(&self.keys, &row.id, &row.recipient)?;
                Ok(MessageSummary {
                    id: DeliveryId::from_uuid(row.id),
                    recipient_masked: masked(&recipient),
                    kind: row.kind,
                    channel: row.channel,
                    state: row.state,
                    attempts: row.attempts,
                    revision: row.revision,
                    create_time: row.create_time,
                    finish_time: row.finish_time,
                })
            })
            .collect()
    }
}

/// Keeps the first character and what follows the at sign, or the last two digits.
fn masked(recipient: &str) -> String {
    if let Some((local, domain)) = recipient.split_once('@') {
        let first: String = local.chars().take(1).collect();
        return format!("{first}***@{domain}");
    }
    let digits: Vec<char> = recipient.chars().collect();
    let last: String = digits.iter().rev().take(2).rev().collect();
    format!("***{last}")
}
