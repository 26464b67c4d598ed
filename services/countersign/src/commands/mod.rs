//! One file per command.

use std::process::ExitCode;

use countersign_runtime::config::Config;

use crate::cli::Command;

mod check_config;
mod migrate;

/// Does what was asked for.
pub(crate) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Migrate(_) => migrate::run(config).await,
        Command::CheckConfig => {
            check_config::run(config);
            Ok(ExitCode::SUCCESS)
        }
    }
}
