//! Orders and all that hangs on them. Which index serves which query stands in ARCHITECTURE.md.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_orders"
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
        name: "orders",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            caller {key 64} NOT NULL, \
            client_reference {key 64} NOT NULL, \
            order_number {code 16}, \
            revision {integer} NOT NULL, \
            version {long} NOT NULL, \
            state {code 24} NOT NULL, \
            order_type {code 32} NOT NULL, \
            policy_version {integer} NOT NULL, \
            customer {key 64} NOT NULL, \
            source_channel {key 32} NOT NULL, \
            handler {key 64}, \
            total_minor {long} NOT NULL, \
            currency {code 3} NOT NULL, \
            content_hash {long} NOT NULL, \
            queue_rank {integer} NOT NULL, \
            hold_count {integer} NOT NULL, \
            promised_delivery_time {time}, \
            create_time {time} NOT NULL, \
            update_time {time} NOT NULL, \
            confirm_time {time}, \
            deliver_time {time}, \
            priority {bytes} NOT NULL, \
            terms {bytes} NOT NULL, \
            progress {bytes} NOT NULL, \
            CHECK (state IN ('RECEIVED','UNDER_AUDIT','AWAITING_CONFIRMATION','OBJECTED','CONFIRMED','ALLOCATED','PARTIALLY_ALLOCATED','BACKORDERED','PICKING','PACKED','DISPATCHED','DELIVERED','COMPLETED','REJECTED','CANCELLED','MERGED')), \
            CHECK ((order_number IS NULL) = (confirm_time IS NULL))",
        indexes: &[
            ("uq_orders_reference", "caller, client_reference", true),
            ("ix_orders_content", "customer, content_hash", false),
            ("ix_orders_queue", "state, queue_rank, id", false),
        ],
    },
    Table {
        name: "order_lines",
        columns: "\
            order_id {id} NOT NULL, \
            line_number {integer} NOT NULL, \
            sku {key 64} NOT NULL, \
            goods_name {text 500} NOT NULL, \
            specification {text 500} NOT NULL, \
            unit {text 32} NOT NULL, \
            unit_price_minor {long} NOT NULL, \
            warehouse {key 32}, \
            ordered {long} NOT NULL, \
            cancelled {long} NOT NULL, \
            reserved {long} NOT NULL, \
            picked {long} NOT NULL, \
            packed {long} NOT NULL, \
            shipped {long} NOT NULL, \
            delivered {long} NOT NULL, \
            returned {long} NOT NULL, \
            extras {bytes}, \
            PRIMARY KEY (order_id, line_number), \
            CHECK (reserved >= 0 AND reserved + shipped <= ordered - cancelled)",
        indexes: &[],
    },
    Table {
        name: "order_numbers",
        columns: "\
            order_number {code 16} NOT NULL PRIMARY KEY, \
            order_id {id} NOT NULL",
        indexes: &[("uq_order_numbers_order", "order_id", true)],
    },
    Table {
        name: "commits",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            position {long}, \
            create_time {time} NOT NULL",
        indexes: &[("uq_commits_position", "position", true)],
    },
    Table {
        name: "order_events",
        columns: "\
            commit_id {id} NOT NULL, \
            ordinal {integer} NOT NULL, \
            order_id {id} NOT NULL, \
            version {long} NOT NULL, \
            kind {code 40} NOT NULL, \
            revision {integer} NOT NULL, \
            from_state {code 24} NOT NULL, \
            to_state {code 24} NOT NULL, \
            actor {key 64} NOT NULL, \
            create_time {time} NOT NULL, \
            details {bytes} NOT NULL, \
            PRIMARY KEY (commit_id, ordinal)",
        indexes: &[("uq_order_events_version", "order_id, version", true)],
    },
    Table {
        name: "confirmations",
        columns: "\
            order_id {id} NOT NULL, \
            round {integer} NOT NULL, \
            revision {integer} NOT NULL, \
            mode {code 16} NOT NULL, \
            state {code 16} NOT NULL, \
            expire_time {time} NOT NULL, \
            create_time {time} NOT NULL, \
            code_hash {hash} NOT NULL, \
            details {bytes} NOT NULL, \
            PRIMARY KEY (order_id, round)",
        indexes: &[],
    },
    Table {
        name: "order_links",
        columns: "\
            token_hash {hash} NOT NULL PRIMARY KEY, \
            order_id {id} NOT NULL, \
            generation {integer} NOT NULL, \
            create_time {time} NOT NULL",
        indexes: &[],
    },
    Table {
        name: "timers",
        columns: "\
            due_time {time} NOT NULL, \
            order_id {id} NOT NULL, \
            kind {code 24} NOT NULL, \
            generation {integer} NOT NULL, \
            PRIMARY KEY (due_time, order_id, kind, generation)",
        indexes: &[],
    },
    Table {
        name: "requests",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            key_hash {hash} NOT NULL, \
            fingerprint {hash} NOT NULL, \
            response {bytes} NOT NULL, \
            create_time {time} NOT NULL",
        indexes: &[("uq_requests_key", "key_hash", true)],
    },
    Table {
        name: "delivery_notes",
        columns: "\
            order_id {id} NOT NULL, \
            revision {integer} NOT NULL, \
            note {bytes} NOT NULL, \
            create_time {time} NOT NULL, \
            PRIMARY KEY (order_id, revision)",
        indexes: &[],
    },
    Table {
        name: "service_packs",
        columns: "\
            order_id {id} NOT NULL PRIMARY KEY, \
            pack {bytes} NOT NULL, \
            create_time {time} NOT NULL",
        indexes: &[],
    },
    Table {
        name: "tracking_events",
        columns: "\
            order_id {id} NOT NULL, \
            id {id} NOT NULL, \
            source {key 64} NOT NULL, \
            source_event_id {key 128} NOT NULL, \
            status {code 24} NOT NULL, \
            reason {key 64} NOT NULL, \
            report_time {time} NOT NULL, \
            receive_time {time} NOT NULL, \
            details {bytes} NOT NULL, \
            anomalies {json} NOT NULL, \
            PRIMARY KEY (order_id, id)",
        indexes: &[(
            "uq_tracking_events_source",
            "order_id, source, source_event_id",
            true,
        )],
    },
    Table {
        name: "contacts",
        columns: "\
            order_id {id} NOT NULL, \
            id {id} NOT NULL, \
            direction {code 16} NOT NULL, \
            channel {code 16} NOT NULL, \
            agent {key 64} NOT NULL, \
            summary {bytes} NOT NULL, \
            create_time {time} NOT NULL, \
            PRIMARY KEY (order_id, id)",
        indexes: &[],
    },
];
