//! Takes away what is older than the configuration says: one worker for all, in small steps.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{ids::OrderId, retention::Retained};
use countersign_runtime::{config, reload::LiveConfig};
use countersign_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::Metrics;

/// Name of the turn.
const JOB: &str = "retention";
/// Between two runs.
const EVERY: TimeDelta = TimeDelta::hours(1);
/// Between two looks whose turn it is.
const LOOK: Duration = Duration::from_mins(5);
/// Of the runs of a day one also looks at all closed orders.
const ORDERS_JOB: &str = "retention-orders";
const ORDERS_EVERY: TimeDelta = TimeDelta::hours(24);
/// Orders of one look.
const ORDERS_MAX: u64 = 1_000;

const BY_TIME: [Retained; 4] = [
    Retained::Requests,
    Retained::Mailbox,
    Retained::Replies,
    Retained::Refusals,
];
const BY_ORDER: [Retained; 3] = [Retained::Tracking, Retained::Attempts, Retained::Deliveries];

/// Rows that were taken away, by kind.
pub type Swept = BTreeMap<Retained, u64>;

/// How long rows of a kind are kept.
fn kept(settings: &config::Retention, retained: Retained) -> TimeDelta {
    let days = match retained {
        Retained::Requests => settings.requests_days,
        Retained::Mailbox => settings.mailbox_days,
        Retained::Replies => settings.replies_days,
        Retained::Refusals => settings.refusals_days,
        Retained::Webhooks => settings.webhooks_days,
        Retained::Attempts => settings.attempts_days,
        Retained::Deliveries => settings.deliveries_days,
        Retained::Tracking => settings.tracking_days,
    };
    TimeDelta::days(i64::from(days))
}

/// One worker's part in it.
#[derive(Debug)]
pub(crate) struct RetentionKeeper {
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    /// What is kept how long may change while the worker runs.
    pub(crate) live: LiveConfig,
    pub(crate) process: Uuid,
}

impl RetentionKeeper {
    /// Runs until the soft stage.
    pub(crate) async fn run(self, soft: CancellationToken) {
        while soft
            .run_until_cancelled(tokio::time::sleep(LOOK))
            .await
            .is_some()
        {
            if let Err(error) = self.take_turn(&soft).await {
                tracing::warn!(error = %error, "what is old could not be taken away; it is tried again");
            }
        }
    }

    async fn take_turn(&self, soft: &CancellationToken) -> Result<(), StoreError> {
        let look = self.store.look(None).await?;
        // In a database that may be an old copy nothing is thrown away.
        if look.safe_mode {
            return Ok(());
        }
        self.tell_overdue(look.now).await?;
        let (store, process) = (&self.store, self.process);
        if !store.take_turn(JOB, process, EVERY, look.now).await? {
            return Ok(());
        }
        let settings = self.settings();
        let mut swept = sweep_by_time(store, &settings, false, soft).await?;
        // Its turn is taken when the rest is done, or an error there would cost it a day.
        if store
            .take_turn(ORDERS_JOB, process, ORDERS_EVERY, look.now)
            .await?
        {
            sweep_orders(store, &settings, false, soft, &mut swept).await?;
        }
        for (retained, rows) in swept {
            if rows > 0 {
                tracing::info!(kind = %retained, rows, "took away what was old");
            }
        }
        Ok(())
    }

    fn settings(&self) -> config::Retention {
        self.live.borrow().retention.clone()
    }

    async fn tell_overdue(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        for retained in [Retained::Requests, Retained::Mailbox] {
            let oldest = self.store.oldest_retained(retained).await?;
            let due = now - kept(&self.settings(), retained);
            let overdue = oldest.map_or(0.0, |oldest| (due - oldest).as_seconds_f64().max(0.0));
            self.metrics.retention_overdue(retained.as_str(), overdue);
        }
        Ok(())
    }
}

/// Takes away what is old, oldest first, a batch at a time with a pause in between, until nothing is left or `soft` is
/// cancelled. With `dry_run` it is counted only.
pub async fn sweep(
    store: &Store,
    settings: &config::Retention,
    dry_run: bool,
    soft: &CancellationToken,
) -> Result<Swept, StoreError> {
    let mut swept = sweep_by_time(store, settings, dry_run, soft).await?;
    sweep_orders(store, settings, dry_run, soft, &mut swept).await?;
    Ok(swept)
}

async fn sweep_by_time(
    store: &Store,
    settings: &config::Retention,
    dry_run: bool,
    soft: &CancellationToken,
) -> Result<Swept, StoreError> {
    let now = store.now().await?;
    let mut swept = Swept::new();
    for retained in BY_TIME {
        let before = now - kept(settings, retained);
        let mut after = None;
        loop {
            let purged = store
                .purge_by_time(retained, before, after, settings.batch_rows, dry_run)
                .await?;
            *swept.entry(retained).or_default() += purged.rows;
            after = purged.next;
            if after.is_none() || !went_on(settings, soft).await {
                break;
            }
        }
    }
    // Posts to partners have no way of being counted only.
    if !dry_run {
        let before = now - kept(settings, Retained::Webhooks);
        loop {
            let rows = store.tidy_webhooks(before).await?;
            *swept.entry(Retained::Webhooks).or_default() += rows;
            if rows == 0 || !went_on(settings, soft).await {
                break;
            }
        }
    }
    Ok(swept)
}

async fn sweep_orders(
    store: &Store,
    settings: &config::Retention,
    dry_run: bool,
    soft: &CancellationToken,
    swept: &mut Swept,
) -> Result<(), StoreError> {
    let now = store.now().await?;
    let shortest = BY_ORDER.iter().map(|it| kept(settings, *it)).min();
    let before = now - shortest.unwrap_or_default();
    let mut after: Option<OrderId> = None;
    loop {
        let page = store.list_closed_orders(before, after, ORDERS_MAX).await?;
        for retained in BY_ORDER {
            let before = now - kept(settings, retained);
            let old: Vec<OrderId> = page
                .closed
                .iter()
                .filter(|(_, update_time)| *update_time < before)
                .map(|(id, _)| *id)
                .collect();
            let rows = store.purge_of_orders(retained, &old, dry_run).await?;
            *swept.entry(retained).or_default() += rows;
        }
        after = page.next;
        if after.is_none() || !went_on(settings, soft).await {
            return Ok(());
        }
    }
}

/// The pause between two steps; false when the process is to end.
async fn went_on(settings: &config::Retention, soft: &CancellationToken) -> bool {
    soft.run_until_cancelled(tokio::time::sleep(settings.pause()))
        .await
        .is_some()
}
