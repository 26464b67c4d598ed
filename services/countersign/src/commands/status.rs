//! `status`: how the shop stands, at a glance.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use countersign_domain::safe_mode::SafeModeState;
use countersign_runtime::config::Config;

use super::safe_mode::described;
use crate::{console::say, database};

/// Counts what is there and tells what waits.
pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    let now = store.now().await.context("read the time")?;
    let overview = store.overview().await.context("count")?;
    let switch = store.find_safe_mode().await.context("read safe mode")?;
    if let Some(switch) = switch.filter(|it| it.state == SafeModeState::On) {
        say(&described(Some(&switch)));
    }
    say("orders");
    table(&overview.orders);
    say("messages");
    table(&overview.deliveries);
    waiting("not yet made", overview.outbox, overview.outbox_oldest, now);
    if let Some(due) = overview.deliveries_oldest_due {
        say(&format!(
            "             the oldest to be sent {}",
            relative(due, now)
        ));
    }
    say("answers of customers and gateways");
    table(&overview.replies);
    say("deadlines");
    waiting("set", overview.timers, overview.timers_next, now);
    Ok(ExitCode::SUCCESS)
}

fn table(counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        say("          0  none");
    }
    for (name, count) in counts {
        say(&format!("  {count:>9}  {name}"));
    }
}

fn waiting(what: &str, count: u64, first: Option<DateTime<Utc>>, now: DateTime<Utc>) {
    let first = first.map(|time| format!(", the first {}", relative(time, now)));
    say(&format!(
        "  {count:>9}  {what}{}",
        first.unwrap_or_default()
    ));
}

/// "due for 3 min", "due in 2 h".
fn relative(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let (words, span) = if time <= now {
        ("due for", now - time)
    } else {
        ("due in", time - now)
    };
    let (count, unit) = match span.num_seconds() {
        seconds @ 0..120 => (seconds, "s"),
        seconds @ 120..7_200 => (seconds / 60, "min"),
        seconds @ 7_200..172_800 => (seconds / 3_600, "h"),
        seconds => (seconds / 86_400, "days"),
    };
    format!("{words} {count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let at = |seconds| relative(now + chrono::Duration::seconds(seconds), now);
        assert_eq!(at(-90), "due for 90 s");
        assert_eq!(at(-600), "due for 10 min");
        assert_eq!(at(7_200), "due in 2 h");
        assert_eq!(at(864_000), "due in 10 days");
    }
}
