//! Whoever may make an endpoint must not reach our own network by it (RELIABILITY J-05). Addresses are looked at when an
//! endpoint is saved and whenever one is connected to, and what is connected to is the very address that was looked at.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use countersign_runtime::config::Webhooks;
use futures::future::BoxFuture;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Longest address that is kept.
const URL_CHARS_MAX: usize = 2_048;
/// For looking a name up while an endpoint is saved.
const LOOKUP: Duration = Duration::from_secs(5);

/// What is not public of IPv4 (IANA's registry of special-purpose addresses).
const PRIVATE_V4: [Ipv4Net; 15] = [
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 88, 99, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// All global unicast addresses of IPv6. What maps or tunnels IPv4 elsewhere (`::ffff:0:0/96`, `64:ff9b::/96`), and private,
/// link-local, multicast and segment-routing addresses lie outside.
const GLOBAL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What is not public of them: protocol assignments with Teredo and ORCHID, documentation, 6to4.
const PRIVATE_V6: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    Ipv6Net::new_assert(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !PRIVATE_V4.iter().any(|net| net.contains(&v4)),
        IpAddr::V6(v6) => {
            GLOBAL_V6.contains(&v6) && !PRIVATE_V6.iter().any(|net| net.contains(&v6))
        }
    }
}

/// A name led to nothing that may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForbiddenAddress;

impl fmt::Display for ForbiddenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to no public address")
    }
}

impl Error for ForbiddenAddress {}

/// Why an address is not taken for an endpoint. The texts say what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlProblem {
    #[error("must be an absolute URL such as https://partner.example/hooks")]
    NotAUrl,
    #[error("must be at most 2048 characters")]
    TooLong,
    #[error("must begin with https://")]
    Scheme,
    #[error("must hold no user or password: what we send is signed")]
    Credentials,
    #[error("must hold no fragment (#…)")]
    Fragment,
    #[error("must not lead to a private address")]
    Forbidden,
    #[error("must name a host that can be found")]
    UnknownHost,
}

type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Says which addresses may be connected to.
#[derive(Clone)]
pub(crate) struct Guard {
    allowed: Arc<[IpNet]>,
    allow_http: bool,
    lookup: Lookup,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guard({:?})", self.allowed)
    }
}

impl Guard {
    pub(crate) fn new(config: &Webhooks) -> Self {
        Self::with_lookup(
            config,
            Arc::new(|name| {
                Box::pin(async move {
                    let found = tokio::net::lookup_host((name, 0)).await?;
                    Ok(found.collect())
                })
            }),
        )
    }

    pub(super) fn with_lookup(config: &Webhooks, lookup: Lookup) -> Self {
        Self {
            allowed: config.allowed_networks.clone().into(),
            allow_http: config.allow_http,
            lookup,
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.iter().any(|net| net.contains(&address))
    }

    /// Reads an endpoint's address, and refuses what could never be posted to.
    pub(super) fn read(&self, text: &str) -> Result<Url, UrlProblem> {
        if text.chars().count() > URL_CHARS_MAX {
            return Err(UrlProblem::TooLong);
        }
        let url = Url::parse(text).map_err(|_| UrlProblem::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(UrlProblem::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlProblem::Credentials);
        }
        if url.fragment().is_some() {
            return Err(UrlProblem::Fragment);
        }
        // No name is looked up for an address in figures: it is looked at here, whenever it is posted to.
        match literal(&url) {
            Some(address) if !self.allows(address) => Err(UrlProblem::Forbidden),
            _ => Ok(url),
        }
    }

    /// The same when an endpoint is saved, with a look at where its name leads now.
    pub(crate) async fn check(&self, text: &str) -> Result<(), UrlProblem> {
        let url = self.read(text)?;
        let Some(name) = url.domain() else {
            return Ok(());
        };
        match tokio::time::timeout(LOOKUP, self.find(name.to_owned())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is::<ForbiddenAddress>() => Err(UrlProblem::Forbidden),
            _ => Err(UrlProblem::UnknownHost),
        }
    }

    /// The addresses of a name that may be connected to.
    async fn find(&self, name: String) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        let mut found = (self.lookup)(name).await?;
        found.retain(|address| self.allows(address.ip()));
        if found.is_empty() {
            return Err(Box::new(ForbiddenAddress));
        }
        Ok(found)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.find(name.as_str().to_owned()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The address that stands in a URL in figures. `http://0x7f.1/` is one: the URL standard reads such forms as browsers do.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}
