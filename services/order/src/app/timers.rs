//! Timers: every replica looks for what is due by the time of the database and carries it out; whoever comes second finds
//! that it has happened already.

use std::{sync::Arc, time::Duration};

use countersign_domain::timer::{Timer, TimerKind};
use countersign_runtime::lifecycle::Lifecycle;
use futures::{StreamExt as _, stream};

use super::{
    Deciding,
    alive::Alive,
    command::{Call, Command},
};
use crate::error::ServiceError;

/// Pause between two looks when nothing is due.
const POLL: Duration = Duration::from_millis(250);
/// Timers of one look.
const TIMERS_MAX: u64 = 200;
/// Timers carried out side by side.
const AT_ONCE: usize = 8;

/// Starts firing timers.
pub(crate) fn spawn(deciding: &Arc<Deciding>, alive: Arc<Alive>, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft();
    let firing = Arc::clone(deciding);
    lifecycle.spawn("timers", async move {
        loop {
            let fired = match firing.fire_due(&alive).await {
                Ok(fired) => fired,
                Err(error) => {
                    tracing::warn!(error = %error, "timers could not be read; trying again");
                    0
                }
            };
            let pause = if fired == 0 { POLL } else { Duration::ZERO };
            if soft
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                return;
            }
        }
    });
}

impl Deciding {
    /// Carries out what is due. Answers how many timers did something.
    pub(crate) async fn fire_due(&self, alive: &Alive) -> Result<usize, ServiceError> {
        // An old copy of the database does not know the answers that came meanwhile: no deadline may pass before staff have
        // looked.
        let Some(now) = alive.may_act().await? else {
            return Ok(0);
        };
        let due = self.store.find_due_timers(now, TIMERS_MAX).await?;
        let fired = stream::iter(due)
            .map(|timer| self.fire(timer, alive))
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<Result<(), ServiceError>>>()
            .await;
        let mut done = 0;
        for result in fired {
            match result {
                Ok(()) => done += 1,
                Err(error) => {
                    tracing::warn!(error = %error, "a timer could not be carried out; trying again");
                }
            }
        }
        Ok(done)
    }

    async fn fire(&self, timer: Timer, alive: &Alive) -> Result<(), ServiceError> {
        let command = match timer.kind {
            TimerKind::ConfirmationDeadline => Command::Expire {
                round: timer.generation,
            },
            TimerKind::ConfirmationReminder => Command::Remind {
                round: timer.generation,
            },
            TimerKind::Completion => Command::Complete,
            TimerKind::Survey => Command::Survey,
        };
        let call = Call::by_system(alive.life());
        match self.run(timer.order_id, &command, &call).await {
            Ok(_)
            | Err(
                ServiceError::NotFound { .. }
                | ServiceError::FailedPrecondition {
                    reason: "ORDER_ERASED",
                    ..
                },
            ) => {}
            // A hold keeps a delivered order from being complete; releasing it does not set the timer again, so it waits.
            Err(ServiceError::FailedPrecondition { .. }) if timer.kind == TimerKind::Completion => {
                self.store
                    .postpone_timer(&timer, chrono::Duration::hours(1))
                    .await?;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        // Whatever it came to, this timer has nothing left to do.
        Ok(self.store.clear_timer(&timer).await?)
    }
}
