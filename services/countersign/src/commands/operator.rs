//! `dead-letters`, `requeue` and `resolve`: what staff do about messages, by calls to the worker.

use std::process::ExitCode;

use chrono::DateTime;
use clap::{Args, ValueEnum};
use countersign_proto::v1::{
    self, notification_service_client::NotificationServiceClient as Client,
};
use countersign_runtime::{
    client::{self, Connection},
    config::Config,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{console::say, import::send::code_name};

/// Where the worker answers.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Where the notification worker answers.
    #[arg(long, default_value = "http://127.0.0.1:50052")]
    url: String,
}

/// Who acts, and why.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Why; it stays on record.
    #[arg(long)]
    pub(super) reason: String,
    /// Who; it stays on record.
    #[arg(long, default_value = "operator")]
    pub(super) actor: String,
    /// Repeats an earlier call under its own id instead of making a new one.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

/// How a dead letter stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DeadState {
    /// All tries are used up.
    Dead,
    /// Perhaps sent.
    InDoubt,
    /// It cannot reach the recipient by this channel.
    Failed,
}

/// Which dead letters to show.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    /// Only those that stand so; may be repeated.
    #[arg(long)]
    state: Vec<DeadState>,
    /// Only those by this channel (EMAIL, SMS, PHONE); may be repeated.
    #[arg(long)]
    channel: Vec<String>,
    /// How many at most, newest first.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    limit: i32,
    #[command(flatten)]
    worker: Worker,
}

/// Which message to send once more.
#[derive(Debug, Args)]
pub(crate) struct RequeueArgs {
    /// `deliveries/{id}` or the id alone.
    delivery: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    worker: Worker,
}

/// Which message in doubt was sent, or was not.
#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// `deliveries/{id}` or the id alone.
    delivery: String,
    /// It was sent.
    #[arg(
        long,
        required_unless_present = "not_sent",
        conflicts_with = "not_sent"
    )]
    sent: bool,
    /// It was not sent; the next channel's turn comes at once.
    #[arg(long)]
    not_sent: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    worker: Worker,
}

impl Worker {
    pub(super) async fn connect(&self, config: &Config) -> anyhow::Result<Client<Connection>> {
        Ok(Client::new(self.connection(config).await?))
    }

    pub(super) async fn connection(&self, config: &Config) -> anyhow::Result<Connection> {
        client::connect(&self.url, "operator", &config.client).await
    }
}

impl Why {
    /// A new id, unless an earlier call is to be repeated.
    #[expect(
        clippy::disallowed_methods,
        reason = "an id that nobody has used before; nothing is decided by it"
    )]
    pub(super) fn request_id(&self) -> String {
        self.request_id
            .clone()
            .unwrap_or_else(|| format!("cli-{:032x}", rand::random::<u128>()))
    }
}

