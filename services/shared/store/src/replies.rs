//! The inbox: what came back is stored first and settled afterwards, so that nothing a customer said is lost.

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::{OrderId, ReplyId},
    reply::{Reply, ReplyContent, ReplyState},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{ExprTrait, LockBehavior, LockType},
};
use uuid::Uuid;

use crate::{
    Store,
    data_keys::DataKeys,
    delivery_rows::padded,
    entity::replies,
    error::{During, StoreError},
    rows::{At, cut},
    sealed::REPLIES_PAYLOAD,
};

/// [`ReplyContent::kind`] of what cannot be read.
const UNREADABLE: &str = "UNREADABLE";
/// Characters that the column for results holds.
const RESULT_MAX: usize = 250;

impl Store {
    /// Stores a reply. The id of the one that is there already when the source brings it again: it is the same reply.
    pub async fn insert_reply(&self, reply: &Reply) -> Result<ReplyId, StoreError> {
        const DOING: &str = "insert a reply";
        let id = reply.id.as_uuid();
        let row = replies::ActiveModel {
            id: Set(id),
            source: Set(reply.source.clone()),
            source_event_id: Set(reply.source_event_id.clone()),
            kind: Set(reply.content.kind().to_owned()),
            order_id: Set(reply.order_id.map(|order| order.as_uuid())),
            payload: Set(REPLIES_PAYLOAD.seal_json(&self.keys, &id, &reply.content)?),
            state: Set(reply.state.as_str().to_owned()),
            due_time: Set(reply.due_time),
            attempts: Set(0),
            result: Set(cut(&reply.result, RESULT_MAX)),
            receive_time: Set(reply.receive_time),
        };
        let inserted = self
            .write(|transaction| {
                let row = row.clone();
                Box::pin(async move {
                    replies::Entity::insert(row)
                        .exec_without_returning(transaction)
                        .await
                        .during(DOING)
                        .map(|_| ())
                })
            })
            .await;
        match inserted {
            Err(error) if error.is_unique_violation() => self
                .find_reply_id(&reply.source, &reply.source_event_id)
                .await?
                .ok_or(error),
            Err(error) => Err(error),
            Ok(()) => Ok(reply.id),
        }
    }

    async fn find_reply_id(
        &self,
        source: &str,
        source_event_id: &str,
    ) -> Result<Option<ReplyId>, StoreError> {
        let id: Option<Uuid> = replies::Entity::find()
            .select_only()
            .column(replies::Column::Id)
            .filter(replies::Column::Source.eq(source))
            .filter(replies::Column::SourceEventId.eq(source_event_id))
            .into_tuple()
            .one(&self.db)
            .await
            .during("find a reply")?;
        Ok(id.map(ReplyId::from_uuid))
    }

    /// One reply.
    pub async fn find_reply(&self, id: ReplyId) -> Result<Option<Reply>, StoreError> {
        replies::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during("find a reply")?
            .map(|row| reply(&self.keys, row))
            .transpose()
    }

    /// Replies about an order that are not yet settled, oldest first.
    pub async fn find_pending_replies(&self, order: OrderId) -> Result<Vec<Reply>, StoreError> {
        replies::Entity::find()
            .filter(replies::Column::OrderId.eq(order.as_uuid()))
            .filter(replies::Column::State.eq(ReplyState::Pending.as_str()))
            .order_by_asc(replies::Column::Id)
            .all(&self.db)
            .await
            .during("find pending replies")?
            .into_iter()
            .map(|row| reply(&self.keys, row))
            .collect()
    }

    /// Since when the oldest of what customers said has waited to be taken.
    pub async fn oldest_answer_time(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        replies::Entity::find()
            .select_only()
            .column(replies::Column::ReceiveTime)
            .filter(replies::Column::State.eq(ReplyState::Pending.as_str()))
            .filter(replies::Column::Kind.is_in(ReplyContent::SAID))
            .order_by_asc(replies::Column::ReceiveTime)
            .into_tuple()
            .one(&self.db)
            .await
            .during("find the oldest answer that waits")
    }

    /// Parts of carriers' pushes that could not be read, newest first.
    pub async fn list_unreadable(&self, limit: u64) -> Result<Vec<Reply>, StoreError> {
        const DOING: &str = "list what could not be read";
        // No index tells them, and when all is well there is none, so all rows are looked at.
        let statement = replies::Entity::find()
            .filter(replies::Column::Kind.eq(UNREADABLE))
            .order_by_desc(replies::Column::Id)
            .limit(limit)
            .build(self.backend());
        self.db
            .query_at_leisure(statement)
            .await
            .during(DOING)?
            .iter()
            .map(|row| replies::Model::from_query_result(row, "").during(DOING))
            .map(|row| reply(&self.keys, row?))
            .collect()
    }

