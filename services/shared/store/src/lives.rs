//! Signs of life of workers and order services, by which an old copy of the database is recognised.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::safe_mode::{LastSign, SafeModeState, Suspicion, at_start, went_back};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect as _, Statement,
};
use uuid::Uuid;

use crate::{
    ActCall, Store,
    bulk::Bulk,
    connection::DatabaseKind,
    entity::lives,
    error::{During, StoreError},
};

/// How long the rows of processes that are gone are kept, until another of their kind starts.
const KEPT: TimeDelta = TimeDelta::days(7);

const LIVES: Bulk = Bulk {
    operation: "write a sign of life",
    table: "lives",
    columns: &["process", "beats", "start_time", "beat_time", "role"],
};

/// What a process does. Only the silence of workers is suspicious: an order service that is up says nothing about it.
const WORKER: &str = "WORKER";
/// See [`WORKER`].
const ORDERS: &str = "ORDERS";

/// One process, from its start to its end. Clones are the same life.
#[derive(Clone, Debug)]
pub struct Life {
    process: Uuid,
    role: &'static str,
    /// What is known to be written.
    beats: Arc<AtomicI64>,
}

impl Life {
    /// Of a worker, under an id that no process has had before.
    pub fn new(process: Uuid) -> Self {
        Self {
            process,
            role: WORKER,
            beats: Arc::default(),
        }
    }

    /// Of an order service, under an id that no process has had before.
    pub fn of_orders(process: Uuid) -> Self {
        Self {
            role: ORDERS,
            ..Self::new(process)
        }
    }

    /// The process.
    pub const fn process(&self) -> Uuid {
        self.process
    }
}

/// What a worker that starts is to suspect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wake {
    /// The configuration wants safe mode.
    pub configured: bool,
    /// A longer silence is suspicious; absent: none is.
    pub silence_max: Option<TimeDelta>,
}

/// What came of a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It is written.
    Kept,
    /// The database lacked earlier ones; safe mode is on from now on.
    WentBack,
}

/// The time, and whether anything may be sent: read together, for whoever sends needs both each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Time of the database.
    pub now: DateTime<Utc>,
    /// Whether safe mode is on.
    pub safe_mode: bool,
    /// The database lacks signs of life that the process wrote.
    pub went_back: bool,
}

impl Look {
    /// Whether messages may be claimed.
    pub const fn may_send(&self) -> bool {
        !self.safe_mode && !self.went_back
    }
}

