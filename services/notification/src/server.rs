//! Putting the worker together and serving it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
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
    callers::Gate,
    client::Connection,
    clock::SystemClock,
    config::{Config, GatewayTransport, Limits},
    health::serve_health,
    lifecycle::Lifecycle,
    reload::{LiveConfig, fixed},
    server::{REQUEST_BYTES_MAX, Serving, serve, with_reflection},
};
use countersign_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService as _, service::Routes};

use crate::{
    alive::Alive,
    anchors::Anchors,
    bell::Bell,
    bounces::{
        folder::BounceFolder,
        sns_callback::{self, Amazon},
        webhook::{self, Taker},
    },
    callbacks::{self, twilio::TwilioCallbacks},
    channel::twilio::signature::TwilioSignature,
    context::Writer,
    deliver::{Courier, RecentOrders},
    dispatch::Dispatcher,
    grpc::Notifications,
    guard::SendingGuard,
    ids::Ids,
    inbox::{Inbox, forward::Forwarder, orders::OrderCalls},
    metrics::Metrics,
    pages::{self, PagesSettings, PagesState},
    poll::Poll,
    quiet::QuietHours,
    retention::RetentionKeeper,
    template::library::Library,
    transport::{Transports, bounce_keys, signing_keys},
    webhooks::{courier::WebhookCourier, guard::Guard},
};

/// Answers with lists: a page of 500 dead letters with their tries.
const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;

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
    /// Who may call the gRPC services; the pages are for customers.
    pub gate: Gate,
    /// For gRPC, likewise.
    pub grpc_listener: TcpListener,
    /// The order service; connected lazily, so that either may start first.
    pub order_service: Connection,
}

/// Starts the worker in the background; it ends with the lifecycle, after what is under way.
pub async fn run(deps: Deps, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let live = fixed(deps.config.clone());
    Box::pin(run_live(deps, live, lifecycle)).await
}

