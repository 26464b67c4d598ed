//! Old and new programs run side by side on the same tables while one replaces the other, so a step may only add.
#![cfg(test)]

use std::collections::BTreeMap;

use countersign_migrations::{Migrator, MigratorTrait as _, SchemaManager};
use countersign_store::{
    Settings, Store,
    testing::{TestDatabase, data_keys},
};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

/// Replaced before anything was released: no program knows the first of them.
const NEVER_RELEASED: [&str; 1] = ["ix_deliveries_claim"];

/// Tables and indexes with the statement that made them, as SQLite keeps it.
async fn schema(store: &Store) -> BTreeMap<String, String> {
    let sql =
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'seaql%'";
    let rows = store
        .connection()
        .query_all_raw(Statement::from_string(DbBackend::Sqlite, sql))
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            (
                row.try_get("", "name").unwrap(),
                row.try_get("", "sql").unwrap(),
            )
        })
        .collect()
}

/// What a step has made of a table: nothing, or new columns, each with a default or empty.
fn only_adds(before: &str, after: &str) -> Result<(), String> {
    let same = before.bytes().zip(after.bytes());
    let begin = same.take_while(|(one, other)| one == other).count();
    let added = after
        .get(begin..)
        .and_then(|rest| rest.strip_suffix(before.get(begin..)?));
    // Whole columns: before the constraints, or at the end.
    let added = added.and_then(|it| it.strip_prefix(", ").or_else(|| it.strip_suffix(", ")));
    let Some(added) = added else {
        return Err(format!("{before}\nbecame\n{after}"));
    };
    for column in added.split(", ") {
        let column = column.to_uppercase();
        if column.contains("NOT NULL") && !column.contains("DEFAULT") {
            return Err(format!("an old program cannot fill {column}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn b_19_every_step_only_adds_and_may_be_run_again_after_it_was_cut_off() {
    let folder = std::env::temp_dir().join(format!("countersign-steps-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let url = format!("sqlite://{}/steps.db", folder.display());
    let store = Store::connect(&Settings::new(url, data_keys()))
        .await
        .unwrap();
    let mut before = schema(&store).await;
    assert!(before.is_empty());
    for step in Migrator::migrations() {
        let manager = SchemaManager::new(store.connection());
        step.up(&manager).await.unwrap();
        let after = schema(&store).await;
        for (name, made) in &before {
            match after.get(name) {
                Some(now) if now == made => {}
                Some(now) => only_adds(made, now).unwrap(),
                None => assert!(
                    NEVER_RELEASED.contains(&name.as_str()),
                    "{} takes {name} away",
                    step.name()
                ),
            }
        }
        step.up(&manager).await.unwrap();
        assert_eq!(schema(&store).await, after, "{} twice", step.name());
        before = after;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_step_that_does_more_than_add_is_noticed() {
    let table = "CREATE TABLE t (id INT, n INT NOT NULL)";
    only_adds(table, "CREATE TABLE t (id INT, n INT NOT NULL, more TEXT)").unwrap();
    only_adds(
        table,
        "CREATE TABLE t (id INT, n INT NOT NULL, m INT NOT NULL DEFAULT 0)",
    )
    .unwrap();
    for wrong in [
        "CREATE TABLE t (id INT, n INT NOT NULL, m INT NOT NULL)",
        "CREATE TABLE t (id INT)",
        "CREATE TABLE t (id INT, n BIGINT NOT NULL)",
    ] {
        assert!(only_adds(table, wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn steps_are_run_once_and_again_on_every_database() {
    for database in TestDatabase::all().await {
        let connection = database.store.connection();
        let manager = SchemaManager::new(connection);
        for step in Migrator::migrations() {
            step.up(&manager).await.unwrap();
        }
        Migrator::up(connection, None).await.unwrap();
    }
}
