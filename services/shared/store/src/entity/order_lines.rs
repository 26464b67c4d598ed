//! Lines of orders.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_lines")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub line_number: i32,
    pub sku: String,
    pub goods_name: String,
    pub specification: String,
    pub unit: String,
    pub unit_price_minor: i64,
    pub warehouse: Option<String>,
    pub ordered: i64,
    pub cancelled: i64,
    pub reserved: i64,
    pub picked: i64,
    pub packed: i64,
    pub shipped: i64,
    pub delivered: i64,
    pub returned: i64,
    pub extras: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
