//! Customers, products, prices, stock, policies and rules.

use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbErr,
};

use crate::table::{Table, create, drop_all};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_reference"
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
        name: "customers",
        columns: "\
            code {key 64} NOT NULL PRIMARY KEY, \
            version {long} NOT NULL, \
            credit_limit_minor {long}, \
            credit_currency {code 3}, \
            credit_exposure_minor {long} NOT NULL, \
            blocked {flag} NOT NULL, \
            profile {bytes} NOT NULL, \
            create_time {time} NOT NULL, \
            update_time {time} NOT NULL",
        indexes: &[],
    },
    Table {
        name: "products",
        columns: "\
            sku {key 64} NOT NULL PRIMARY KEY, \
            version {long} NOT NULL, \
            profile {json} NOT NULL, \
            create_time {time} NOT NULL, \
            update_time {time} NOT NULL",
        indexes: &[],
    },
    Table {
        name: "prices",
        columns: "\
            sku {key 64} NOT NULL, \
            price_list {key 64} NOT NULL, \
            quantity_min {long} NOT NULL, \
            start_time {time} NOT NULL, \
            end_time {time}, \
            unit_price_minor {long} NOT NULL, \
            currency {code 3} NOT NULL, \
            PRIMARY KEY (sku, price_list, quantity_min, start_time)",
        indexes: &[],
    },
    Table {
        name: "stock",
        columns: "\
            sku {key 64} NOT NULL, \
            warehouse {key 32} NOT NULL, \
            on_hand {long} NOT NULL, \
            reserved {long} NOT NULL, \
            PRIMARY KEY (sku, warehouse), \
            CHECK (reserved >= 0 AND reserved <= on_hand)",
        indexes: &[],
    },
    Table {
        name: "order_policies",
        columns: "\
            order_type {code 32} NOT NULL, \
            version {integer} NOT NULL, \
            policy {json} NOT NULL, \
            create_time {time} NOT NULL, \
            PRIMARY KEY (order_type, version)",
        indexes: &[],
    },
    Table {
        name: "audit_rules",
        columns: "\
            id {code 64} NOT NULL, \
            version {integer} NOT NULL, \
            rule {json} NOT NULL, \
            create_time {time} NOT NULL, \
            PRIMARY KEY (id, version)",
        indexes: &[],
    },
    Table {
        name: "reference_versions",
        columns: "\
            kind {code 32} NOT NULL PRIMARY KEY, \
            version {long} NOT NULL",
        indexes: &[],
    },
    Table {
        name: "sequences",
        columns: "\
            name {code 32} NOT NULL PRIMARY KEY, \
            value {long} NOT NULL",
        indexes: &[],
    },
];
