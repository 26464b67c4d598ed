//! Connecting, and the settings that make the three databases behave alike.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use countersign_domain::secrets::LookupKey;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult,
    Statement,
};
use sqlx::{
    Connection as _, Executor as _,
    sqlite::{SqliteJournalMode, SqliteSynchronous},
};
use tokio::time::timeout;

use crate::{
    data_keys::DataKeys,
    deadline::{Bounded, Retired},
    error::{During, StoreError},
    lives::Life,
    members::{self, Members},
};

/// Which database is behind the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// MySQL 8.4 or later.
    MySql,
    /// MariaDB 10.11 or later; it shares the driver and most of the language.
    MariaDb,
    /// SQLite, embedded.
    Sqlite,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `mysql://user:password@host:port/database` or `sqlite://path`. Several hosts, separated by commas, are the servers of
    /// a cluster: connections lead to the one that takes writes.
    pub url: String,
    /// Upper bound of the pool.
    pub connections_max: u32,
    /// How long a call may wait for a connection.
    pub acquire_timeout: Duration,
    /// What personal data is sealed with and found by.
    pub keys: DataKeys,
}

impl Settings {
    /// With 20 connections and 5 seconds.
    pub fn new(url: impl Into<String>, keys: DataKeys) -> Self {
        Self {
            url: url.into(),
            connections_max: 20,
            acquire_timeout: Duration::from_secs(5),
            keys,
        }
    }
}

/// The database. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) db: Bounded,
    pub(crate) kind: DatabaseKind,
    pub(crate) keys: DataKeys,
    /// Added to the database's time: tests move the clock without waiting.
    offset_us: Arc<AtomicI64>,
    settings: Arc<Settings>,
    /// Of the process that sends, if it does.
    pub(crate) life: Option<Life>,
    /// The servers, when there are several.
    members: Option<Arc<Members>>,
}

/// Asks whether the database answers, over a connection of its own: one that calls do not wait for.
#[derive(Debug)]
pub struct Probe {
    settings: Settings,
    connected: tokio::sync::Mutex<Option<Store>>,
}

impl Probe {
    /// Whether it answers. The caller sets the time limit.
    pub async fn answers(&self) -> bool {
        let mut connected = self.connected.lock().await;
        // Put back only when it has answered: one that was given up is stuck with its question, and would be with the next.
        let store = match connected.take() {
            Some(store) => Some(store),
            None => Store::connect(&self.settings).await.ok(),
        };
        let answers = match &store {
            Some(store) => store.now().await.is_ok(),
            None => false,
        };
        if answers {
            *connected = store;
        }
        answers
    }
}

/// What every connection to a server begins with.
const SESSION: [&str; 2] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION innodb_lock_wait_timeout = 5",
];

/// A connection that is given back has so long to show that it lives.
const RELEASE: Duration = Duration::from_secs(2);

/// Prepared statements that a connection keeps; bulk inserts alone need some sixty.
const STATEMENTS_MAX: usize = 512;

