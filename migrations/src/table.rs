//! One description of a table, written out for each kind of database.
//!
//! Columns are SQL with words in braces for what the databases call differently:
//!
//! | word | MySQL, MariaDB | SQLite |
//! |---|---|---|
//! | `{id}` | `BINARY(16)`, a UUIDv7 | `BLOB` |
//! | `{hash}` | `BINARY(32)` | `BLOB` |
//! | `{salt}` | `BINARY(16)` | `BLOB` |
//! | `{bytes}` | `MEDIUMBLOB` | `BLOB` |
//! | `{time}` | `DATETIME(6)`, UTC | `DATETIME` |
//! | `{key N}` | `VARCHAR(N)` compared byte for byte | `TEXT` |
//! | `{code N}` | `VARCHAR(N)` of ASCII compared byte for byte | `TEXT` |
//! | `{text N}` | `VARCHAR(N)` | `TEXT` |
//! | `{json}` | `MEDIUMTEXT`: unlike `JSON` it gives back the bytes that were stored | `TEXT` |
//! | `{integer}` | `INT` | `INTEGER` |
//! | `{long}` | `BIGINT` | `BIGINT` |
//! | `{flag}` | `BOOLEAN` | `BOOLEAN` |

use sea_orm_migration::{
    SchemaManager,
    sea_orm::{ConnectionTrait, DatabaseBackend, DbErr},
};

/// A table with its indexes.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Column definitions, the primary key and CHECKs.
    pub(crate) columns: &'static str,
    /// Name, columns, whether unique.
    pub(crate) indexes: &'static [(&'static str, &'static str, bool)],
}

/// Creates tables that are not there yet.
pub(crate) async fn create(manager: &SchemaManager<'_>, tables: &[Table]) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let sqlite = manager.get_database_backend() == DatabaseBackend::Sqlite;
    for table in tables {
        let columns = spell(table.columns, sqlite);
        let name = table.name;
        if sqlite {
            connection
                .execute_unprepared(&format!("CREATE TABLE IF NOT EXISTS {name} ({columns})"))
                .await?;
            for (index, on, unique) in table.indexes {
                let unique = if *unique { "UNIQUE " } else { "" };
                connection
                    .execute_unprepared(&format!(
                        "CREATE {unique}INDEX IF NOT EXISTS {index} ON {name} ({on})"
                    ))
                    .await?;
            }
        } else {
            let indexes: Vec<String> = table
                .indexes
                .iter()
                .map(|(index, on, unique)| {
                    let unique = if *unique { "UNIQUE " } else { "" };
                    format!(", {unique}INDEX {index} ({on})")
                })
                .collect();
            let indexes = indexes.concat();
            connection
                .execute_unprepared(&format!(
                    "CREATE TABLE IF NOT EXISTS {name} ({columns}{indexes}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
                ))
                .await?;
        }
    }
    Ok(())
}

/// Adds a column that is not there yet. Its definition needs a default: old binaries do not know the column.
pub(crate) async fn add_column(
    manager: &SchemaManager<'_>,
    table: &str,
    column: &str,
    definition: &str,
) -> Result<(), DbErr> {
    if manager.has_column(table, column).await? {
        return Ok(());
    }
    let sqlite = manager.get_database_backend() == DatabaseBackend::Sqlite;
    let definition = spell(definition, sqlite);
    manager
        .get_connection()
        .execute_unprepared(&format!(
            "ALTER TABLE {table} ADD COLUMN {column} {definition}"
        ))
        .await
        .map(|_| ())
}

/// Drops tables, last first.
pub(crate) async fn drop_all(manager: &SchemaManager<'_>, tables: &[Table]) -> Result<(), DbErr> {
    for table in tables.iter().rev() {
        manager
            .get_connection()
            .execute_unprepared(&format!("DROP TABLE IF EXISTS {}", table.name))
            .await?;
    }
    Ok(())
}

/// Writes the words in braces out.
fn spell(columns: &str, sqlite: bool) -> String {
    let mut out = String::with_capacity(columns.len() * 2);
    let mut rest = columns;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((word, tail)) = after.split_once('}') else {
            break;
        };
        let (kind, size) = word.split_once(' ').unwrap_or((word, ""));
        let spelled = match (kind, sqlite) {
            ("id" | "salt", false) => "BINARY(16)".to_owned(),
            ("hash", false) => "BINARY(32)".to_owned(),
            ("bytes", false) => "MEDIUMBLOB".to_owned(),
            ("id" | "hash" | "salt" | "bytes", true) => "BLOB".to_owned(),
            ("time", false) => "DATETIME(6)".to_owned(),
            ("time", true) => "DATETIME".to_owned(),
            ("key", false) => format!("VARCHAR({size}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
            ("code", false) => format!("VARCHAR({size}) CHARACTER SET ascii COLLATE ascii_bin"),
            ("text", false) => format!("VARCHAR({size})"),
            ("json", false) => "MEDIUMTEXT".to_owned(),
            ("key" | "code" | "text" | "json", true) => "TEXT".to_owned(),
            ("integer", false) => "INT".to_owned(),
            ("integer", true) => "INTEGER".to_owned(),
            ("long", _) => "BIGINT".to_owned(),
            ("flag", _) => "BOOLEAN".to_owned(),
            (other, _) => other.to_owned(),
        };
        out.push_str(&spelled);
        rest = tail;
    }
    out.push_str(rest);
    out
}