/// As [`run`], following the changes of a configuration as far as a running worker can.
pub async fn run_live(deps: Deps, live: LiveConfig, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let Deps {
        config,
        store,
        link_key,
        http_listener,
        gate,
        grpc_listener,
        order_service,
    } = deps;
    let own = &config.notification;
    let ids = Arc::new(Ids::from_system());
    let clock = SystemClock::shared();
    let queue = Bell::default();
    let poll = Poll::new(own.poll_interval());
    let metrics = Metrics::new();
    let transports = Transports::of(&config, &store, &link_key, &ids)?;
    let mailbox = transports.any_mailbox();
    if transports.any_carrier() && config.company.phone.is_none() {
        tracing::warn!(
            "company.phone is not set: letters and texts name no number that customers can ring"
        );
    }
    let alive = Alive::begin(
        store.clone(),
        ids.clone(),
        metrics.clone(),
        own,
        transports.any_carrier(),
    )
    .await?;
    let keeper = RetentionKeeper {
        store: store.clone(),
        metrics: metrics.clone(),
        live: live.clone(),
        process: ids.token(),
    };
    lifecycle.spawn("retention", keeper.run(lifecycle.soft()));
    lifecycle.spawn("alive", alive.clone().run(lifecycle.soft()));
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
    let library = Arc::new(Library::of(&config.templates, &store)?);
    // Known before the first message is written.
    library.look().await?;
    lifecycle.spawn("words", library.clone().follow(lifecycle.soft()));
    let writer = Writer {
        link_key: link_key.clone(),
        public_url: public_url.clone(),
        company: config.company.clone(),
    };
    for (gateway, channel) in [(&config.sms, Channel::Sms), (&config.phone, Channel::Phone)] {
        let Some(gateway) = gateway.with_transport(GatewayTransport::Twilio) else {
            continue;
        };
        let (Some(account_sid), Some(token)) =
            (&gateway.twilio.account_sid, &gateway.twilio.auth_token)
        else {
            continue;
        };
        router = router.merge(callbacks::twilio::router(TwilioCallbacks {
            channel,
            account_sid: account_sid.clone(),
            signature: TwilioSignature::new(token.clone())
                .with_previous(gateway.twilio.previous_auth_token.clone()),
            public_url: public_url.clone(),
            inbox: inbox.clone(),
            store: store.clone(),
            library: library.clone(),
            writer: writer.clone(),
        }));
    }
    let taker = Taker {
        inbox: inbox.clone(),
        link_key: link_key.clone(),
        metrics: metrics.clone(),
    };
    if let Some(keys) = bounce_keys(&config)? {
        router = router.merge(webhook::router(keys, clock.clone(), taker.clone()));
    }
    let amazon = Amazon::new()?;
    let topics = &config.email.bounces.sns_topics;
    if !topics.is_empty() {
        router = router.merge(sns_callback::router(taker, topics, amazon.clone()));
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
        library: library.clone(),
        folder: config.templates.folder.clone(),
        company: config.company.clone(),
        guard: guard.clone(),
    };
    serve_grpc(
        notifications,
        gate,
        config.limits.clone(),
        grpc_listener,
        lifecycle,
    )
    .await?;

    let webhooks = WebhookCourier::new(
        store.clone(),
        alive.clone(),
        ids.clone(),
        link_key.clone(),
        metrics.clone(),
        guard,
        poll.clone(),
    )?;
    let webhooks = Arc::new(webhooks);
    let fan_out = webhooks.clone().fan_out(lifecycle.soft());
    lifecycle.spawn("webhook events", fan_out);
    lifecycle.spawn("webhooks", webhooks.deliver(lifecycle.draining()));
    let anchors = Anchors {
        store: store.clone(),
        config: config.audit.clone(),
        metrics: metrics.clone(),
        began: OnceLock::new(),
    };
    lifecycle.spawn("anchors", anchors.run(lifecycle.soft()));
    let dispatcher = Dispatcher {
        store,
        queue: queue.clone(),
        poll: poll.clone(),
    };
    lifecycle.spawn("dispatch", dispatcher.run(lifecycle.soft()));
    let courier = Courier {
        store: alive.store(),
        alive,
        library,
        writer,
        transports: transports.clone(),
        ids,
        clock: clock.clone(),
        metrics: metrics.clone(),
        lease: own.lease(),
        poll: poll.clone(),
        grace: config.shutdown.grace(),
        quiet: QuietHours::new(company_zone(&config)),
        guard: SendingGuard::try_new(&config)?,
        queue: queue.clone(),
        orders: RecentOrders::default(),
        held: Mutex::new(HashMap::new()),
        cut: CancellationToken::new(),
    };
    courier.spawn(lifecycle);
    let limited = transports.clone();
    let forwarder = Forwarder {
        inbox,
        transports,
        amazon,
        clock,
        metrics,
        calls: OrderCalls::new(order_service),
        poll: poll.clone(),
        queue,
        link_key,
    };
    lifecycle.spawn("inbox", forwarder.run(lifecycle.soft()));
    lifecycle.spawn("settings", follow(live, limited, poll, lifecycle.soft()));
    Ok(())
}

/// Takes changes of the configuration over.
async fn follow(mut live: LiveConfig, transports: Transports, poll: Poll, soft: CancellationToken) {
    loop {
        tokio::select! {
            () = soft.cancelled() => return,
            // A configuration that never changes is no news.
            Ok(()) = live.changed() => {}
        }
        let config = live.borrow_and_update().clone();
        transports.limit(&config.notification);
        poll.set(config.notification.poll_interval());
    }
}

/// The zone of the company's own country.
pub(crate) fn company_zone(config: &Config) -> TimeZone {
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
    gate: Gate,
    limits: Limits,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let names = [
        NotificationServiceServer::<Notifications>::NAME,
        WebhookServiceServer::<Notifications>::NAME,
    ];
    let (readiness, health) = serve_health(lifecycle, &names).await;
    let probe = Arc::new(notifications.store.probe());
    readiness.probe(lifecycle, move || {
        let probe = Arc::clone(&probe);
        async move { probe.answers().await }
    });
    let mut routes = Routes::new(health);
    if gate.reflects_at(listener.local_addr()?) {
        routes = with_reflection(routes, FILE_DESCRIPTOR_SET)?;
    }
    let routes = routes
        .add_service(
            NotificationServiceServer::new(notifications.clone())
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(LIST_BYTES_MAX),
        )
        .add_service(
            WebhookServiceServer::new(notifications)
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(LIST_BYTES_MAX),
        );
    let serving = Serving {
        name: "notification-service",
        listener,
        gate,
        routes,
        limits,
    };
    serve(serving, lifecycle);
    Ok(())
}
