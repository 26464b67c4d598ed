//! `audit`: verifies the chain of hashes over everything that was done, and shows where it ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use countersign_domain::chain::{Anchor, AnchorLine, Summary};
use countersign_runtime::config::Config;
use data_encoding::HEXLOWER;

use crate::{cli::DatabaseArgs, console::say, database, import::progress::Progress};

/// What to do with the audit chain.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Looks whether anything of what was done was changed, deleted, put in or moved afterwards. Services may go on working.
    Verify(VerifyArgs),
    /// Shows the chain's last position and hash; kept elsewhere, they show whether a later chain goes on from here.
    Head(DatabaseArgs),
}

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Begins here instead of at the beginning; what is before is taken for granted.
    #[arg(long, value_name = "POSITION", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// Files with anchors, as `audit.anchor_file` makes them: without them nobody sees that the chain's tail was cut off.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    anchors: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

impl AuditCommand {
    pub(crate) fn database_url(&self) -> Option<&str> {
        match self {
            Self::Verify(args) => args.database.database_url.as_deref(),
            Self::Head(args) => args.database_url.as_deref(),
        }
    }
}

/// Does it.
pub(crate) async fn run(command: &AuditCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    match command {
        AuditCommand::Head(_) => {
            let head = store.chain_head().await.context("read the chain's end")?;
            say(&format!(
                "{}  {}",
                head.position,
                HEXLOWER.encode(&head.hash)
            ));
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Verify(args) => {
            let mut anchors = Vec::new();
            for file in &args.anchors {
                anchors.extend(read_anchors(file)?);
            }
            let told = anchors.len();
            // Commits that wait are put into the chain first, so that they are looked at, too.
            while store.sequence_events().await.context("sequence")? > 0 {}
            let end = store.chain_head().await.context("read the chain's end")?;
            let total = u64::try_from(end.position - args.from + 1).unwrap_or_default();
            let progress = Mutex::new((Progress::new("commits", total), args.from - 1));
            let begun = Instant::now();
            let summary = store
                .verify_chain(args.from, anchors, &|now| {
                    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                    let more = now.position - progress.1;
                    progress.1 = now.position;
                    progress.0.add(u64::try_from(more).unwrap_or_default());
                })
                .await
                .context("read the audit chain")?;
            report(&summary, told, begun.elapsed().as_secs_f64());
            Ok(if summary.fault_count == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

fn read_anchors(file: &Path) -> anyhow::Result<Vec<Anchor>> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let lines = AnchorLine::read_all(&text).with_context(|| file.display().to_string())?;
    Ok(lines.iter().filter_map(AnchorLine::as_anchor).collect())
}

fn report(summary: &Summary, anchors: usize, seconds: f64) {
    for fault in &summary.faults {
        say(&fault.to_string());
    }
    let named = summary.faults.len() as u64;
    if summary.fault_count > named {
        say(&format!("and {} more", summary.fault_count - named));
    }
    if summary.uncovered > 0 {
        say(&format!(
            "{} commits were written by a version that knew no chain; their records are not covered",
            summary.uncovered
        ));
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let rate = (summary.records as f64 / seconds.max(0.001)) as u64;
    say(&format!(
        "{} records in {} commits looked at ({} erased, {anchors} anchors), {rate} records a second",
        summary.records, summary.commits, summary.erased
    ));
    say(&format!(
        "the chain ends at {}  {}",
        summary.position,
        HEXLOWER.encode(&summary.hash)
    ));
    say(if summary.fault_count == 0 {
        "nothing was tampered with"
    } else {
        "THE RECORDS WERE TAMPERED WITH"
    });
}
