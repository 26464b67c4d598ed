//! `up`: everything in one process, so that a machine with nothing on it can try the whole.

use std::process::ExitCode;

use countersign_runtime::{
    config::Config,
    lifecycle::{Lifecycle, Signals},
};

use crate::{console::say, database, roles};

/// Migrates, starts every service and tells where they are.
pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let order_listener = roles::bind(config.order.listen, "order.listen").await?;
    let store = database::connect(config).await?;
    database::migrate(config, &store, &|step| tracing::info!(step, "migrated")).await?;
    let lifecycle = Lifecycle::new(config.shutdown.grace());
    let grpc = roles::start_order_service(config, &store, order_listener, &lifecycle).await?;
    say("Countersign is up. Ctrl+C ends it; the data stay.");
    say("");
    say(&format!("  gRPC     {grpc}"));
    say(&format!("  data     {}", database::shown(config)));
    Ok(roles::wait(lifecycle, signals).await)
}
