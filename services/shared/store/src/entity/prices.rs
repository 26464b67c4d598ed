//! Prices.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "prices")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub sku: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub price_list: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub quantity_min: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub start_time: DateTimeUtc,
    pub end_time: Option<DateTimeUtc>,
    pub unit_price_minor: i64,
    pub currency: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
