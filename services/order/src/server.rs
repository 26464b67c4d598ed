//! Putting the service together and serving it.

use std::{net::SocketAddr, sync::Arc};

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
    config,
    health::serve_health,
    lifecycle::Lifecycle,
    server::{Serving, serve},
};
use countersign_store::Store;
use tokio::net::TcpListener;
use tonic::{server::NamedService as _, service::Routes};

use crate::{
    app::{
        App, Deciding, erasures::Eraser, intake::Intake, numbers::Numbers, references::References,
        timers, watch::Watch,
    },
    grpc::{
        feedback::FeedbackCalls, fulfillment::Fulfillment, intake::default_region, orders::Orders,
        reference::Reference,
    },
};

/// Requests that a call may carry (RELIABILITY 3.10): 1,000 lines with their texts fit.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Answers: a page of 500 orders.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Streams of one connection. Watchers and a loaded client each take some.
const STREAMS_PER_CONNECTION: u32 = 1_024;

/// What the service needs.
#[derive(Debug)]
pub struct Deps {
    /// Its own section of the configuration.
    pub config: config::Order,
    /// Who the customer deals with, as it stands on papers.
    pub company: config::Company,
    /// The database, migrated.
    pub store: Store,
    /// Makes links and codes; the notification worker has the same.
    pub link_key: LinkKey,
    /// Already bound, so that a test may take any port.
    pub listener: TcpListener,
}

/// Starts the service in the background; it ends with the lifecycle. Answers where it listens.
pub async fn run(deps: Deps, lifecycle: &Lifecycle) -> anyhow::Result<SocketAddr> {
    let Deps {
        config,
        company,
        store,
        link_key,
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
    timers::spawn(&deciding, lifecycle);
    let eraser = Eraser {
        store: deciding.store.clone(),
        link_key: deciding.link_key.clone(),
    };
    eraser.spawn(lifecycle);
    let reference = Reference {
        store: deciding.store.clone(),
        eraser,
        default_region: default_region(&config.default_region),
    };
    let app = App {
        intake: Intake::spawn(
            &deciding,
            config.committers,
            config.batch_orders_max,
            lifecycle,
        ),
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
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let reflection_alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let routes = Routes::new(health)
        .add_service(reflection.build_v1()?)
        .add_service(reflection_alpha.build_v1alpha()?)
        .add_service(
            OrderServiceServer::new(Orders(app.clone()))
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(RESPONSE_BYTES_MAX),
        );
    let routes = routes
        .add_service(CustomerServiceServer::new(reference.clone()))
        .add_service(CatalogServiceServer::new(reference.clone()))
        .add_service(PolicyServiceServer::new(reference))
        .add_service(
            FeedbackServiceServer::new(feedback).max_encoding_message_size(RESPONSE_BYTES_MAX),
        )
        .add_service(
            FulfillmentServiceServer::new(fulfillment)
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(RESPONSE_BYTES_MAX),
        );
    let serving = Serving {
        name: "order-service",
        listener,
        routes,
        streams_per_connection_max: STREAMS_PER_CONNECTION,
        concurrent_requests_max: config.max_concurrent_requests,
        request_timeout: config.request_timeout(),
    };
    serve(serving, lifecycle);
    Ok(address)
}
