//! Connecting to the database, and bringing it up to what this binary needs.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{audit::default_rules, policy::default_policies};
use countersign_migrations::{Migrator, MigratorTrait as _, SchemaManager, missing_steps};
use countersign_runtime::{
    clock::{Clock as _, SystemClock},
    config::Config,
};
use countersign_store::{DataKeys, MigrationLock, Settings, Store};
use rand::{TryRngCore as _, rngs::OsRng};
use secrecy::ExposeSecret as _;

/// How long to wait for another process that is migrating.
const MIGRATION_WAIT: Duration = Duration::from_mins(2);

/// Where a development machine keeps the keys of personal data.
const DATA_KEYS_FILE: &str = "./var/personal-data.keys";

/// How far the clocks of this machine and of the database may be apart.
const SKEW_MAX: TimeDelta = TimeDelta::seconds(30);

/// How long a call may wait for a connection of the pool.
const ACQUIRE: Duration = Duration::from_secs(5);

/// Connects to the database that the configuration names, or to the file that `up` has made.
pub(crate) async fn connect(config: &Config) -> anyhow::Result<Store> {
    if let Some(file) = guessed_file(config).filter(|file| !file.exists()) {
        anyhow::bail!(
            "no database is named: set database.url in the configuration, DATABASE_URL, or --database-url where the command \
             has it. Without one, commands work on {}, which `countersign up` makes, and which is not there",
            file.display()
        );
    }
    connect_or_make(config).await
}

/// The file of this machine, where nobody has said which database is meant. An operator who forgot to say it would look at an
/// empty one.
fn guessed_file(config: &Config) -> Option<PathBuf> {
    embedded_file(config).filter(|_| !config.database.is_chosen)
}

/// Connects; makes an embedded database with its folder when it is not there.
pub(crate) async fn connect_or_make(config: &Config) -> anyhow::Result<Store> {
    if let Some(folder) = embedded_file(config).as_deref().and_then(Path::parent) {
        fs::create_dir_all(folder)
            .with_context(|| format!("make the folder {} of database.url", folder.display()))?;
    }
    let store = Store::connect(&settings(config)?)
        .await
        .context("connect to database.url")?;
    let database = store.now().await.context("read the database's time")?;
    agree_on_time(database, SystemClock.now())?;
    Ok(store)
}

/// A machine whose clock is wrong signs what gateways refuse, and puts wrong times into letters (RELIABILITY, G-01).
fn agree_on_time(database: DateTime<Utc>, machine: DateTime<Utc>) -> anyhow::Result<()> {
    let skew = machine - database;
    anyhow::ensure!(
        skew.abs() <= SKEW_MAX,
        "this machine's clock is {} seconds {} the database's: set it (NTP) and start again",
        skew.abs().num_seconds(),
        if skew > TimeDelta::zero() {
            "ahead of"
        } else {
            "behind"
        }
    );
    Ok(())
}

fn settings(config: &Config) -> anyhow::Result<Settings> {
    Ok(Settings {
        url: config.database.url.expose_secret().to_owned(),
        connections_max: config.database.max_connections,
        acquire_timeout: ACQUIRE,
        keys: data_keys(config)?,
    })
}

/// The configured keys of personal data, or those that this machine keeps.
fn data_keys(config: &Config) -> anyhow::Result<DataKeys> {
    let mut fresh = [[0; 32]; 2];
    for key in &mut fresh {
        OsRng
            .try_fill_bytes(key)
            .context("ask the operating system for random bytes")?;
    }
    let keys = config
        .personal_data
        .keys_or_create(Path::new(DATA_KEYS_FILE), fresh)?;
    Ok(DataKeys::new(&keys.lookup, &keys.numbered)?)
}

/// Applies the missing steps one after the other while no other process does, and tells each that is done. Gives back
/// how many there were.
pub(crate) async fn migrate(
    config: &Config,
    store: &Store,
    done: &(dyn Fn(&str) + Send + Sync),
) -> anyhow::Result<usize> {
    let _file = lock_file(config).await?;
    let lock = MigrationLock::acquire(&settings(config)?, MIGRATION_WAIT)
        .await
        .context("wait for another process that is migrating")?;
    let database = store.connection();
    let pending = missing_steps(&SchemaManager::new(database))
        .await
        .context("list the missing migrations")?;
    for step in &pending {
        lock.check().await.context("keep the migration lock")?;
        Migrator::up(database, Some(1))
            .await
            .with_context(|| format!("migration {step}"))?;
        done(step);
    }
    seed(store).await?;
    prove_keys(store).await?;
    lock.release().await.context("release the migration lock")?;
    Ok(pending.len())
}

