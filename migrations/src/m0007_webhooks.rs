//! Where partners hear of orders, and what they are told.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_webhooks"
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

// `signing_keys` holds numbers and ends of keys; the keys are made of the link key. A delivery that somebody has claimed is
// PENDING and due when his lease ends.
const TABLES: &[Table] = &[
    Table {
        name: "webhook_endpoints",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            url {text 2048} NOT NULL, \
            description {text 250} NOT NULL, \
            event_types {json} NOT NULL, \
            state {code 16} NOT NULL, \
            disabled_reason {code 16} NOT NULL, \
            signing_keys {json} NOT NULL, \
            from_position {long} NOT NULL, \
            failures {integer} NOT NULL, \
            failing_since {time}, \
            last_try_time {time}, \
            paused_until {time}, \
            create_time {time} NOT NULL, \
            update_time {time} NOT NULL",
        indexes: &[],
    },
    Table {
        name: "webhook_deliveries",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            endpoint_id {id} NOT NULL, \
            webhook_id {code 64} NOT NULL, \
            event_type {code 64} NOT NULL, \
            order_id {id}, \
            payload {json} NOT NULL, \
            state {code 16} NOT NULL, \
            tries {integer} NOT NULL, \
            due_time {time} NOT NULL, \
            lease_token {id}, \
            failure {code 24} NOT NULL, \
            http_status {integer}, \
            create_time {time} NOT NULL, \
            finish_time {time}",
        indexes: &[
            (
                "uq_webhook_deliveries_event",
                "endpoint_id, webhook_id",
                true,
            ),
            (
                "ix_webhook_deliveries_due",
                "endpoint_id, state, due_time, id",
                false,
            ),
        ],
    },
];
