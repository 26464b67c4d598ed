//! Health as gRPC tells it (`grpc.health.v1`), in two kinds. **Ready** (the server as a whole and each of its services): it
//! may be called now. Not while the database does not answer, and not from the moment on at which the process is told to
//! end, so that a balancer sends no more calls while the last ones are being answered. **Alive** ([`LIVENESS`]): the process
//! and its runtime answer. A database that is away makes a process unready, never dead: a restart would not help it.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::lifecycle::Lifecycle;

/// The name under which the health service tells that the process lives.
pub const LIVENESS: &str = "liveness";
/// Between two questions to the database, and how long each may take.
const PROBE: Duration = Duration::from_secs(2);
/// So many questions in a row without an answer make a process unready: one may be lost to a busy moment.
const UNANSWERED_MAX: u32 = 3;

/// What a process knows of its readiness. Clones are the same.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Sender<bool>);

impl Readiness {
    /// Asks the database from now on whether it answers, until the soft stage. `ask` must not wait for a connection that
    /// calls use: under load that would look like a database that is away.
    pub fn probe<P, A>(&self, lifecycle: &Lifecycle, ask: P)
    where
        P: Fn() -> A + Send + 'static,
        A: Future<Output = bool> + Send,
    {
        let (soft, ready) = (lifecycle.soft(), self.0.clone());
        lifecycle.spawn("readiness", async move {
            let mut unanswered = 0;
            while !soft.is_cancelled() {
                let answered = timeout(PROBE, ask()).await.unwrap_or(false);
                unanswered = if answered { 0 } else { unanswered + 1 };
                let is_ready = unanswered < UNANSWERED_MAX;
                let changed = ready.send_if_modified(|known| {
                    let changed = *known != is_ready;
                    *known = is_ready;
                    changed
                });
                if changed && is_ready {
                    tracing::info!("the database answers again; ready");
                } else if changed {
                    tracing::error!("the database does not answer; not ready until it does");
                }
                soft.run_until_cancelled(tokio::time::sleep(PROBE)).await;
            }
        });
    }
}

/// A health service for the server as a whole (name `""`) and each of `services` (such as
/// `OrderServiceServer::<T>::NAME`), and for [`LIVENESS`]. All of them are told as serving from now on.
pub async fn serve_health(
    lifecycle: &Lifecycle,
    services: &[&'static str],
) -> (Readiness, HealthServer<HealthService>) {
    let reporter = HealthReporter::new();
    let server = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    set(&reporter, services, ServingStatus::Serving).await;
    reporter
        .set_service_status(LIVENESS, ServingStatus::Serving)
        .await;
    let (ready, mut told) = watch::channel(true);
    let (draining, services) = (lifecycle.draining(), services.to_vec());
    lifecycle.spawn("health", async move {
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                // An end of this channel is no news: nobody probes.
                Ok(()) = told.changed() => {}
            }
            let status = if *told.borrow_and_update() {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            set(&reporter, &services, status).await;
        }
        set(&reporter, &services, ServingStatus::NotServing).await;
    });
    (Readiness(ready), server)
}

async fn set(reporter: &HealthReporter, services: &[&str], status: ServingStatus) {
    for service in services.iter().copied().chain([""]) {
        reporter.set_service_status(service, status).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use tokio::net::TcpListener;
    use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
    use tonic::{
        Streaming,
        transport::{Channel, Server},
    };
    use tonic_health::pb::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus as Told,
        health_client::HealthClient,
    };

    use super::*;

    const SERVICE: &str = "countersign.v1.OrderService";

    async fn serve(lifecycle: &Lifecycle) -> (Readiness, HealthClient<Channel>) {
        let (readiness, server) = serve_health(lifecycle, &[SERVICE]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        lifecycle.spawn(
            "server",
            Server::builder()
                .add_service(server)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let channel = Channel::from_shared(address).unwrap();
        (
            readiness,
            HealthClient::new(channel.connect().await.unwrap()),
        )
    }

    fn named(service: &str) -> HealthCheckRequest {
        HealthCheckRequest {
            service: service.to_owned(),
        }
    }

    async fn is_told(client: &mut HealthClient<Channel>, service: &str, status: Told) {
        let answer = client.check(named(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), status, "{service:?}");
    }

    async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Told {
        watch.next().await.unwrap().unwrap().status()
    }

    #[tokio::test]
    async fn a_balancer_is_told_before_the_soft_stage_while_the_server_still_answers() {
        let lifecycle = Lifecycle::new(Duration::from_secs(10));
        let (_readiness, mut client) = serve(&lifecycle).await;
        for service in [SERVICE, "", LIVENESS] {
            is_told(&mut client, service, Told::Serving).await;
        }
        let mut watch = client.watch(named(SERVICE)).await.unwrap().into_inner();
        assert_eq!(next(&mut watch).await, Told::Serving);

        lifecycle.drain();

        assert_eq!(next(&mut watch).await, Told::NotServing);
        assert!(!lifecycle.is_stopping());
        for service in [SERVICE, ""] {
            is_told(&mut client, service, Told::NotServing).await;
        }
        is_told(&mut client, LIVENESS, Told::Serving).await;
    }

    #[tokio::test]
    async fn a_database_that_is_away_makes_a_process_unready_and_never_dead() {
        let lifecycle = Lifecycle::new(Duration::from_secs(10));
        let (readiness, mut client) = serve(&lifecycle).await;
        let answers = Arc::new(AtomicBool::new(false));
        let database = Arc::clone(&answers);
        readiness.probe(&lifecycle, move || {
            std::future::ready(database.load(Ordering::Relaxed))
        });
        let mut watch = client.watch(named("")).await.unwrap().into_inner();
        assert_eq!(next(&mut watch).await, Told::Serving);

        assert_eq!(next(&mut watch).await, Told::NotServing);
        is_told(&mut client, LIVENESS, Told::Serving).await;

        answers.store(true, Ordering::Relaxed);
        assert_eq!(next(&mut watch).await, Told::Serving);
        lifecycle.shutdown();
        assert_eq!(next(&mut watch).await, Told::NotServing);
    }
}
