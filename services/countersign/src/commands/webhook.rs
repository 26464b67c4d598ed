//! `webhook`: what staff do about partners that are told of orders, by calls to the worker.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use countersign_proto::v1::{self, webhook_service_client::WebhookServiceClient as Client};
use countersign_runtime::{client::Connection, config::Config};

use super::operator::{Why, Worker, moment, named, told};
use crate::console::say;

const ENDPOINTS: &str = "webhookEndpoints";

/// An endpoint, and who does something about it and why.
#[derive(Debug, Args)]
pub(crate) struct Act {
    /// `webhookEndpoints/{id}` or the id alone.
    endpoint: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    worker: Worker,
}

/// How an event for a partner stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum EventState {
    /// To be sent, now or later.
    Pending,
    /// The partner took it.
    Delivered,
    /// Given up.
    Failed,
}

/// What to do with partners' endpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Shows all endpoints.
    List {
        #[command(flatten)]
        worker: Worker,
    },
    /// Makes an endpoint, which hears of what happens from now on, and shows its secret.
    Create {
        /// `https://…`
        address: String,
        /// For staff.
        #[arg(long, default_value = "")]
        description: String,
        /// Only events of this type, such as `order.confirmed`; may be repeated.
        #[arg(long = "event", value_name = "TYPE")]
        events: Vec<String>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        worker: Worker,
    },
    /// Changes where or of what a partner is told.
    Update {
        #[command(flatten)]
        act: Act,
        /// `https://…`
        #[arg(long)]
        address: Option<String>,
        /// For staff.
        #[arg(long)]
        description: Option<String>,
        /// Only events of this type; may be repeated.
        #[arg(long = "event", value_name = "TYPE", conflicts_with = "all_events")]
        events: Vec<String>,
        /// Events of every type.
        #[arg(long)]
        all_events: bool,
    },
    /// Goes on with what was kept.
    Enable(Act),
    /// Sends nothing; what happens meanwhile is kept for later.
    Disable(Act),
    /// Tells the partner nothing more, and forgets what it was to be told.
    Delete(Act),
    /// Makes a new secret and shows it; the old one signs beside it for 24 hours.
    RotateSecret(Act),
    /// Tells the partner a trial event.
    Test(Act),
    /// Tells the partner again: events that are named, or those that were given up in a time.
    Replay {
        #[command(flatten)]
        act: Act,
        /// `webhookDeliveries/{id}` or the id alone; may be repeated.
        #[arg(long, required_unless_present = "since", conflicts_with = "since")]
        delivery: Vec<String>,
        /// What was given up at this time or later, such as 2026-11-27T08:00:00Z.
        #[arg(long)]
        since: Option<DateTime<Utc>>,
        /// And before this one.
        #[arg(long, requires = "since")]
        until: Option<DateTime<Utc>>,
    },
    /// Shows what an endpoint was told and is to be told, the latest first.
    Deliveries {
        /// `webhookEndpoints/{id}` or the id alone.
        endpoint: String,
        /// Only those that stand so; may be repeated.
        #[arg(long)]
        state: Vec<EventState>,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=10_000))]
        limit: i32,
        #[command(flatten)]
        worker: Worker,
    },
}

impl Worker {
    async fn webhooks(&self, config: &Config) -> anyhow::Result<Client<Connection>> {
        Ok(Client::new(self.connection(config).await?))
    }
}

impl Act {
    fn name(&self) -> String {
        named(ENDPOINTS, &self.endpoint)
    }
}

