//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use countersign_runtime::config::{Config, ConfigError, Process, Sources};

use crate::commands::{
    audit::AuditCommand,
    bench::Bench,
    erase_customer::EraseCustomerArgs,
    gateway::{GatewayCommand, SendingArgs},
    import::ImportArgs,
    operator::{DeadLettersArgs, RequeueArgs, ResolveArgs},
    refusals::RefusalsArgs,
    retention::RetentionCommand,
    safe_mode::{ReconcileArgs, SafeModeCommand},
    template::TemplateCommand,
    unreadable::UnreadableArgs,
    webhook::WebhookCommand,
};

/// Takes customers' orders, audits them and has the customers confirm them.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// TOML file with the configuration.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs everything in one process, on a file under ./var unless a database is named.
    Up(UpArgs),
    /// Runs the service that owns orders.
    OrderService,
    /// Runs the service that sends messages and takes in what comes back.
    NotificationWorker,
    /// Creates or updates the tables, and adds the default policies and rules that are missing.
    Migrate(DatabaseArgs),
    /// Takes a file of customers, products, prices, stock, orders or tracking in, over gRPC. May be repeated.
    Import(ImportArgs),
    /// Measures this machine, beside a yardstick.
    #[command(subcommand)]
    Bench(Bench),
    /// Counts orders by state and tells what waits to be sent or falls due.
    Status(DatabaseArgs),
    /// Seals personal data anew with the first of `personal_data.keys`, beside the running services.
    Rekey(RekeyArgs),
    /// Shows messages that nothing more happens to unless somebody acts.
    DeadLetters(DeadLettersArgs),
    /// Sends a message that was given up once more.
    Requeue(RequeueArgs),
    /// Says of a message in doubt whether it was sent.
    Resolve(ResolveArgs),
    /// Shows, holds and releases accounts at gateways.
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Shows and turns the switch by which nothing is sent, as after a restore.
    #[command(subcommand)]
    SafeMode(SafeModeCommand),
    /// In safe mode: asks the carriers about every message that would be sent, and settles those that they have.
    Reconcile(ReconcileArgs),
    /// Takes away what is older than the section `retention` says; the workers do so by themselves.
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Shows what callers were refused, by the minute.
    Refusals(RefusalsArgs),
    /// Shows what carriers pushed that could not be read, with the numbers that stand in it.
    Unreadable(UnreadableArgs),
    /// Stops a channel on every replica within seconds; its messages wait.
    StopSending(SendingArgs),
    /// Goes on with a channel that was stopped.
    ResumeSending(SendingArgs),
    /// Erases a customer's personal data, and proves that nothing is left.
    EraseCustomer(EraseCustomerArgs),
    /// Verifies the chain of hashes over everything that was done.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Shows, keeps and puts in force the words of messages.
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Shows, makes and changes what partners are told.
    #[command(subcommand)]
    Webhook(Box<WebhookCommand>),
    /// Shows the configuration with secrets hidden, or names everything that is wrong with it.
    CheckConfig(CheckConfigArgs),
}

/// How to run everything.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Registers a small shop and plays so many orders through it, from arrival to delivery.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) sample: Option<u32>,
}

/// How far to look.
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// Leaves out the files of certificates and keys, where they are not at hand.
    #[arg(long)]
    pub(crate) without_files: bool,
    /// Whose file it is, so that no remarks are made on what that process does not use.
    #[arg(long, value_parser = process, value_name = "PROCESS")]
    pub(crate) of: Option<Process>,
}

fn process(word: &str) -> Result<Process, &'static str> {
    match word {
        "order-service" => Ok(Process::OrderService),
        "notification-worker" => Ok(Process::NotificationWorker),
        _ => Err("must be order-service or notification-worker"),
    }
}

/// What to seal anew.
#[derive(Debug, Args)]
pub(crate) struct RekeyArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Only counts the values of each key.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Where the data are.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// `mysql://user:password@host/name` or `sqlite://file?mode=rwc`; before any other setting.
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<String>,
}

