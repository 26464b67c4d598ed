//! Putting the service together and serving it.

use std::{net::SocketAddr, sync::Arc};

use chrono::TimeDelta;
use countersign_domain::secrets::LinkKey;
use countersign_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        catalog_service_server::CatalogServiceServer,
        customer_service_server::CustomerServiceServer,
        feedback_service_server::FeedbackServiceServer,
        fulfillment_service_server::FulfillmentServiceServer,
        order_service_server::OrderServiceServer, policy_service_server::PolicyServiceServer,
    },
};
use countersign_runtime::{
    callers::Gate,
    config,
    health::serve_health,
    lifecycle::Lifecycle,
    server::{BySize, REQUEST_BYTES_MAX, Serving, serve, with_reflection},
};
use countersign_store::Store;
use tokio::net::TcpListener;
use tonic::{server::NamedService as _, service::Routes};

use crate::{
    app::{
        App, Deciding, alive::Alive, erasures::Eraser, intake::Intake, numbers::Numbers,
        references::References, timers, watch::Watch,
    },
    grpc::{
        feedback::FeedbackCalls, fulfillment::Fulfillment, intake::default_region, orders::Orders,
        reference::Reference,
    },
};

/// What these carry at most: an order of 1,000 lines with their texts, or a hundred orders of the usual size.
const LARGE_REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Methods that carry whole orders in.
const LARGE_REQUESTS: &[&str] = &[
    "CreateOrder",
    "BatchCreateOrders",
    "ImportOrders",
    "AmendOrder",
];
/// Answers of services with lists: a page of 500 orders.
const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the service needs.
#[derive(Debug)]
pub struct Deps {
    /// Its own section of the configuration.
    pub config: config::Order,
    /// What it bears, and what one caller may have of it.
    pub limits: config::Limits,
    /// Who the customer deals with, as it stands on papers.
    pub company: config::Company,
    /// The database, migrated.
    pub store: Store,
    /// Makes links and codes; the notification worker has the same.
    pub link_key: LinkKey,
    /// Who may call.
    pub gate: Gate,
    /// After so many minutes without a worker's sign of life no deadline passes before one starts; 0: nobody waits for one.
    /// The workers' own setting.
    pub silence_minutes_max: u32,
    /// Already bound, so that a test may take any port.
    pub listener: TcpListener,
}

/// Starts the service in the background; it ends with the lifecycle. Answers where it listens.
pub async fn run(deps: Deps, lifecycle: &Lifecycle) -> anyhow::Result<SocketAddr> {
    let Deps {
        config,
        limits,
        company,
        store,
        link_key,
        gate,
        silence_minutes_max,
        listener,
    } = deps;
    let address = listener.local_addr()?;
    let watch = Watch::spawn(store.clone(), lifecycle).await?;
    let probe = Arc::new(store.probe());
    let deciding = Arc::new(Deciding {
        references: References::new(store.clone()),
        numbers: Numbers::new(store.clone()),
        store,
        link_key,
        watch,
    });
    let alive = Alive::begin(deciding.store.clone(), silence_minutes_max).await?;
    alive.spawn(lifecycle);
    timers::spawn(&deciding, alive, lifecycle);
    let eraser = Eraser {
        store: deciding.store.clone(),
        link_key: deciding.link_key.clone(),
    };
    eraser.spawn(lifecycle);
    let reference = Reference {
        store: deciding.store.clone(),
        eraser,
        default_region: default_region(&config.default_region),
        backups_kept: config
            .backups_kept_days
            .map(|days| TimeDelta::days(i64::from(days))),
    };
    let app = App {
        intake: Intake::spawn(&deciding, &config, &limits, lifecycle),
        deciding,
        default_region: default_region(&config.default_region),
    };
    let feedback = FeedbackCalls(app.clone());
    let fulfillment = Fulfillment::load(app.clone(), company)?;
    let (readiness, health) = serve_health(
        lifecycle,
        &[
            OrderServiceServer::<Orders>::NAME,
            CustomerServiceServer::<Reference>::NAME,
            CatalogServiceServer::<Reference>::NAME,
            FulfillmentServiceServer::<Fulfillment>::NAME,
            PolicyServiceServer::<Reference>::NAME,
            FeedbackServiceServer::<FeedbackCalls>::NAME,
        ],
    )
    .await;
    readiness.probe(lifecycle, move || {
        let probe = Arc::clone(&probe);
        async move { probe.answers().await }
    });
    let mut routes = Routes::new(health);
    if gate.reflects_at(address) {
        routes = with_reflection(routes, FILE_DESCRIPTOR_SET)?;
    }
    let orders =
        OrderServiceServer::new(Orders(app.clone())).max_encoding_message_size(LIST_BYTES_MAX);
    let routes = routes
        .add_service(BySize::new(
            orders.clone().max_decoding_message_size(REQUEST_BYTES_MAX),
            orders.max_decoding_message_size(LARGE_REQUEST_BYTES_MAX),
            LARGE_REQUESTS,
        ))
        .add_service(
            CustomerServiceServer::new(reference.clone())
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(LIST_BYTES_MAX),
        )
        .add_service(
            CatalogServiceServer::new(reference.clone())
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(LIST_BYTES_MAX),
        )
        .add_service(
            PolicyServiceServer::new(reference)
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(LIST_BYTES_MAX),
        )
        .add_service(
            FeedbackServiceServer::new(feedback)
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(LIST_BYTES_MAX),
        )
        .add_service(
            FulfillmentServiceServer::new(fulfillment)
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(LIST_BYTES_MAX),
        );
    let serving = Serving {
        name: "order-service",
        listener,
        gate,
        routes,
        limits,
    };
    serve(serving, lifecycle);
    Ok(address)
}
