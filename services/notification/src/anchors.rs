//! Tells the end of the audit chain to an outside place, and how far behind the chain is.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::chain::AnchorLine;
use countersign_runtime::config::Audit;
use countersign_store::{AnchorClaim, Store};
use data_encoding::HEXLOWER;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// Erasures are written into the file with each anchor of so long afterwards: the worker that should have been first may have
/// died before it wrote. Lines that are there twice do no harm.
const OVERLAP: TimeDelta = TimeDelta::days(7);

/// Makes anchors.
pub(crate) struct Anchors {
    pub(crate) store: Store,
    pub(crate) config: Audit,
    pub(crate) metrics: Metrics,
    /// When this process looked for the first time: before the first anchor there is no other to count from.
    pub(crate) began: OnceLock<DateTime<Utc>>,
}

impl Anchors {
    /// Looks every ten seconds, or as often as anchors are wanted.
    pub(crate) async fn run(self, soft: CancellationToken) {
        let pause = self.config.anchor_interval().min(LOOK);
        loop {
            if let Err(error) = self.look().await {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the audit chain could not be anchored; it is tried again"
                );
            }
            let slept = soft.run_until_cancelled(tokio::time::sleep(pause)).await;
            if slept.is_none() {
                return;
            }
        }
    }

    /// Tells how far behind the chain is, and makes an anchor when it is time. The figures are told whether that succeeds or
    /// not: who is called when it does not looks at them.
    async fn look(&self) -> anyhow::Result<()> {
        let sequenced = self.store.sequence_events().await;
        let now = self.store.now().await.context("read the time")?;
        let waiting = self
            .store
            .oldest_unsequenced()
            .await
            .context("look for the oldest commit that waits")?;
        let waited = waiting.map_or_else(TimeDelta::zero, |since| now - since);
        self.metrics.chain_behind(seconds(waited));
        let interval = TimeDelta::from_std(self.config.anchor_interval()).unwrap_or(TimeDelta::MAX);
        let anchored = match sequenced {
            Ok(_) => self.anchor_in_time(interval, now).await,
            Err(error) => Err(error).context("put commits into the chain"),
        };
        let last = self
            .store
            .last_anchor_time()
            .await
            .context("read when the last anchor was made")?;
        let began = *self.began.get_or_init(|| now);
        let overdue = last.map_or_else(|| now - began, |last| now - last - interval);
        self.metrics.anchor_overdue(seconds(overdue));
        anchored
    }

    /// Makes the next anchor when it is time and nobody else does.
    async fn anchor_in_time(&self, interval: TimeDelta, now: DateTime<Utc>) -> anyhow::Result<()> {
        let claim = self
            .store
            .claim_anchor(interval, now)
            .await
            .context("claim the next anchor")?;
        let Some(claim) = claim else { return Ok(()) };
        if let Err(error) = self.anchor(claim).await {
            self.store
                .give_anchor_back(claim)
                .await
                .context("give the anchor back")?;
            return Err(error);
        }
        Ok(())
    }

    async fn anchor(&self, claim: AnchorClaim) -> anyhow::Result<()> {
        let head = self
            .store
            .chain_head()
            .await
            .context("read the chain's end")?;
        let time = self.store.now().await.context("read the time")?;
        let mut text = String::new();
        for erasure in self
            .store
            .list_erasures_since(claim.last_time().map(|last| last - OVERLAP))
            .await
            .context("list erasures")?
        {
            let (name, hash) = (erasure.id.resource_name(), erasure.customer_hash);
            text.push_str(&AnchorLine::erasure(name, &hash, erasure.create_time).text());
        }
        text.push_str(&AnchorLine::anchor(head.position, &head.hash, time).text());
        if let Some(path) = self.config.anchor_file.clone() {
            let written = tokio::task::spawn_blocking(move || append(path, &text)).await;
            written
                .context("write audit.anchor_file")?
                .context("write audit.anchor_file")?;
        }
        tracing::info!(
            position = head.position,
            hash = HEXLOWER.encode(&head.hash),
            "the audit chain ends here now"
        );
        Ok(())
    }
}

/// In one write, so that two processes' lines do not mix, and onto the disk.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it goes over to a thread that may block"
)]
fn append(path: PathBuf, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// Nought of what is not due yet.
fn seconds(span: TimeDelta) -> f64 {
    span.to_std().map_or(0.0, |span| span.as_secs_f64())
}
