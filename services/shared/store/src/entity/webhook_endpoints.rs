//! Where partners hear of orders.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_endpoints")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub url: String,
    pub description: String,
    pub event_types: String,
    pub state: String,
    pub disabled_reason: String,
    pub signing_keys: String,
    pub from_position: i64,
    pub failures: i32,
    pub failing_since: Option<DateTimeUtc>,
    pub last_try_time: Option<DateTimeUtc>,
    pub paused_until: Option<DateTimeUtc>,
    pub create_time: DateTimeUtc,
    pub update_time: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
