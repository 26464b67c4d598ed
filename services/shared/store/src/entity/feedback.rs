//! What customers said.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "feedback")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub order_id: Uuid,
    pub kind: String,
    pub number: i32,
    pub stars: i32,
    pub words: Vec<u8>,
    pub source: String,
    pub given_by: String,
    pub customer: String,
    pub order_type: String,
    pub source_channel: String,
    pub answers: i32,
    pub follow_up: String,
    pub resolution: Option<Vec<u8>>,
    pub resolved_by: Option<String>,
    pub resolve_time: Option<DateTimeUtc>,
    pub create_time: DateTimeUtc,
    pub answer_time: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
