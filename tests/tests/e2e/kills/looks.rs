//! How far the workers of a stage have come, told from the database.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::message::DeliveryState;
use tokio::time::sleep;

use super::stage::{PATIENCE, Stage, Worker};

/// After this a dead worker's messages are anybody's.
const LEASE_MAX: TimeDelta = TimeDelta::seconds(30);
/// Nothing that a worker does takes as long without a trace in the database.
const QUIET: Duration = Duration::from_millis(500);

impl Stage {
    /// Messages that have come to their end.
    pub(super) async fn finished(&self) -> i64 {
        let sql = "SELECT COUNT(*) AS n FROM deliveries WHERE finish_time IS NOT NULL";
        self.database.number(sql).await
    }

    /// Whether a worker has something to do now.
    pub(super) async fn is_busy(&self) -> bool {
        let sql = "SELECT (SELECT COUNT(*) FROM outbox) \
                   + (SELECT COUNT(*) FROM deliveries WHERE state = 'LEASED') AS n";
        self.database.number(sql).await > 0
    }

    /// How long until the next message is due; no time when one is being sent, none when all are finished.
    pub(super) async fn time_to_next(&self) -> Option<TimeDelta> {
        let all = self.deliveries().await;
        // Taken up since it was looked whether a worker is busy: its lease must not end before its time.
        if all
            .iter()
            .any(|it| it.delivery.state == DeliveryState::Leased)
        {
            return Some(TimeDelta::zero());
        }
        let mut unfinished = all
            .iter()
            .map(|it| &it.delivery)
            .filter(|it| !it.state.is_finished())
            .peekable();
        unfinished.peek()?;
        let now = self.database.store.now().await.unwrap();
        let due = unfinished
            .filter(|it| it.state == DeliveryState::Ready)
            .map(|it| it.due_time)
            .min();
        Some(due.map_or(TimeDelta::zero(), |due| due - now))
    }

    /// When the last lease ends, if there is one.
    pub(super) async fn lease_end(&self) -> Option<DateTime<Utc>> {
        let all = self.deliveries().await;
        let all = all.iter().map(|it| &it.delivery);
        let leased = all.filter(|it| it.state == DeliveryState::Leased);
        leased.map(|it| it.due_time).max()
    }

    /// Waits until the leases are those that the dead have left: nothing moves any more.
    pub(super) async fn settled(&self) {
        let began = Instant::now();
        let (mut before, mut since) = ([0; 3], Instant::now());
        while since.elapsed() < QUIET {
            let mut now = [0; 3];
            for (number, what) in now.iter_mut().zip([
                "COUNT(*) AS n FROM outbox",
                "COUNT(*) AS n FROM deliveries WHERE state = 'LEASED'",
                "COUNT(*) AS n FROM attempts WHERE outcome <> 'SENDING'",
            ]) {
                *number = self.database.number(&format!("SELECT {what}")).await;
            }
            if now != before {
                (before, since) = (now, Instant::now());
            }
            assert!(began.elapsed() < 3 * PATIENCE, "{before:?}\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// When nothing is left to do before, lets the second channel of all orders fall due together: one after the other, as
    /// [`Self::watch`] does it, takes as long as it took to order.
    pub(crate) async fn second_channels_fall_due(&mut self, worker: &mut Worker) {
        self.settled().await;
        self.pass(TimeDelta::hours(5), Some(worker)).await;
    }

    /// Nobody works; whatever the last worker had, it has for thirty seconds more at most.
    pub(super) async fn leases_end_in_time(&self) {
        let now = self.database.store.now().await.unwrap();
        let end = self.lease_end().await;
        assert!(
            end.is_none_or(|end| end <= now + LEASE_MAX),
            "{end:?} at {now}"
        );
    }
}
