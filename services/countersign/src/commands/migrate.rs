//! `migrate`: brings the tables up to what this binary needs.

use std::process::ExitCode;

use countersign_runtime::config::Config;

use crate::{console::say, database};

/// Migrates and adds what ships with the program.
pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::connect(config).await?;
    let steps = database::migrate(config, &store, &|step| say(&format!("{step}: done"))).await?;
    if steps == 0 {
        say("the tables are up to date");
    }
    Ok(ExitCode::SUCCESS)
}
