//! `gateway`, `stop-sending` and `resume-sending`: which accounts and channels send, by calls to the worker.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use countersign_domain::{message::every_account, order::Channel};
use countersign_proto::v1::{
    self, notification_service_client::NotificationServiceClient as Client,
};
use countersign_runtime::{client::Connection, config::Config};

use super::operator::{Why, Worker, moment, named, told};
use crate::console::say;

/// What to do with gateways.
#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Shows all accounts at gateways and relays.
    List {
        #[command(flatten)]
        worker: Worker,
    },
    /// Leaves an account alone, on every replica; its messages wait.
    Hold {
        /// Such as `sms-gateway`.
        name: String,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        worker: Worker,
    },
    /// Uses an account again.
    Release {
        /// Such as `sms-gateway`.
        name: String,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        worker: Worker,
    },
}

/// What to stop or to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stopped {
    /// Letters.
    Email,
    /// Texts.
    Sms,
    /// Calls.
    Phone,
    /// Everything.
    All,
}

impl Stopped {
    fn channels(self) -> &'static [Channel] {
        match self {
            Self::Email => &[Channel::Email],
            Self::Sms => &[Channel::Sms],
            Self::Phone => &[Channel::Phone],
            Self::All => Channel::ALL,
        }
    }
}

/// Which channels to stop or to go on with.
#[derive(Debug, Args)]
pub(crate) struct SendingArgs {
    /// By which channel.
    #[arg(long)]
    channel: Stopped,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    worker: Worker,
}

/// Shows, holds and releases gateways.
pub(crate) async fn gateway(command: &GatewayCommand, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        GatewayCommand::List { worker } => {
            let mut client = worker.connect(config).await?;
            let listed = client.list_gateways(v1::ListGatewaysRequest {}).await;
            for gateway in listed.map_err(told)?.into_inner().gateways {
                say(&gateway_line(&gateway));
            }
        }
        GatewayCommand::Hold { name, why, worker } => {
            hold(
                &mut worker.connect(config).await?,
                name,
                why,
                &why.request_id(),
            )
            .await?;
        }
        GatewayCommand::Release { name, why, worker } => {
            release(
                &mut worker.connect(config).await?,
                name,
                why,
                &why.request_id(),
            )
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops channels on every replica; their messages wait.
pub(crate) async fn stop_sending(args: &SendingArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let (mut client, id) = (args.worker.connect(config).await?, args.why.request_id());
    for channel in args.channel.channels() {
        let name = every_account(*channel);
        hold(&mut client, &name, &args.why, &format!("{id}-{name}")).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Goes on with channels that were stopped.
pub(crate) async fn resume_sending(
    args: &SendingArgs,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let (mut client, id) = (args.worker.connect(config).await?, args.why.request_id());
    for channel in args.channel.channels() {
        let name = every_account(*channel);
        release(&mut client, &name, &args.why, &format!("{id}-{name}")).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn hold(
    client: &mut Client<Connection>,
    name: &str,
    why: &Why,
    request_id: &str,
) -> anyhow::Result<()> {
    let request = v1::HoldGatewayRequest {
        name: named("gateways", name),
        request_id: request_id.to_owned(),
        actor: why.actor.clone(),
        reason: why.reason.clone(),
        until_time: None,
    };
    let held = client.hold_gateway(request).await.map_err(told)?;
    say(&gateway_line(&held.into_inner()));
    Ok(())
}

async fn release(
    client: &mut Client<Connection>,
    name: &str,
    why: &Why,
    request_id: &str,
) -> anyhow::Result<()> {
    let request = v1::ReleaseGatewayRequest {
        name: named("gateways", name),
        request_id: request_id.to_owned(),
        actor: why.actor.clone(),
        reason: why.reason.clone(),
    };
    let released = client.release_gateway(request).await.map_err(told)?;
    say(&gateway_line(&released.into_inner()));
    Ok(())
}

fn gateway_line(gateway: &v1::Gateway) -> String {
    let name = gateway.name.trim_start_matches("gateways/");
    let held = if gateway.state == "HELD" {
        let until = gateway.until_time.as_ref();
        let until = until.map(|time| format!(" until {}", moment(Some(time))));
        format!(
            "  since {} by {}{}: {}",
            moment(gateway.since_time.as_ref()),
            gateway.changed_by,
            until.unwrap_or_default(),
            gateway.reason
        )
    } else {
        String::new()
    };
    format!(
        "{name:<20}  {:<5}  {}{held}",
        gateway.channel, gateway.state
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_gateway_is_told_with_its_reason() {
        let mut gateway = v1::Gateway {
            name: "gateways/sms-gateway".to_owned(),
            channel: "SMS".to_owned(),
            state: "HELD".to_owned(),
            reason: "costs".to_owned(),
            since_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            until_time: None,
            changed_by: "wang".to_owned(),
        };
        assert_eq!(
            gateway_line(&gateway),
            "sms-gateway           SMS    HELD  since 2023-11-14 22:13:20Z by wang: costs"
        );
        "OPEN".clone_into(&mut gateway.state);
        assert!(gateway_line(&gateway).ends_with("OPEN"));
    }
}
