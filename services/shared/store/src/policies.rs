//! Policies, rules, and the counters that tell caches to look again.

use chrono::{DateTime, Utc};
use countersign_domain::{
    audit::AuditRule,
    chain::{EntryKind, version_hash},
    policy::OrderPolicy,
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryOrder, Statement};

use crate::{
    Store,
    chain::{CommitRows, fresh_commit, version_key},
    connection::DatabaseKind,
    entity::{audit_rules, order_policies, reference_versions},
    error::{During, StoreError},
    requests::{RequestRecord, insert_request},
    rows::{At, int, json_text},
};

/// Kinds of reference data that services keep in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReferenceKind {
    /// Policies and rules.
    Policies,
    /// Products.
    Products,
    /// Prices.
    Prices,
    /// Customers.
    Customers,
    /// Words of messages.
    Templates,
}

impl ReferenceKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::Products => "products",
            Self::Prices => "prices",
            Self::Customers => "customers",
            Self::Templates => "templates",
        }
    }
}

/// How often each kind of reference data has changed; what is in memory is good as long as its counter stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReferenceVersions {
    /// Policies and rules.
    pub policies: i64,
    /// Products.
    pub products: i64,
    /// Prices.
    pub prices: i64,
    /// Customers.
    pub customers: i64,
    /// Words of messages.
    pub templates: i64,
}

/// Counts a change.
pub(crate) async fn bump(
    db: &impl ConnectionTrait,
    database: DatabaseKind,
    kind: ReferenceKind,
) -> Result<(), StoreError> {
    let sql = match database {
        DatabaseKind::Sqlite => {
            "INSERT INTO reference_versions (kind, version) VALUES (?, 1) \
             ON CONFLICT (kind) DO UPDATE SET version = version + 1"
        }
        DatabaseKind::MySql | DatabaseKind::MariaDb => {
            "INSERT INTO reference_versions (kind, version) VALUES (?, 1) \
             ON DUPLICATE KEY UPDATE version = version + 1"
        }
    };
    db.execute_raw(Statement::from_sql_and_values(
        db.get_database_backend(),
        sql,
        [kind.name().into()],
    ))
    .await
    .during("count a change of reference data")?;
    Ok(())
}

impl Store {
    /// The counters of all kinds.
    pub async fn reference_versions(&self) -> Result<ReferenceVersions, StoreError> {
        let rows = reference_versions::Entity::find()
            .all(&self.db)
            .await
            .during("read versions of reference data")?;
        let mut versions = ReferenceVersions::default();
        for row in rows {
            match row.kind.as_str() {
                "policies" => versions.policies = row.version,
                "products" => versions.products = row.version,
                "prices" => versions.prices = row.version,
                "customers" => versions.customers = row.version,
                "templates" => versions.templates = row.version,
                _ => {}
            }
        }
        Ok(versions)
    }

    /// Every version of every policy, oldest first.
    pub async fn list_policies(&self) -> Result<Vec<OrderPolicy>, StoreError> {
        let dated = self.list_dated_policies().await?;
        Ok(dated.into_iter().map(|(policy, _)| policy).collect())
    }

    /// Every version of every policy with the time since which it holds, oldest first.
    pub async fn list_dated_policies(
        &self,
    ) -> Result<Vec<(OrderPolicy, DateTime<Utc>)>, StoreError> {
        let rows = order_policies::Entity::find()
            .order_by_asc(order_policies::Column::OrderType)
            .order_by_asc(order_policies::Column::Version)
            .all(&self.db)
            .await
            .during("list policies")?;
        rows.iter()
            .map(|row| {
                let at = At {
                    table: "order_policies",
                    row: &row.order_type,
                };
                Ok((at.json("policy", &row.policy)?, row.create_time))
            })
            .collect()
    }

    /// Adds a version of a policy. False when that version is there already.
    pub async fn insert_policy(
        &self,
        policy: &OrderPolicy,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.insert_policy_for_call(policy, None, now).await
    }

    /// Adds a version of a policy and remembers the call. False when that version is there already, or the call was
    /// carried out before.
    pub async fn insert_policy_for_call(
        &self,
        policy: &OrderPolicy,
        request: Option<&RequestRecord>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "insert a policy";
        let version = int(DOING, policy.version)?;
        let content = json_text(DOING, policy)?;
        let commit = version_commit(
            EntryKind::Policy,
            &policy.order_type,
            version,
            &content,
            now,
        );
        let row = order_policies::ActiveModel {
            order_type: Set(policy.order_type.clone()),
            version: Set(version),
            policy: Set(content),
            create_time: Set(now),
        };
        let transaction = self.begin_write().await?;
        let result = async {
            if let Some(request) = request {
                insert_request(&transaction, &self.keys, request, now).await?;
            }
            order_policies::Entity::insert(row)
                .exec_without_returning(&transaction)
                .await
                .during(DOING)?;
            commit.insert(&transaction, self.backend()).await?;
            bump(&transaction, self.kind, ReferenceKind::Policies).await
        }
        .await;
        new_or_not(self.conclude(transaction, result).await)
    }

    /// Every version of every rule, oldest first.
    pub async fn list_rules(&self) -> Result<Vec<AuditRule>, StoreError> {
        let rows = audit_rules::Entity::find()
            .order_by_asc(audit_rules::Column::Id)
            .order_by_asc(audit_rules::Column::Version)
            .all(&self.db)
            .await
            .during("list rules")?;
        rows.iter()
            .map(|row| {
                let at = At {
                    table: "audit_rules",
                    row: &row.id,
                };
                at.json("rule", &row.rule)
            })
            .collect()
    }

    /// Adds a version of a rule. False when that version is there already.
    pub async fn insert_rule(
        &self,
        rule: &AuditRule,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.insert_rule_for_call(rule, None, now).await
    }

    /// Adds a version of a rule and remembers the call. False when that version is there already, or the call was carried
    /// out before.
    pub async fn insert_rule_for_call(
        &self,
        rule: &AuditRule,
        request: Option<&RequestRecord>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "insert a rule";
        let version = int(DOING, rule.version)?;
        let content = json_text(DOING, rule)?;
        let commit = version_commit(EntryKind::Rule, &rule.id, version, &content, now);
        let row = audit_rules::ActiveModel {
            id: Set(rule.id.clone()),
            version: Set(version),
            rule: Set(content),
            create_time: Set(now),
        };
        let transaction = self.begin_write().await?;
        let result = async {
            if let Some(request) = request {
                insert_request(&transaction, &self.keys, request, now).await?;
            }
            audit_rules::Entity::insert(row)
                .exec_without_returning(&transaction)
                .await
                .during(DOING)?;
            commit.insert(&transaction, self.backend()).await?;
            bump(&transaction, self.kind, ReferenceKind::Policies).await
        }
        .await;
        new_or_not(self.conclude(transaction, result).await)
    }
}

/// What puts a version of a policy or a rule into the audit chain.
fn version_commit(
    kind: EntryKind,
    name: &str,
    version: i32,
    content: &str,
    now: DateTime<Utc>,
) -> CommitRows {
    let hash = version_hash(kind.as_str(), name, version, content, now);
    let mut commit = CommitRows::new(fresh_commit(now), now);
    commit.push_entry(kind, &version_key(name, version), None, hash);
    commit
}

/// False when one of the rows was there already.
fn new_or_not(result: Result<(), StoreError>) -> Result<bool, StoreError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error),
    }
}
