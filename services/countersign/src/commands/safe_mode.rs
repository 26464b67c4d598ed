//! `safe-mode` and `reconcile`: nothing is sent until staff have looked at a restored database, and carriers have said what
//! they had been given after it was saved.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use countersign_domain::{ids::CommitId, safe_mode::SafeModeState};
use countersign_notification::{ReconcileDeps, ReconcileReport, reconcile};
use countersign_runtime::config::Config;
use countersign_store::{ActCall, SafeMode, Store};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{console::say, database, roles};

/// What to do about safe mode. These commands go to the database itself, so they need the worker's configuration and no
/// running worker.
#[derive(Debug, Subcommand)]
pub(crate) enum SafeModeCommand {
    /// Tells whether it is on, why, and what would be sent.
    Status,
    /// Has nothing sent any more, by any channel, on every replica; orders and answers are taken in as ever.
    On(Why),
    /// Has messages sent again.
    Off(Why),
}

/// Who acts, and why.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Why; it stays on record.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Who; it stays on record.
    #[arg(long, default_value = "operator", value_parser = actor)]
    actor: String,
}

/// How to ask the carriers.
#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// Asks, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Leaves out an account that this configuration does not have any more, because it was given up before the backup: it has
    /// nothing that was sent since.
    #[arg(long, value_name = "ACCOUNT")]
    without: Vec<String>,
    /// Why; it stays on record with each message that is settled.
    #[arg(long, default_value = "reconciled after a restore", value_parser = reason)]
    reason: String,
    /// Who; it stays on record.
    #[arg(long, default_value = "operator", value_parser = actor)]
    actor: String,
}

fn reason(text: &str) -> Result<String, String> {
    within(text, 500)
}

fn actor(text: &str) -> Result<String, String> {
    within(text, 64)
}

fn within(text: &str, characters: usize) -> Result<String, String> {
    let text = text.trim();
    if (1..=characters).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err(format!("must have 1 to {characters} characters"))
    }
}

/// Shows or turns the switch.
pub(crate) async fn run(command: &SafeModeCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    let (state, why) = match command {
        SafeModeCommand::Status => {
            tell(&store).await?;
            return Ok(ExitCode::SUCCESS);
        }
        SafeModeCommand::On(why) => (SafeModeState::On, why),
        SafeModeCommand::Off(why) => (SafeModeState::Off, why),
    };
    let now = store.now().await.context("read the time")?;
    let id = CommitId::new_v7(now, &mut StdRng::from_os_rng()).as_uuid();
    let call = ActCall::own(id, why.actor.as_str(), why.reason.as_str());
    let turned = store
        .turn_safe_mode(state, &call, now)
        .await
        .context("turn safe mode")?;
    if !turned {
        say("nothing changed:");
    }
    tell(&store).await?;
    Ok(ExitCode::SUCCESS)
}

async fn tell(store: &Store) -> anyhow::Result<()> {
    let switch = store.find_safe_mode().await.context("read safe mode")?;
    say(&described(switch.as_ref()));
    let waiting = store.count_unfinished().await.context("count messages")?;
    for it in &waiting {
        say(&format!(
            "  {:>9}  {} not finished",
            it.messages, it.channel
        ));
    }
    if waiting.is_empty() {
        say("  no message waits to be sent");
    }
    Ok(())
}

/// One line for people: whether it is on, since when, by whom and why.
pub(crate) fn described(switch: Option<&SafeMode>) -> String {
    let Some(it) = switch else {
        return "safe mode is off; it has never been on".to_owned();
    };
    let state = match it.state {
        SafeModeState::On => "SAFE MODE IS ON, nothing is sent,",
        SafeModeState::Off => "safe mode is off",
    };
    let since = it.since_time.format("%Y-%m-%d %H:%M:%S UTC");
    let why = if it.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", it.reason)
    };
    format!("{state} since {since} by {}{why}", it.changed_by)
}

/// Asks the carriers about every message that would be sent.
pub(crate) async fn ask(args: &ReconcileArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    let link_key = roles::proven_link_key(config, &store).await?;
    let told = |count: u64| {
        if count.is_multiple_of(1_000) && count > 0 {
            say(&format!("{count} messages looked at"));
        }
    };
    let deps = ReconcileDeps {
        config,
        store: &store,
        link_key: &link_key,
        actor: &args.actor,
        reason: &args.reason,
        dry_run: args.dry_run,
        without: &args.without,
    };
    let report = reconcile(&deps, &told).await?;
    say(&summary(&report));
    let unknown: u64 = report.values().map(|it| it.unknown).sum();
    ensure!(
        unknown == 0,
        "carriers did not tell about {unknown} messages; run it again before safe mode is switched off"
    );
    Ok(ExitCode::SUCCESS)
}

fn summary(report: &ReconcileReport) -> String {
    if report.is_empty() {
        return "no message waits to be sent".to_owned();
    }
    let mut lines = Vec::new();
    for (channel, it) in report {
        for (count, what) in [
            (it.sent, "had been sent: they are not sent again"),
            (
                it.not_sent,
                "had not been sent: they go when safe mode is off",
            ),
            (
                it.nobody_to_ask,
                "cannot be asked about: they go when safe mode is off, those that had been sent for the second time",
            ),
            (
                it.left_to_staff,
                "cannot be asked about and are left to staff (dead-letters --state in-doubt)",
            ),
            (it.unknown, "got no answer from the carrier: ask again"),
        ] {
            if count > 0 {
                lines.push(format!("  {count:>9}  {channel} {what}"));
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use countersign_domain::order::Channel;
    use countersign_notification::ReconciledCount;

    use super::*;

    #[test]
    fn what_was_found_out_is_told_by_channel_and_zeros_are_not() {
        let count = ReconciledCount {
            sent: 3,
            not_sent: 1,
            ..ReconciledCount::default()
        };
        let told = summary(&BTreeMap::from([(Channel::Sms, count)]));
        assert_eq!(
            told,
            "          3  SMS had been sent: they are not sent again\n          \
             1  SMS had not been sent: they go when safe mode is off"
        );
        assert_eq!(summary(&BTreeMap::new()), "no message waits to be sent");
    }

    #[test]
    fn a_reason_is_needed_and_has_an_end() {
        assert!(reason("  ").is_err());
        assert!(reason(&"a".repeat(501)).is_err());
        assert_eq!(reason(" restored ").unwrap(), "restored");
    }
}
