//! How many texts and calls went to whom and what they cost: counted in the transaction that puts the tries on record, so that
//! all workers together keep to the limits.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use countersign_domain::sending::{Counted, DAY_SECONDS, NUMBER_TIMES_MAX, Passage, Toll};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, Statement,
};

use crate::{
    Store,
    bulk::Bulk,
    connection::DatabaseKind,
    entity::sending_counts,
    error::{During, StoreError},
};

const COUNTS: Bulk = Bulk {
    operation: "count texts and calls",
    table: "sending_counts",
    columns: &["subject", "amount", "times", "last_day"],
};
/// Characters of one time.
const TIME: usize = 8;
/// Subjects that one statement asks for: with two hundred MySQL would no longer look each of them up.
const ASKED: usize = 64;
/// Rows that one statement removes.
const PURGED: u64 = 5_000;

/// What a batch adds to one row.
#[derive(Default)]
struct Added {
    amount: i64,
    times: usize,
    last_day: i32,
}

impl Store {
    /// Decides over texts and calls, in this sequence, and counts those that go. Everything is added first, which locks the rows,
    /// and what may not go is taken back: two statements where nothing is refused, however many messages there are.
    pub(crate) async fn pass_tolls(
        &self,
        transaction: &DatabaseTransaction,
        tolls: &[&Toll],
        now: DateTime<Utc>,
    ) -> Result<Vec<Passage>, StoreError> {
        let seconds = now.timestamp();
        let added = added(tolls, seconds);
        if added.is_empty() {
            let mut nothing = Counted::default();
            return Ok(tolls
                .iter()
                .map(|toll| nothing.pass(toll, seconds))
                .collect());
        }
        let text = time_text(seconds);
        let mut values = Vec::with_capacity(added.len() * COUNTS.columns.len());
        for (subject, of) in &added {
            values.extend([
                (*subject).into(),
                of.amount.into(),
                text.repeat(of.times).into(),
                of.last_day.into(),
            ]);
        }
        COUNTS
            .upsert_by(transaction, self.backend(), add(self.kind), values)
            .await?;
        let mut counted = read(transaction, &added).await?;
        let passages: Vec<Passage> = tolls
            .iter()
            .map(|toll| counted.pass(toll, seconds))
            .collect();
        if passages.iter().any(|passage| *passage != Passage::Go) {
            self.take_back(transaction, &added, &counted).await?;
        }
        Ok(passages)
    }

    /// Writes the rows as they are without what was refused. They are locked since they were added to.
    async fn take_back(
        &self,
        transaction: &DatabaseTransaction,
        added: &BTreeMap<&str, Added>,
        counted: &Counted,
    ) -> Result<(), StoreError> {
        let mut values = Vec::with_capacity(added.len() * COUNTS.columns.len());
        for (subject, of) in added {
            let times: String = counted
                .times
                .get(*subject)
                .into_iter()
                .flatten()
                .take(NUMBER_TIMES_MAX as usize)
                .map(|time| time_text(*time))
                .collect();
            values.extend([
                (*subject).into(),
                counted.amounts.get(*subject).copied().unwrap_or(0).into(),
                times.into(),
                of.last_day.into(),
            ]);
        }
        COUNTS
            .upsert(
                transaction,
                self.kind,
                "subject",
                &["amount", "times", "last_day"],
                values,
            )
            .await
    }

    /// Forgets counts that nobody asks for any more, some thousand at a time. Answers how many.
    pub async fn purge_sending_counts(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let today = day(now.timestamp());
        let sql = match self.kind {
            DatabaseKind::Sqlite => {
                "DELETE FROM sending_counts WHERE subject IN (SELECT subject FROM sending_counts WHERE last_day < ? LIMIT ?)"
            }
            DatabaseKind::MySql | DatabaseKind::MariaDb => {
                "DELETE FROM sending_counts WHERE last_day < ? ORDER BY last_day LIMIT ?"
            }
        };
        let values = [(today - 1).into(), PURGED.cast_signed().into()];
        let deleted = self
            .db
            .execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
            .await
            .during("purge counts of texts and calls")?;
        Ok(deleted.rows_affected())
    }
}

/// What all of them add, sorted: whoever locks the same rows locks them in the same sequence.
fn added<'a>(tolls: &[&'a Toll], seconds: i64) -> BTreeMap<&'a str, Added> {
    let mut added: BTreeMap<&str, Added> = BTreeMap::new();
    for toll in tolls.iter().filter(|toll| toll.refused.is_none()) {
        if !toll.number.is_empty() {
            let of = added.entry(toll.number.as_str()).or_default();
            of.times += 1;
            of.last_day = day(seconds);
        }
        for count in &toll.counts {
            let of = added.entry(count.subject.as_str()).or_default();
            of.amount = of.amount.saturating_add(count.amount);
            of.last_day = count.last_day;
        }
    }
    added
}

/// The counts before this batch, read under its own locks.
async fn read(
    transaction: &DatabaseTransaction,
    added: &BTreeMap<&str, Added>,
) -> Result<Counted, StoreError> {
    let mut counted = Counted {
        amounts: HashMap::new(),
        times: HashMap::new(),
    };
    let subjects: Vec<&str> = added.keys().copied().collect();
    for part in subjects.chunks(ASKED) {
        let mut part = part.to_vec();
        if let Some(last) = part.last().copied() {
            part.resize(part.len().next_power_of_two(), last);
        }
        let rows = sending_counts::Entity::find()
            .filter(sending_counts::Column::Subject.is_in(part))
            .all(transaction)
            .await
            .during(COUNTS.operation)?;
        for row in rows {
            let Some(of) = added.get(row.subject.as_str()) else {
                continue;
            };
            if of.times > 0 {
                let before = times(&row.times).skip(of.times).collect();
                counted.times.insert(row.subject.clone(), before);
            }
            let before = row.amount.saturating_sub(of.amount);
            counted.amounts.insert(row.subject, before);
        }
    }
    Ok(counted)
}

/// How an insert adds to what is there.
const fn add(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Sqlite => {
            "ON CONFLICT (subject) DO UPDATE SET amount = amount + excluded.amount, \
             times = substr(excluded.times || times, 1, 2048), last_day = excluded.last_day"
        }
        // MariaDB knows no row alias, the newer way of MySQL.
        DatabaseKind::MySql | DatabaseKind::MariaDb => {
            "ON DUPLICATE KEY UPDATE amount = amount + VALUES(amount), \
             times = LEFT(CONCAT(VALUES(times), times), 2048), last_day = VALUES(last_day)"
        }
    }
}

fn day(seconds: i64) -> i32 {
    i32::try_from(seconds.div_euclid(DAY_SECONDS)).unwrap_or(i32::MAX)
}

fn time_text(seconds: i64) -> String {
    format!("{:08x}", u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// What [`time_text`] wrote, one after the other. What cannot be read counts as long ago.
fn times(text: &str) -> impl Iterator<Item = i64> {
    text.as_bytes().chunks(TIME).map(|digits| {
        std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map_or(0, i64::from)
    })
}
