//! The keys that an issuer publishes (RFC 7517), by their names.
//!
//! They are read at the start and every five minutes; what was read stays good while it cannot be read anew. A token that
//! names an unknown key has them read at once, at most once a minute, however many tokens do.

use std::{
    collections::HashMap,
    path::PathBuf,
    str::FromStr as _,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use tokio::{sync::Mutex, time::Instant};

use crate::{config::CallersJwt, lifecycle::Lifecycle};

/// Pause between two looks at a URL.
const REFRESH_URL: Duration = Duration::from_mins(5);
/// Pause between two looks at a file.
const REFRESH_FILE: Duration = Duration::from_secs(10);
/// Pause between two reads for the sake of unknown keys.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_mins(1);
/// The whole exchange with the issuer.
const FETCH: Duration = Duration::from_secs(5);
/// More is no set of keys.
const BYTES_MAX: usize = 256 * 1024;
/// Keys that are kept of a set.
const KEYS_MAX: usize = 100;

/// A key and the signatures that it makes.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) key: DecodingKey,
    pub(super) algorithms: Vec<Algorithm>,
}

pub(super) type Keys = HashMap<String, Arc<Key>>;

/// What is known of a key.
pub(super) enum Found {
    Key(Arc<Key>),
    Unknown,
    /// None could be read since the start.
    NoKeys,
}

/// Clones are the same set.
#[derive(Clone)]
pub(super) struct KeySet(Arc<Inner>);

struct Inner {
    source: Source,
    algorithms: Vec<Algorithm>,
    keys: RwLock<Option<Arc<Keys>>>,
    /// When they were last read for the sake of an unknown key; held while they are read.
    asked: Mutex<Option<Instant>>,
}

enum Source {
    File(PathBuf),
    Url(reqwest::Client, String),
}

impl KeySet {
    /// Reads them for the first time. A file must be there; an issuer that does not answer may do so later.
    pub(super) async fn load(jwt: &CallersJwt) -> anyhow::Result<Self> {
        let algorithms = jwt
            .algorithms
            .iter()
            .map(|word| Algorithm::from_str(word).context("callers.jwt.algorithms"))
            .collect::<Result<_, _>>()?;
        let source = match (&jwt.jwks_file, &jwt.jwks_url) {
            (Some(file), _) => Source::File(file.clone()),
            (None, Some(url)) => Source::Url(client(jwt)?, url.clone()),
            (None, None) => anyhow::bail!("callers.jwt names no keys"),
        };
        let set = Self(Arc::new(Inner {
            source,
            algorithms,
            keys: RwLock::default(),
            asked: Mutex::default(),
        }));
        if let Err(error) = set.refresh().await {
            if matches!(set.0.source, Source::File(_)) {
                return Err(error.context("callers.jwt.jwks_file"));
            }
            tracing::warn!(
                error = format!("{error:#}"),
                "the keys of tokens cannot be read yet"
            );
        }
        Ok(set)
    }

    pub(super) fn spawn_refreshing(&self, lifecycle: &Lifecycle) {
        let (set, soft) = (self.clone(), lifecycle.soft());
        let pause = match self.0.source {
            Source::File(_) => REFRESH_FILE,
            Source::Url(..) => REFRESH_URL,
        };
        lifecycle.spawn("keys of tokens", async move {
            while soft
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_some()
            {
                if let Err(error) = set.refresh().await {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the keys of tokens cannot be read anew; the known ones stay good"
                    );
                }
            }
        });
    }

    /// The key of this name.
    pub(super) async fn find(&self, kid: &str) -> Found {
        if let Some(key) = self.known().and_then(|keys| keys.get(kid).cloned()) {
            return Found::Key(key);
        }
        {
            let mut asked = self.0.asked.lock().await;
            // Whoever waited for the lock may find what the one before has read.
            if let Some(key) = self.known().and_then(|keys| keys.get(kid).cloned()) {
                return Found::Key(key);
            }
            if asked.is_none_or(|at| at.elapsed() >= UNKNOWN_KEY_PAUSE) {
                *asked = Some(Instant::now());
                if let Err(error) = self.refresh().await {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the keys of tokens cannot be read"
                    );
                }
            }
        }
        match self.known() {
            None => Found::NoKeys,
            Some(keys) => keys.get(kid).cloned().map_or(Found::Unknown, Found::Key),
        }
    }

    fn known(&self) -> Option<Arc<Keys>> {
        self.0
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn refresh(&self) -> anyhow::Result<()> {
        let bytes = match &self.0.source {
            Source::File(path) => tokio::fs::read(path)
                .await
                .with_context(|| format!("read {}", path.display()))?,
            Source::Url(client, url) => tokio::time::timeout(FETCH, fetch(client, url))
                .await
                .context("the issuer did not answer in time")??,
        };
        anyhow::ensure!(bytes.len() <= BYTES_MAX, "the set of keys is too long");
        let keys = read(&bytes, &self.0.algorithms)?;
        let mut kept = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Arc::new(keys));
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client of its own for one address of the configuration: no redirects, no proxy, limits in time and size"
)]
fn client(jwt: &CallersJwt) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(FETCH)
        .timeout(FETCH)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &jwt.jwks_ca_file {
        let pem = std::fs::read(path)
            .with_context(|| format!("callers.jwt.jwks_ca_file: read {}", path.display()))?;
        let authorities =
            reqwest::Certificate::from_pem_bundle(&pem).context("callers.jwt.jwks_ca_file")?;
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().context("a client for callers.jwt.jwks_url")
}

async fn fetch(client: &reqwest::Client, url: &str) -> anyhow::Result<Vec<u8>> {
    let mut response = client
        .get(url)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .context("ask the issuer for its keys")?;
    anyhow::ensure!(
        response.status() == http::StatusCode::OK,
        "the issuer answered {}",
        response.status()
    );
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.context("read the issuer's keys")? {
        anyhow::ensure!(
            bytes.len() + chunk.len() <= BYTES_MAX,
            "the issuer's set of keys is too long"
        );
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The keys of a set that make signatures which count. Others, such as shared secrets, are passed over.
pub(super) fn read(bytes: &[u8], allowed: &[Algorithm]) -> anyhow::Result<Keys> {
    let set: JwkSet = serde_json::from_slice(bytes).context("it is no set of keys")?;
    let keys: Keys = set
        .keys
        .iter()
        .take(KEYS_MAX)
        .filter_map(|jwk| {
            let kid = jwk.common.key_id.clone()?;
            let algorithms = algorithms(jwk, allowed);
            let key = DecodingKey::from_jwk(jwk).ok()?;
            (!algorithms.is_empty()).then(|| (kid, Arc::new(Key { key, algorithms })))
        })
        .collect();
    anyhow::ensure!(
        !keys.is_empty(),
        "no key in it makes a signature of callers.jwt.algorithms"
    );
    Ok(keys)
}

/// The signatures that a key makes, of those that count.
fn algorithms(jwk: &Jwk, allowed: &[Algorithm]) -> Vec<Algorithm> {
    use Algorithm as A;
    let possible: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => {
            &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512]
        }
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => &[A::ES256],
            EllipticCurve::P384 => &[A::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(_) => &[A::EdDSA],
        _ => &[],
    };
    let named = jwk.common.key_algorithm;
    possible
        .iter()
        .copied()
        .filter(|algorithm| allowed.contains(algorithm))
        .filter(|algorithm| {
            named.is_none_or(|named| A::try_from(named).is_ok_and(|it| it == *algorithm))
        })
        .collect()
}
