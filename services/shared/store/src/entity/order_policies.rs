//! Versions of policies.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_policies")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_type: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i32,
    pub policy: String,
    pub create_time: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