impl Command {
    /// The name under which telemetry knows the process.
    pub(crate) const fn role(&self) -> &'static str {
        match self {
            Self::Up(_) => "countersign",
            Self::OrderService => "order-service",
            Self::NotificationWorker => "notification-worker",
            Self::Migrate(_) => "migrate",
            Self::Import(_) => "import",
            Self::Bench(_) => "bench",
            Self::Status(_) => "status",
            Self::Rekey(_) => "rekey",
            Self::DeadLetters(_) => "dead-letters",
            Self::Requeue(_) => "requeue",
            Self::Resolve(_) => "resolve",
            Self::Gateway(_) => "gateway",
            Self::SafeMode(_) => "safe-mode",
            Self::Reconcile(_) => "reconcile",
            Self::Retention(_) => "retention",
            Self::Refusals(_) => "refusals",
            Self::Unreadable(_) => "unreadable",
            Self::StopSending(_) => "stop-sending",
            Self::ResumeSending(_) => "resume-sending",
            Self::EraseCustomer(_) => "erase-customer",
            Self::Audit(_) => "audit",
            Self::Template(_) => "template",
            Self::Webhook(_) => "webhook",
            Self::CheckConfig(_) => "check-config",
        }
    }

    /// Whether a person watches, so that log lines of success would only be in the way.
    const fn is_interactive(&self) -> bool {
        match self {
            Self::OrderService | Self::NotificationWorker => false,
            Self::Up(_)
            | Self::Migrate(_)
            | Self::Status(_)
            | Self::Rekey(_)
            | Self::Import(_)
            | Self::Bench(_)
            | Self::DeadLetters(_)
            | Self::Requeue(_)
            | Self::Resolve(_)
            | Self::Gateway(_)
            | Self::SafeMode(_)
            | Self::Reconcile(_)
            | Self::Retention(_)
            | Self::Refusals(_)
            | Self::Unreadable(_)
            | Self::StopSending(_)
            | Self::ResumeSending(_)
            | Self::EraseCustomer(_)
            | Self::Audit(_)
            | Self::Template(_)
            | Self::Webhook(_)
            | Self::CheckConfig(_) => true,
        }
    }

    fn database_url(&self) -> Option<&str> {
        match self {
            Self::Migrate(args) | Self::Status(args) => args.database_url.as_deref(),
            Self::Rekey(args) => args.database.database_url.as_deref(),
            Self::Up(args) => args.database.database_url.as_deref(),
            Self::Refusals(args) => args.database.database_url.as_deref(),
            Self::Unreadable(args) => args.database.database_url.as_deref(),
            Self::Audit(command) => command.database_url(),
            Self::CheckConfig(_)
            | Self::SafeMode(_)
            | Self::Reconcile(_)
            | Self::Retention(_)
            | Self::Bench(_)
            | Self::Import(_)
            | Self::DeadLetters(_)
            | Self::Requeue(_)
            | Self::Resolve(_)
            | Self::Gateway(_)
            | Self::StopSending(_)
            | Self::ResumeSending(_)
            | Self::EraseCustomer(_)
            | Self::Template(_)
            | Self::Webhook(_)
            | Self::OrderService
            | Self::NotificationWorker => None,
        }
    }
}

impl Cli {
    /// All layers of the configuration, the command line last, and where they came from.
    pub(crate) fn config(&self) -> Result<(Sources, Config), ConfigError> {
        let mut sources = Sources::from_process(self.config.clone())
            .flag("database.url", self.command.database_url());
        if self.command.is_interactive() {
            default_to(&mut sources, "COUNTERSIGN__TELEMETRY__LOG_FILTER", "warn");
        }
        let config = Config::load(&sources)?;
        Ok((sources, config))
    }
}

/// Another default for this command, which anything that is configured replaces.
fn default_to(sources: &mut Sources, variable: &str, value: &str) {
    let given = sources.environment.iter().any(|(name, _)| name == variable);
    if !given && sources.file.is_none() {
        sources
            .environment
            .push((variable.to_owned(), value.to_owned()));
    }
}
