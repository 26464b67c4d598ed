//! Customers whose data were erased, or are being.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "erasures")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub request_hash: Vec<u8>,
    pub customer_hash: Vec<u8>,
    pub customer: String,
    pub state: String,
    pub actor: String,
    pub reason: String,
    pub report: String,
    pub create_time: DateTimeUtc,
    pub finish_time: Option<DateTimeUtc>,
    pub sealed_reason: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
