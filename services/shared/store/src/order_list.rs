//! Lists of orders: filters over indexed columns, pages by key.

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::OrderId,
    order::{Order, OrderState},
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, Order as Direction, QueryFilter, QueryOrder, QuerySelect,
    Value, sea_query::SimpleExpr,
};
use uuid::Uuid;

use crate::{
    Store,
    catalog::Page,
    entity::orders,
    error::{During, StoreError},
    order_rows::queue_rank,
};

/// What orders may be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderField {
    /// A state.
    State,
    /// An order type.
    OrderType,
    /// A customer.
    Customer,
    /// A source channel.
    SourceChannel,
    /// Who looks after it.
    Handler,
    /// The sender's own number.
    ClientReference,
    /// Whether anything holds it: 0 or more.
    Holds,
    /// The promise.
    PromisedDeliveryTime,
    /// When it was taken in.
    CreateTime,
    /// Its priority's score.
    Priority,
    /// Its total in minor units.
    TotalMinor,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// =
    Equal,
    /// !=
    NotEqual,
    /// <
    Less,
    /// <=
    LessOrEqual,
    /// >
    Greater,
    /// >=
    GreaterOrEqual,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A word.
    Text(String),
    /// A number.
    Number(i64),
    /// A moment.
    Time(DateTime<Utc>),
}

/// A condition on the rows of a list whose fields are `F`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter<F> {
    /// All of them hold.
    All(Vec<Filter<F>>),
    /// Any of them holds.
    Any(Vec<Filter<F>>),
    /// It does not hold.
    Not(Box<Filter<F>>),
    /// A field compares.
    Field(F, Comparison, Operand),
}

/// A condition on orders.
pub type OrderFilter = Filter<OrderField>;

/// In what sequence orders are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListOrder {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
    /// Greatest priority first, then oldest.
    Priority,
    /// Earliest promise first; orders without one are left out.
    Promise,
}

/// A list to be read.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// All orders when absent.
    pub filter: Option<OrderFilter>,
    /// Only those that this caller brought in.
    pub caller: Option<String>,
    /// In what sequence.
    pub order: ListOrder,
    /// The last key of the page before.
    pub after: Option<ListKey>,
    /// Orders a page.
    pub limit: u64,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListKey {
    /// Rank or microseconds, by the sequence; 0 where the id decides alone.
    pub rank: i64,
    /// Id of the last order.
    pub id: OrderId,
}

impl ListQuery {
    /// The key of an order in this list's sequence.
    pub fn key_of(&self, order: &Order) -> ListKey {
        ListKey {
            rank: match self.order {
                ListOrder::Newest | ListOrder::Oldest => 0,
                ListOrder::Priority => i64::from(queue_rank(order.priority.score)),
                ListOrder::Promise => order
                    .promised_delivery_time
                    .map_or(0, |time| time.timestamp_micros()),
            },
            id: order.id,
        }
    }
}

impl Store {
    /// A page of orders.
    pub async fn list_orders(&self, query: &ListQuery) -> Result<Page<Order>, StoreError> {
        use orders::Column as C;
        let mut select = orders::Entity::find();
        if let Some(caller) = &query.caller {
            select = select.filter(C::Caller.eq(caller.as_str()));
        }
        if let Some(filter) = &query.filter {
            select = select.filter(condition(filter));
        }
        select = match query.order {
            ListOrder::Newest => select.order_by(C::Id, Direction::Desc),
            ListOrder::Oldest => select.order_by(C::Id, Direction::Asc),
            ListOrder::Priority => select
                .order_by(C::QueueRank, Direction::Asc)
                .order_by(C::Id, Direction::Asc),
            ListOrder::Promise => select
                .filter(C::PromisedDeliveryTime.is_not_null())
                .order_by(C::PromisedDeliveryTime, Direction::Asc)
                .order_by(C::Id, Direction::Asc),
        };
        if let Some(key) = query.after {
            let id: Uuid = key.id.as_uuid();
            select = select.filter(match query.order {
                ListOrder::Newest => Condition::all().add(C::Id.lt(id)),
                ListOrder::Oldest => Condition::all().add(C::Id.gt(id)),
                ListOrder::Priority => after(
                    C::QueueRank,
                    i32::try_from(key.rank).unwrap_or(0).into(),
                    id,
                ),
                ListOrder::Promise => after(
                    C::PromisedDeliveryTime,
                    DateTime::from_timestamp_micros(key.rank)
                        .unwrap_or_default()
                        .into(),
                    id,
                ),
            });
        }
        let mut rows = select
            .limit(query.limit + 1)
            .all(&self.db)
            .await
            .during("list orders")?;
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Page {
            items: self.with_lines(rows).await?,
            more,
        })
    }

    /// How many orders stand in each state.
    pub async fn count_orders_by_state(&self) -> Result<Vec<(OrderState, i64)>, StoreError> {
        let rows: Vec<(String, i64)> = orders::Entity::find()
            .select_only()
            .column(orders::Column::State)
            .column_as(orders::Column::Id.count(), "count")
            .group_by(orders::Column::State)
            .into_tuple()
            .all(&self.db)
            .await
            .during("count orders")?;
        rows.into_iter()
            .map(|(state, count)| {
                let at = crate::rows::At {
                    table: "orders",
                    row: &state,
                };
                Ok((at.word("state", &state)?, count))
            })
            .collect()
    }
}

