//! Putting the worker together and serving it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign_domain::{locale::TimeZone, order::Channel, place::CountryCode, secrets::LinkKey};
use countersign_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        notification_service_server::NotificationServiceServer,
        webhook_service_server::WebhookServiceServer,
    },
};
use countersign_runtime::{
    clock::SystemClock,
    config::{Config, GatewayTransport},
    health::serve_health,
    lifecycle::Lifecycle,
    server::{Serving, serve},
};
use countersign_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService as _, service::Routes, transport};

use crate::{
    bell::Bell,
    bounces::{folder::BounceFolder, webhook},
    callbacks::{self, twilio::TwilioCallbacks},
    channel::twilio::signature::TwilioSignature,
    context::Writer,
    deliver::{Courier, RecentOrders},
    dispatch::Dispatcher,
    grpc::Notifications,
    ids::Ids,
    inbox::{Inbox, forward::Forwarder, orders::OrderCalls},
    metrics::Metrics,
    pages::{self, PagesSettings, PagesState},
    quiet::QuietHours,
    template::Templates,
    transport::{Transports, bounce_keys, signing_keys},
    webhooks::{courier::WebhookCourier, guard::Guard},
};

/// Calls of one connection at the same time; staff and commands make few.
const STREAMS_PER_CONNECTION: u32 = 100;
/// Calls of all connections at the same time.
const CONCURRENT_REQUESTS_MAX: usize = 256;
/// A call is given up after this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the worker needs.
#[derive(Debug)]
pub struct Deps {
    /// The whole configuration: channels, links, company, templates and its own section.
    pub config: Config,
    /// The database, migrated.
    pub store: Store,
    /// Makes links and codes; the order service has the same.
    pub link_key: LinkKey,
    /// For the customers' pages and the gateways' callbacks; already bound, so that a test may take any port.
    pub http_listener: TcpListener,
    /// For gRPC, likewise.
    pub grpc_listener: TcpListener,
    /// The order service; connected lazily, so that either may start first.
    pub order_service: transport::Channel,
}

