//! Putting commits in a row: positions for those who watch, and the hashes of the audit chain, both under the lock of one
//! counter.

use chrono::{DateTime, Utc};
use countersign_domain::chain::{GENESIS, Hash, LinkFields, link_hash};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement, Value,
};
use uuid::Uuid;

use crate::{
    Position, Store,
    bulk::Bulk,
    connection::DatabaseKind,
    entity::{chain_heads, commits, sequences},
    error::{During, StoreError},
    rows::At,
};

const DOING: &str = "sequence events";
/// Name of the counter of positions.
const SEQUENCE: &str = "event_positions";
/// Name of the row that holds the last link.
const HEAD: &str = "audit";
/// Commits that one run gives positions to: as many as an update of one TLS record holds.
const COMMITS_MAX: u64 = 128;

const HEADS: Bulk = Bulk {
    operation: DOING,
    table: "chain_heads",
    columns: &["name", "position", "hash", "update_time"],
};

/// The last link of the audit chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// After which commit.
    pub position: i64,
    /// The chain's hash there.
    pub hash: Hash,
    /// When it was put there; none before the first.
    pub update_time: Option<DateTime<Utc>>,
}

impl Store {
    /// Gives positions and hashes to commits that have none. Answers how many got one.
    pub async fn sequence_events(&self) -> Result<u64, StoreError> {
        let unsequenced = commits::Entity::find()
            .select_only()
            .column(commits::Column::Id)
            .filter(commits::Column::Position.is_null())
            .limit(1)
            .into_tuple::<Uuid>()
            .one(&self.db)
            .await
            .during(DOING)?;
        if unsequenced.is_none() {
            return Ok(0);
        }
        let now = self.now().await?;
        let kind = self.kind;
        self.write(|transaction| Box::pin(async move { sequence(transaction, kind, now).await }))
            .await
    }

    /// The last position given so far.
    pub async fn last_position(&self) -> Result<Position, StoreError> {
        let row = sequences::Entity::find_by_id(SEQUENCE)
            .one(&self.db)
            .await
            .during("read the last position")?;
        Ok(row.map_or(Position::START, |row| Position {
            commit: row.value,
            ordinal: i32::MAX,
        }))
    }

    /// The last link of the audit chain.
    pub async fn chain_head(&self) -> Result<ChainHead, StoreError> {
        let row = chain_heads::Entity::find_by_id(HEAD)
            .one(&self.db)
            .await
            .during("read the end of the chain")?;
        head(row)
    }

    /// When the oldest commit without a position was written, for a gauge of how far watchers and the audit chain are
    /// behind.
    pub async fn oldest_unsequenced(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row = commits::Entity::find()
            .filter(commits::Column::Position.is_null())
            .order_by_asc(commits::Column::Id)
            .one(&self.db)
            .await
            .during("find the oldest unsequenced commit")?;
        Ok(row.map(|row| row.create_time))
    }
}

fn head(row: Option<chain_heads::Model>) -> Result<ChainHead, StoreError> {
    let Some(row) = row else {
        return Ok(ChainHead {
            position: 0,
            hash: GENESIS,
            update_time: None,
        });
    };
    let at = At {
        table: "chain_heads",
        row: &row.name,
    };
    Ok(ChainHead {
        position: row.position,
        hash: at.hash("hash", &row.hash)?,
        update_time: Some(row.update_time),
    })
}

async fn sequence(
    transaction: &DatabaseTransaction,
    kind: DatabaseKind,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let backend = transaction.get_database_backend();
    let lock = match kind {
        DatabaseKind::Sqlite => {
            "INSERT INTO sequences (name, value) VALUES (?, 0) ON CONFLICT (name) DO UPDATE SET value = value"
        }
        DatabaseKind::MySql | DatabaseKind::MariaDb => {
            "INSERT INTO sequences (name, value) VALUES (?, 0) ON DUPLICATE KEY UPDATE value = value"
        }
    };
    transaction
        .execute_raw(Statement::from_sql_and_values(
            backend,
            lock,
            [SEQUENCE.into()],
        ))
        .await
        .during(DOING)?;
    let counter = sequences::Entity::find_by_id(SEQUENCE)
        .lock_exclusive()
        .one(transaction)
        .await
        .during(DOING)?
        .map_or(0, |row| row.value);
    let row = chain_heads::Entity::find_by_id(HEAD)
        .one(transaction)
        .await
        .during(DOING)?;
    let mut head = head(row)?;
    let open = if head.position < counter {
        // An older version gave these their positions; it knows no chain.
        let filter = commits::Column::Position.gt(head.position);
        let unlinked = commits::Entity::find()
            .filter(filter)
            .order_by_asc(commits::Column::Position);
        unlinked.limit(COMMITS_MAX).all(transaction).await
    } else {
        let unsequenced = commits::Entity::find().filter(commits::Column::Position.is_null());
        unsequenced.limit(COMMITS_MAX).all(transaction).await
    };
    let mut open = open.during(DOING)?;
    if open.is_empty() {
        return Ok(0);
    }
    open.sort_unstable_by_key(|row| (row.position, row.id));
    let mut links = Vec::with_capacity(open.len());
    let mut last = counter;
    for row in &open {
        let at = At {
            table: "commits",
            row: &row.id,
        };
        let position = row.position.unwrap_or(last + 1);
        last = last.max(position);
        let digest = match &row.digest {
            Some(digest) => Some(at.hash("digest", digest)?),
            None => None,
        };
        let link = LinkFields {
            position,
            commit: row.id,
            create_time: row.create_time,
            records: row.records,
            digest: digest.as_ref(),
        };
        head = ChainHead {
            position,
            hash: link_hash(&head.hash, &link),
            update_time: Some(now),
        };
        links.push((row.id, position, head.hash));
    }
    write_links(transaction, &links).await?;
    transaction
        .execute_raw(Statement::from_sql_and_values(
            backend,
            "UPDATE sequences SET value = ? WHERE name = ?",
            [last.into(), SEQUENCE.into()],
        ))
        .await
        .during(DOING)?;
    let values = vec![
        HEAD.into(),
        head.position.into(),
        head.hash.to_vec().into(),
        now.into(),
    ];
    HEADS
        .upsert(
            transaction,
            kind,
            "name",
            &["position", "hash", "update_time"],
            values,
        )
        .await?;
    Ok(open.len() as u64)
}

async fn write_links(
    transaction: &DatabaseTransaction,
    links: &[(Uuid, i64, Hash)],
) -> Result<(), StoreError> {
    let cases = "WHEN ? THEN ? ".repeat(links.len());
    let marks = vec!["?"; links.len()].join(",");
    let mut values: Vec<Value> = Vec::with_capacity(links.len() * 5);
    for (id, position, _) in links {
        values.extend([(*id).into(), (*position).into()]);
    }
    for (id, _, hash) in links {
        values.extend([(*id).into(), hash.to_vec().into()]);
    }
    values.extend(links.iter().map(|(id, ..)| Value::from(*id)));
    transaction
        .execute_raw(Statement::from_sql_and_values(
            transaction.get_database_backend(),
            format!(
                "UPDATE commits SET position = CASE id {cases}END, chain_hash = CASE id {cases}END WHERE id IN ({marks})"
            ),
            values,
        ))
        .await
        .during(DOING)?;
    Ok(())
}
