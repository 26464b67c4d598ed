//! What the one binary does: every role and every operator command is a subcommand of it.

// See main.rs.
#![recursion_limit = "256"]

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use countersign_runtime::{reload::Reload, telemetry::Telemetry};

mod cli;
mod commands;
mod console;
mod database;
mod import;
mod roles;
mod sample;

use cli::Cli;

#[cfg(any(test, feature = "testkit"))]
pub use import::fuzz;

/// The program, from its arguments to its exit code.
pub async fn main() -> ExitCode {
    match start(&Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            console::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS library is installed twice"))?;
    let (sources, config) = cli.config().context("configuration")?;
    let telemetry = Telemetry::start(&config.telemetry, cli.command.role())?;
    let reload = Reload::new(sources, config.clone(), telemetry.log_filter());
    let outcome = commands::run(&cli.command, &config, reload).await;
    telemetry.shutdown().await;
    outcome
}
