//! Messages that nothing more happens to unless staff act.

use chrono::{DateTime, Utc};
use countersign_domain::{
    event::{MessageDetails, MessageKind},
    ids::DeliveryId,
    message::DeliveryState,
    order::Channel,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, Order, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use uuid::Uuid;

use crate::{
    Claimed, Page, Store,
    data_keys::DataKeys,
    delivery_rows::delivery,
    entity::deliveries,
    error::{During, StoreError},
    sealed::DELIVERIES_DETAILS,
};

/// Which are asked for.
#[derive(Clone, Debug)]
pub struct DeadLetterQuery {
    /// How they stand.
    pub states: Vec<DeliveryState>,
    /// By which ways they were to go.
    pub channels: Vec<Channel>,
    /// Only those whose last error has this code.
    pub error_code: Option<String>,
    /// Only those that ended then or later.
    pub start_time: Option<DateTime<Utc>>,
    /// Only those that ended before.
    pub end_time: Option<DateTime<Utc>>,
    /// Goes on after this one.
    pub after: Option<DeadLetterKey>,
    /// How many at most.
    pub limit: u64,
}

/// Place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterKey {
    /// When it ended, or was last due.
    pub due_time: DateTime<Utc>,
    /// Which.
    pub id: DeliveryId,
}

/// A message with its tries, and its kind in the word that stands in its row: a newer program may have written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message; its kind means nothing where the word is not known.
    pub message: Claimed,
    /// `CONFIRMATION_REQUEST` …
    pub kind: String,
}

impl DeadLetter {
    /// Its place in the list.
    pub const fn key(&self) -> DeadLetterKey {
        DeadLetterKey {
            due_time: self.message.delivery.due_time,
            id: self.message.delivery.id,
        }
    }
}

/// Which end of the list comes first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Newest,
    Oldest,
}

impl Store {
    /// One page, newest first. Each state and channel is a range of the index that claims go by, read from its end: the
    /// queue of what waits has no part in it, however long it is.
    pub async fn list_dead_letters(
        &self,
        query: &DeadLetterQuery,
    ) -> Result<Page<DeadLetter>, StoreError> {
        let (rows, more) = find(&self.db, query, First::Newest).await?;
        let mut histories = self
            .histories(rows.iter().map(|row| row.id).collect())
            .await?;
        let items = rows
            .into_iter()
            .map(|row| {
                let history = histories.remove(&row.id).unwrap_or_default();
                shown(&self.keys, row, history)
            })
            .collect::<Result<_, _>>()?;
        Ok(Page { items, more })
    }

    /// One message with its tries.
    pub async fn find_delivery_with_attempts(
        &self,
        id: DeliveryId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let row = deliveries::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during("find a delivery")?;
        let Some(row) = row else { return Ok(None) };
        let history = self.histories(vec![row.id]).await?.remove(&row.id);
        shown(&self.keys, row, history.unwrap_or_default()).map(Some)
    }

    /// Which index the server takes for a page, for the test of the index.
    #[cfg(feature = "testing")]
    pub async fn explain_dead_letters(
        &self,
        query: &DeadLetterQuery,
    ) -> Result<String, StoreError> {
        use sea_orm::{QueryTrait as _, Statement};
        const DOING: &str = "explain a list of dead letters";
        let mut explained = String::new();
        for select in selects(query, First::Newest) {
            let list = select.build(self.backend());
            let rows = self
                .db
                .query_all_raw(Statement::from_sql_and_values(
                    self.backend(),
                    format!("EXPLAIN FORMAT=TRADITIONAL {}", list.sql),
                    list.values.map(|values| values.0).unwrap_or_default(),
                ))
                .await
                .during(DOING)?;
            for row in rows {
                let key: Option<String> = row.try_get("", "key").during(DOING)?;
                let extra: Option<String> = row.try_get("", "Extra").during(DOING)?;
                explained.extend([format!("{key:?} {extra:?}\n")]);
            }
        }
        Ok(explained)
    }
}

/// A row as a message, also when its kind is one that this program does not know.
fn shown(
    keys: &DataKeys,
    mut row: deliveries::Model,
    history: Vec<crate::AttemptRecord>,
) -> Result<DeadLetter, StoreError> {
    let kind = row.kind.clone();
    if kind.parse::<MessageKind>().is_err() {
        MessageKind::Acknowledgement
            .as_str()
            .clone_into(&mut row.kind);
        row.details = DELIVERIES_DETAILS.seal_json(keys, &row.id, &MessageDetails::default())?;
    }
    Ok(DeadLetter {
        message: Claimed {
            delivery: delivery(keys, row)?,
            history,
        },
        kind,
    })
}

/// The rows of a page, and whether there are more.
pub(crate) async fn find(
    connection: &impl ConnectionTrait,
    query: &DeadLetterQuery,
    first: First,
) -> Result<(Vec<deliveries::Model>, bool), StoreError> {
    let mut rows = Vec::new();
    for select in selects(query, first) {
        rows.extend(select.all(connection).await.during("list dead letters")?);
    }
    rows.sort_by_key(|row| (row.due_time, row.id));
    if first == First::Newest {
        rows.reverse();
    }
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok((rows, more))
}

/// One range of the index for each state and channel; together they hold the page.
fn selects(query: &DeadLetterQuery, first: First) -> Vec<Select<deliveries::Entity>> {
    let mut selects = Vec::new();
    for state in &query.states {
        for channel in &query.channels {
            selects.push(select(query, *state, *channel, first));
        }
    }
    selects
}

fn select(
    query: &DeadLetterQuery,
    state: DeliveryState,
    channel: Channel,
    first: First,
) -> Select<deliveries::Entity> {
    use deliveries::Column as C;
    let mut select = deliveries::Entity::find()
        .filter(C::State.eq(state.as_str()))
        .filter(C::Channel.eq(channel.as_str()));
    if let Some(start) = query.start_time {
        select = select.filter(C::DueTime.gte(start));
    }
    if let Some(end) = query.end_time {
        select = select.filter(C::DueTime.lt(end));
    }
    if let Some(code) = &query.error_code {
        select = select.filter(C::LastError.starts_with(format!("{code}:")));
    }
    if let Some(key) = query.after {
        // The first part is implied by the second; it is what makes a range of the index.
        let id: Uuid = key.id.as_uuid();
        select = match first {
            First::Newest => select.filter(C::DueTime.lte(key.due_time)).filter(
                Condition::any()
                    .add(C::DueTime.lt(key.due_time))
                    .add(C::Id.lt(id)),
            ),
            First::Oldest => select.filter(C::DueTime.gte(key.due_time)).filter(
                Condition::any()
                    .add(C::DueTime.gt(key.due_time))
                    .add(C::Id.gt(id)),
            ),
        };
    }
    let order = match first {
        First::Newest => Order::Desc,
        First::Oldest => Order::Asc,
    };
    select
        .order_by(C::DueTime, order.clone())
        .order_by(C::Id, order)
        .limit(query.limit + 1)
}
