//! What callers were refused, counted by the minute.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0009_access_refusals"
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

// The id begins with the minute, so that what is old can be removed as a range of the key.
const TABLES: &[Table] = &[Table {
    name: "access_refusals",
    columns: "\
        id {id} NOT NULL PRIMARY KEY, \
        minute {time} NOT NULL, \
        caller {key 64} NOT NULL, \
        method {code 100} NOT NULL, \
        code {code 24} NOT NULL, \
        peer {code 16} NOT NULL, \
        refusals {long} NOT NULL",
    indexes: &[],
}];
