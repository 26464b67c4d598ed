//! The audit chain, and erasures of customers.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait as _, DbErr},
};

use crate::table::{Table, add_column, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0011_chain"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column, definition) in COLUMNS {
            add_column(manager, table, column, definition).await?;
        }
        create(manager, TABLES).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, TABLES).await?;
        for (table, column, _) in COLUMNS.iter().rev() {
            manager
                .get_connection()
                .execute_unprepared(&format!("ALTER TABLE {table} DROP COLUMN {column}"))
                .await?;
        }
        Ok(())
    }
}

// All may be empty: a binary that does not know them writes none of them. An event whose details were erased has no salt and
// keeps the commitment; any other has a salt, from which the commitment is made.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("commits", "records", "{integer}"),
    ("commits", "digest", "{hash}"),
    ("commits", "chain_hash", "{hash}"),
    ("order_events", "salt", "{salt}"),
    ("order_events", "hash", "{hash}"),
    ("order_events", "commitment", "{hash}"),
];

const TABLES: &[Table] = &[
    // What a commit records besides events of orders: rows of other tables.
    Table {
        name: "audit_entries",
        columns: "\
            commit_id {id} NOT NULL, \
            ordinal {integer} NOT NULL, \
            kind {code 16} NOT NULL, \
            entry_key {key 100} NOT NULL, \
            hash {hash} NOT NULL, \
            salt {salt}, \
            commitment {hash}, \
            PRIMARY KEY (commit_id, ordinal)",
        indexes: &[("uq_audit_entries_key", "kind, entry_key", true)],
    },
    // The last link, written under the lock of the counter of positions.
    Table {
        name: "chain_heads",
        columns: "\
            name {code 16} NOT NULL PRIMARY KEY, \
            position {long} NOT NULL, \
            hash {hash} NOT NULL, \
            update_time {time} NOT NULL",
        indexes: &[],
    },
    // `customer` is empty once the erasure is done; `customer_hash` is keyed.
    Table {
        name: "erasures",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            request_hash {hash} NOT NULL, \
            customer_hash {hash} NOT NULL, \
            customer {key 64} NOT NULL, \
            state {code 16} NOT NULL, \
            actor {text 64} NOT NULL, \
            reason {text 500} NOT NULL, \
            report {json} NOT NULL, \
            create_time {time} NOT NULL, \
            finish_time {time}",
        indexes: &[
            ("uq_erasures_request", "request_hash", true),
            ("ix_erasures_customer", "customer_hash, id", false),
            ("ix_erasures_state", "state, id", false),
        ],
    },
];