impl Store {
    /// Connects, and refuses a database that would cut what it cannot hold.
    #[expect(clippy::disallowed_methods, reason = "the one place that connects")]
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let url = settings.url.as_str();
        let sqlite = url.starts_with("sqlite:");
        if !sqlite && !url.starts_with("mysql:") && !url.starts_with("mariadb:") {
            return Err(StoreError::Settings(
                "the database URL must begin with mysql:// or sqlite://".into(),
            ));
        }
        let urls = members::urls(&url.replacen("mariadb:", "mysql:", 1))?;
        let members = if sqlite || urls.len() == 1 {
            None
        } else {
            Some(Arc::new(Members::new(&urls)?))
        };
        let primary = match &members {
            Some(members) => members.first_primary().await?,
            None => 0,
        };
        let retired = Retired::default();
        let (known, ours) = (retired.clone(), members.clone());
        let mut options = ConnectOptions::new(urls[primary].clone());
        options
            .max_connections(settings.connections_max)
            .acquire_timeout(settings.acquire_timeout)
            .connect_timeout(settings.acquire_timeout)
            .sqlx_logging(false)
            .test_before_acquire(false)
            .map_sqlx_mysql_opts(|mysql| {
                mysql
                    .statement_cache_capacity(STATEMENTS_MAX)
                    .charset("utf8mb4")
            })
            .map_sqlx_mysql_pool_opts(move |pool| {
                let (known, ours) = (known.clone(), ours.clone());
                let pool = pool.before_acquire(move |_, connection| {
                    let usable = !known.is(connection.age);
                    Box::pin(async move { Ok(usable) })
                });
                // The driver waits without end for a server that has vanished, and keeps the connection's place meanwhile.
                let pool = pool.after_release(|connection, _| {
                    Box::pin(async move {
                        match timeout(RELEASE, connection.ping()).await {
                            Ok(pong) => pong.map(|()| true),
                            Err(_) => Err(sqlx::Error::PoolTimedOut),
                        }
                    })
                });
                pool.after_connect(move |connection, _| {
                    let ours = ours.clone();
                    Box::pin(async move {
                        if let Some(members) = ours {
                            members::refuse_read_only(connection, &members).await?;
                        }
                        // Chosen once for each connection, not once for each transaction. REPEATABLE READ would add gap locks.
                        for statement in SESSION {
                            connection.execute(statement).await?;
                        }
                        Ok(())
                    })
                })
            })
            .map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal)
                    .foreign_keys(true)
                    .busy_timeout(Duration::from_secs(5))
                    .statement_cache_capacity(STATEMENTS_MAX)
            });
        let db = Database::connect(options).await.during("connect")?;
        let kind = if sqlite {
            DatabaseKind::Sqlite
        } else {
            let pool = db.get_mysql_connection_pool();
            members::check_consistency(pool).await?;
            if let Some(members) = &members {
                members.follow(pool.clone(), primary, retired.clone());
            }
            check_server(&db).await?
        };
        Ok(Self {
            db: Bounded { inner: db, retired },
            kind,
            keys: settings.keys.clone(),
            offset_us: Arc::default(),
            settings: Arc::new(settings.clone()),
            life: None,
            members,
        })
    }

    /// For questions whether the database answers.
    pub fn probe(&self) -> Probe {
        Probe {
            settings: Settings {
                connections_max: 1,
                ..self.settings.as_ref().clone()
            },
            connected: tokio::sync::Mutex::default(),
        }
    }

    /// Which database this is.
    pub const fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// What recipients are recognised by: the same for all ways of writing an address in capitals and small letters.
    pub fn recipient_hash(&self, recipient: &str) -> [u8; 32] {
        self.lookup_key().recipient_hash(recipient)
    }

    /// What personal data is sealed with.
    pub const fn keys(&self) -> &DataKeys {
        &self.keys
    }

    /// The key of the hashes that personal data is found by.
    pub fn lookup_key(&self) -> &LookupKey {
        self.keys.lookup()
    }

    /// The connection, for migrations and tests. Everything else goes through the repositories.
    pub const fn connection(&self) -> &DatabaseConnection {
        &self.db.inner
    }

    /// Time of the database, microseconds: the one clock that all replicas share.
    pub async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        let text = format!("SELECT {} AS now", self.now_expression());
        let row = self
            .db
            .query_one_raw(Statement::from_string(self.backend(), text))
            .await
            .during("read the time")?
            .ok_or_else(|| inconsistent("no row"))?;
        self.time_of(&row)
    }

    /// The time as text, for a statement that reads other things, too.
    pub(crate) const fn now_expression(&self) -> &'static str {
        match self.kind {
            DatabaseKind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now')",
            DatabaseKind::MySql | DatabaseKind::MariaDb => "CAST(UTC_TIMESTAMP(6) AS CHAR)",
        }
    }

    /// The time in the column `now` of a row.
    pub(crate) fn time_of(&self, row: &QueryResult) -> Result<DateTime<Utc>, StoreError> {
        let text: String = row.try_get("", "now").during("read the time")?;
        let naive = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
            .map_err(|error| inconsistent(&error.to_string()))?;
        let offset = chrono::Duration::microseconds(self.offset_us.load(Ordering::Relaxed));
        Ok((naive.and_utc() + offset).trunc_subsecs(6))
    }

    /// Moves this store's clock, for tests that must not wait.
    pub fn shift_clock(&self, by: chrono::Duration) {
        self.offset_us
            .fetch_add(by.num_microseconds().unwrap_or(0), Ordering::Relaxed);
    }

    /// Makes a database on a server, for benchmarks and tests. The name must be a plain word of ours.
    pub async fn create_database(&self, name: &str) -> Result<(), StoreError> {
        self.db
            .execute_unprepared(&format!("DROP DATABASE IF EXISTS {name}"))
            .await
            .during("drop a database")?;
        self.db
            .execute_unprepared(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))
            .await
            .during("create a database")?;
        Ok(())
    }

    /// Drops a database that [`Self::create_database`] made.
    pub async fn drop_database(&self, name: &str) -> Result<(), StoreError> {
        self.db
            .execute_unprepared(&format!("DROP DATABASE IF EXISTS {name}"))
            .await
            .during("drop a database")?;
        Ok(())
    }

    /// After this every connection is made anew, by the server's name: it may lead to another server now.
    pub(crate) fn retire_connections(&self) {
        tracing::warn!("the database takes no writes; all connections are made anew");
        self.db.retired.now();
        if let Some(members) = &self.members {
            members.ring();
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.bounded("ping", async { self.db.inner.ping().await.during("ping") })
            .await
    }

    pub(crate) const fn backend(&self) -> DbBackend {
        match self.kind {
            DatabaseKind::Sqlite => DbBackend::Sqlite,
            DatabaseKind::MySql | DatabaseKind::MariaDb => DbBackend::MySql,
        }
    }
}

fn inconsistent(problem: &str) -> StoreError {
    StoreError::Inconsistent {
        table: "(server)",
        column: "now",
        row: String::new(),
        problem: problem.to_owned(),
    }
}

/// Finds out which server this is, and that it refuses what does not fit instead of cutting it.
async fn check_server(db: &DatabaseConnection) -> Result<DatabaseKind, StoreError> {
    let row = db
        .query_one_raw(Statement::from_string(
            DbBackend::MySql,
            "SELECT VERSION() AS version, @@SESSION.sql_mode AS sql_mode",
        ))
        .await
        .during("ask for the server's version")?
        .ok_or_else(|| inconsistent("no row"))?;
    let version: String = row
        .try_get("", "version")
        .during("read the server's version")?;
    let mode: String = row
        .try_get("", "sql_mode")
        .during("read the server's mode")?;
    if !mode.contains("STRICT_TRANS_TABLES") && !mode.contains("STRICT_ALL_TABLES") {
        return Err(StoreError::Settings(format!(
            "the server's sql_mode must contain STRICT_TRANS_TABLES, or it would cut text silently; it is {mode:?}"
        )));
    }
    Ok(if version.contains("MariaDB") {
        DatabaseKind::MariaDb
    } else {
        DatabaseKind::MySql
    })
}
