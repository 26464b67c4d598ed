//! What staff did, and why.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operator_acts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub request_hash: Vec<u8>,
    pub fingerprint: Vec<u8>,
    pub subject: String,
    pub action: String,
    pub generation: i32,
    pub outcome: String,
    pub actor: String,
    pub approver: String,
    pub reason: Vec<u8>,
    pub result: String,
    pub create_time: DateTimeUtc,
    pub order_id: Option<Uuid>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
