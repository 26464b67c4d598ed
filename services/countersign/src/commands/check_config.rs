//! `check-config`: whether the configuration works, and what it is.

use std::process::ExitCode;

use countersign_runtime::{config::Config, files};

use crate::{
    cli::CheckConfigArgs,
    console::{say, warn},
};

/// Shows it. What stands in a wrong place was refused before, with every bad field named; here is looked at what the relay's
/// URL, keys and files hold. Remarks go to standard error.
pub(crate) async fn run(args: &CheckConfigArgs, config: &Config) -> anyhow::Result<ExitCode> {
    say(config.redacted().trim_end());
    for remark in config.remarks(args.of) {
        warn(&remark);
    }
    let mut problems = countersign_notification::check(config);
    if !args.without_files {
        problems.extend(files::check(config).await);
    }
    anyhow::ensure!(
        problems.is_empty(),
        "configuration: it cannot work:\n  {}",
        problems.join("\n  ")
    );
    Ok(ExitCode::SUCCESS)
}
