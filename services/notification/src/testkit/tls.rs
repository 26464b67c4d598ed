//! A certificate of our own making, and clients that do or do not trust it.

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::sync::Arc;

/// Both ends of a TLS connection between a test server and us.
#[derive(Clone, Debug)]
pub struct TestTls {
    /// For the server: a fresh certificate for the names asked for.
    pub server: Arc<ServerConfig>,
    /// What the server shows.
    pub certificate: CertificateDer<'static>,
    /// For a client that trusts this certificate and nothing else.
    pub trusting: Arc<ClientConfig>,
    /// For a client that trusts nothing.
    pub distrusting: Arc<ClientConfig>,
}

impl TestTls {
    /// A certificate for `names` (host names or addresses).
    pub fn new(names: &[&str]) -> Self {
        Self::made(names, |_| {})
    }

    /// A certificate whose time is long over.
    pub fn expired(names: &[&str]) -> Self {
        Self::made(names, |certificate| {
            certificate.not_before = rcgen::date_time_ymd(2001, 1, 1);
            certificate.not_after = rcgen::date_time_ymd(2002, 1, 1);
        })
    }

    fn made(names: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let names = names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut wanted = rcgen::CertificateParams::new(names).expect("names");
        change(&mut wanted);
        let made = wanted.self_signed(&key).expect("a certificate");
        let certificate = made.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a usable certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a root");
        Self {
            server: Arc::new(server),
            certificate,
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
