//! What staff did about messages, gateways and recipients, and why.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0006_operator_acts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, TABLES).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, TABLES).await
    }
}

// `subject` is a resource name ("deliveries/{id}", "gateways/{name}"), or "recipients/{keyed hash}": no address stands here.
const TABLES: &[Table] = &[Table {
    name: "operator_acts",
    columns: "\
        id {id} NOT NULL PRIMARY KEY, \
        request_hash {hash} NOT NULL, \
        fingerprint {hash} NOT NULL, \
        subject {code 100} NOT NULL, \
        action {code 24} NOT NULL, \
        generation {integer} NOT NULL, \
        outcome {code 16} NOT NULL, \
        actor {text 64} NOT NULL, \
        approver {text 64} NOT NULL, \
        reason {bytes} NOT NULL, \
        result {json} NOT NULL, \
        create_time {time} NOT NULL",
    indexes: &[
        ("uq_operator_acts_request", "request_hash", true),
        ("ix_operator_acts_subject", "subject, id", false),
    ],
}];