/// Does it.
pub(crate) async fn run(command: &WebhookCommand, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        WebhookCommand::List { worker } => {
            let mut client = worker.webhooks(config).await?;
            let request = v1::ListWebhookEndpointsRequest {};
            let listed = client.list_webhook_endpoints(request).await;
            let listed = listed.map_err(told)?.into_inner().endpoints;
            if listed.is_empty() {
                say("no endpoints");
            }
            for endpoint in &listed {
                say(&line(endpoint));
            }
        }
        WebhookCommand::Create {
            address,
            description,
            events,
            why,
            worker,
        } => {
            let request = v1::CreateWebhookEndpointRequest {
                endpoint: Some(v1::WebhookEndpoint {
                    url: address.clone(),
                    description: description.clone(),
                    event_types: events.clone(),
                    ..v1::WebhookEndpoint::default()
                }),
                request_id: why.request_id(),
                actor: why.actor.clone(),
                reason: why.reason.clone(),
            };
            let mut client = worker.webhooks(config).await?;
            let made = client.create_webhook_endpoint(request).await;
            let made = made.map_err(told)?.into_inner();
            say(&line(&made.endpoint.unwrap_or_default()));
            say(&format!("secret {}", made.secret));
        }
        WebhookCommand::Update {
            act,
            address,
            description,
            events,
            all_events,
        } => {
            let mut paths = Vec::new();
            let mut endpoint = v1::WebhookEndpoint::default();
            if let Some(address) = address {
                endpoint.url.clone_from(address);
                paths.push("url");
            }
            if let Some(description) = description {
                endpoint.description.clone_from(description);
                paths.push("description");
            }
            if *all_events || !events.is_empty() {
                endpoint.event_types.clone_from(events);
                paths.push("event_types");
            }
            anyhow::ensure!(!paths.is_empty(), "nothing to change is named");
            update(act, endpoint, &paths, config).await?;
        }
        WebhookCommand::Enable(act) => set_state(act, "ENABLED", config).await?,
        WebhookCommand::Disable(act) => set_state(act, "DISABLED", config).await?,
        WebhookCommand::Delete(act) => {
            let request = v1::DeleteWebhookEndpointRequest {
                name: act.name(),
                request_id: act.why.request_id(),
                actor: act.why.actor.clone(),
                reason: act.why.reason.clone(),
            };
            let mut client = act.worker.webhooks(config).await?;
            let done = client.delete_webhook_endpoint(request).await;
            done.map_err(told)?;
            say("deleted");
        }
        WebhookCommand::RotateSecret(act) => {
            let request = v1::RotateWebhookSecretRequest {
                name: act.name(),
                request_id: act.why.request_id(),
                actor: act.why.actor.clone(),
                reason: act.why.reason.clone(),
            };
            let mut client = act.worker.webhooks(config).await?;
            let made = client.rotate_webhook_secret(request).await;
            let made = made.map_err(told)?.into_inner();
            say(&line(&made.endpoint.unwrap_or_default()));
            say(&format!("secret {}", made.secret));
        }
        WebhookCommand::Test(act) => {
            let request = v1::SendTestWebhookRequest {
                name: act.name(),
                request_id: act.why.request_id(),
                actor: act.why.actor.clone(),
                reason: act.why.reason.clone(),
            };
            let mut client = act.worker.webhooks(config).await?;
            let sent = client.send_test_webhook(request).await;
            say(&event_line(&sent.map_err(told)?.into_inner()));
        }
        WebhookCommand::Replay {
            act,
            delivery,
            since,
            until,
        } => replay(act, delivery, *since, *until, config).await?,
        WebhookCommand::Deliveries {
            endpoint,
            state,
            limit,
            worker,
        } => deliveries(endpoint, state, *limit, worker, config).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_state(act: &Act, state: &str, config: &Config) -> anyhow::Result<()> {
    let endpoint = v1::WebhookEndpoint {
        state: state.to_owned(),
        ..v1::WebhookEndpoint::default()
    };
    update(act, endpoint, &["state"], config).await
}

async fn update(
    act: &Act,
    endpoint: v1::WebhookEndpoint,
    paths: &[&str],
    config: &Config,
) -> anyhow::Result<()> {
    let request = v1::UpdateWebhookEndpointRequest {
        endpoint: Some(v1::WebhookEndpoint {
            name: act.name(),
            ..endpoint
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }),
        request_id: act.why.request_id(),
        actor: act.why.actor.clone(),
        reason: act.why.reason.clone(),
    };
    let mut client = act.worker.webhooks(config).await?;
    let changed = client.update_webhook_endpoint(request).await;
    say(&line(&changed.map_err(told)?.into_inner()));
    Ok(())
}

async fn replay(
    act: &Act,
    deliveries: &[String],
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    config: &Config,
) -> anyhow::Result<()> {
    let stamp = |time: DateTime<Utc>| prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    };
    let mut client = act.worker.webhooks(config).await?;
    let first = act.why.request_id();
    let mut count = 0;
    // A call takes so many at most; each has an id of its own, which a repeated command gives again.
    for call in 1_u32.. {
        let request = v1::ReplayWebhookDeliveriesRequest {
            parent: act.name(),
            deliveries: deliveries
                .iter()
                .map(|it| named("webhookDeliveries", it))
                .collect(),
            start_time: since.map(stamp),
            end_time: until.map(stamp),
            request_id: format!("{first}-{call}"),
            actor: act.why.actor.clone(),
            reason: act.why.reason.clone(),
        };
        let done = client.replay_webhook_deliveries(request).await;
        let done = done
            .map_err(told)
            .with_context(|| format!("after {count} that are told again"))?
            .into_inner();
        count += done.replayed_count;
        if !done.more {
            break;
        }
    }
    say(&format!("{count} told again"));
    Ok(())
}

