//! What is sent to customers and what comes back.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_messages"
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
    Table {
        name: "outbox",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            order_id {id} NOT NULL, \
            seq {integer} NOT NULL, \
            kind {code 32} NOT NULL, \
            revision {integer} NOT NULL, \
            details {bytes} NOT NULL, \
            create_time {time} NOT NULL",
        indexes: &[],
    },
    // A message goes by each step of its plan once in a generation. `due_time` of a LEASED row is the end of its lease, so that one index serves both the claim and the search for
    // workers that died.
    Table {
        name: "deliveries",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            order_id {id} NOT NULL, \
            seq {integer} NOT NULL, \
            kind {code 32} NOT NULL, \
            revision {integer} NOT NULL, \
            round {integer} NOT NULL, \
            channel {code 8} NOT NULL, \
            step {integer} NOT NULL, \
            generation {integer} NOT NULL, \
            recipient {bytes} NOT NULL, \
            recipient_hash {hash} NOT NULL, \
            state {code 16} NOT NULL, \
            due_time {time} NOT NULL, \
            lease_token {id}, \
            attempts {integer} NOT NULL, \
            provider_id {key 128}, \
            last_error {text 250} NOT NULL, \
            details {bytes} NOT NULL, \
            create_time {time} NOT NULL, \
            finish_time {time}",
        indexes: &[
            ("ix_deliveries_claim", "state, due_time, id", false),
            (
                "uq_deliveries_message",
                "order_id, seq, step, generation",
                true,
            ),
            ("ix_deliveries_recipient", "recipient_hash, id", false),
            ("ix_deliveries_provider", "provider_id", false),
        ],
    },
    Table {
        name: "attempts",
        columns: "\
            delivery_id {id} NOT NULL, \
            number {integer} NOT NULL, \
            id {id} NOT NULL, \
            outcome {code 16} NOT NULL, \
            start_time {time} NOT NULL, \
            finish_time {time}, \
            error {text 250} NOT NULL, \
            lease_token {id} NOT NULL, \
            PRIMARY KEY (delivery_id, number)",
        indexes: &[],
    },
    Table {
        name: "replies",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            source {code 32} NOT NULL, \
            source_event_id {key 191} NOT NULL, \
            kind {code 32} NOT NULL, \
            order_id {id}, \
            payload {bytes} NOT NULL, \
            state {code 16} NOT NULL, \
            due_time {time} NOT NULL, \
            attempts {integer} NOT NULL, \
            result {text 250} NOT NULL, \
            receive_time {time} NOT NULL",
        indexes: &[
            ("uq_replies_source", "source, source_event_id", true),
            ("ix_replies_claim", "state, due_time, id", false),
            ("ix_replies_order", "order_id, id", false),
        ],
    },
    Table {
        name: "opt_outs",
        columns: "\
            recipient_hash {hash} NOT NULL, \
            channel {code 8} NOT NULL, \
            reason {code 32} NOT NULL, \
            create_time {time} NOT NULL, \
            PRIMARY KEY (recipient_hash, channel)",
        indexes: &[],
    },
    Table {
        name: "mailbox",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            order_id {id} NOT NULL, \
            channel {code 8} NOT NULL, \
            recipient {bytes} NOT NULL, \
            content {bytes} NOT NULL, \
            create_time {time} NOT NULL",
        indexes: &[],
    },
];
