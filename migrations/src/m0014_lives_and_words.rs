//! Order services among the living, staff's words of safe mode and erasures sealed, and whose order an act was about.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait as _, DbErr},
};

use crate::table::add_column;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0014_lives_and_words"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column, definition) in COLUMNS {
            add_column(manager, table, column, definition).await?;
        }
        if !manager.has_index("operator_acts", ACTS_BY_ORDER).await? {
            manager
                .get_connection()
                .execute_unprepared(&format!(
                    "CREATE INDEX {ACTS_BY_ORDER} ON operator_acts (order_id)"
                ))
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let of = match manager.get_database_backend() {
            sea_orm_migration::sea_orm::DatabaseBackend::Sqlite => "",
            _ => " ON operator_acts",
        };
        connection
            .execute_unprepared(&format!("DROP INDEX {ACTS_BY_ORDER}{of}"))
            .await?;
        for (table, column, _) in COLUMNS {
            connection
                .execute_unprepared(&format!("ALTER TABLE {table} DROP COLUMN {column}"))
                .await?;
        }
        Ok(())
    }
}

const ACTS_BY_ORDER: &str = "ix_operator_acts_order";

const COLUMNS: [(&str, &str, &str); 4] = [
    // A sign of an order service says nothing about how long no worker has been there.
    ("lives", "role", "{code 16} NOT NULL DEFAULT 'WORKER'"),
    // In the place of `reason`, which older programs still write in the clear.
    ("safe_mode", "sealed_reason", "{bytes}"),
    ("erasures", "sealed_reason", "{bytes}"),
    // Kept when the message goes that the act was about: an erasure would not find the act any more.
    ("operator_acts", "order_id", "{id}"),
];
