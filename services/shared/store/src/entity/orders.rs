//! Orders.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub caller: String,
    pub client_reference: String,
    pub order_number: Option<String>,
    pub revision: i32,
    pub version: i64,
    pub state: String,
    pub order_type: String,
    pub policy_version: i32,
    pub customer: String,
    pub source_channel: String,
    pub handler: Option<String>,
    pub total_minor: i64,
    pub currency: String,
    pub content_hash: i64,
    pub queue_rank: i32,
    pub hold_count: i32,
    pub promised_delivery_time: Option<DateTimeUtc>,
    pub create_time: DateTimeUtc,
    pub update_time: DateTimeUtc,
    pub confirm_time: Option<DateTimeUtc>,
    pub deliver_time: Option<DateTimeUtc>,
    pub priority: Vec<u8>,
    pub terms: Vec<u8>,
    pub progress: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
