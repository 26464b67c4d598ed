//! Tracking events and contacts.

use std::fmt;

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{ContactId, OrderId, TrackingEventId},
    tracking::TrackingEvent,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use crate::{
    Store,
    catalog::Page,
    data_keys::DataKeys,
    entity::{contacts, tracking_events},
    error::{During, StoreError},
    requests::{RequestRecord, insert_request},
    rows::{At, json_text},
    sealed::{CONTACTS_SUMMARY, TRACKING_DETAILS},
};

/// Stores an event; the source's id of it is unique within the order.
pub(crate) async fn insert_tracking_event(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    order: OrderId,
    event: &TrackingEvent,
) -> Result<(), StoreError> {
    const DOING: &str = "insert a tracking event";
    let key = (order.as_uuid(), event.id.as_uuid());
    let row = tracking_events::ActiveModel {
        order_id: Set(key.0),
        id: Set(key.1),
        source: Set(event.source.clone()),
        source_event_id: Set(event.source_event_id.clone()),
        status: Set(event.status.as_str().to_owned()),
        reason: Set(event.reason.clone()),
        report_time: Set(event.report_time),
        receive_time: Set(event.receive_time),
        details: Set(TRACKING_DETAILS.seal_json(keys, &key, &event.details)?),
        anomalies: Set(json_text(DOING, &event.anomalies)?),
    };
    tracking_events::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .during(DOING)?;
    Ok(())
}

/// Something said between customer and company. `Debug` does not show what.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// Ours.
    pub id: ContactId,
    /// About which order.
    pub order_id: OrderId,
    /// "INBOUND" or "OUTBOUND".
    pub direction: String,
    /// "EMAIL", "SMS", "PHONE", "PAGE" …
    pub channel: String,
    /// Who of the company.
    pub agent: String,
    /// What was said.
    pub summary: String,
    /// When.
    pub create_time: DateTime<Utc>,
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contact({})", self.id.as_uuid())
    }
}

/// Stores a contact.
pub(crate) async fn insert_contact(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    contact: &Contact,
) -> Result<(), StoreError> {
    const DOING: &str = "insert a contact";
    let key = (contact.order_id.as_uuid(), contact.id.as_uuid());
    let row = contacts::ActiveModel {
        order_id: Set(key.0),
        id: Set(key.1),
        direction: Set(contact.direction.clone()),
        channel: Set(contact.channel.clone()),
        agent: Set(contact.agent.clone()),
        summary: Set(CONTACTS_SUMMARY.seal_text(keys, &key, &contact.summary)?),
        create_time: Set(contact.create_time),
    };
    contacts::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .during(DOING)?;
    Ok(())
}

impl Store {
    /// All tracking events of an order, by the time reported.
    pub async fn list_tracking_events(
        &self,
        order: OrderId,
    ) -> Result<Vec<TrackingEvent>, StoreError> {
        let rows = tracking_events::Entity::find()
            .filter(tracking_events::Column::OrderId.eq(order.as_uuid()))
            .order_by_asc(tracking_events::Column::ReportTime)
            .order_by_asc(tracking_events::Column::Id)
            .all(&self.db)
            .await
            .during("list tracking events")?;
        rows.into_iter()
            .map(|row| {
                let at = At {
                    table: "tracking_events",
                    row: &row.id,
                };
                Ok(TrackingEvent {
                    id: TrackingEventId::from_uuid(row.id),
                    status: at.word("status", &row.status)?,
                    details: TRACKING_DETAILS.open_json(
                        &self.keys,
                        &(row.order_id, row.id),
                        &row.details,
                    )?,
                    anomalies: at.json("anomalies", &row.anomalies)?,
                    source: row.source,
                    source_event_id: row.source_event_id,
                    reason: row.reason,
                    report_time: row.report_time,
                    receive_time: row.receive_time,
                })
            })
            .collect()
    }

    /// A page of contacts, first to last.
    pub async fn list_contacts(
        &self,
        order: OrderId,
        after: Option<ContactId>,
        limit: u64,
    ) -> Result<Page<Contact>, StoreError> {
        let mut query = contacts::Entity::find()
            .filter(contacts::Column::OrderId.eq(order.as_uuid()))
            .order_by_asc(contacts::Column::Id)
            .limit(limit + 1);
        if let Some(after) = after {
            query = query.filter(contacts::Column::Id.gt(after.as_uuid()));
        }
        let rows = query.all(&self.db).await.during("list contacts")?;
        let page = Page::cut(rows, limit, |row| {
            Ok(Contact {
                id: ContactId::from_uuid(row.id),
                order_id: order,
                summary: CONTACTS_SUMMARY.open_text(
                    &self.keys,
                    &(row.order_id, row.id),
                    &row.summary,
                )?,
                direction: row.direction,
                channel: row.channel,
                agent: row.agent,
                create_time: row.create_time,
            })
        });
        Ok(Page {
            items: page.items.into_iter().collect::<Result<_, _>>()?,
            more: page.more,
        })
    }

    /// Stores a contact with the call that brought it. False when that call was carried out before.
    pub async fn insert_contact(
        &self,
        contact: &Contact,
        request: &RequestRecord,
    ) -> Result<bool, StoreError> {
        let (contact, request, keys) = (contact.clone(), request.clone(), self.keys.clone());
        let written = self
            .write(|transaction| {
                let (contact, request, keys) = (contact.clone(), request.clone(), keys.clone());
                Box::pin(async move {
                    insert_request(transaction, &keys, &request, contact.create_time).await?;
                    insert_contact(transaction, &keys, &contact).await
                })
            })
            .await;
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.is_unique_violation() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
