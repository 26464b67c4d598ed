//! What partners are told: one row for each event and endpoint.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_deliveries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub endpoint_id: Uuid,
    pub webhook_id: String,
    pub event_type: String,
    pub order_id: Option<Uuid>,
    pub payload: String,
    pub state: String,
    pub tries: i32,
    pub due_time: DateTimeUtc,
    pub lease_token: Option<Uuid>,
    pub failure: String,
    pub http_status: Option<i32>,
    pub create_time: DateTimeUtc,
    pub finish_time: Option<DateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
