//! Lists of feedback: filters over indexed columns, pages by key, newest first.

use chrono::{DateTime, Utc};
use countersign_domain::{feedback::Feedback, ids::FeedbackId};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    Value,
};
use uuid::Uuid;

use crate::{
    Store,
    catalog::Page,
    entity::{feedback, feedback_lines, feedback_tags},
    error::{During, StoreError},
    order_list::{Comparison, Filter, Operand, compare},
};

/// What feedback may be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackField {
    /// 1 to 5.
    Stars,
    /// One of its tags.
    Tag,
    /// One of its goods.
    Product,
    /// Where one of its goods came from.
    Warehouse,
    /// When it was said first.
    CreateTime,
    /// Whether staff have to do something.
    FollowUp,
    /// Type of the order.
    OrderType,
    /// How the order came.
    SourceChannel,
    /// By what way it came.
    Source,
    /// Of the order.
    Customer,
    /// The order, by its id.
    Order,
}

/// A condition on feedback.
pub type FeedbackFilter = Filter<FeedbackField>;

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedbackKey {
    /// When it was said.
    pub create_time: DateTime<Utc>,
    /// Tells apart what was said in the same moment.
    pub id: FeedbackId,
}

impl FeedbackKey {
    /// Of the last feedback of a page.
    pub const fn of(feedback: &Feedback) -> Self {
        Self {
            create_time: feedback.create_time,
            id: feedback.id,
        }
    }
}

/// A list to be read.
#[derive(Clone, Debug, Default)]
pub struct FeedbackQuery {
    /// All feedback when absent.
    pub filter: Option<FeedbackFilter>,
    /// The last key of the page before.
    pub after: Option<FeedbackKey>,
    /// Feedback a page.
    pub limit: u64,
}

impl Store {
    /// A page of feedback, newest first.
    pub async fn list_feedback(&self, query: &FeedbackQuery) -> Result<Page<Feedback>, StoreError> {
        let mut rows = select(query).all(&self.db).await.during("list feedback")?;
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Page {
            items: self.with_goods(rows).await?,
            more,
        })
    }

    /// Which index the server takes for each table of a list, for the test of the indexes.
    #[cfg(feature = "testing")]
    pub async fn explain_feedback_list(&self, query: &FeedbackQuery) -> Result<String, StoreError> {
        use sea_orm::{ConnectionTrait, Statement};
        const DOING: &str = "explain a list of feedback";
        let list = select(query).build(self.backend());
        let rows = self
            .db
            .query_all_raw(Statement::from_sql_and_values(
                self.backend(),
                format!("EXPLAIN FORMAT=TRADITIONAL {}", list.sql),
                list.values.map(|values| values.0).unwrap_or_default(),
            ))
            .await
            .during(DOING)?;
        rows.iter()
            .map(|row| {
                let table: Option<String> = row.try_get("", "table").during(DOING)?;
                let key: Option<String> = row.try_get("", "key").during(DOING)?;
                let extra: Option<String> = row.try_get("", "Extra").during(DOING)?;
                Ok(format!(
                    "{} {} {}\n",
                    table.unwrap_or_default(),
                    key.unwrap_or_else(|| "none".to_owned()),
                    extra.unwrap_or_default()
                ))
            })
            .collect()
    }
}

fn select(query: &FeedbackQuery) -> Select<feedback::Entity> {
    use feedback::Column as C;
    let mut select = feedback::Entity::find();
    if let Some(filter) = &query.filter {
        select = select.filter(condition(filter));
    }
    if let Some(key) = query.after {
        // The first part is implied by the second; it is what makes a range of the index.
        select = select.filter(C::CreateTime.lte(key.create_time)).filter(
            Condition::any()
                .add(C::CreateTime.lt(key.create_time))
                .add(C::Id.lt(key.id.as_uuid())),
        );
    }
    select
        .order_by_desc(C::CreateTime)
        .order_by_desc(C::Id)
        .limit(query.limit + 1)
}

fn condition(filter: &FeedbackFilter) -> Condition {
    match filter {
        Filter::All(parts) => parts
            .iter()
            .fold(Condition::all(), |all, part| all.add(condition(part))),
        Filter::Any(parts) => parts
            .iter()
            .fold(Condition::any(), |any, part| any.add(condition(part))),
        Filter::Not(part) => condition(part).not(),
        Filter::Field(field, comparison, operand) => compares(*field, *comparison, operand),
    }
}

fn compares(field: FeedbackField, comparison: Comparison, operand: &Operand) -> Condition {
    use feedback::Column as C;
    let value: Value = match operand {
        Operand::Text(text) => text.as_str().into(),
        Operand::Number(number) => (*number).into(),
        Operand::Time(time) => (*time).into(),
    };
    let plain = |column: C, value: Value| Condition::all().add(compare(column, comparison, value));
    let among = |ids: sea_orm::sea_query::SelectStatement| {
        let found = Condition::all().add(C::Id.in_subquery(ids));
        if comparison == Comparison::NotEqual {
            found.not()
        } else {
            found
        }
    };
    match field {
        FeedbackField::Stars => plain(C::Stars, value),
        FeedbackField::CreateTime => plain(C::CreateTime, value),
        FeedbackField::FollowUp => plain(C::FollowUp, value),
        FeedbackField::OrderType => plain(C::OrderType, value),
        FeedbackField::SourceChannel => plain(C::SourceChannel, value),
        FeedbackField::Source => plain(C::Source, value),
        FeedbackField::Customer => plain(C::Customer, value),
        FeedbackField::Order => {
            let id = match operand {
                Operand::Text(text) => Uuid::parse_str(text).unwrap_or_default(),
                Operand::Number(_) | Operand::Time(_) => Uuid::nil(),
            };
            plain(C::OrderId, id.into())
        }
        FeedbackField::Tag => among(
            feedback_tags::Entity::find()
                .select_only()
                .column(feedback_tags::Column::FeedbackId)
                .filter(feedback_tags::Column::Tag.eq(value))
                .into_query(),
        ),
        FeedbackField::Product => among(
            feedback_lines::Entity::find()
                .select_only()
                .column(feedback_lines::Column::FeedbackId)
                .filter(feedback_lines::Column::Sku.eq(value))
                .into_query(),
        ),
        FeedbackField::Warehouse => among(
            feedback_lines::Entity::find()
                .select_only()
                .column(feedback_lines::Column::FeedbackId)
                .filter(feedback_lines::Column::Warehouse.eq(value))
                .into_query(),
        ),
    }
}
