//! Rows of the worker's queue that were there before a measurement: half of them are sent, half wait their turn.

use countersign_domain::{event::MessageDetails, message::DeliveryState};
use countersign_store::{QueueRows, Store};
use indicatif::{ProgressBar, ProgressStyle};

/// Rows between two looks at how far it is.
const FILL_ROWS: u64 = 200_000;
/// When rows were due that are sent, and those that are put before all others.
const SENT: &str = "2020-01-01 00:00:00";
const FIRST: &str = "2020-02-01 00:00:00";

/// When the rows are due that wait.
#[derive(Clone, Copy)]
pub(super) enum Due {
    /// They have been for years.
    Long,
    /// Not yet: other messages go first.
    Later,
}

impl Due {
    const fn from(self) -> &'static str {
        match self {
            Self::Long => "2020-03-01 00:00:00",
            Self::Later => "2090-01-01 00:00:00",
        }
    }
}

/// What was written so far.
pub(super) struct Backlog {
    /// Ids are made of it.
    written: u64,
    details: String,
}

impl Backlog {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            written: 0,
            details: serde_json::to_string(&MessageDetails::default())?,
        })
    }

    /// Writes so many rows, and shows how far it is.
    pub(super) async fn fill(&mut self, store: &Store, rows: u64, due: Due) -> anyhow::Result<()> {
        let bar = ProgressBar::new(rows).with_style(ProgressStyle::with_template(
            "{msg} {wide_bar} {human_pos} of {human_len} rows, {eta} left",
        )?);
        bar.set_message("filling");
        for (state, due, count) in [
            (DeliveryState::Sent, SENT, rows / 2),
            (DeliveryState::Ready, due.from(), rows - rows / 2),
        ] {
            let mut left = count;
            while left > 0 {
                let some = left.min(FILL_ROWS);
                self.write(store, state, due, some).await?;
                left -= some;
                bar.inc(some);
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Writes rows that are due before those of [`Self::fill`].
    pub(super) async fn put_first(&mut self, store: &Store, rows: u64) -> anyhow::Result<()> {
        self.write(store, DeliveryState::Ready, FIRST, rows).await
    }

    async fn write(
        &mut self,
        store: &Store,
        state: DeliveryState,
        due: &str,
        rows: u64,
    ) -> anyhow::Result<()> {
        store
            .insert_queue_rows(&QueueRows {
                first: self.written,
                count: rows,
                state,
                due_from: due.to_owned(),
                details: &self.details,
            })
            .await?;
        self.written += rows;
        Ok(())
    }
}
