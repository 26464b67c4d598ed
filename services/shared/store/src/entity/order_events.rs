//! History of orders.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub commit_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub ordinal: i32,
    pub order_id: Uuid,
    pub version: i64,
    pub kind: String,
    pub revision: i32,
    pub from_state: String,
    pub to_state: String,
    pub actor: String,
    pub create_time: DateTimeUtc,
    pub details: Vec<u8>,
    pub salt: Option<Vec<u8>>,
    pub hash: Option<Vec<u8>>,
    pub commitment: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