    /// Takes replies that are due, oldest first. They are due again after `lease`, should the taker die: what they lead to
    /// carries their id and happens once.
    pub async fn claim_replies(
        &self,
        now: DateTime<Utc>,
        lease: Duration,
        limit: u64,
    ) -> Result<Vec<Reply>, StoreError> {
        const DOING: &str = "claim replies";
        let until = now + lease;
        let rows = self
            .write(|transaction| {
                Box::pin(async move {
                    let rows = replies::Entity::find()
                        .filter(replies::Column::State.eq(ReplyState::Pending.as_str()))
                        .filter(replies::Column::DueTime.lte(now))
                        .order_by_asc(replies::Column::DueTime)
                        .order_by_asc(replies::Column::Id)
                        .limit(limit)
                        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
                        .all(transaction)
                        .await
                        .during(DOING)?;
                    if rows.is_empty() {
                        return Ok(rows);
                    }
                    replies::Entity::update_many()
                        .col_expr(replies::Column::DueTime, until.into())
                        .col_expr(
                            replies::Column::Attempts,
                            sea_orm::sea_query::Expr::col(replies::Column::Attempts).add(1),
                        )
                        .filter(
                            replies::Column::Id
                                .is_in(padded(rows.iter().map(|row| row.id).collect())),
                        )
                        .exec(transaction)
                        .await
                        .during(DOING)?;
                    Ok(rows)
                })
            })
            .await?;
        rows.into_iter()
            .map(|mut row| {
                row.attempts += 1;
                reply(&self.keys, row)
            })
            .collect()
    }

    /// Keeps what a reply was understood to mean, before it is acted upon: a second run must not understand it otherwise.
    pub async fn resolve_reply(
        &self,
        id: ReplyId,
        order: Option<OrderId>,
        content: &ReplyContent,
    ) -> Result<(), StoreError> {
        let change = replies::ActiveModel {
            kind: Set(content.kind().to_owned()),
            order_id: Set(order.map(|order| order.as_uuid())),
            payload: Set(REPLIES_PAYLOAD.seal_json(&self.keys, &id.as_uuid(), content)?),
            ..Default::default()
        };
        self.change_reply(id, change).await
    }

    /// Settles a reply.
    pub async fn finish_reply(
        &self,
        id: ReplyId,
        state: ReplyState,
        result: &str,
    ) -> Result<(), StoreError> {
        let change = replies::ActiveModel {
            state: Set(state.as_str().to_owned()),
            result: Set(cut(result, RESULT_MAX)),
            ..Default::default()
        };
        self.change_reply(id, change).await
    }

    /// Has a reply tried again later.
    pub async fn retry_reply(
        &self,
        id: ReplyId,
        due_time: DateTime<Utc>,
        result: &str,
    ) -> Result<(), StoreError> {
        let change = replies::ActiveModel {
            due_time: Set(due_time),
            result: Set(cut(result, RESULT_MAX)),
            ..Default::default()
        };
        self.change_reply(id, change).await
    }

    /// Changes a reply that is not settled; one that is settled stays as it is.
    async fn change_reply(
        &self,
        id: ReplyId,
        change: replies::ActiveModel,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let change = change.clone();
            Box::pin(async move {
                replies::Entity::update_many()
                    .set(change)
                    .filter(replies::Column::Id.eq(id.as_uuid()))
                    .filter(replies::Column::State.eq(ReplyState::Pending.as_str()))
                    .exec(transaction)
                    .await
                    .during("change a reply")?;
                Ok(())
            })
        })
        .await
    }
}

fn reply(keys: &DataKeys, row: replies::Model) -> Result<Reply, StoreError> {
    let at = At {
        table: "replies",
        row: &row.id,
    };
    Ok(Reply {
        id: ReplyId::from_uuid(row.id),
        order_id: row.order_id.map(OrderId::from_uuid),
        content: REPLIES_PAYLOAD.open_json(keys, &row.id, &row.payload)?,
        state: at.word("state", &row.state)?,
        attempts: at.unsigned("attempts", row.attempts)?,
        source: row.source,
        source_event_id: row.source_event_id,
        due_time: row.due_time,
        result: row.result,
        receive_time: row.receive_time,
    })
}