async fn deliveries(
    endpoint: &str,
    states: &[EventState],
    limit: i32,
    worker: &Worker,
    config: &Config,
) -> anyhow::Result<()> {
    let mut client = worker.webhooks(config).await?;
    let states = states.iter().map(|state| match state {
        EventState::Pending => "PENDING".to_owned(),
        EventState::Delivered => "DELIVERED".to_owned(),
        EventState::Failed => "FAILED".to_owned(),
    });
    let mut request = v1::ListWebhookDeliveriesRequest {
        parent: named(ENDPOINTS, endpoint),
        states: states.collect(),
        ..v1::ListWebhookDeliveriesRequest::default()
    };
    let mut left = limit;
    while left > 0 {
        request.page_size = left.min(500);
        let page = client.list_webhook_deliveries(request.clone()).await;
        let page = page.map_err(told)?.into_inner();
        for event in &page.deliveries {
            say(&event_line(event));
            left -= 1;
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if left == limit {
        say("no events");
    }
    Ok(())
}

fn line(endpoint: &v1::WebhookEndpoint) -> String {
    let events = if endpoint.event_types.is_empty() {
        "everything".to_owned()
    } else {
        endpoint.event_types.join(",")
    };
    let mut text = format!(
        "{}  {:<8}  {}  {events}",
        endpoint.name, endpoint.state, endpoint.url
    );
    if !endpoint.disabled_reason.is_empty() {
        text.push_str("  because ");
        text.push_str(&endpoint.disabled_reason);
    }
    if endpoint.failure_count > 0 {
        let since = moment(endpoint.failing_since_time.as_ref());
        write!(text, "  {} failures since {since}", endpoint.failure_count).ok();
    }
    if !endpoint.description.is_empty() {
        write!(text, "  ({})", endpoint.description).ok();
    }
    text
}

fn event_line(event: &v1::WebhookDelivery) -> String {
    let status = match event.http_status {
        0 => String::new(),
        status => format!(" {status}"),
    };
    format!(
        "{}  {:<9}  {}  {}  {}  {} tries  {}{status}",
        moment(event.create_time.as_ref()),
        event.state,
        event.name,
        event.event_type,
        event.order,
        event.try_count,
        event.failure,
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_told_with_what_is_wrong_with_it() {
        let mut endpoint = v1::WebhookEndpoint {
            name: "webhookEndpoints/1".to_owned(),
            url: "https://partner.example/hooks".to_owned(),
            state: "ENABLED".to_owned(),
            ..v1::WebhookEndpoint::default()
        };
        assert_eq!(
            line(&endpoint),
            "webhookEndpoints/1  ENABLED   https://partner.example/hooks  everything"
        );
        "DISABLED".clone_into(&mut endpoint.state);
        "FAILING".clone_into(&mut endpoint.disabled_reason);
        endpoint.event_types = vec!["order.confirmed".to_owned()];
        endpoint.failure_count = 9;
        "the shop".clone_into(&mut endpoint.description);
        assert!(
            line(&endpoint)
                .ends_with("order.confirmed  because FAILING  9 failures since -  (the shop)")
        );
    }

    #[test]
    fn an_event_is_told_with_its_last_failure() {
        let event = v1::WebhookDelivery {
            name: "webhookDeliveries/1".to_owned(),
            event_type: "webhook.test".to_owned(),
            state: "FAILED".to_owned(),
            try_count: 2,
            failure: "REFUSED".to_owned(),
            http_status: 500,
            ..v1::WebhookDelivery::default()
        };
        assert!(event_line(&event).ends_with("webhook.test    2 tries  REFUSED 500"));
    }
}
