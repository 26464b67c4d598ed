//! `up`: everything in one process, so that a machine with nothing on it can try the whole.

use std::process::ExitCode;

use countersign_runtime::{
    config::{Config, EmailTransport, GatewayTransport, Notification},
    lifecycle::{Lifecycle, Signals},
    reload::Reload,
};

use crate::{
    cli::UpArgs,
    console::{complain, say},
    database, roles, sample,
};

/// Migrates, starts every service and tells where they are.
pub(crate) async fn run(
    args: &UpArgs,
    config: &Config,
    reload: Reload,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let order_listener = roles::bind(config.order.listen, "order.listen").await?;
    let notification_listeners = roles::bind_notification_worker(config).await?;
    let store = database::connect_or_make(config).await?;
    database::migrate(config, &store, &|step| tracing::info!(step, "migrated")).await?;
    let lifecycle = Lifecycle::new(config.shutdown.grace()).with_notice(config.shutdown.notice());
    // What was bound is what is told: a port of 0 has become a real one.
    let gate = roles::gate(config, &store, &lifecycle).await?;
    let order =
        roles::start_order_service(config, &store, &gate, order_listener, &lifecycle).await?;
    let mut config = config.clone();
    // A service that is encrypted here is known by the name in its certificate, which the configuration has to tell.
    if !config.callers.encrypts() {
        config.notification.order_service_url = format!("http://{order}");
    }
    // Links lead to where the pages are, unless the configuration says by what name they are reached.
    let [pages, messages] = &notification_listeners;
    if config.notification.public_url == Notification::default().public_url {
        config.notification.public_url = format!("http://{}", pages.local_addr()?);
    }
    config.notification.grpc_listen = messages.local_addr()?;
    let live = reload.live();
    reload.spawn(&lifecycle)?;
    roles::start_notification_worker(
        &config,
        live,
        &store,
        &gate,
        notification_listeners,
        &lifecycle,
    )
    .await?;
    tell(&config);
    if let Some(count) = args.sample {
        let stage = sample::Stage::new(&config, &store)?;
        lifecycle.spawn("sample", async move {
            // A play that broke off is no reason to take the services away.
            if let Err(error) = sample::play(stage, count).await {
                complain(&format!("the sample broke off: {error:#}"));
            }
        });
    }
    Ok(roles::wait(lifecycle, signals).await)
}

fn tell(config: &Config) {
    let pages = config.notification.public_url.trim_end_matches('/');
    let local = config.email.transport == EmailTransport::Mailbox
        || config.sms.transport == GatewayTransport::Mailbox
        || config.phone.transport == GatewayTransport::Mailbox;
    say("Countersign is up. Ctrl+C ends it; the data stay.");
    say("");
    say(&format!(
        "  gRPC      {}  (orders)",
        config.notification.order_service_url
    ));
    say(&format!(
        "            {}://{}  (messages)",
        if config.callers.encrypts() {
            "https"
        } else {
            "http"
        },
        config.notification.grpc_listen
    ));
    say(&format!("  pages     {pages}"));
    if local {
        say(&format!(
            "  mailbox   {pages}/mailbox  (what is sent lands here and leaves the machine by no way)"
        ));
    }
    say(&format!("  data      {}", database::shown(config)));
    say("");
}
