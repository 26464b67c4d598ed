//! The notification worker as a process that a test may kill at a chosen step, with a clock that the test moves.
//!
//! Configured like the program itself, by the environment, and by `worker.toml` where there is one. Arguments: the clock's lead in milliseconds, then, if it is to
//! die, a step and the how many-th time. On its standard input it reads by how many milliseconds to move the clock on,
//! line by line; at its end the worker ends.

use std::{
    io::{BufRead as _, stderr, stdin},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use chrono::TimeDelta;
use countersign_domain::secrets::LinkKey;
use countersign_notification::{Deps, failpoint, run};
use countersign_runtime::{
    callers::Gate,
    client,
    config::{Config, Sources},
    lifecycle::{Lifecycle, Signals},
};
use countersign_store::{DataKeys, Settings, Store};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;

/// As much as the tests' patience.
const GRACE: Duration = Duration::from_secs(10);

fn arm(arguments: &[String]) -> anyhow::Result<i64> {
    let lead = arguments.first().context("the clock's lead is missing")?;
    if let [_, step, nth] = arguments {
        failpoint::arm(step, nth.parse()?).map_err(anyhow::Error::msg)?;
    }
    Ok(lead.parse()?)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let lead = arm(&arguments)?;
    let signals = Signals::listen()?;
    let file = Path::new("worker.toml");
    let file = file.exists().then(|| file.to_owned());
    let config = Config::load(&Sources::from_process(file))?;
    tracing_subscriber::fmt()
        .with_env_filter(config.telemetry.log_filter.as_str())
        .with_writer(stderr)
        .init();
    let keys = config
        .personal_data
        .keys_or_create(Path::new("personal-data.keys"), [[0; 32]; 2])?;
    let keys = DataKeys::new(&keys.lookup, &keys.numbered)?;
    let store = Store::connect(&Settings {
        connections_max: 6,
        ..Settings::new(config.database.url.expose_secret(), keys)
    })
    .await?;
    store.shift_clock(TimeDelta::milliseconds(lead));
    let lifecycle = Lifecycle::new(GRACE);
    let key = config.links.key.as_ref().context("links.key is missing")?;
    let order_service = config.notification.order_service_url.clone();
    let deps = Deps {
        link_key: LinkKey::read(key.expose_secret()).context("links.key")?,
        http_listener: TcpListener::bind(config.notification.listen).await?,
        grpc_listener: TcpListener::bind(config.notification.grpc_listen).await?,
        order_service: client::connect_lazily(
            &order_service,
            "notification-worker",
            &config.client,
        )?,
        gate: Gate::open(),
        store: store.clone(),
        config,
    };
    run(deps, &lifecycle).await?;
    let ending = lifecycle.clone();
    std::thread::spawn(move || {
        for by in stdin().lock().lines().map_while(Result::ok) {
            let by = by.trim().parse().unwrap_or(0);
            store.shift_clock(TimeDelta::milliseconds(by));
        }
        ending.shutdown();
    });
    Ok(lifecycle.run_with(signals).await.exit_code())
}
