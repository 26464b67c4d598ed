//! Looking at the chain from the other side: for what no commit knows of.

use countersign_domain::chain::{EntryKind, FaultKind, RecordName, Walk};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select, Statement,
};
use uuid::Uuid;

use super::{DOING, KEYS, row_name};
use crate::{
    Store,
    entity::{audit_entries, commits, erasures, operator_acts, order_events},
    error::{During, StoreError},
};

/// Rows of a page.
const ROWS: u64 = 5_000;

impl Store {
    /// Commits with a hash that stand behind the last link.
    pub(super) async fn look_behind(&self, walk: &mut Walk) -> Result<(), StoreError> {
        let behind = commits::Entity::find()
            .filter(commits::Column::Position.gt(walk.summary().position))
            .filter(commits::Column::ChainHash.is_not_null())
            .order_by_asc(commits::Column::Position)
            .one(&self.db)
            .await
            .during(DOING)?;
        let Some(position) = behind.and_then(|row| row.position) else {
            return Ok(());
        };
        // It may have been put there since.
        if self.chain_head().await?.position < position {
            walk.fault(Some(position), FaultKind::BehindHead);
        }
        Ok(())
    }

    /// Records that no commit knows of.
    pub(super) async fn look_for_strays(&self, walk: &mut Walk) -> Result<(), StoreError> {
        let mut after = Uuid::nil();
        loop {
            let bound = order_events::Entity::find()
                .select_only()
                .column(order_events::Column::CommitId)
                .filter(order_events::Column::CommitId.gt(after))
                .order_by_asc(order_events::Column::CommitId)
                .offset(ROWS - 1)
                .limit(1)
                .into_tuple::<Uuid>()
                .one(&self.db)
                .await
                .during(DOING)?;
            let strays = order_events::Entity::find()
                .from_raw_sql(Statement::from_sql_and_values(
                    self.backend(),
                    "SELECT e.* FROM order_events e LEFT JOIN commits c ON c.id = e.commit_id \
                     WHERE e.commit_id > ? AND e.commit_id <= ? AND c.id IS NULL \
                     ORDER BY e.commit_id, e.ordinal LIMIT 100",
                    [after.into(), bound.unwrap_or(Uuid::max()).into()],
                ))
                .all(&self.db)
                .await
                .during(DOING)?;
            for row in strays {
                let (order, version) = (row.order_id, row.version);
                walk.fault(
                    None,
                    FaultKind::NoCommit(RecordName::Event { order, version }),
                );
            }
            match bound {
                Some(bound) => after = bound,
                None => break,
            }
        }
        self.look_for_stray_rows(walk).await
    }

    /// Rows of other tables that are in no commit, and are not older than the chain.
    async fn look_for_stray_rows(&self, walk: &mut Walk) -> Result<(), StoreError> {
        let first = commits::Entity::find()
            .filter(commits::Column::Digest.is_not_null())
            .filter(commits::Column::Position.is_not_null())
            .order_by_asc(commits::Column::Position)
            .one(&self.db)
            .await
            .during(DOING)?;
        let Some(since) = first.map(|row| row.create_time) else {
            return Ok(());
        };
        let versions = [
            (EntryKind::Policy, self.policy_hashes().await?),
            (EntryKind::Rule, self.rule_hashes().await?),
        ];
        for (kind, rows) in versions {
            let keys = rows.into_iter().filter(|(_, _, time)| *time >= since);
            let keys: Vec<String> = keys.map(|(key, ..)| key).collect();
            self.find_unlinked(walk, kind, keys).await?;
        }
        let acts = operator_acts::Entity::find()
            .select_only()
            .column(operator_acts::Column::Id)
            .filter(operator_acts::Column::CreateTime.gte(since));
        let by_id = |select: Select<operator_acts::Entity>, after: Uuid| {
            let after = operator_acts::Column::Id.gt(after);
            select
                .filter(after)
                .order_by_asc(operator_acts::Column::Id)
                .limit(ROWS)
        };
        let mut after = Uuid::nil();
        loop {
            let page: Vec<Uuid> = by_id(acts.clone(), after)
                .into_tuple()
                .all(&self.db)
                .await
                .during(DOING)?;
            let Some(last) = page.last().copied() else {
                break;
            };
            let keys = page.iter().map(Uuid::to_string).collect();
            self.find_unlinked(walk, EntryKind::Act, keys).await?;
            after = last;
        }
        let erased: Vec<Uuid> = erasures::Entity::find()
            .select_only()
            .column(erasures::Column::Id)
            .into_tuple()
            .all(&self.db)
            .await
            .during(DOING)?;
        let keys = erased.iter().map(Uuid::to_string).collect();
        self.find_unlinked(walk, EntryKind::Erasure, keys).await
    }

    async fn find_unlinked(
        &self,
        walk: &mut Walk,
        kind: EntryKind,
        keys: Vec<String>,
    ) -> Result<(), StoreError> {
        for chunk in keys.chunks(KEYS) {
            let linked: Vec<String> = audit_entries::Entity::find()
                .select_only()
                .column(audit_entries::Column::EntryKey)
                .filter(
                    Condition::all()
                        .add(audit_entries::Column::Kind.eq(kind.as_str()))
                        .add(audit_entries::Column::EntryKey.is_in(chunk.iter().cloned())),
                )
                .into_tuple()
                .all(&self.db)
                .await
                .during(DOING)?;
            for key in chunk {
                if !linked.contains(key) {
                    walk.fault(None, FaultKind::NotInChain(row_name(kind.as_str(), key)));
                }
            }
        }
        Ok(())
    }
}
