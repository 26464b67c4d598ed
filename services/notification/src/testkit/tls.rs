//! A certificate of our own making, and clients that do or do not trust it.

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::sync::Arc;

/// Both ends of a TLS connection between a test server and us.
#[derive(Clone, Debug)]
pub struct TestTls {
    /// For the server: a fresh certificate for the names asked for.
    pub server: Arc<ServerConfig>,
    /// For a client that trusts this certificate and nothing else.
    pub trusting: Arc<ClientConfig>,
    /// For a client that trusts nothing.
    pub distrusting: Arc<ClientConfig>,
}

impl TestTls {
    /// A certificate for `names` (host names or addresses).
    pub fn new(names: &[&str]) -> Self {
        let names = names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a usable certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a root");
        Self {
            server: Arc::new(server),
            trusting: client(roots),
            distrusting: client(RootCertStore::empty()),
        }
    }
}

fn client(roots: RootCertStore) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
