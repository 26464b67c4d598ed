//! This process's sign of life, and whether anything may happen by itself: not in safe mode, and not on a database that has
//! gone back in time (RELIABILITY, L-05). It does not know the answers that came after it was copied.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_runtime::lifecycle::Lifecycle;
use countersign_store::{ActCall, Beat, Life, SYSTEM, Store, StoreError, Wake};
use tokio::sync::Notify;

use super::make::Ids;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(10);
/// A database of which no worker has been heard for so long may be an old copy. The worker that starts next decides that.
const SILENCE_MAX: TimeDelta = TimeDelta::minutes(15);

/// An order service among the living.
#[derive(Debug)]
pub(crate) struct Alive {
    store: Store,
    life: Life,
    /// At the start all workers had been silent for long; nothing happens by itself before one is heard.
    waits: AtomicBool,
    /// Told when the database may have gone back in time.
    suspicious: Notify,
}

impl Alive {
    /// Gives the first sign of life.
    pub(crate) async fn begin(store: Store) -> Result<Arc<Self>, StoreError> {
        let now = store.now().await?;
        let silence = store.silence(SILENCE_MAX, now).await?;
        if let Some(silence) = silence {
            tracing::warn!(%silence, "no deadline passes until a worker has started");
        }
        let life = Life::of_orders(Ids::at(now).commit().as_uuid());
        store
            .begin_life(&life, Wake::default(), &call(now), now)
            .await?;
        Ok(Arc::new(Self {
            store,
            life,
            waits: AtomicBool::new(silence.is_some()),
            suspicious: Notify::new(),
        }))
    }

    /// What is written by itself is written on condition of this.
    pub(crate) const fn life(&self) -> &Life {
        &self.life
    }

    /// The time of the database, if what is due may be carried out now.
    pub(crate) async fn may_act(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        if self.waits.load(Ordering::Relaxed) {
            let now = self.store.now().await?;
            if self.store.silence(SILENCE_MAX, now).await?.is_some() {
                return Ok(None);
            }
            self.waits.store(false, Ordering::Relaxed);
        }
        let look = self.store.look(Some(&self.life)).await?;
        if look.went_back {
            self.suspicious.notify_one();
        }
        Ok(look.may_send().then_some(look.now))
    }

    /// Gives signs of life until the soft stage.
    pub(crate) fn spawn(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let (alive, soft) = (Arc::clone(self), lifecycle.soft());
        lifecycle.spawn("alive", async move {
            loop {
                tokio::select! {
                    () = soft.cancelled() => break,
                    () = alive.suspicious.notified() => {}
                    () = tokio::time::sleep(BEAT) => {}
                }
                if let Err(error) = alive.beat().await {
                    tracing::warn!(error = %error, "a sign of life could not be written");
                }
            }
            let ended = async {
                let now = alive.store.now().await?;
                alive.store.end_life(&alive.life, now).await
            };
            if let Err(error) = ended.await {
                tracing::warn!(error = %error, "the end could not be written");
            }
        });
    }

    async fn beat(&self) -> Result<(), StoreError> {
        let now = self.store.now().await?;
        if self.store.beat(&self.life, &call(now), now).await? == Beat::WentBack {
            tracing::error!(
                "the database has gone back in time; safe mode: no deadline passes until staff switch it off"
            );
        }
        Ok(())
    }
}

fn call(now: DateTime<Utc>) -> ActCall {
    ActCall::own(Ids::at(now).commit().as_uuid(), SYSTEM, "")
}
