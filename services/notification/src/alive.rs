//! This process's sign of life, and whether it may send: not in safe mode, and not from a database that has gone back in
//! time (RELIABILITY, L-05).

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{ids::CommitId, safe_mode::SafeModeState};
use countersign_runtime::config;
use countersign_store::{ActCall, Beat, Life, SYSTEM, Store, StoreError, Wake};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{ids::Ids, metrics::Metrics};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(10);
/// Of so many signs of life one also says that nothing is sent, while that is so.
const REMINDER: u64 = 30;

/// A worker among the living.
#[derive(Debug)]
pub(crate) struct Alive {
    store: Store,
    ids: Arc<Ids>,
    life: Life,
    metrics: Metrics,
    /// Told when the database may have gone back in time.
    suspicious: Notify,
}

impl Alive {
    /// Gives the first sign of life. `carriers`: whether anything that is sent leaves the machine; if not, a long silence
    /// is no danger.
    pub(crate) async fn begin(
        store: Store,
        ids: Arc<Ids>,
        metrics: Metrics,
        settings: &config::Notification,
        carriers: bool,
    ) -> Result<Arc<Self>, StoreError> {
        let alive = Self::onlooker(store, ids, metrics);
        let silence_max = settings.silence_minutes_max;
        let wake = Wake {
            configured: settings.start_in_safe_mode,
            silence_max: (carriers && silence_max > 0)
                .then(|| TimeDelta::minutes(i64::from(silence_max))),
        };
        let now = alive.store.now().await?;
        let call = alive.call(now);
        let suspicion = alive
            .store
            .begin_life(&alive.life, wake, &call, now)
            .await?;
        if let Some(suspicion) = suspicion {
            tracing::error!(%suspicion, "safe mode: nothing is sent until staff switch it off");
        }
        Ok(alive)
    }

    /// For a command that sends nothing and is no worker.
    pub(crate) fn onlooker(store: Store, ids: Arc<Ids>, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            life: Life::new(ids.token()),
            store,
            ids,
            metrics,
            suspicious: Notify::new(),
        })
    }

    /// The time of the database, if messages may be claimed now; read anew each time, for staff may have decided otherwise.
    pub(crate) async fn may_send(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let look = self.store.look(Some(&self.life)).await?;
        if look.went_back {
            self.suspicious.notify_one();
        }
        Ok(look.may_send().then_some(look.now))
    }

    /// The store with which tries are begun: it looks once more in the transaction that begins them.
    pub(crate) fn store(&self) -> Store {
        self.store.of_life(&self.life)
    }

    /// Gives signs of life until the soft stage.
    pub(crate) async fn run(self: Arc<Self>, soft: CancellationToken) {
        for beats in 0_u64.. {
            if let Err(error) = self.beat(beats).await {
                tracing::warn!(error = %error, "a sign of life could not be written");
            }
            tokio::select! {
                () = soft.cancelled() => break,
                () = self.suspicious.notified() => {}
                () = tokio::time::sleep(BEAT) => {}
            }
        }
        let ended = async {
            let now = self.store.now().await?;
            self.store.end_life(&self.life, now).await
        };
        if let Err(error) = ended.await {
            tracing::warn!(error = %error, "the end could not be written");
        }
    }

    async fn beat(&self, beats: u64) -> Result<(), StoreError> {
        let now = self.store.now().await?;
        let beat = self.store.beat(&self.life, &self.call(now), now).await?;
        if beat == Beat::WentBack {
            tracing::error!(
                "the database has gone back in time; safe mode: nothing is sent until staff switch it off"
            );
        }
        let switch = self.store.find_safe_mode().await?;
        let on = switch.filter(|switch| switch.state == SafeModeState::On);
        self.metrics.safe_mode(on.is_some());
        if let Some(switch) = on
            && beats.is_multiple_of(REMINDER)
        {
            // Why is in staff's words, which belong into no log.
            tracing::warn!(
                since = %switch.since_time,
                "safe mode is on: nothing is sent; `countersign safe-mode status` tells why"
            );
        }
        Ok(())
    }

    fn call(&self, now: DateTime<Utc>) -> ActCall {
        let id = self.ids.make(now, CommitId::new_v7).as_uuid();
        ActCall::own(id, SYSTEM, "")
    }
}