/// Adds the policies and rules that ship with the program, those that are missing: what a company changed stays.
async fn seed(store: &Store) -> anyhow::Result<()> {
    let now = store.now().await.context("read the time")?;
    let policies = store.list_policies().await.context("list policies")?;
    for policy in default_policies() {
        if policies.iter().all(|it| it.order_type != policy.order_type) {
            let added = store.insert_policy(&policy, now).await;
            added.with_context(|| format!("add the policy {}", policy.order_type))?;
        }
    }
    let rules = store.list_rules().await.context("list rules")?;
    for rule in default_rules() {
        if rules.iter().all(|it| it.id != rule.id) {
            let added = store.insert_rule(&rule, now).await;
            added.with_context(|| format!("add the rule {}", rule.id))?;
        }
    }
    Ok(())
}

/// Refuses tables that are older than this binary, and keys that are not theirs: a service must not find that out order by
/// order.
pub(crate) async fn require_current(store: &Store) -> anyhow::Result<()> {
    let pending = missing_steps(&SchemaManager::new(store.connection()))
        .await
        .context("look at the tables")?;
    anyhow::ensure!(
        pending.len() < Migrator::migrations().len(),
        "the database is empty: is `database.url` (or DATABASE_URL) the one that you mean? If so, run `countersign migrate` first"
    );
    anyhow::ensure!(
        pending.is_empty(),
        "the tables lack {} step(s); run `countersign migrate` first",
        pending.len()
    );
    prove_keys(store).await
}

/// Refuses keys that cannot read what is there, or would not find it again.
async fn prove_keys(store: &Store) -> anyhow::Result<()> {
    let now = store.now().await.context("read the time")?;
    Ok(store.prove_keys(now).await?)
}

/// Where the data are, without passwords.
pub(crate) fn shown(config: &Config) -> String {
    embedded_file(config).map_or_else(
        || "the database server of database.url".to_owned(),
        |file| file.display().to_string(),
    )
}

/// Next to an embedded database a file is locked instead; it is released when the file is closed.
async fn lock_file(config: &Config) -> anyhow::Result<Option<File>> {
    let Some(path) = embedded_file(config) else {
        return Ok(None);
    };
    let path = path.with_extension("migrate-lock");
    tokio::task::spawn_blocking(move || {
        let file = File::create(&path)?;
        file.lock()?;
        Ok(Some(file))
    })
    .await
    .context("wait for the migration lock")?
    .map_err(|error: std::io::Error| anyhow::Error::new(error).context("lock the migration file"))
}

/// The file of an embedded database; none for a server or a database in memory.
fn embedded_file(config: &Config) -> Option<PathBuf> {
    file_of(config.database.url.expose_secret())
}

fn file_of(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split('?').next().unwrap_or_default();
    (!path.is_empty() && !path.contains(":memory:")).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g_01_a_machine_whose_clock_is_more_than_thirty_seconds_off_does_not_start() {
        let database = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        for seconds in [-30, -29, -1, 0, 29, 30] {
            agree_on_time(database, database + TimeDelta::seconds(seconds)).unwrap();
        }
        for (seconds, words) in [
            (31, "31 seconds ahead of"),
            (-31, "31 seconds behind"),
            (600, "600 seconds ahead of"),
            (-600, "600 seconds behind"),
        ] {
            let machine = database + TimeDelta::seconds(seconds);
            let error = agree_on_time(database, machine).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn only_a_database_that_nobody_chose_is_guessed() {
        let mut config = Config::default();
        assert_eq!(
            guessed_file(&config),
            Some(PathBuf::from("./var/countersign.db"))
        );
        config.database.is_chosen = true;
        assert_eq!(guessed_file(&config), None);
    }

    #[test]
    fn the_file_of_an_embedded_database_is_found_in_its_url() {
        let cases = [
            (
                "sqlite://./var/countersign.db?mode=rwc",
                Some("./var/countersign.db"),
            ),
            ("sqlite:///srv/countersign.db", Some("/srv/countersign.db")),
            ("sqlite:shop.db", Some("shop.db")),
            ("sqlite::memory:", None),
            ("mysql://app@db/shop", None),
        ];
        for (url, file) in cases {
            assert_eq!(file_of(url), file.map(PathBuf::from), "{url}");
        }
    }
}
