//! Starting the services of this binary, whichever of them a process is to be.

use std::{io, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use countersign_domain::secrets::LinkKey;
use countersign_runtime::{
    callers::Gate,
    client,
    clock::SystemClock,
    config::Config,
    lifecycle::{Ended, Lifecycle, Signals},
    reload::LiveConfig,
};
use countersign_store::{AccessRefusal, Store};
use rand::{TryRngCore as _, rngs::OsRng};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;

/// Where a development machine keeps the key that links and codes are made of.
const LINK_KEY_FILE: &str = "./var/link.key";

/// How the worker calls itself before the order service, where nobody asks for proof.
const WORKER: &str = "notification-worker";

/// How often a worker that starts looks for the order service before it says that there is none.
const LOOKS: u32 = 10;
const LOOK_PAUSE: Duration = Duration::from_secs(3);

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
    LinkKey::read(key.expose_secret()).context("read links.key")
}

/// The configured keys, unless none of them made any of the newest orders' links: then they are another database's, no customer's
/// link would open, and nobody would know before they complain.
pub(crate) async fn proven_link_key(config: &Config, store: &Store) -> anyhow::Result<LinkKey> {
    let key = link_key(config)?;
    let known = store.knows_links_of(&key).await?;
    anyhow::ensure!(
        known || config.links.key_is_lost,
        "links.key: none of the newest orders' links was made with it; give the key that they were made with, or both, one a \
         line. If that one is lost, say so with links.key_is_lost = true: all links that customers have are dead then"
    );
    if !known {
        tracing::warn!("links.key is a new one: the links that customers have are dead");
    }
    Ok(key)
}

/// Who may call, by the configuration; kept up to date, and what is refused is put on record.
pub(crate) async fn gate(
    config: &Config,
    store: &Store,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Gate> {
    let gate = Gate::load(&config.callers, SystemClock::shared())
        .await
        .context("callers")?;
    gate.spawn(lifecycle);
    let store = store.clone();
    gate.refusals().spawn_keeping(lifecycle, move |refused| {
        let store = store.clone();
        async move {
            let rows: Vec<_> = refused
                .into_iter()
                .map(|it| AccessRefusal {
                    minute: it.minute,
                    caller: it.caller,
                    method: it.method.to_owned(),
                    code: it.code.to_owned(),
                    peer: it.peer.to_owned(),
                    count: it.count,
                })
                .collect();
            store.insert_access_refusals(&rows).await
        }
    });
    Ok(gate)
}

/// Starts the order service at its listener.
pub(crate) async fn start_order_service(
    config: &Config,
    store: &Store,
    gate: &Gate,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> anyhow::Result<SocketAddr> {
    let deps = countersign_order::Deps {
        config: config.order.clone(),
        limits: config.limits.clone(),
        company: config.company.clone(),
        store: store.clone(),
        link_key: proven_link_key(config, store).await?,
        gate: gate.clone(),
        silence_minutes_max: config.notification.silence_minutes_max,
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
    gate: &Gate,
    [http_listener, grpc_listener]: [TcpListener; 2],
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let order_service = client::connect_lazily(
        &config.notification.order_service_url,
        WORKER,
        &config.client,
    )
    .context("read notification.order_service_url")?;
    look_for_order_service(config, lifecycle);
    let deps = countersign_notification::Deps {
        config: config.clone(),
        store: store.clone(),
        link_key: proven_link_key(config, store).await?,
        http_listener,
        gate: gate.clone(),
        grpc_listener,
        order_service,
    };
    Box::pin(countersign_notification::run_live(deps, live, lifecycle))
        .await
        .context("start the notification worker")
}

/// Says soon after the start what would else be found when the first answer of a customer waits: that no order service answers
/// where the configuration says, and why.
fn look_for_order_service(config: &Config, lifecycle: &Lifecycle) {
    let (url, client) = (
        config.notification.order_service_url.clone(),
        config.client.clone(),
    );
    let soft = lifecycle.soft();
    let looking = async move {
        for left in (0..LOOKS).rev() {
            let Err(error) = client::look(&url, WORKER, &client).await else {
                return;
            };
            if left == 0 {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "notification.order_service_url does not answer; what customers say waits until it does"
                );
                return;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    lifecycle.spawn("look for the order service", async move {
        soft.run_until_cancelled(looking).await;
    });
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
