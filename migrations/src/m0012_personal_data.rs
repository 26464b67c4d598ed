//! Which keys of personal data this database was written with.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0012_personal_data"
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

// `proof` tells whether a key is the one that wrote here; nobody can make the key of it. Number 0 is the key of keyed hashes.
const TABLES: &[Table] = &[Table {
    name: "personal_data_keys",
    columns: "\
        number {integer} NOT NULL PRIMARY KEY, \
        proof {bytes} NOT NULL, \
        create_time {time} NOT NULL",
    indexes: &[],
}];