impl Store {
    /// The first sign of life. Enters safe mode when something is suspicious, and tells what. Whoever starts at the same
    /// time waits, so that nobody takes the other's sign for proof that all is well. `call` says who acts; its reason is
    /// filled in.
    pub async fn begin_life(
        &self,
        life: &Life,
        wake: Wake,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Option<Suspicion>, StoreError> {
        let suspicion = self
            .again(|| async move {
                let transaction = self.begin_write().await?;
                let result = self
                    .begin_life_in(&transaction, life, wake, call, now)
                    .await;
                self.conclude(transaction, result).await
            })
            .await?;
        life.beats.store(1, Ordering::Relaxed);
        Ok(suspicion)
    }

    async fn begin_life_in(
        &self,
        transaction: &DatabaseTransaction,
        life: &Life,
        wake: Wake,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Option<Suspicion>, StoreError> {
        self.lock_safe_mode(transaction, now).await?;
        let last = self.last_sign(transaction).await?;
        let suspicion = if wake.configured {
            Some(Suspicion::Configured)
        } else {
            at_start(last, wake.silence_max, now)
        };
        if let Some(suspicion) = suspicion {
            self.suspect(transaction, suspicion, call, now).await?;
        }
        self.write_life(transaction, life, 1, now).await?;
        // Only of one's own kind: on a copy that is older than that, an order service that starts first would take the last
        // worker's sign away, and nobody would find the silence. A worker has just written its own sign, which is newer, so the
        // newest of a worker stays in any case.
        lives::Entity::delete_many()
            .filter(lives::Column::Role.eq(life.role))
            .filter(lives::Column::Process.ne(life.process))
            .filter(lives::Column::BeatTime.lt(now - KEPT))
            .exec(transaction)
            .await
            .during("forget processes that are gone")?;
        Ok(suspicion)
    }

    async fn last_sign<C: ConnectionTrait>(
        &self,
        connection: &C,
    ) -> Result<Option<LastSign>, StoreError> {
        Ok(lives::Entity::find()
            .filter(lives::Column::Role.eq(WORKER))
            .order_by_desc(lives::Column::BeatTime)
            .one(connection)
            .await
            .during("find the last sign of life")?
            .map(|row| LastSign {
                time: row.beat_time,
                closed: self.kind == DatabaseKind::Sqlite && row.end_time.is_some(),
            }))
    }

    /// What the silence of all workers is to be suspected of, if it lasts for longer than `silence_max`.
    pub async fn silence(
        &self,
        silence_max: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<Option<Suspicion>, StoreError> {
        let last = self.last_sign(&self.db).await?;
        Ok(at_start(last, Some(silence_max), now))
    }

    /// The next sign of life. When earlier ones are not there any more, safe mode is entered in the same transaction.
    pub async fn beat(
        &self,
        life: &Life,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Beat, StoreError> {
        let (beat, beats) = self
            .again(|| async move {
                let transaction = self.begin_write().await?;
                let result = self.beat_in(&transaction, life, call, now).await;
                self.conclude(transaction, result).await
            })
            .await?;
        life.beats.store(beats, Ordering::Relaxed);
        Ok(beat)
    }

    async fn beat_in(
        &self,
        transaction: &DatabaseTransaction,
        life: &Life,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<(Beat, i64), StoreError> {
        let written = life.beats.load(Ordering::Relaxed);
        let found = lives::Entity::find_by_id(life.process)
            .lock_exclusive()
            .one(transaction)
            .await
            .during("find the own sign of life")?
            .map(|row| row.beats);
        let beat = if went_back(written, found) {
            self.suspect(transaction, Suspicion::WentBack, call, now)
                .await?;
            Beat::WentBack
        } else {
            Beat::Kept
        };
        let beats = written.max(found.unwrap_or(0)) + 1;
        self.write_life(transaction, life, beats, now).await?;
        Ok((beat, beats))
    }

    async fn suspect(
        &self,
        transaction: &DatabaseTransaction,
        suspicion: Suspicion,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let call = ActCall {
            reason: suspicion.to_string(),
            ..call.clone()
        };
        self.turn_in(transaction, SafeModeState::On, &call, now)
            .await
            .map(|_| ())
    }

    async fn write_life(
        &self,
        transaction: &DatabaseTransaction,
        life: &Life,
        beats: i64,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let row = vec![
            life.process.into(),
            beats.into(),
            now.into(),
            now.into(),
            life.role.into(),
        ];
        LIVES
            .upsert(
                transaction,
                self.kind,
                "process",
                &["beats", "beat_time"],
                row,
            )
            .await
    }

    /// The process ends in good order.
    pub async fn end_life(&self, life: &Life, now: DateTime<Utc>) -> Result<(), StoreError> {
        let process = life.process;
        self.write(|transaction| {
            Box::pin(async move {
                let ended = lives::ActiveModel {
                    end_time: Set(Some(now)),
                    beat_time: Set(now),
                    ..Default::default()
                };
                lives::Entity::update_many()
                    .set(ended)
                    .filter(lives::Column::Process.eq(process))
                    .exec(transaction)
                    .await
                    .during("end a life")
                    .map(|_| ())
            })
        })
        .await
    }

    /// The same store for a process that sends: no try is begun in safe mode, or once the database lacks what the process
    /// wrote.
    #[must_use]
    pub fn of_life(&self, life: &Life) -> Self {
        let mut store = self.clone();
        store.life = Some(life.clone());
        store
    }

    /// Whether tries may be begun, by what the transaction that begins them sees.
    pub(crate) async fn may_begin(
        &self,
        transaction: &DatabaseTransaction,
    ) -> Result<bool, StoreError> {
        match &self.life {
            None => Ok(true),
            Some(life) => Ok(self.look_in(transaction, Some(life)).await?.may_send()),
        }
    }

    /// Reads the time and whether anything may be sent, in one statement. Without a life only safe mode counts.
    pub async fn look(&self, life: Option<&Life>) -> Result<Look, StoreError> {
        self.look_in(&self.db, life).await
    }

    pub(crate) async fn look_in<C: ConnectionTrait>(
        &self,
        connection: &C,
        life: Option<&Life>,
    ) -> Result<Look, StoreError> {
        const DOING: &str = "look whether anything may be sent";
        let sql = format!(
            "SELECT {} AS now, (SELECT state FROM safe_mode WHERE id = 1) AS safe_mode, \
             (SELECT beats FROM lives WHERE process = ?) AS beats",
            self.now_expression()
        );
        let process = life.map_or(Uuid::nil(), |life| life.process);
        // Before it is read: a beat that is written meanwhile must not look like one that is missing.
        let written = life.map(|life| life.beats.load(Ordering::Relaxed));
        let row = connection
            .query_one_raw(Statement::from_sql_and_values(
                self.backend(),
                sql,
                [process.into()],
            ))
            .await
            .during(DOING)?
            .ok_or_else(|| StoreError::Unstorable {
                operation: DOING,
                problem: "no row".to_owned(),
            })?;
        let state: Option<String> = row.try_get("", "safe_mode").during(DOING)?;
        let found: Option<i64> = row.try_get("", "beats").during(DOING)?;
        Ok(Look {
            now: self.time_of(&row)?,
            safe_mode: state.as_deref() == Some(SafeModeState::On.as_str()),
            went_back: written.is_some_and(|written| went_back(written, found)),
        })
    }
}
