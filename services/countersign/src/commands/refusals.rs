//! `refusals`: what callers were refused, newest first.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use countersign_runtime::config::Config;
use countersign_store::AccessRefusal;

use crate::{cli::DatabaseArgs, console::say, database};

/// Which refusals to show.
#[derive(Debug, Args)]
pub(crate) struct RefusalsArgs {
    /// Only those of this caller; `unauthenticated` for whoever did not prove who it is.
    #[arg(long)]
    caller: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

/// Shows them.
pub(crate) async fn run(args: &RefusalsArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    let found = store
        .list_access_refusals(args.caller.as_deref(), args.limit)
        .await
        .context("list refusals")?;
    if found.is_empty() {
        say("nobody was refused anything");
    }
    for refusal in &found {
        say(&line(refusal));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(refusal: &AccessRefusal) -> String {
    format!(
        "{}  {:>7}  {:<17}  {:<8}  {}  {}",
        refusal.minute.format("%Y-%m-%d %H:%MZ"),
        refusal.count,
        refusal.code,
        refusal.peer,
        refusal.caller,
        refusal.method
    )
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn a_refusal_is_one_line() {
        let refusal = AccessRefusal {
            minute: DateTime::from_timestamp(1_700_000_040, 0).unwrap(),
            caller: "shop".to_owned(),
            method: "/countersign.v1.OrderService/ApproveOrder".to_owned(),
            code: "PERMISSION_DENIED".to_owned(),
            peer: "PRIVATE".to_owned(),
            count: 3,
        };
        assert_eq!(
            line(&refusal),
            "2023-11-14 22:14Z        3  PERMISSION_DENIED  PRIVATE   shop  /countersign.v1.OrderService/ApproveOrder"
        );
    }
}
