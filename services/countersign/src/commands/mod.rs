//! One file per command.

use std::process::ExitCode;

use countersign_runtime::{config::Config, reload::Reload};

use crate::cli::Command;

pub(crate) mod audit;
pub(crate) mod bench;
mod check_config;
pub(crate) mod erase_customer;
pub(crate) mod gateway;
pub(crate) mod import;
mod migrate;
mod notification_worker;
pub(crate) mod operator;
mod order_service;
pub(crate) mod refusals;
mod rekey;
pub(crate) mod retention;
pub(crate) mod safe_mode;
mod status;
pub(crate) mod template;
pub(crate) mod unreadable;
mod up;
pub(crate) mod webhook;

/// Does what was asked for.
pub(crate) async fn run(
    command: &Command,
    config: &Config,
    reload: Reload,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => Box::pin(up::run(args, config, reload)).await,
        Command::NotificationWorker => notification_worker::run(config, reload).await,
        Command::OrderService => order_service::run(config, reload).await,
        Command::Migrate(_) => migrate::run(config).await,
        Command::Bench(bench) => Box::pin(bench.run()).await,
        Command::Import(args) => Box::pin(import::run(args, config)).await,
        Command::Status(_) => status::run(config).await,
        Command::Rekey(args) => rekey::run(args, config).await,
        Command::DeadLetters(args) => operator::dead_letters(args, config).await,
        Command::Requeue(args) => operator::requeue(args, config).await,
        Command::Resolve(args) => operator::resolve(args, config).await,
        Command::Gateway(command) => gateway::gateway(command, config).await,
        Command::SafeMode(command) => safe_mode::run(command, config).await,
        Command::Retention(command) => retention::run(command, config).await,
        Command::Reconcile(args) => Box::pin(safe_mode::ask(args, config)).await,
        Command::Refusals(args) => refusals::run(args, config).await,
        Command::Unreadable(args) => unreadable::run(args, config).await,
        Command::StopSending(args) => gateway::stop_sending(args, config).await,
        Command::ResumeSending(args) => gateway::resume_sending(args, config).await,
        Command::EraseCustomer(args) => erase_customer::run(args, config).await,
        Command::Audit(command) => audit::run(command, config).await,
        Command::Template(command) => Box::pin(template::run(command, config)).await,
        Command::Webhook(command) => Box::pin(webhook::run(command, config)).await,
        Command::CheckConfig(args) => check_config::run(args, config).await,
    }
}
