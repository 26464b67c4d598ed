//! `unreadable`: what carriers pushed that could not be read, newest first. It shows numbers of customers, so it goes by the
//! database and its keys, which only few people have.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use countersign_domain::reply::{Reply, ReplyContent};
use countersign_runtime::config::Config;

use crate::{cli::DatabaseArgs, console::say, database};

/// How much to show.
#[derive(Debug, Args)]
pub(crate) struct UnreadableArgs {
    /// How many parts of pushes at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

/// Shows them.
pub(crate) async fn run(args: &UnreadableArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::connect(config).await?;
    database::require_current(&store).await?;
    let found = store
        .list_unreadable(args.limit)
        .await
        .context("list what could not be read")?;
    if found.is_empty() {
        say("everything that carriers pushed could be read");
    }
    for line in found.iter().filter_map(line) {
        say(&line);
    }
    Ok(ExitCode::SUCCESS)
}

fn line(reply: &Reply) -> Option<String> {
    let ReplyContent::Unreadable { push, part } = &reply.content else {
        return None;
    };
    Some(format!(
        "{}  {:<13}  {push}  {part}",
        reply.receive_time.format("%Y-%m-%d %H:%M:%SZ"),
        reply.source
    ))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use countersign_domain::{ids::ReplyId, reply::ReplyState};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn f_08_a_part_that_could_not_be_read_is_one_line() {
        let time = DateTime::from_timestamp(1_700_000_040, 0).unwrap();
        let reply = |content| Reply {
            id: ReplyId::from_uuid(Uuid::nil()),
            source: "ALIBABA_SMS".to_owned(),
            source_event_id: String::new(),
            order_id: None,
            content,
            state: ReplyState::Refused,
            due_time: time,
            attempts: 0,
            result: String::new(),
            receive_time: time,
        };
        let part = ReplyContent::Unreadable {
            push: "SMS_REPORT".to_owned(),
            part: r#"{"success":"perhaps"}"#.to_owned(),
        };
        assert_eq!(
            line(&reply(part)).as_deref(),
            Some(r#"2023-11-14 22:14:00Z  ALIBABA_SMS    SMS_REPORT  {"success":"perhaps"}"#)
        );
        assert_eq!(line(&reply(ReplyContent::Unreachable { round: 1 })), None);
    }
}
