//! The company's own words in versions, and which version each message was written with.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait as _, DbErr},
};

use crate::table::{Table, add_column, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0013_templates"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, TABLES).await?;
        // Of the words that the first try was written with; later tries say the same.
        add_column(manager, "deliveries", "template_version", "{integer}").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared("ALTER TABLE deliveries DROP COLUMN template_version")
            .await?;
        drop_all(manager, TABLES).await
    }
}

// `active_version` 0: the words of the folder or of the program.
const TABLES: &[Table] = &[
    Table {
        name: "templates",
        columns: "\
            kind {code 32} NOT NULL, \
            channel {code 8} NOT NULL, \
            locale {code 16} NOT NULL, \
            active_version {integer} NOT NULL, \
            latest_version {integer} NOT NULL, \
            change_time {time} NOT NULL, \
            PRIMARY KEY (kind, channel, locale)",
        indexes: &[],
    },
    Table {
        name: "template_versions",
        columns: "\
            kind {code 32} NOT NULL, \
            channel {code 8} NOT NULL, \
            locale {code 16} NOT NULL, \
            version {integer} NOT NULL, \
            source {json} NOT NULL, \
            actor {text 64} NOT NULL, \
            reason {text 500} NOT NULL, \
            create_time {time} NOT NULL, \
            PRIMARY KEY (kind, channel, locale, version)",
        indexes: &[],
    },
];