/// Shows dead letters.
pub(crate) async fn dead_letters(
    args: &DeadLettersArgs,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let mut client = args.worker.connect(config).await?;
    let states = args.state.iter().map(|state| match state {
        DeadState::Dead => "DEAD".to_owned(),
        DeadState::InDoubt => "IN_DOUBT".to_owned(),
        DeadState::Failed => "FAILED".to_owned(),
    });
    let mut request = v1::ListDeadLettersRequest {
        states: states.collect(),
        channels: args.channel.iter().map(|it| it.to_uppercase()).collect(),
        page_size: 0,
        page_token: String::new(),
    };
    let mut left = args.limit;
    while left > 0 {
        request.page_size = left.min(500);
        let page = client.list_dead_letters(request.clone()).await;
        let page = page.map_err(told)?.into_inner();
        for letter in &page.deliveries {
            say(&line(letter));
            left -= 1;
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if left == args.limit {
        say("no dead letters");
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a message once more.
pub(crate) async fn requeue(args: &RequeueArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut client = args.worker.connect(config).await?;
    let request = v1::RequeueDeliveryRequest {
        name: named("deliveries", &args.delivery),
        request_id: args.why.request_id(),
        actor: args.why.actor.clone(),
        reason: args.why.reason.clone(),
    };
    let answer = client.requeue_delivery(request).await.map_err(told)?;
    let answer = answer.into_inner();
    outcome(&answer.outcome, "requeued", answer.delivery.as_ref());
    Ok(ExitCode::SUCCESS)
}

/// Says whether a message was sent.
pub(crate) async fn resolve(args: &ResolveArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut client = args.worker.connect(config).await?;
    let resolution = if args.sent { "SENT" } else { "NOT_SENT" };
    let request = v1::ResolveDeliveryRequest {
        name: named("deliveries", &args.delivery),
        request_id: args.why.request_id(),
        actor: args.why.actor.clone(),
        reason: args.why.reason.clone(),
        resolution: resolution.to_owned(),
    };
    let answer = client.resolve_delivery(request).await.map_err(told)?;
    let answer = answer.into_inner();
    outcome(&answer.outcome, "resolved", answer.delivery.as_ref());
    Ok(ExitCode::SUCCESS)
}

/// A refusal as the worker words it.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn told(status: Status) -> anyhow::Error {
    let details = status.get_error_details();
    let fields = details
        .bad_request()
        .map(|it| it.field_violations.as_slice());
    let code = code_name(status.code());
    let hint = match status.code() {
        Code::Unimplemented if status.message().is_empty() => {
            "the service at this address has no such method: is it the one that this command calls?"
        }
        Code::Cancelled => {
            " (the connection broke: does the service ask for a certificate, client.certificate_file?)"
        }
        _ => "",
    };
    match fields {
        Some(fields) if fields.len() > 1 => {
            let lines: Vec<String> = fields
                .iter()
                .map(|it| format!("{}: {}", it.field, it.description))
                .collect();
            anyhow::anyhow!("{code}:\n{}", lines.join("\n"))
        }
        _ => anyhow::anyhow!("{code}: {}{hint}", status.message()),
    }
}

/// `deliveries/{id}` of either form.
pub(super) fn named(collection: &str, given: &str) -> String {
    if given.contains('/') {
        given.to_owned()
    } else {
        format!("{collection}/{given}")
    }
}

fn outcome(outcome: &str, done: &str, delivery: Option<&v1::MessageDelivery>) {
    let already = if outcome == "ALREADY" { "already " } else { "" };
    say(&format!("{already}{done}"));
    if let Some(delivery) = delivery {
        say(&line(delivery));
    }
}

fn line(delivery: &v1::MessageDelivery) -> String {
    let time = delivery.finish_time.as_ref().or(delivery.due_time.as_ref());
    format!(
        "{}  {:<8}  {:<5}  {}  {}  generation {}  {}  {}",
        moment(time),
        delivery.state,
        delivery.channel,
        delivery.name,
        delivery.kind,
        delivery.generation,
        delivery.recipient,
        delivery.last_error
    )
    .trim_end()
    .to_owned()
}

pub(crate) fn moment(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(|time| DateTime::from_timestamp(time.seconds, 0))
        .map_or_else(
            || "-".to_owned(),
            |time| time.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_says_nothing_is_explained_and_one_that_does_is_quoted() {
        let words = |code: Code, message: &str| told(Status::new(code, message)).to_string();
        let other = words(Code::Unimplemented, "");
        assert!(other.contains("no such method"), "{other}");
        let broken = words(Code::Cancelled, "operation was canceled");
        assert!(broken.contains("operation was canceled"), "{broken}");
        assert!(broken.contains("client.certificate_file"), "{broken}");
        let refused = words(Code::PermissionDenied, "it takes the role OPERATOR");
        assert_eq!(refused, "PERMISSION_DENIED: it takes the role OPERATOR");
    }

    #[test]
    fn names_are_taken_in_either_form() {
        assert_eq!(named("gateways", "sms-gateway"), "gateways/sms-gateway");
        assert_eq!(named("deliveries", "deliveries/1"), "deliveries/1");
    }
}
