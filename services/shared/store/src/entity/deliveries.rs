//! Messages to one recipient by one channel.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deliveries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub order_id: Uuid,
    pub seq: i32,
    pub kind: String,
    pub revision: i32,
    pub round: i32,
    pub channel: String,
    pub step: i32,
    pub generation: i32,
    pub dedupe_key: Vec<u8>,
    pub recipient: Vec<u8>,
    pub recipient_hash: Vec<u8>,
    pub state: String,
    pub due_time: DateTimeUtc,
    pub lease_token: Option<Uuid>,
    pub attempts: i32,
    pub provider_id: Option<String>,
    pub last_error: String,
    pub details: Vec<u8>,
    pub create_time: DateTimeUtc,
    pub finish_time: Option<DateTimeUtc>,
    pub losses: i32,
    pub template_version: Option<i32>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
