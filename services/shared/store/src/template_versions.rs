//! The company's own words in versions: which there are, and which is in force.

use chrono::{DateTime, Utc};
use countersign_domain::{
    operator::{ActKind, ActOutcome, TemplateRefusal},
    order::Channel,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};

use crate::{
    ActCall, Acted, Page, ReferenceKind, Store,
    bulk::Bulk,
    entity::{template_versions, templates},
    error::{During, StoreError},
    operator_acts::{Acts, Earlier, Entry, earlier},
    policies::bump,
    rows::{At, cut, int},
};

const TEMPLATES: Bulk = Bulk {
    operation: "make a template known",
    table: "templates",
    columns: &[
        "kind",
        "channel",
        "locale",
        "active_version",
        "latest_version",
        "change_time",
    ],
};

/// Which words: of a kind of message, by a channel, in a language.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemplateKey {
    /// "ACKNOWLEDGEMENT" …; a newer version of the program may know more of them.
    pub kind: String,
    /// By what way the message goes.
    pub channel: Channel,
    /// "en" or "zh-CN".
    pub locale: String,
}

impl TemplateKey {
    /// `templates/{kind}/{channel}/{locale}`
    pub fn resource_name(&self) -> String {
        format!("templates/{}/{}/{}", self.kind, self.channel, self.locale)
    }
}

/// How the words of one key stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRecord {
    /// Of which words.
    pub key: TemplateKey,
    /// In force; 0: the words of the folder or of the program.
    pub active_version: u32,
    /// The newest.
    pub latest_version: u32,
    /// When another one was put in force, or the first one written.
    pub change_time: DateTime<Utc>,
}

/// A version of the company's own words. It is never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateVersion {
    /// Of which words.
    pub key: TemplateKey,
    /// 1, 2, 3 … of the key.
    pub version: u32,
    /// The words.
    pub source: String,
    /// Who wrote it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub create_time: DateTime<Utc>,
}

/// What is remembered of an act.
#[derive(Serialize, Deserialize)]
struct Touched {
    version: u32,
}

impl Store {
    /// Words that have, or had, a version in the database.
    pub async fn list_templates(&self) -> Result<Vec<TemplateRecord>, StoreError> {
        templates::Entity::find()
            .order_by_asc(templates::Column::Kind)
            .order_by_asc(templates::Column::Channel)
            .order_by_asc(templates::Column::Locale)
            .all(&self.db)
            .await
            .during("list templates")?
            .into_iter()
            .map(record)
            .collect()
    }

    /// Versions of one key before the one given, newest first.
    pub async fn list_template_versions(
        &self,
        key: &TemplateKey,
        before: Option<u32>,
        limit: u64,
    ) -> Result<Page<TemplateVersion>, StoreError> {
        const DOING: &str = "list versions of a template";
        let mut of = versions_of(key);
        if let Some(before) = before {
            of = of.add(template_versions::Column::Version.lt(int(DOING, before)?));
        }
        let rows = template_versions::Entity::find()
            .filter(of)
            .order_by_desc(template_versions::Column::Version)
            .limit(limit + 1)
            .all(&self.db)
            .await
            .during(DOING)?;
        let rows: Vec<TemplateVersion> = rows.into_iter().map(version).collect::<Result<_, _>>()?;
        Ok(Page::cut(rows, limit, |row| row))
    }

    /// One version.
    pub async fn find_template_version(
        &self,
        key: &TemplateKey,
        number: u32,
    ) -> Result<Option<TemplateVersion>, StoreError> {
        find_version(&self.db, key, number).await
    }

