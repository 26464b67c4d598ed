//! What processes tell each other about themselves: that they live, whether anything may be sent, whose turn a job is.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0008_running"
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

const TABLES: &[Table] = &[
    // One row, number 1.
    Table {
        name: "safe_mode",
        columns: "\
            id {integer} NOT NULL PRIMARY KEY, \
            state {code 8} NOT NULL, \
            reason {text 500} NOT NULL, \
            changed_by {text 100} NOT NULL, \
            since_time {time} NOT NULL, \
            CHECK (id = 1), \
            CHECK (state IN ('ON','OFF'))",
        indexes: &[],
    },
    // One row for each worker since its start. `beats` only grows: a process that finds less than it wrote looks at an old
    // copy of the database.
    Table {
        name: "lives",
        columns: "\
            process {id} NOT NULL PRIMARY KEY, \
            beats {long} NOT NULL, \
            start_time {time} NOT NULL, \
            beat_time {time} NOT NULL, \
            end_time {time}",
        indexes: &[("ix_lives_beat", "beat_time", false)],
    },
    // Whose turn a job is that one process does for all, until when.
    Table {
        name: "turns",
        columns: "\
            job {code 32} NOT NULL PRIMARY KEY, \
            holder {id} NOT NULL, \
            until_time {time} NOT NULL",
        indexes: &[],
    },
];
