//! What customers said about what they received.

use std::collections::HashMap;

use countersign_domain::{
    feedback::{Feedback, FeedbackAnswer, FeedbackLine, LineStars, Resolution},
    ids::{FeedbackId, OrderId},
    survey::Subject,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter,
    QueryOrder,
};
use uuid::Uuid;

use crate::{
    Store,
    bulk::Bulk,
    data_keys::DataKeys,
    delivery_rows::padded,
    entity::{feedback, feedback_lines, feedback_tags},
    error::{During, StoreError},
    rows::{At, int},
    sealed::{FEEDBACK_RESOLUTION, FEEDBACK_WORDS},
    surveys::mark_answered,
};

const LINES: Bulk = Bulk {
    operation: "insert feedback lines",
    table: "feedback_lines",
    columns: &[
        "feedback_id",
        "line_number",
        "sku",
        "warehouse",
        "stars",
        "own",
        "create_time",
    ],
};

const TAGS: Bulk = Bulk {
    operation: "insert feedback tags",
    table: "feedback_tags",
    columns: &["feedback_id", "tag"],
};

/// Writes feedback as it stands now. That nobody else writes it meanwhile is seen to by the order's version.
pub(crate) async fn put_feedback(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    backend: DbBackend,
    said: &Feedback,
) -> Result<(), StoreError> {
    const DOING: &str = "put feedback";
    let id = said.id.as_uuid();
    let resolution = said.resolution.as_ref();
    let row = feedback::ActiveModel {
        id: Set(id),
        order_id: Set(said.order_id.as_uuid()),
        kind: Set(said.subject.kind.as_str().to_owned()),
        number: Set(int(DOING, said.subject.number)?),
        stars: Set(int(DOING, said.answer.stars)?),
        words: Set(FEEDBACK_WORDS.seal_text(keys, &id, &said.answer.words)?),
        source: Set(said.answer.source.as_str().to_owned()),
        given_by: Set(said.given_by.clone()),
        customer: Set(said.customer.clone()),
        order_type: Set(said.order_type.clone()),
        source_channel: Set(said.source_channel.clone()),
        answers: Set(int(DOING, said.answers)?),
        follow_up: Set(said.follow_up.as_str().to_owned()),
        resolution: Set(resolution
            .map(|it| FEEDBACK_RESOLUTION.seal_text(keys, &id, &it.text))
            .transpose()?),
        resolved_by: Set(resolution.map(|it| it.resolved_by.clone())),
        resolve_time: Set(resolution.map(|it| it.resolve_time)),
        create_time: Set(said.create_time),
        answer_time: Set(said.answer_time),
    };
    let updated = feedback::Entity::update_many()
        .set(row.clone())
        .filter(feedback::Column::Id.eq(id))
        .exec(transaction)
        .await
        .during(DOING)?;
    if updated.rows_affected == 0 {
        feedback::Entity::insert(row)
            .exec_without_returning(transaction)
            .await
            .during(DOING)?;
        mark_answered(transaction, said).await?;
    } else {
        feedback_lines::Entity::delete_many()
            .filter(feedback_lines::Column::FeedbackId.eq(id))
            .exec(transaction)
            .await
            .during(DOING)?;
        feedback_tags::Entity::delete_many()
            .filter(feedback_tags::Column::FeedbackId.eq(id))
            .exec(transaction)
            .await
            .during(DOING)?;
    }
    let mut lines = Vec::new();
    for line in &said.lines {
        lines.extend([
            id.into(),
            int(DOING, line.line_number)?.into(),
            line.sku.as_str().into(),
            line.warehouse.clone().into(),
            int(DOING, line.stars)?.into(),
            line.own.into(),
            said.create_time.into(),
        ]);
    }
    LINES.insert(transaction, backend, lines).await?;
    let tags = said.answer.tags.iter();
    let tags = tags.flat_map(|tag| [id.into(), tag.as_str().into()]);
    TAGS.insert(transaction, backend, tags.collect()).await
}

impl Store {
    /// Feedback by its id.
    pub async fn find_feedback(&self, id: FeedbackId) -> Result<Option<Feedback>, StoreError> {
        let row = feedback::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during("find feedback")?;
        let mut found = self.with_goods(row.into_iter().collect()).await?;
        Ok(found.pop())
    }

