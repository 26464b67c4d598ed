//! How many texts and calls went to whom, and what they cost.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0010_sending_counts"
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

// `times` are seconds of the epoch, eight hexadecimal digits each, newest first; numbers have them, everything else an amount.
// After `last_day`, days of the epoch, nobody asks for the row.
const TABLES: &[Table] = &[Table {
    name: "sending_counts",
    columns: "\
        subject {code 128} NOT NULL PRIMARY KEY, \
        amount {long} NOT NULL, \
        times {code 2048} NOT NULL, \
        last_day {integer} NOT NULL",
    indexes: &[("ix_sending_counts_last_day", "last_day", false)],
}];
