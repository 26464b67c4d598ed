//! Encrypted connections: the services' certificate, and whose certificates callers must show.
//!
//! The files are looked at every ten seconds. Connections that are made from then on use what is new; a file that is
//! wrong is told in the log, and what was there before stays.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use crate::{
    config::{Callers, CallersTls},
    lifecycle::Lifecycle,
};

/// Pause between two looks at the files.
const RELOAD: Duration = Duration::from_secs(10);
/// What gRPC is spoken over.
const ALPN: &[u8] = b"h2";

/// The library that encrypts.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// How a server encrypts. Clones are the same.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    files: CallersTls,
    /// Callers without a certificate may come in, for they may bring a token.
    tokens: bool,
    current: RwLock<Current>,
}

struct Current {
    read: Read,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerTls")
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}

/// The files as they were.
#[derive(PartialEq, Eq)]
struct Read {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
    client_crl: Option<Vec<u8>>,
}

impl ServerTls {
    /// As it is configured; none where connections are not encrypted here.
    pub(crate) async fn of(callers: &Callers) -> anyhow::Result<Option<Self>> {
        if !callers.encrypts() {
            return Ok(None);
        }
        let tokens = callers.jwt.issuer.is_some();
        let files = callers.tls.clone();
        let read = Read::of(&files).await?;
        let config = read.config(tokens)?;
        Ok(Some(Self(Arc::new(Inner {
            files,
            tokens,
            current: RwLock::new(Current { read, config }),
        }))))
    }

    /// For the next connection.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .config
            .clone()
    }

    pub(crate) fn spawn_reloading(&self, lifecycle: &Lifecycle) {
        let (tls, soft) = (self.clone(), lifecycle.soft());
        lifecycle.spawn("certificates", async move {
            while soft
                .run_until_cancelled(tokio::time::sleep(RELOAD))
                .await
                .is_some()
            {
                match tls.reload().await {
                    Ok(true) => tracing::info!("the certificates have changed"),
                    Ok(false) => {}
                    Err(error) => tracing::error!(
                        error = format!("{error:#}"),
                        "the certificates cannot be read anew; those from before stay in use"
                    ),
                }
            }
        });
    }

    /// Reads the files; whether they have changed.
    pub async fn reload(&self) -> anyhow::Result<bool> {
        let read = Read::of(&self.0.files).await?;
        {
            let current = self.0.current.read();
            if current.unwrap_or_else(PoisonError::into_inner).read == read {
                return Ok(false);
            }
        }
        let config = read.config(self.0.tokens)?;
        let mut current = self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Current { read, config };
        Ok(true)
    }
}

impl Read {
    async fn of(files: &CallersTls) -> anyhow::Result<Self> {
        Ok(Self {
            certificate: file(files.certificate_file.as_ref(), "certificate_file")
                .await?
                .unwrap_or_default(),
            key: file(files.key_file.as_ref(), "key_file")
                .await?
                .unwrap_or_default(),
            client_ca: file(files.client_ca_file.as_ref(), "client_ca_file").await?,
            client_crl: file(files.client_crl_file.as_ref(), "client_crl_file").await?,
        })
    }

    fn config(&self, tokens: bool) -> anyhow::Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("TLS versions")?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = roots(pem).context("callers.tls.client_ca_file")?;
                let mut verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                if let Some(pem) = &self.client_crl {
                    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem)
                        .collect::<Result<_, _>>()
                        .context("callers.tls.client_crl_file")?;
                    anyhow::ensure!(
                        !lists.is_empty(),
                        "callers.tls.client_crl_file: there is no list in it"
                    );
                    verifier = verifier.with_crls(lists).only_check_end_entity_revocation();
                }
                if tokens {
                    verifier = verifier.allow_unauthenticated();
                }
                builder.with_client_cert_verifier(verifier.build().context("callers.tls")?)
            }
        };
        let (chain, key) = identity(&self.certificate, &self.key).context("callers.tls")?;
        let mut config = builder
            .with_single_cert(chain, key)
            .context("callers.tls: the certificate and the key do not belong together")?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed connection would skip the look at the caller's certificate, which may have been taken back meanwhile.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

async fn file(path: Option<&PathBuf>, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
    match path {
        None => Ok(None),
        Some(path) => Ok(Some(read_file(path, &format!("callers.tls.{key}")).await?)),
    }
}

pub(crate) async fn read_file(path: &Path, key: &str) -> anyhow::Result<Vec<u8>> {
    tokio::fs::read(path)
        .await
        .with_context(|| format!("{key}: read {}", path.display()))
}

/// The authorities in a PEM file.
pub(crate) fn roots(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.context("it is not PEM")?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "there is no certificate in it");
    Ok(roots)
}

/// A certificate with those above it, and its key.
pub(crate) fn identity(
    certificate: &[u8],
    key: &[u8],
) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .context("certificate_file is not PEM")?;
    anyhow::ensure!(!chain.is_empty(), "certificate_file: there is none in it");
    let key =
        PrivateKeyDer::from_pem_slice(key).context("key_file: there is no private key in it")?;
    Ok((chain, key))
}
