//! `retention run`: takes away what is older than the configuration says, or tells how much that would be.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use countersign_domain::safe_mode::SafeModeState;
use countersign_notification::sweep;
use countersign_runtime::{config::Config, lifecycle::Lifecycle};

use crate::{console::say, database};

/// What to do about what is old.
#[derive(Debug, Subcommand)]
pub(crate) enum RetentionCommand {
    /// Takes it away now, step by step.
    Run(RunArgs),
}

/// How.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Counts it, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Takes what is old away, or counts it.
pub(crate) async fn run(command: &RetentionCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let RetentionCommand::Run(args) = command;
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    // In a database that may be an old copy nothing is thrown away.
    let switch = store.find_safe_mode().await.context("read the switch")?;
    ensure!(
        args.dry_run || switch.is_none_or(|it| it.state != SafeModeState::On),
        "safe mode is on, so nothing is taken away (`countersign safe-mode off`, or count with --dry-run)"
    );
    let lifecycle = Lifecycle::new(config.shutdown.grace());
    let swept = sweep(&store, &config.retention, args.dry_run, &lifecycle.soft())
        .await
        .context("take away what is old")?;
    let done = if args.dry_run { "would go" } else { "gone" };
    for (retained, rows) in swept {
        say(&format!("  {rows:>9}  {retained} {done}"));
    }
    Ok(ExitCode::SUCCESS)
}
