//! `notification-worker`: the service that owns messages, alone in its process.

use std::process::ExitCode;

use countersign_runtime::{
    config::Config,
    lifecycle::{Lifecycle, Signals},
    reload::Reload,
};

use crate::{database, roles};

/// Works until the process is told to end.
pub(crate) async fn run(config: &Config, reload: Reload) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let listeners = roles::bind_notification_worker(config).await?;
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    let lifecycle = Lifecycle::new(config.shutdown.grace()).with_notice(config.shutdown.notice());
    let live = reload.live();
    reload.spawn(&lifecycle)?;
    let gate = roles::gate(config, &store, &lifecycle).await?;
    roles::start_notification_worker(config, live, &store, &gate, listeners, &lifecycle).await?;
    tracing::info!(address = %config.notification.listen, "the notification worker is listening");
    Ok(roles::wait(lifecycle, signals).await)
}
