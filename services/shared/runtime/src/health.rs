//! Health as gRPC tells it (`grpc.health.v1`): serving until the soft stage of the shutdown, so that a balancer sends no
//! more calls while the last ones are being answered.

use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::lifecycle::Lifecycle;

/// A health service for the server as a whole (name `""`) and each of `services` (such as
/// `OrderServiceServer::<T>::NAME`). All of them are told as serving from now on and as not serving from the soft stage on.
/// The reporter is for a service that knows more, such as that its database is gone.
pub async fn serve_health(
    lifecycle: &Lifecycle,
    services: &[&'static str],
) -> (HealthReporter, HealthServer<HealthService>) {
    let reporter = HealthReporter::new();
    let server = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    set(&reporter, services, ServingStatus::Serving).await;
    let (soft, ending, services) = (lifecycle.soft(), reporter.clone(), services.to_vec());
    lifecycle.spawn("health", async move {
        soft.cancelled().await;
        set(&ending, &services, ServingStatus::NotServing).await;
    });
    (reporter, server)
}

async fn set(reporter: &HealthReporter, services: &[&str], status: ServingStatus) {
    for service in services.iter().copied().chain([""]) {
        reporter.set_service_status(service, status).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
    use tonic::transport::{Channel, Server};
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus as Told,
        health_client::HealthClient,
    };

    use super::*;

    #[tokio::test]
    async fn a_balancer_is_told_at_the_soft_stage_while_the_server_still_answers() {
        let lifecycle = Lifecycle::new(Duration::from_secs(10));
        let (_reporter, server) = serve_health(&lifecycle, &["countersign.v1.OrderService"]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        lifecycle.spawn(
            "server",
            Server::builder()
                .add_service(server)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let channel = Channel::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut client = HealthClient::new(channel);

        for service in ["countersign.v1.OrderService", ""] {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            let answer = client.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), Told::Serving, "{service}");
        }
        let request = HealthCheckRequest {
            service: "countersign.v1.OrderService".to_owned(),
        };
        let mut watch = client.watch(request.clone()).await.unwrap().into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status(), Told::Serving);

        lifecycle.shutdown();

        assert_eq!(
            watch.next().await.unwrap().unwrap().status(),
            Told::NotServing
        );
        assert_eq!(
            client.check(request).await.unwrap().into_inner().status(),
            Told::NotServing
        );
    }
}
