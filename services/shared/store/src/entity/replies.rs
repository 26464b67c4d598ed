//! What came back from customers and gateways.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "replies")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub source: String,
    pub source_event_id: String,
    pub kind: String,
    pub order_id: Option<Uuid>,
    pub payload: Vec<u8>,
    pub state: String,
    pub due_time: DateTimeUtc,
    pub attempts: i32,
    pub result: String,
    pub receive_time: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
