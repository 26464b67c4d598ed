//! What a caller is told who speaks otherwise than the server.

use std::net::SocketAddr;

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Serves connections that say hello in TLS, and nothing else.
async fn encrypted() -> SocketAddr {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(issued.cert.der().to_vec());
    let key = PrivateKeyDer::from_pem_slice(issued.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            acceptor.accept(stream).await.ok();
        }
    })
    .await
}

/// Serves connections that greet in HTTP/2 as every server does: with its settings.
async fn plain() -> SocketAddr {
    serve(|mut stream| async move {
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.ok();
        tokio::io::copy(&mut stream, &mut tokio::io::sink())
            .await
            .ok();
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "it lives as long as the test")]
async fn serve<F>(work: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(work(stream));
        }
    });
    address
}

async fn told(url: &str) -> Option<String> {
    let connected = connect(url, "test", &Client::default()).await;
    connected.err().map(|error| format!("{error:#}"))
}

#[tokio::test]
async fn whoever_calls_without_tls_where_it_is_spoken_is_told_to_use_https() {
    let address = encrypted().await;
    let told = told(&format!("http://{address}")).await.unwrap();
    assert!(
        told.contains("speaks TLS") && told.contains(&format!("https://{address}")),
        "{told}"
    );
}

#[tokio::test]
async fn whoever_calls_in_tls_where_it_is_not_spoken_is_told_to_use_http() {
    let address = plain().await;
    let told_wrong = told(&format!("https://{address}")).await.unwrap();
    assert!(
        told_wrong.contains("does not speak TLS") && told_wrong.contains("http://"),
        "{told_wrong}"
    );
    assert_eq!(told(&format!("http://{address}")).await, None);
}

#[tokio::test]
async fn a_look_tells_a_service_that_answers_from_one_that_does_not_and_from_anything_else() {
    let lifecycle = crate::lifecycle::Lifecycle::new(Duration::from_secs(1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = listener.local_addr().unwrap();
    let (_readiness, health) = crate::health::serve_health(&lifecycle, &[]).await;
    crate::server::serve(
        crate::server::Serving {
            name: "grpc",
            listener,
            gate: crate::callers::Gate::open(),
            routes: tonic::service::Routes::new(health),
            limits: crate::config::Limits::default(),
        },
        &lifecycle,
    );
    let look = async |address: SocketAddr| {
        look(&format!("http://{address}"), "worker", &Client::default()).await
    };
    look(there).await.unwrap();
    let error = look(encrypted().await).await.unwrap_err();
    assert!(format!("{error:#}").contains("speaks TLS"), "{error:#}");
    let error = look(plain().await).await.unwrap_err();
    assert!(error.to_string().contains("nobody answers"), "{error:#}");
}
