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
use countersign_domain::safe_mode::Suspicion;
use countersign_runtime::lifecycle::Lifecycle;
use countersign_store::{ActCall, Beat, Life, SYSTEM, Store, StoreError, Wake};
use opentelemetry::{global, metrics::Gauge};
use tokio::sync::Notify;

use super::make::Ids;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(10);
/// Of so many signs of life one also says that no deadline passes, while that is so: every five minutes.
const REMINDER: u64 = 30;

/// An order service among the living.
#[derive(Debug)]
pub(crate) struct Alive {
    store: Store,
    life: Life,
    /// A database of which no worker has been heard for longer may be an old copy. The worker that starts next decides that.
    /// Absent: nobody wants to know.
    silence_max: Option<TimeDelta>,
    /// At the start all workers had been silent for long; nothing happens by itself before one is heard.
    waits: AtomicBool,
    held: Gauge<u64>,
    /// Told when the database may have gone back in time.
    suspicious: Notify,
}

impl Alive {
    /// Gives the first sign of life. `silence_minutes_max` is the workers' own setting; with 0 nothing is ever waited for.
    pub(crate) async fn begin(
        store: Store,
        silence_minutes_max: u32,
    ) -> Result<Arc<Self>, StoreError> {
        let silence_max =
            (silence_minutes_max > 0).then(|| TimeDelta::minutes(i64::from(silence_minutes_max)));
        let now = store.now().await?;
        let silence = silence_of(&store, silence_max, now).await?;
        if let Some(silence) = silence {
            tracing::warn!(%silence, "no deadline passes until a worker has started");
        }
        let life = Life::of_orders(Ids::at(now).commit().as_uuid());
        store
            .begin_life(&life, Wake::default(), &call(now), now)
            .await?;
        let held = global::meter("countersign-order")
            .u64_gauge("deadlines_held")
            .with_description("1 while no deadline passes, for all workers were silent for long and none has started since")
            .build();
        held.record(u64::from(silence.is_some()), &[]);
        Ok(Arc::new(Self {
            store,
            life,
            silence_max,
            waits: AtomicBool::new(silence.is_some()),
            held,
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
            let silence = silence_of(&self.store, self.silence_max, now).await?;
            if silence.is_some() {
                return Ok(None);
            }
            self.waits.store(false, Ordering::Relaxed);
            self.held.record(0, &[]);
            tracing::info!("a worker has started; whether deadlines pass is as safe mode says");
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
            for beats in 1_u64.. {
                tokio::select! {
                    () = soft.cancelled() => break,
                    () = alive.suspicious.notified() => {}
                    () = tokio::time::sleep(BEAT) => {}
                }
                if let Err(error) = alive.beat().await {
                    tracing::warn!(error = %error, "a sign of life could not be written");
                }
                alive.remind(beats);
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

    /// Says again what was said at the start, while it is so: whoever looks later must not take the silence for peace. Whether
    /// it was said.
    fn remind(&self, beats: u64) -> bool {
        let says = self.waits.load(Ordering::Relaxed) && beats.is_multiple_of(REMINDER);
        if says {
            tracing::warn!(
                "still no deadline passes: no worker has started since all of them had been silent for long"
            );
        }
        says
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

async fn silence_of(
    store: &Store,
    silence_max: Option<TimeDelta>,
    now: DateTime<Utc>,
) -> Result<Option<Suspicion>, StoreError> {
    match silence_max {
        Some(silence_max) => store.silence(silence_max, now).await,
        None => Ok(None),
    }
}

fn call(now: DateTime<Utc>) -> ActCall {
    ActCall::own(Ids::at(now).commit().as_uuid(), SYSTEM, "")
}

#[cfg(test)]
mod tests {
    use countersign_store::testing::TestDatabase;
    use uuid::Uuid;

    use super::*;

    async fn worker(store: &Store, number: u128) -> Option<Suspicion> {
        let now = store.now().await.unwrap();
        let wake = Wake {
            configured: false,
            silence_max: Some(TimeDelta::minutes(15)),
        };
        let life = Life::new(Uuid::from_u128(number));
        store
            .begin_life(&life, wake, &call(now), now)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn l_05_on_a_copy_of_any_age_no_deadline_passes_before_a_worker_has_started_and_that_is_said_again()
     {
        for age in [TimeDelta::minutes(20), TimeDelta::days(8)] {
            for database in TestDatabase::all().await {
                let store = &database.store;
                assert_eq!(worker(store, 1).await, None);
                store.shift_clock(age);
                let alive = Alive::begin(store.clone(), 15).await.unwrap();
                assert_eq!(alive.may_act().await.unwrap(), None, "{age}");
                let said: Vec<u64> = (1..=90).filter(|beats| alive.remind(*beats)).collect();
                assert_eq!(said, [30, 60, 90]);

                let minutes = age.num_minutes();
                let found = Some(Suspicion::Silence { minutes });
                assert_eq!(worker(store, 2).await, found);
                assert_eq!(alive.may_act().await.unwrap(), None, "safe mode");
                assert!(!alive.remind(120), "safe mode is the worker's to tell");
                let now = store.now().await.unwrap();
                let off = countersign_domain::safe_mode::SafeModeState::Off;
                assert!(store.turn_safe_mode(off, &call(now), now).await.unwrap());
                assert!(alive.may_act().await.unwrap().is_some());
            }
        }
    }

    #[tokio::test]
    async fn whoever_does_not_want_to_know_of_silence_waits_for_no_worker_and_the_limit_is_the_configured_one()
     {
        for (limit, acts) in [(0, true), (30, true), (15, false)] {
            let database = TestDatabase::sqlite().await;
            let store = &database.store;
            assert_eq!(worker(store, 1).await, None);
            store.shift_clock(TimeDelta::minutes(20));
            let alive = Alive::begin(store.clone(), limit).await.unwrap();
            assert_eq!(alive.may_act().await.unwrap().is_some(), acts, "{limit}");
        }
    }
}
