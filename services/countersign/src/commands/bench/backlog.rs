//! Rows of the worker's queue that were there before a measurement: half of them are sent, half wait their turn.

use countersign_domain::{event::MessageDetails, message::DeliveryState};
use countersign_store::{QueueRows, Store};
use indicatif::{ProgressBar, ProgressStyle};

/// Rows between two looks at how far it is.
const FILL_ROWS: u64 = 200_000;
/// Months that are long over, in which rows are due: those that are sent, those put first, those behind them.
const SENT_MONTH: u32 = 1;
const FIRST_MONTH: u32 = 2;
const BEHIND_MONTH: u32 = 3;

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
    pub(super) async fn fill(&mut self, store: &Store, rows: u64) -> anyhow::Result<()> {
        let bar = ProgressBar::new(rows).with_style(ProgressStyle::with_template(
            "{msg} {wide_bar} {human_pos} of {human_len} rows, {eta} left",
        )?);
        bar.set_message("filling");
        for (state, month, count) in [
            (DeliveryState::Sent, SENT_MONTH, rows / 2),
            (DeliveryState::Ready, BEHIND_MONTH, rows - rows / 2),
        ] {
            let mut left = count;
            while left > 0 {
                let some = left.min(FILL_ROWS);
                self.write(store, state, month, some).await?;
                left -= some;
                bar.inc(some);
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Writes rows that are due before those of [`Self::fill`].
    pub(super) async fn put_first(&mut self, store: &Store, rows: u64) -> anyhow::Result<()> {
        self.write(store, DeliveryState::Ready, FIRST_MONTH, rows)
            .await
    }

    async fn write(
        &mut self,
        store: &Store,
        state: DeliveryState,
        month: u32,
        rows: u64,
    ) -> anyhow::Result<()> {
        store
            .insert_queue_rows(&QueueRows {
                first: self.written,
                count: rows,
                state,
                due_from: format!("2020-{month:02}-01 00:00:00"),
                details: &self.details,
            })
            .await?;
        self.written += rows;
        Ok(())
    }
}
