//! Formal order numbers, taken from the database in blocks.

use std::ops::Range;

use chrono::{DateTime, Datelike, Utc};
use countersign_domain::number::OrderNumber;
use countersign_store::Store;
use tokio::sync::Mutex;

use crate::error::ServiceError;

/// Numbers a process takes at once. What it has not used when it stops is never used: numbers have gaps, but none repeats.
const BLOCK: i64 = 50;

/// Gives order numbers.
#[derive(Debug)]
pub(crate) struct Numbers {
    store: Store,
    block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    /// Year and month that the numbers begin with.
    month: (i32, u32),
    left: Range<i64>,
}

impl Numbers {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            block: Mutex::default(),
        }
    }

    /// A number that was never given before.
    pub(crate) async fn next(&self, now: DateTime<Utc>) -> Result<OrderNumber, ServiceError> {
        let month = (now.year(), now.month());
        let mut block = self.block.lock().await;
        if block.month != month || block.left.is_empty() {
            let sequence = format!("orders-{:02}{:02}", month.0 % 100, month.1);
            let first = self.store.take_numbers(&sequence, BLOCK).await?;
            *block = Block {
                month,
                left: first..first + BLOCK,
            };
        }
        let number = block.left.next().unwrap_or_default();
        u32::try_from(number)
            .ok()
            .and_then(|number| OrderNumber::new(now, number).ok())
            .ok_or_else(|| ServiceError::internal("the month's order numbers are used up"))
    }
}
