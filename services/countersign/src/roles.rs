//! Starting the services of this binary, whichever of them a process is to be.

use std::{io, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use countersign_domain::secrets::LinkKey;
use countersign_runtime::{
    config::Config,
    lifecycle::{Ended, Lifecycle, Signals},
    reload::LiveConfig,
};
use countersign_store::Store;
use rand::{TryRngCore as _, rngs::OsRng};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

/// Where a development machine keeps the key that links and codes are made of.
const LINK_KEY_FILE: &str = "./var/link.key";

/// How long a connection to another service may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Listens at a configured address; `setting` is the key that an operator changes when something else is there.
pub(crate) async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let variable = setting.to_uppercase().replace('.', "__");
    TcpListener::bind(address).await.map_err(|error| {
        let why = if error.kind() == io::ErrorKind::AddrInUse {
            "another program listens there; end it, or choose another port with".to_owned()
        } else {
            format!("{error}; choose another address with")
        };
        anyhow::anyhow!(
            "cannot listen on {address}: {why} {setting} in the configuration or COUNTERSIGN__{variable}"
        )
    })
}

/// The configured key, or the one that this machine keeps.
pub(crate) fn link_key(config: &Config) -> anyhow::Result<LinkKey> {
    let mut fresh = [0; 32];
    OsRng
        .try_fill_bytes(&mut fresh)
        .context("ask the operating system for random bytes")?;
    let key = config
        .links
        .key_or_create(Path::new(LINK_KEY_FILE), fresh)?;
    LinkKey::new(key.expose_secret().as_bytes()).context("read links.key")
}

/// Starts the order service at its listener.
pub(crate) async fn start_order_service(
    config: &Config,
    store: &Store,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> anyhow::Result<SocketAddr> {
    let deps = countersign_order::Deps {
        config: config.order.clone(),
        limits: config.limits.clone(),
        company: config.company.clone(),
        store: store.clone(),
        link_key: link_key(config)?,
        listener,
    };
    countersign_order::run(deps, lifecycle)
        .await
        .context("start the order service")
}

/// Starts the notification worker: pages and callbacks at one listener, gRPC at the other.
pub(crate) async fn start_notification_worker(
    config: &Config,
    live: LiveConfig,
    store: &Store,
    [http_listener, grpc_listener]: [TcpListener; 2],
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let order_service = Endpoint::from_shared(config.notification.order_service_url.clone())
        .context("read notification.order_service_url")?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .connect_lazy();
    let deps = countersign_notification::Deps {
        config: config.clone(),
        store: store.clone(),
        link_key: link_key(config)?,
        http_listener,
        grpc_listener,
        order_service,
    };
    Box::pin(countersign_notification::run_live(deps, live, lifecycle))
        .await
        .context("start the notification worker")
}

/// Both listeners of the notification worker.
pub(crate) async fn bind_notification_worker(config: &Config) -> anyhow::Result<[TcpListener; 2]> {
    let own = &config.notification;
    Ok([
        bind(own.listen, "notification.listen").await?,
        bind(own.grpc_listen, "notification.grpc_listen").await?,
    ])
}

/// Waits for the end of the process and tells how it went.
pub(crate) async fn wait(lifecycle: Lifecycle, signals: Signals) -> ExitCode {
    let ended = lifecycle.run_with(signals).await;
    if let Ended::Failed(task) = ended {
        tracing::error!(task, "ended because a task failed");
    }
    ended.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_with_the_setting_that_moves_it() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();

        let error = bind(address, "order.listen").await.unwrap_err().to_string();

        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains("another program listens there"), "{error}");
        assert!(error.contains("COUNTERSIGN__ORDER__LISTEN"), "{error}");
    }
}
