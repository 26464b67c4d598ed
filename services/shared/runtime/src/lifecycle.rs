//! How a process starts its tasks and how it ends.
//!
//! Ending begins with a notice: from the first signal on, health tells that no more calls are wanted, and for the time of
//! the notice they are still answered, so that balancers hear of it first. Then it has two stages. **Soft** (after the notice or at a second signal, when a task failed, or at [`Lifecycle::shutdown`]): take no new
//! work, finish what is under way. **Hard** (one more signal, or the grace is over): every task is dropped at its next await.
//! A task that fails or panics ends the whole process with a failure code, so that a supervisor starts it anew.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// How long tasks may take to unwind once they were dropped; only blocking code can need it.
const UNWIND: Duration = Duration::from_secs(2);

/// What can go wrong around the lifecycle itself.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The operating system refused to hand us SIGTERM or SIGINT.
    #[error("listen for termination signals")]
    Signals(#[source] std::io::Error),
}

/// Starts tasks, tells them when to stop, and waits for them. Clones are the same lifecycle.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    draining: CancellationToken,
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    /// The first task that failed.
    failed: Arc<OnceLock<&'static str>>,
    notice: Duration,
    grace: Duration,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every task finished its work.
    Clean,
    /// The grace was over, or a second signal came, and work under way was dropped.
    Cut,
    /// This task failed or panicked, which ended the process.
    Failed(&'static str),
}

impl Ended {
    /// What the process answers to its parent: success only when nothing failed and nothing was cut off.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Clean => ExitCode::SUCCESS,
            Self::Cut | Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// What a task may return: nothing, or a result whose error ends the process.
pub trait TaskOutcome: Send + 'static {
    /// The outcome as a result.
    fn into_result(self) -> anyhow::Result<()>;
}

impl TaskOutcome for () {
    fn into_result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl<E: Into<anyhow::Error> + Send + 'static> TaskOutcome for Result<(), E> {
    fn into_result(self) -> anyhow::Result<()> {
        self.map_err(Into::into)
    }
}

impl Lifecycle {
    /// A lifecycle whose tasks get `grace` between the soft and the hard stage.
    pub fn new(grace: Duration) -> Self {
        Self {
            draining: CancellationToken::new(),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tasks: TaskTracker::new(),
            failed: Arc::new(OnceLock::new()),
            notice: Duration::ZERO,
            grace,
        }
    }

    /// Answers calls for so long after the first signal as if nothing had happened, but for what health tells.
    #[must_use]
    pub fn with_notice(self, notice: Duration) -> Self {
        Self { notice, ..self }
    }

    /// Cancelled with the first signal: no more calls are wanted, and work that others can do is left to them. A child.
    pub fn draining(&self) -> CancellationToken {
        self.draining.child_token()
    }

    /// Tells that no more calls are wanted; they are still answered.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Cancelled when no new work may be taken. A child: cancelling it stops nobody else.
    pub fn soft(&self) -> CancellationToken {
        self.soft.child_token()
    }

    /// Cancelled when everything must stop at once. Spawned tasks are dropped then without asking.
    pub fn hard(&self) -> CancellationToken {
        self.hard.child_token()
    }

    /// Whether the soft stage has begun.
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Begins the soft stage. Doing it again changes nothing.
    pub fn shutdown(&self) {
        self.draining.cancel();
        self.soft.cancel();
    }

    /// Starts a task that the process waits for when it ends. An error or a panic in it begins the soft stage and makes
    /// the process fail; a task that just finishes changes nothing. At the hard stage it is dropped at its next await.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future + Send + 'static,
        F::Output: TaskOutcome,
    {
        let lifecycle = self.clone();
        let guarded = async move {
            let work = AssertUnwindSafe(future).catch_unwind();
            let outcome = tokio::select! {
                biased;
                outcome = work => outcome,
                () = lifecycle.hard.cancelled() => {
                    tracing::warn!(task = name, "task was cut off");
                    return;
                }
            };
            match outcome.map(TaskOutcome::into_result) {
                Ok(Ok(())) => tracing::debug!(task = name, "task finished"),
                Ok(Err(error)) => lifecycle.fail(name, &format!("{error:#}")),
                Err(panic) => lifecycle.fail(name, &format!("panicked: {}", words(&*panic))),
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that starts tasks"
        )]
        self.tasks.spawn(guarded.in_current_span())
    }

    fn fail(&self, name: &'static str, error: &str) {
        tracing::error!(task = name, error, "task failed, shutting down");
        // Only the first failure is the cause; the others usually follow from it.
        self.failed.get_or_init(|| name);
        self.shutdown();
    }

    /// Waits for a signal (or a failed task, or [`Self::shutdown`]), then for the tasks, and tells how it ended.
    pub async fn run(self) -> Result<Ended, LifecycleError> {
        Ok(self.run_with(Signals::listen()?).await)
    }

    /// Like [`Self::run`] with signals that were asked for earlier, so that none is missed during a long start.
    pub async fn run_with(self, mut signals: Signals) -> Ended {
        tokio::select! {
            name = signals.recv() => {
                tracing::info!(signal = name, notice = ?self.notice, "shutting down, finishing what is under way");
                self.drain();
                tokio::select! {
                    () = sleep(self.notice) => {}
                    _ = signals.recv() => {}
                    () = self.soft.cancelled() => {}
                }
                self.shutdown();
            }
            () = self.soft.cancelled() => {}
        }
        self.tasks.close();
        let cut = tokio::select! {
            biased;
            () = self.tasks.wait() => false,
            name = signals.recv() => {
                tracing::warn!(signal = name, "second signal, dropping what is under way");
                true
            }
            () = sleep(self.grace) => {
                tracing::warn!(grace = ?self.grace, "grace is over, dropping what is under way");
                true
            }
        };
        if cut {
            self.hard.cancel();
            if timeout(UNWIND, self.tasks.wait()).await.is_err() {
                tracing::error!(
                    tasks = self.tasks.len(),
                    "tasks do not let go, ending without them"
                );
            }
        }
        match self.failed.get() {
            Some(name) => Ended::Failed(name),
            None if cut => Ended::Cut,
            None => Ended::Clean,
        }
    }
}

/// What a panic said, if it said it in words.
fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// SIGTERM and SIGINT of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the two signals end the process through its lifecycle only.
    pub fn listen() -> Result<Self, LifecycleError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(LifecycleError::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(LifecycleError::Signals)?,
        })
    }

    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests;
