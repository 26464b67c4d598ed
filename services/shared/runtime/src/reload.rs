//! Another configuration for a process that runs: at SIGHUP, or when its file has changed. One that is wrong is refused and
//! the old one stays (RELIABILITY, L-06).

use std::{fs, sync::Arc, time::Duration};

use opentelemetry::{global, metrics::Gauge};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};

use crate::{
    config::{Config, ConfigError, Sources, changed_keys, takes_effect},
    lifecycle::{Lifecycle, LifecycleError},
    telemetry::LogFilter,
};

/// Between two looks at the file: a `ConfigMap` that is mounted changes without a signal.
const LOOK: Duration = Duration::from_secs(10);

/// The configuration in force, for whoever follows its changes.
pub type LiveConfig = watch::Receiver<Arc<Config>>;

/// A configuration that never changes, as in tests.
pub fn fixed(config: Config) -> LiveConfig {
    watch::channel(Arc::new(config)).1
}

/// What came of a look at the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// Nothing is different.
    Same,
    /// These keys are in force now, and these ones after a restart.
    Taken {
        /// In force now.
        now: Vec<String>,
        /// After a restart.
        later: Vec<String>,
    },
    /// It is wrong; the old one stays.
    Refused(String),
}

/// Reads the sources again and again.
#[derive(Debug)]
pub struct Reload {
    sources: Sources,
    log_filter: LogFilter,
    current: watch::Sender<Arc<Config>>,
    /// The file as it was last looked at.
    file: Option<Vec<u8>>,
    refused: Gauge<u64>,
}

impl Reload {
    /// Beginning with the configuration that the process was started with.
    pub fn new(sources: Sources, config: Config, log_filter: LogFilter) -> Self {
        let file = read(&sources);
        Self {
            sources,
            log_filter,
            current: watch::Sender::new(Arc::new(config)),
            file,
            refused: global::meter("countersign-runtime")
                .u64_gauge("config_reload_refused")
                .with_description("1 while the configuration that lies there is wrong and an older one is in force")
                .build(),
        }
    }

    /// For whoever follows the changes.
    pub fn live(&self) -> LiveConfig {
        self.current.subscribe()
    }

    /// Looks from now on until the soft stage.
    pub fn spawn(mut self, lifecycle: &Lifecycle) -> Result<(), LifecycleError> {
        let mut hangups = signal(SignalKind::hangup()).map_err(LifecycleError::Signals)?;
        let soft = lifecycle.soft();
        self.refused.record(0, &[]);
        lifecycle.spawn("reload", async move {
            loop {
                let asked = tokio::select! {
                    () = soft.cancelled() => return,
                    _ = hangups.recv() => true,
                    () = sleep(LOOK) => false,
                };
                let file = read(&self.sources);
                if asked || file != self.file {
                    self.file = file;
                    self.look();
                }
            }
        });
        Ok(())
    }

    /// Reads the sources, and takes over what may change while the process runs.
    pub fn look(&self) -> Reloaded {
        let old = Arc::clone(&self.current.borrow());
        let reloaded = match Config::load(&self.sources) {
            Ok(new) => self.take(&old, new),
            Err(error) => Reloaded::Refused(described(&error)),
        };
        match &reloaded {
            Reloaded::Same => tracing::info!("the configuration is as it was"),
            Reloaded::Taken { now, later } => {
                if !now.is_empty() {
                    tracing::info!(
                        keys = now.join(", "),
                        "changes of the configuration are in force"
                    );
                }
                if !later.is_empty() {
                    tracing::warn!(
                        keys = later.join(", "),
                        "changes of the configuration need a restart"
                    );
                }
            }
            Reloaded::Refused(problem) => {
                tracing::error!(
                    problem,
                    "the new configuration is wrong; the old one stays in force"
                );
            }
        }
        let refused = matches!(reloaded, Reloaded::Refused(_));
        self.refused.record(u64::from(refused), &[]);
        reloaded
    }

    fn take(&self, old: &Config, new: Config) -> Reloaded {
        let (now, later): (Vec<String>, Vec<String>) = changed_keys(old, &new)
            .into_iter()
            .partition(|key| takes_effect(key));
        if now.is_empty() && later.is_empty() {
            return Reloaded::Same;
        }
        if let Err(error) = self.log_filter.set(&new.telemetry.log_filter) {
            return Reloaded::Refused(format!("telemetry.log_filter: {error}"));
        }
        // What needs a restart is not read by anybody who runs; a change is told once, against the last one that was taken.
        self.current.send_replace(Arc::new(new));
        Reloaded::Taken { now, later }
    }
}

/// With its causes, none of which holds a secret.
fn described(error: &ConfigError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn read(sources: &Sources) -> Option<Vec<u8>> {
    sources.file.as_ref().and_then(|file| fs::read(file).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reload(file: &std::path::Path) -> Reload {
        let sources = Sources {
            file: Some(file.to_owned()),
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        Reload::new(sources, config, LogFilter::none())
    }

    #[test]
    fn l_06_a_wrong_configuration_is_refused_by_its_key_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("countersign.toml");
        fs::write(&file, "[notification]\ntexts_at_once = 7\n").unwrap();
        let reload = reload(&file);
        let live = reload.live();
        assert_eq!(reload.look(), Reloaded::Same);
        for (text, word) in [
            (
                "[notification]\ntexts_at_once = 0\n",
                "notification.texts_at_once",
            ),
            ("[notification]\ntexts_at_onze = 3\n", "texts_at_onze"),
            ("[notification\n", "line"),
            (
                "[notification]\ntexts_at_once = \"many\"\n",
                "notification.texts_at_once",
            ),
        ] {
            fs::write(&file, text).unwrap();
            match reload.look() {
                Reloaded::Refused(problem) => assert!(problem.contains(word), "{problem}"),
                other => unreachable!("{text} is taken: {other:?}"),
            }
            assert_eq!(live.borrow().notification.texts_at_once, 7, "{text}");
        }
        fs::remove_file(&file).unwrap();
        assert!(matches!(reload.look(), Reloaded::Refused(_)));

        fs::write(
            &file,
            "[notification]\ntexts_at_once = 9\nlease_seconds = 40\n",
        )
        .unwrap();
        let taken = Reloaded::Taken {
            now: vec!["notification.texts_at_once".to_owned()],
            later: vec!["notification.lease_seconds".to_owned()],
        };
        assert_eq!(reload.look(), taken);
        assert_eq!(live.borrow().notification.texts_at_once, 9);
        assert_eq!(reload.look(), Reloaded::Same, "told once");
    }
}