/// Starts the worker in the background; it ends with the lifecycle, after what is under way.
pub async fn run(deps: Deps, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let Deps {
        config,
        store,
        link_key,
        http_listener,
        grpc_listener,
        order_service,
    } = deps;
    let own = &config.notification;
    let ids = Arc::new(Ids::from_system());
    let clock = SystemClock::shared();
    let queue = Bell::default();
    let metrics = Metrics::new();
    let transports = Transports::of(&config, &store, &link_key, &ids)?;
    let mailbox = transports.any_mailbox();
    let inbox = Inbox::new(store.clone(), ids.clone());
    let public_url = own.public_url.trim_end_matches('/').to_owned();

    let settings = PagesSettings {
        mailbox,
        client_ip_header: own
            .client_ip_header
            .as_deref()
            .map(str::parse)
            .transpose()?,
        ..PagesSettings::new(public_url.clone(), config.company.clone())
    };
    let state = PagesState::try_new(
        store.clone(),
        link_key.clone(),
        Arc::new(inbox.clone()),
        settings,
    )?;
    let mut router = pages::router(state);
    for (gateway, channel, name, source) in [
        (&config.sms, Channel::Sms, "sms", "SMS_GATEWAY"),
        (&config.phone, Channel::Phone, "phone", "PHONE_GATEWAY"),
    ] {
        if let Some(keys) = signing_keys(gateway, channel)? {
            router = router.merge(callbacks::router(name, source, keys, &inbox, clock.clone()));
        }
    }
    router = router.merge(callbacks::alibaba::router(&config, &inbox, metrics.clone()));
    let templates = Arc::new(match &config.templates.folder {
        Some(folder) => Templates::with_overrides(folder)?,
        None => Templates::embedded()?,
    });
    let writer = Writer {
        link_key: link_key.clone(),
        public_url: public_url.clone(),
        company: config.company.clone(),
    };
    for (gateway, channel) in [(&config.sms, Channel::Sms), (&config.phone, Channel::Phone)] {
        if gateway.transport != GatewayTransport::Twilio {
            continue;
        }
        let (Some(account_sid), Some(token)) =
            (&gateway.twilio.account_sid, &gateway.twilio.auth_token)
        else {
            continue;
        };
        router = router.merge(callbacks::twilio::router(TwilioCallbacks {
            channel,
            account_sid: account_sid.clone(),
            signature: TwilioSignature::new(token.clone()),
            public_url: public_url.clone(),
            inbox: inbox.clone(),
            store: store.clone(),
            templates: templates.clone(),
            writer: writer.clone(),
        }));
    }
    if let Some(keys) = bounce_keys(&config)? {
        router = router.merge(webhook::router(
            keys,
            &inbox,
            clock.clone(),
            &link_key,
            metrics.clone(),
        ));
    }
    if let Some(folder) = config.email.bounces.maildir.clone() {
        let folder = BounceFolder {
            folder,
            inbox: inbox.clone(),
            link_key: link_key.clone(),
            metrics: metrics.clone(),
        };
        lifecycle.spawn("bounces", folder.run(lifecycle.soft()));
    }
    serve_http(router, http_listener, lifecycle);
    let guard = Guard::new(&config.webhooks);
    let notifications = Notifications {
        store: store.clone(),
        ids: ids.clone(),
        link_key: link_key.clone(),
        templates: templates.clone(),
        folder: config.templates.folder.clone(),
        company: config.company.clone(),
        guard: guard.clone(),
    };
    serve_grpc(notifications, grpc_listener, lifecycle).await?;

    let webhooks = WebhookCourier::new(
        store.clone(),
        ids.clone(),
        link_key.clone(),
        metrics.clone(),
        guard,
        own.poll_interval(),
    )?;
    let webhooks = Arc::new(webhooks);
    let fan_out = webhooks.clone().fan_out(lifecycle.soft());
    lifecycle.spawn("webhook events", fan_out);
    lifecycle.spawn("webhooks", webhooks.deliver(lifecycle.soft()));
    let dispatcher = Dispatcher {
        store: store.clone(),
        link_key: link_key.clone(),
        ids: ids.clone(),
        queue: queue.clone(),
        poll: own.poll_interval(),
    };
    lifecycle.spawn("dispatch", dispatcher.run(lifecycle.soft()));
    let courier = Courier {
        store,
        templates,
        writer,
        transports: transports.clone(),
        ids,
        clock: clock.clone(),
        metrics,
        lease: own.lease(),
        poll: own.poll_interval(),
        grace: config.shutdown.grace(),
        quiet: QuietHours::new(company_zone(&config)),
        queue: queue.clone(),
        orders: RecentOrders::default(),
        held: Mutex::new(HashMap::new()),
        cut: CancellationToken::new(),
    };
    courier.spawn(lifecycle);
    let forwarder = Forwarder {
        inbox,
        transports,
        clock,
        calls: OrderCalls::new(order_service),
        poll: own.poll_interval(),
        queue,
        link_key,
    };
    lifecycle.spawn("inbox", forwarder.run(lifecycle.soft()));
    Ok(())
}

/// The zone of the company's own country.
fn company_zone(config: &Config) -> TimeZone {
    CountryCode::parse(&config.order.default_region)
        .map_or(TimeZone::UTC, |country| country.default_time_zone())
}

fn serve_http(router: axum::Router, listener: TcpListener, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft();
    let service = router
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .into_make_service_with_connect_info::<SocketAddr>();
    lifecycle.spawn("pages", async move {
        axum::serve(listener, service)
            .with_graceful_shutdown(soft.cancelled_owned())
            .await
    });
}

async fn serve_grpc(
    notifications: Notifications,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let names = [
        NotificationServiceServer::<Notifications>::NAME,
        WebhookServiceServer::<Notifications>::NAME,
    ];
    let (_, health) = serve_health(lifecycle, &names).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let routes = Routes::new(health)
        .add_service(reflection)
        .add_service(NotificationServiceServer::new(notifications.clone()))
        .add_service(WebhookServiceServer::new(notifications));
    let serving = Serving {
        name: "notification-service",
        listener,
        routes,
        streams_per_connection_max: STREAMS_PER_CONNECTION,
        concurrent_requests_max: CONCURRENT_REQUESTS_MAX,
        request_timeout: REQUEST_TIMEOUT,
    };
    serve(serving, lifecycle);
    Ok(())
}
