//! A database that is away: the process is not ready, but alive, and goes on by itself when the database is back.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use countersign_e2e::{link_key, seed};
use countersign_runtime::{config, health::LIVENESS, lifecycle::Lifecycle};
use countersign_store::{
    Settings, Store,
    testing::{TestDatabase, data_keys},
};
use tokio::{net::TcpListener, sync::watch};
use tonic::transport::Channel;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// A way to a server that can be shut.
struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, seen) = watch::channel(true);
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut seen, server) = (seen.clone(), server.clone());
                tokio::spawn(async move {
                    if !*seen.borrow_and_update() {
                        return;
                    }
                    let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = seen.changed() => {}
                    }
                });
            }
        });
        Self { address, open }
    }
}

async fn until(client: &mut HealthClient<Channel>, service: &str, status: ServingStatus) {
    let began = Instant::now();
    loop {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let told = client.check(request).await.unwrap().into_inner().status();
        if told == status {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(45),
            "{service:?} is {told:?}, not {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_database_is_away_is_unready_and_alive_until_it_is_back() {
    for variable in ["TEST_MYSQL_URL", "TEST_MARIADB_URL"] {
        let Some(database) = TestDatabase::server(variable).await else {
            continue;
        };
        seed(&database.store).await;
        let (scheme, rest) = database.url.split_once("://").unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let (user, host) = host.rsplit_once('@').unwrap_or(("root", host));
        let gate = Gate::before(host.to_owned()).await;
        let url = format!("{scheme}://{user}@{}/{name}", gate.address);
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let deps = countersign_order::Deps {
            config: config::Order::default(),
            limits: config::Limits::default(),
            company: config::Company::default(),
            store: Store::connect(&Settings::new(url, data_keys()))
                .await
                .unwrap(),
            link_key: link_key(),
            gate: countersign_runtime::callers::Gate::open(),
            silence_minutes_max: 15,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        };
        let address = countersign_order::run(deps, &lifecycle).await.unwrap();
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        let mut health = HealthClient::new(channel.connect().await.unwrap());
        until(&mut health, "", ServingStatus::Serving).await;

        gate.open.send_replace(false);
        for service in ["", "countersign.v1.OrderService"] {
            until(&mut health, service, ServingStatus::NotServing).await;
        }
        until(&mut health, LIVENESS, ServingStatus::Serving).await;

        gate.open.send_replace(true);
        for service in ["", "countersign.v1.OrderService", LIVENESS] {
            until(&mut health, service, ServingStatus::Serving).await;
        }
        lifecycle.shutdown();
    }
}
