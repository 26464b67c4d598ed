//! `order-service`: the service that owns orders, alone in its process.

use std::process::ExitCode;

use countersign_runtime::{
    config::Config,
    lifecycle::{Lifecycle, Signals},
    reload::Reload,
};

use crate::{database, roles};

/// Serves until the process is told to end.
pub(crate) async fn run(config: &Config, reload: Reload) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let listener = roles::bind(config.order.listen, "order.listen").await?;
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    let lifecycle = Lifecycle::new(config.shutdown.grace()).with_notice(config.shutdown.notice());
    reload.spawn(&lifecycle)?;
    let gate = roles::gate(config, &store, &lifecycle).await?;
    let address = roles::start_order_service(config, &store, &gate, listener, &lifecycle).await?;
    tracing::info!(%address, "the order service is listening");
    Ok(roles::wait(lifecycle, signals).await)
}
