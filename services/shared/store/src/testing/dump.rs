//! A database as whoever has a copy of it sees it.

use sea_orm::{ConnectionTrait, Statement};

use super::TestDatabase;
use crate::DatabaseKind;

/// A value as its bytes stand in a copy of the database.
#[derive(Clone, Debug)]
pub struct Dumped {
    /// "table.column".
    pub place: String,
    /// Text as it is encoded; numbers and times as they are written.
    pub bytes: Vec<u8>,
}

impl TestDatabase {
    /// Every value of every column of every table that is not empty.
    pub async fn dump(&self) -> Vec<Dumped> {
        let mut dumped = Vec::new();
        for (table, column) in self.columns().await {
            let sql =
                format!("SELECT HEX({column}) AS bytes FROM {table} WHERE {column} IS NOT NULL");
            for row in self.rows(&sql).await {
                let hex: String = row.try_get("", "bytes").expect("a text");
                dumped.push(Dumped {
                    place: format!("{table}.{column}"),
                    bytes: decode(&hex),
                });
            }
        }
        dumped
    }

    /// Where any of these words stands in a copy, in whatever case.
    pub async fn places_of(&self, words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        let mut places = Vec::new();
        for Dumped { place, bytes } in self.dump().await {
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            places.extend(
                words
                    .iter()
                    .filter(|word| text.contains(word.as_str()))
                    .map(|word| format!("{word} in {place}")),
            );
        }
        places
    }

    async fn columns(&self) -> Vec<(String, String)> {
        let sql = match self.store.kind() {
            DatabaseKind::Sqlite => {
                "SELECT m.name AS of_table, p.name AS of_column FROM sqlite_master AS m \
                 JOIN pragma_table_info(m.name) AS p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
            }
            DatabaseKind::MySql | DatabaseKind::MariaDb => {
                "SELECT CAST(table_name AS CHAR) AS of_table, CAST(column_name AS CHAR) AS of_column \
                 FROM information_schema.columns WHERE table_schema = DATABASE()"
            }
        };
        self.rows(sql)
            .await
            .iter()
            .map(|row| {
                let text = |name| row.try_get::<String>("", name).expect("a name");
                (text("of_table"), text("of_column"))
            })
            .collect()
    }

    async fn rows(&self, sql: &str) -> Vec<sea_orm::QueryResult> {
        let store = &self.store;
        store
            .connection()
            .query_all_raw(Statement::from_string(store.backend(), sql))
            .await
            .expect("the query runs")
    }
}

/// Numbers have an odd count of digits now and then; their bytes are of no interest.
fn decode(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