    /// What was said about a subject of an order.
    pub async fn find_feedback_about(
        &self,
        order: OrderId,
        subject: Subject,
    ) -> Result<Option<Feedback>, StoreError> {
        const DOING: &str = "find feedback about an order";
        let row = feedback::Entity::find()
            .filter(feedback::Column::OrderId.eq(order.as_uuid()))
            .filter(feedback::Column::Kind.eq(subject.kind.as_str()))
            .filter(feedback::Column::Number.eq(int(DOING, subject.number)?))
            .one(&self.db)
            .await
            .during(DOING)?;
        let mut found = self.with_goods(row.into_iter().collect()).await?;
        Ok(found.pop())
    }

    /// Adds lines and tags to rows, which keep their sequence.
    pub(crate) async fn with_goods(
        &self,
        rows: Vec<feedback::Model>,
    ) -> Result<Vec<Feedback>, StoreError> {
        const DOING: &str = "read the goods of feedback";
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let mut lines: HashMap<Uuid, Vec<feedback_lines::Model>> = HashMap::new();
        let mut tags: HashMap<Uuid, Vec<feedback_tags::Model>> = HashMap::new();
        for chunk in ids.chunks(IDS_MAX) {
            let found = feedback_lines::Entity::find()
                .filter(feedback_lines::Column::FeedbackId.is_in(padded(chunk.to_vec())))
                .order_by_asc(feedback_lines::Column::FeedbackId)
                .order_by_asc(feedback_lines::Column::LineNumber)
                .all(&self.db)
                .await
                .during(DOING)?;
            for line in found {
                lines.entry(line.feedback_id).or_default().push(line);
            }
            let found = feedback_tags::Entity::find()
                .filter(feedback_tags::Column::FeedbackId.is_in(padded(chunk.to_vec())))
                .order_by_asc(feedback_tags::Column::FeedbackId)
                .order_by_asc(feedback_tags::Column::Tag)
                .all(&self.db)
                .await
                .during(DOING)?;
            for tag in found {
                tags.entry(tag.feedback_id).or_default().push(tag);
            }
        }
        rows.into_iter()
            .map(|row| {
                let lines = lines.remove(&row.id).unwrap_or_default();
                let tags = tags.remove(&row.id).unwrap_or_default();
                feedback(&self.keys, row, lines, &tags)
            })
            .collect()
    }
}

/// Ids of one statement; their parameters stay below one TLS record.
const IDS_MAX: usize = 512;

fn feedback(
    keys: &DataKeys,
    row: feedback::Model,
    lines: Vec<feedback_lines::Model>,
    tags: &[feedback_tags::Model],
) -> Result<Feedback, StoreError> {
    let at = At {
        table: "feedback",
        row: &row.id,
    };
    let lines = lines
        .into_iter()
        .map(|line| {
            Ok(FeedbackLine {
                line_number: at.unsigned("line_number", line.line_number)?,
                sku: line.sku,
                warehouse: line.warehouse,
                stars: at.unsigned("stars", line.stars)?,
                own: line.own,
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let mut tags = tags
        .iter()
        .map(|tag| at.word("tag", &tag.tag))
        .collect::<Result<Vec<_>, StoreError>>()?;
    tags.sort_unstable();
    let resolution = match (row.resolution, row.resolved_by, row.resolve_time) {
        (Some(text), Some(resolved_by), Some(resolve_time)) => Some(Resolution {
            text: FEEDBACK_RESOLUTION.open_text(keys, &row.id, &text)?,
            resolved_by,
            resolve_time,
        }),
        _ => None,
    };
    Ok(Feedback {
        id: FeedbackId::from_uuid(row.id),
        order_id: OrderId::from_uuid(row.order_id),
        subject: Subject {
            kind: at.word("kind", &row.kind)?,
            number: at.unsigned("number", row.number)?,
        },
        answer: FeedbackAnswer {
            stars: at.unsigned("stars", row.stars)?,
            tags,
            words: FEEDBACK_WORDS.open_text(keys, &row.id, &row.words)?,
            lines: lines
                .iter()
                .filter(|line| line.own)
                .map(|line| LineStars {
                    line_number: line.line_number,
                    stars: line.stars,
                })
                .collect(),
            source: at.word("source", &row.source)?,
        },
        lines,
        given_by: row.given_by,
        customer: row.customer,
        order_type: row.order_type,
        source_channel: row.source_channel,
        answers: at.unsigned("answers", row.answers)?,
        follow_up: at.word("follow_up", &row.follow_up)?,
        resolution,
        create_time: row.create_time,
        answer_time: row.answer_time,
    })
}