    /// Keeps words as the next version of their key. No message is written with it yet.
    pub async fn create_template_version(
        &self,
        key: &TemplateKey,
        source: &str,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<TemplateVersion, std::convert::Infallible>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .create_version_in(&transaction, key, source, call, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn create_version_in(
        &self,
        transaction: &DatabaseTransaction,
        key: &TemplateKey,
        source: &str,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<TemplateVersion, std::convert::Infallible>, StoreError> {
        const DOING: &str = "write a version of a template";
        match earlier::<Touched>(transaction, &self.keys, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same(made, outcome) => {
                let found = find_version(transaction, key, made.version).await?;
                return Ok(found.map_or(Acted::NotFound, |row| Acted::Answered(row, outcome)));
            }
            Earlier::None => {}
        }
        let first = vec![
            key.kind.as_str().into(),
            key.channel.as_str().into(),
            key.locale.as_str().into(),
            0.into(),
            0.into(),
            now.into(),
        ];
        TEMPLATES
            .insert_new(transaction, self.kind, self.backend(), first)
            .await?;
        let Some(row) = lock(transaction, key).await? else {
            return Ok(Acted::NotFound);
        };
        let number = row.latest_version + 1;
        let written = template_versions::Model {
            kind: key.kind.clone(),
            channel: key.channel.as_str().to_owned(),
            locale: key.locale.clone(),
            version: number,
            source: source.to_owned(),
            actor: cut(&call.actor, 64),
            reason: cut(&call.reason, 500),
            create_time: now,
        };
        template_versions::Entity::insert(template_versions::ActiveModel {
            kind: Set(written.kind.clone()),
            channel: Set(written.channel.clone()),
            locale: Set(written.locale.clone()),
            version: Set(number),
            source: Set(written.source.clone()),
            actor: Set(written.actor.clone()),
            reason: Set(written.reason.clone()),
            create_time: Set(now),
        })
        .exec_without_returning(transaction)
        .await
        .during(DOING)?;
        templates::Entity::update_many()
            .col_expr(templates::Column::LatestVersion, number.into())
            .filter(of_key(key))
            .exec(transaction)
            .await
            .during(DOING)?;
        let number = number.unsigned_abs();
        self.note_template(
            transaction,
            key,
            number,
            (ActKind::CreateTemplate, ActOutcome::Done),
            call,
            now,
        )
        .await?;
        Ok(Acted::Answered(version(written)?, ActOutcome::Done))
    }

    /// Puts a version in force, or with 0 the words of the folder or the program again. With `expected` only while that
    /// version is in force.
    pub async fn activate_template_version(
        &self,
        key: &TemplateKey,
        number: u32,
        expected: Option<u32>,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<TemplateRecord, TemplateRefusal>, StoreError> {
        self.act(|| async move {
            let transaction = self.begin_write().await?;
            let result = self
                .activate_in(&transaction, key, number, expected, call, now)
                .await;
            self.conclude(transaction, result).await
        })
        .await
    }

    async fn activate_in(
        &self,
        transaction: &DatabaseTransaction,
        key: &TemplateKey,
        number: u32,
        expected: Option<u32>,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<TemplateRecord, TemplateRefusal>, StoreError> {
        const DOING: &str = "put a version of a template in force";
        let before = earlier::<Touched>(transaction, &self.keys, call).await?;
        if matches!(before, Earlier::Other) {
            return Ok(Acted::OtherRequest);
        }
        let Some(row) = lock(transaction, key).await? else {
            return Ok(Acted::NotFound);
        };
        let mut stands = record(row)?;
        if let Earlier::Same(_, outcome) = before {
            return Ok(Acted::Answered(stands, outcome));
        }
        if number > stands.latest_version {
            return Ok(Acted::NotFound);
        }
        if expected.is_some_and(|expected| expected != stands.active_version) {
            return Ok(Acted::Refused(TemplateRefusal::ActiveChanged));
        }
        let outcome = if stands.active_version == number {
            ActOutcome::Already
        } else {
            templates::Entity::update_many()
                .col_expr(templates::Column::ActiveVersion, int(DOING, number)?.into())
                .col_expr(templates::Column::ChangeTime, now.into())
                .filter(of_key(key))
                .exec(transaction)
                .await
                .during(DOING)?;
            bump(transaction, self.kind, ReferenceKind::Templates).await?;
            (stands.active_version, stands.change_time) = (number, now);
            ActOutcome::Done
        };
        let action = if number == 0 {
            ActKind::DeactivateTemplate
        } else {
            ActKind::ActivateTemplate
        };
        self.note_template(transaction, key, number, (action, outcome), call, now)
            .await?;
        Ok(Acted::Answered(stands, outcome))
    }

    async fn note_template(
        &self,
        transaction: &DatabaseTransaction,
        key: &TemplateKey,
        number: u32,
        (action, outcome): (ActKind, ActOutcome),
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let entry = Entry {
            subject: &key.resource_name(),
            action,
            generation: number,
            outcome,
            result: &Touched { version: number },
        };
        let mut acts = Acts::default();
        call.push(&mut acts, &self.keys, &entry, now)?;
        self.insert_acts(transaction, acts).await
    }
}

fn of_key(key: &TemplateKey) -> Condition {
    Condition::all()
        .add(templates::Column::Kind.eq(key.kind.as_str()))
        .add(templates::Column::Channel.eq(key.channel.as_str()))
        .add(templates::Column::Locale.eq(key.locale.as_str()))
}

fn versions_of(key: &TemplateKey) -> Condition {
    Condition::all()
        .add(template_versions::Column::Kind.eq(key.kind.as_str()))
        .add(template_versions::Column::Channel.eq(key.channel.as_str()))
        .add(template_versions::Column::Locale.eq(key.locale.as_str()))
}

/// The row of a key, for this transaction alone.
async fn lock(
    transaction: &DatabaseTransaction,
    key: &TemplateKey,
) -> Result<Option<templates::Model>, StoreError> {
    templates::Entity::find()
        .filter(of_key(key))
        .lock_exclusive()
        .one(transaction)
        .await
        .during("lock a template")
}

async fn find_version(
    db: &impl ConnectionTrait,
    key: &TemplateKey,
    number: u32,
) -> Result<Option<TemplateVersion>, StoreError> {
    const DOING: &str = "find a version of a template";
    template_versions::Entity::find()
        .filter(versions_of(key).add(template_versions::Column::Version.eq(int(DOING, number)?)))
        .one(db)
        .await
        .during(DOING)?
        .map(version)
        .transpose()
}

fn record(row: templates::Model) -> Result<TemplateRecord, StoreError> {
    let at = At {
        table: "templates",
        row: &row.kind,
    };
    Ok(TemplateRecord {
        active_version: at.unsigned("active_version", row.active_version)?,
        latest_version: at.unsigned("latest_version", row.latest_version)?,
        key: TemplateKey {
            channel: at.word("channel", &row.channel)?,
            kind: row.kind,
            locale: row.locale,
        },
        change_time: row.change_time,
    })
}

fn version(row: template_versions::Model) -> Result<TemplateVersion, StoreError> {
    let at = At {
        table: "template_versions",
        row: &row.kind,
    };
    Ok(TemplateVersion {
        version: at.unsigned("version", row.version)?,
        key: TemplateKey {
            channel: at.word("channel", &row.channel)?,
            kind: row.kind,
            locale: row.locale,
        },
        source: row.source,
        actor: row.actor,
        reason: row.reason,
        create_time: row.create_time,
    })
}
