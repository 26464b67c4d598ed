//! Accounts at gateways, whom a message was given to, and claims by channel.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait, DatabaseBackend, DbErr},
};

use crate::table::{Table, add_column, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_gateways"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, TABLES).await?;
        // How often a worker was lost while it had the message.
        add_column(
            manager,
            "deliveries",
            "losses",
            "{integer} NOT NULL DEFAULT 0",
        )
        .await?;
        // The account that the try was made through; whoever is asked about it later is that one.
        add_column(
            manager,
            "attempts",
            "gateway",
            "{code 64} NOT NULL DEFAULT ''",
        )
        .await?;
        // Each channel is claimed for itself, so that one that stands still keeps no other waiting. The index replaces
        // the one without the channel: no release knows that one.
        swap_index(manager, CHANNEL_INDEX, CLAIM_INDEX).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        swap_index(manager, CLAIM_INDEX, CHANNEL_INDEX).await?;
        for (table, column) in [("attempts", "gateway"), ("deliveries", "losses")] {
            manager
                .get_connection()
                .execute_unprepared(&format!("ALTER TABLE {table} DROP COLUMN {column}"))
                .await?;
        }
        drop_all(manager, TABLES).await
    }
}

const CHANNEL_INDEX: (&str, &str) = ("ix_deliveries_channel", "state, channel, due_time, id");
const CLAIM_INDEX: (&str, &str) = ("ix_deliveries_claim", "state, due_time, id");

async fn swap_index(
    manager: &SchemaManager<'_>,
    new: (&str, &str),
    old: (&str, &str),
) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    if !manager.has_index("deliveries", new.0).await? {
        connection
            .execute_unprepared(&format!("CREATE INDEX {} ON deliveries ({})", new.0, new.1))
            .await?;
    }
    if manager.has_index("deliveries", old.0).await? {
        let of = match manager.get_database_backend() {
            DatabaseBackend::MySql => " ON deliveries",
            _ => "",
        };
        connection
            .execute_unprepared(&format!("DROP INDEX {}{of}", old.0))
            .await?;
    }
    Ok(())
}

const TABLES: &[Table] = &[Table {
    name: "gateways",
    columns: "\
        name {code 64} NOT NULL PRIMARY KEY, \
        channel {code 8} NOT NULL, \
        state {code 8} NOT NULL, \
        reason {bytes} NOT NULL, \
        since_time {time} NOT NULL, \
        until_time {time}, \
        changed_by {text 100} NOT NULL",
    indexes: &[],
}];
