//! The schema, in steps. Each step creates tables or changes one thing, and may be run again after it was cut off:
//! MySQL commits every DDL statement by itself.
//!
//! Old and new binaries run side by side during a rollout, so a step only ever expands; what an old binary still reads
//! goes in a later release.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the migration trait hides one, and async_trait needs ours to look the same"
)]

mod m0001_orders;
mod m0002_reference;
mod m0003_messages;
mod m0004_gateways;
mod m0005_feedback;
mod m0006_operator_acts;
mod m0007_webhooks;
mod m0008_running;
mod m0009_access_refusals;
mod m0010_sending_counts;
mod m0011_chain;
mod m0012_personal_data;
mod m0013_templates;
mod m0014_lives_and_words;
mod table;

pub use sea_orm_migration::{MigratorTrait, MigratorTraitSelf, SchemaManager};

use sea_orm_migration::{
    MigrationTrait, async_trait,
    sea_orm::{ConnectionTrait as _, DbErr, Statement},
};

/// All steps, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_orders::Migration),
            Box::new(m0002_reference::Migration),
            Box::new(m0003_messages::Migration),
            Box::new(m0004_gateways::Migration),
            Box::new(m0005_feedback::Migration),
            Box::new(m0006_operator_acts::Migration),
            Box::new(m0007_webhooks::Migration),
            Box::new(m0008_running::Migration),
            Box::new(m0009_access_refusals::Migration),
            Box::new(m0010_sending_counts::Migration),
            Box::new(m0011_chain::Migration),
            Box::new(m0012_personal_data::Migration),
            Box::new(m0013_templates::Migration),
            Box::new(m0014_lives_and_words::Migration),
        ]
    }
}

/// Where the steps that were taken are written down.
const TAKEN: &str = "seaql_migrations";

/// Names of the steps that a database lacks, in order. Steps of a newer program are not asked about: after it was rolled back, or
/// while it takes over, this one works on tables that have more.
pub async fn missing_steps(manager: &SchemaManager<'_>) -> Result<Vec<String>, DbErr> {
    let mut taken: Vec<String> = Vec::new();
    if manager.has_table(TAKEN).await? {
        let sql = format!("SELECT version FROM {TAKEN}");
        let statement = Statement::from_string(manager.get_database_backend(), sql);
        for row in manager.get_connection().query_all_raw(statement).await? {
            taken.push(row.try_get("", "version")?);
        }
    }
    Ok(<Migrator as MigratorTrait>::migrations()
        .iter()
        .map(|step| step.name().to_owned())
        .filter(|name| !taken.contains(name))
        .collect())
}
