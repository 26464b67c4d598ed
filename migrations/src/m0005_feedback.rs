//! Whom we asked how it was, and what they said.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_feedback"
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
    // One row for each subject, whether the customer was asked or left alone.
    Table {
        name: "surveys",
        columns: "\
            order_id {id} NOT NULL, \
            kind {code 16} NOT NULL, \
            number {integer} NOT NULL, \
            state {code 16} NOT NULL, \
            reason {code 24}, \
            customer {key 64} NOT NULL, \
            order_type {code 32} NOT NULL, \
            source_channel {key 32} NOT NULL, \
            create_time {time} NOT NULL, \
            expire_time {time} NOT NULL, \
            answer_time {time}, \
            PRIMARY KEY (order_id, kind, number), \
            CHECK ((state = 'WITHHELD') = (reason IS NOT NULL))",
        indexes: &[("ix_surveys_time", "state, create_time", false)],
    },
    // When each customer was asked last, about any order: whoever asks claims the row.
    Table {
        name: "surveyed_customers",
        columns: "\
            customer {key 64} NOT NULL PRIMARY KEY, \
            ask_time {time} NOT NULL",
        indexes: &[],
    },
    Table {
        name: "feedback",
        columns: "\
            id {id} NOT NULL PRIMARY KEY, \
            order_id {id} NOT NULL, \
            kind {code 16} NOT NULL, \
            number {integer} NOT NULL, \
            stars {integer} NOT NULL, \
            words {bytes} NOT NULL, \
            source {code 16} NOT NULL, \
            given_by {key 64} NOT NULL, \
            customer {key 64} NOT NULL, \
            order_type {code 32} NOT NULL, \
            source_channel {key 32} NOT NULL, \
            answers {integer} NOT NULL, \
            follow_up {code 16} NOT NULL, \
            resolution {bytes}, \
            resolved_by {key 64}, \
            resolve_time {time}, \
            create_time {time} NOT NULL, \
            answer_time {time} NOT NULL, \
            CHECK (stars BETWEEN 1 AND 5), \
            CHECK (follow_up <> 'RESOLVED' OR resolve_time IS NOT NULL)",
        indexes: &[
            ("uq_feedback_subject", "order_id, kind, number", true),
            ("ix_feedback_time", "create_time, id", false),
            ("ix_feedback_follow_up", "follow_up, create_time, id", false),
        ],
    },
    // The delivered lines. Their time is the feedback's, so that a summary reads one range of one index.
    Table {
        name: "feedback_lines",
        columns: "\
            feedback_id {id} NOT NULL, \
            line_number {integer} NOT NULL, \
            sku {key 64} NOT NULL, \
            warehouse {key 32}, \
            stars {integer} NOT NULL, \
            own {flag} NOT NULL, \
            create_time {time} NOT NULL, \
            PRIMARY KEY (feedback_id, line_number), \
            CHECK (stars BETWEEN 1 AND 5)",
        indexes: &[
            ("ix_feedback_lines_time", "create_time, sku, stars", false),
            ("ix_feedback_lines_sku", "sku, feedback_id", false),
            (
                "ix_feedback_lines_warehouse",
                "warehouse, feedback_id",
                false,
            ),
        ],
    },
    Table {
        name: "feedback_tags",
        columns: "\
            feedback_id {id} NOT NULL, \
            tag {code 24} NOT NULL, \
            PRIMARY KEY (feedback_id, tag)",
        indexes: &[("ix_feedback_tags_tag", "tag, feedback_id", false)],
    },
];