/// Rows behind (value, id) in ascending sequence.
fn after(column: orders::Column, value: Value, id: Uuid) -> Condition {
    Condition::any().add(column.gt(value.clone())).add(
        Condition::all()
            .add(column.eq(value))
            .add(orders::Column::Id.gt(id)),
    )
}

fn condition(filter: &OrderFilter) -> Condition {
    match filter {
        OrderFilter::All(parts) => parts
            .iter()
            .fold(Condition::all(), |all, part| all.add(condition(part))),
        OrderFilter::Any(parts) => parts
            .iter()
            .fold(Condition::any(), |any, part| any.add(condition(part))),
        OrderFilter::Not(part) => condition(part).not(),
        // Orders without a handler have none at all; they are what `handler = ""` asks for, and not anybody's.
        OrderFilter::Field(OrderField::Handler, comparison, Operand::Text(handler)) => {
            let column = orders::Column::Handler;
            match (comparison, handler.as_str()) {
                (Comparison::Equal, "") => Condition::all().add(column.is_null()),
                (_, "") => Condition::all().add(column.is_not_null()),
                (Comparison::Equal, handler) => Condition::all()
                    .add(column.is_not_null())
                    .add(column.eq(handler)),
                (_, handler) => Condition::any()
                    .add(column.is_null())
                    .add(column.ne(handler)),
            }
        }
        OrderFilter::Field(OrderField::PromisedDeliveryTime, comparison, operand) => {
            let (column, comparison, value) =
                resolve(OrderField::PromisedDeliveryTime, *comparison, operand);
            Condition::all()
                .add(column.is_not_null())
                .add(compare(column, comparison, value))
        }
        OrderFilter::Field(field, comparison, operand) => {
            let (column, comparison, value) = resolve(*field, *comparison, operand);
            Condition::all().add(compare(column, comparison, value))
        }
    }
}

pub(crate) fn compare(
    column: impl ColumnTrait,
    comparison: Comparison,
    value: Value,
) -> SimpleExpr {
    match comparison {
        Comparison::Equal => column.eq(value),
        Comparison::NotEqual => column.ne(value),
        Comparison::Less => column.lt(value),
        Comparison::LessOrEqual => column.lte(value),
        Comparison::Greater => column.gt(value),
        Comparison::GreaterOrEqual => column.gte(value),
    }
}

/// Column, comparison and value of a field; the priority is stored upside down.
fn resolve(
    field: OrderField,
    comparison: Comparison,
    operand: &Operand,
) -> (orders::Column, Comparison, Value) {
    use orders::Column as C;
    let value: Value = match operand {
        Operand::Text(text) => text.as_str().into(),
        Operand::Number(number) => (*number).into(),
        Operand::Time(time) => (*time).into(),
    };
    match field {
        OrderField::State => (C::State, comparison, value),
        OrderField::OrderType => (C::OrderType, comparison, value),
        OrderField::Customer => (C::Customer, comparison, value),
        OrderField::SourceChannel => (C::SourceChannel, comparison, value),
        OrderField::Handler => (C::Handler, comparison, value),
        OrderField::ClientReference => (C::ClientReference, comparison, value),
        OrderField::Holds => (C::HoldCount, comparison, value),
        OrderField::PromisedDeliveryTime => (C::PromisedDeliveryTime, comparison, value),
        OrderField::CreateTime => (C::CreateTime, comparison, value),
        OrderField::TotalMinor => (C::TotalMinor, comparison, value),
        OrderField::Priority => {
            let turned = match comparison {
                Comparison::Less => Comparison::Greater,
                Comparison::LessOrEqual => Comparison::GreaterOrEqual,
                Comparison::Greater => Comparison::Less,
                Comparison::GreaterOrEqual => Comparison::LessOrEqual,
                same => same,
            };
            let score = match operand {
                Operand::Number(number) => i32::try_from(*number).unwrap_or(i32::MAX),
                Operand::Text(_) | Operand::Time(_) => 0,
            };
            (C::QueueRank, turned, queue_rank(score).into())
        }
    }
}
