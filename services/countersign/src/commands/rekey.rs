//! `rekey`: seals personal data anew with the key that has come into use.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context as _;
use countersign_runtime::config::Config;
use countersign_store::SealedCount;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{cli::RekeyArgs, console::say, database};

/// Counts, and seals anew unless it is only asked how much there is to do.
pub(crate) async fn run(args: &RekeyArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    let writing = store.keys().writing();
    let counts = store.count_sealed().await.context("count")?;
    say(&format!("values sealed with each key; {writing} is in use"));
    for (number, values) in totals(&counts) {
        say(&format!("  {values:>9}  key {number}"));
    }
    let old = old_values(&counts, writing);
    if args.dry_run {
        for count in counts.iter().filter(|it| old_in(it, writing) > 0) {
            say(&format!(
                "  {:>9}  to be sealed anew in {}.{}",
                old_in(count, writing),
                count.table,
                count.column
            ));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let bar = ProgressBar::new(old).with_style(ProgressStyle::with_template(
        "{msg} {wide_bar} {human_pos} of {human_len} values, {eta} left",
    )?);
    let done = store
        .rekey(&|progress| {
            bar.set_message(progress.table);
            bar.inc(progress.values);
        })
        .await
        .context("seal values anew; run it again, it goes on where it was")?;
    bar.finish_and_clear();
    say(&format!("{} values sealed anew", done.values));
    for number in &done.done_with {
        say(&format!(
            "key {number} seals nothing any more and may be taken out of personal_data.keys"
        ));
    }
    if done.left > 0 {
        say(&format!(
            "{} values are still sealed with an old key: a service writes with it; give all of them the new list, then run this again",
            done.left
        ));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn totals(counts: &[SealedCount]) -> BTreeMap<u16, u64> {
    let mut totals = BTreeMap::new();
    for (number, values) in counts.iter().flat_map(|it| &it.by_key) {
        *totals.entry(*number).or_insert(0) += values;
    }
    totals
}

fn old_values(counts: &[SealedCount], writing: u16) -> u64 {
    counts.iter().map(|count| old_in(count, writing)).sum()
}

fn old_in(count: &SealedCount, writing: u16) -> u64 {
    let old = count
        .by_key
        .iter()
        .filter(|(number, _)| **number != writing);
    old.map(|(_, values)| values).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_is_told_by_key() {
        let count = |column, by_key: &[(u16, u64)]| SealedCount {
            table: "orders",
            column,
            by_key: by_key.iter().copied().collect(),
        };
        let counts = [
            count("terms", &[(1, 5), (2, 7)]),
            count("progress", &[(1, 4)]),
        ];
        assert_eq!(totals(&counts), BTreeMap::from([(1, 9), (2, 7)]));
        assert_eq!(old_values(&counts, 2), 9);
        assert_eq!(old_values(&counts, 1), 7);
    }
}
