//! Calling a service that asks who calls: certificates and tokens, read anew for each connection and when they change.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use http::{Uri, header::AUTHORIZATION};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::service_fn;

use crate::{
    callers::CALLER_HEADER,
    config::Client,
    tls::{identity, provider, read_file, roots},
};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may take to show what it speaks.
const LOOK: Duration = Duration::from_secs(1);
/// Pause between two looks at the file of a token.
const TOKEN_AGE: Duration = Duration::from_secs(10);

/// A connection that says on each call who calls.
pub type Connection = InterceptedService<Channel, Credentials>;

/// Puts the caller's name on each call, and its token if it has one.
#[derive(Clone)]
pub struct Credentials {
    name: MetadataValue<Ascii>,
    token: Option<Arc<Token>>,
}

struct Token {
    file: PathBuf,
    read: Mutex<Option<(Instant, MetadataValue<Ascii>)>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Of a caller of this name.
    pub fn new(name: &str, client: &Client) -> anyhow::Result<Self> {
        let token = client.token_file.clone().map(|file| {
            Arc::new(Token {
                file,
                read: Mutex::default(),
            })
        });
        if let Some(token) = &token {
            token.current()?;
        }
        Ok(Self {
            name: name
                .parse()
                .with_context(|| format!("{name:?} cannot name a caller"))?,
            token,
        })
    }
}

impl Token {
    /// The token in the file; it is small, and read once in ten seconds.
    fn current(&self) -> anyhow::Result<MetadataValue<Ascii>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, token)) = &*read
            && at.elapsed() < TOKEN_AGE
        {
            return Ok(token.clone());
        }
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("client.token_file: read {}", self.file.display()))?;
        let mut token: MetadataValue<Ascii> = format!("Bearer {}", text.trim())
            .parse()
            .context("client.token_file: it holds no token")?;
        token.set_sensitive(true);
        *read = Some((Instant::now(), token.clone()));
        Ok(token)
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(CALLER_HEADER, self.name.clone());
        if let Some(token) = &self.token {
            let token = token.current().map_err(|error| {
                tracing::error!(error = format!("{error:#}"), "a call is not made");
                Status::unavailable("the caller's token cannot be read")
            })?;
            metadata.insert(AUTHORIZATION.as_str(), token);
        }
        Ok(request)
    }
}

/// A connection to a service that is made when it is first used, and made anew when it breaks.
pub fn connect_lazily(url: &str, name: &str, client: &Client) -> anyhow::Result<Connection> {
    let (endpoint, dial) = prepared(url, client)?;
    let channel = match dial {
        None => endpoint.connect_lazy(),
        Some(dial) => endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
            let dial = dial.clone();
            async move { dial.connect().await }
        })),
    };
    Ok(InterceptedService::new(
        channel,
        Credentials::new(name, client)?,
    ))
}

/// A connection to a service that is there.
pub async fn connect(url: &str, name: &str, client: &Client) -> anyhow::Result<Connection> {
    let (endpoint, dial) = prepared(url, client)?;
    let channel = match dial {
        None => endpoint.connect().await,
        Some(dial) => {
            let connector = service_fn(move |_: Uri| {
                let dial = dial.clone();
                async move { dial.connect().await }
            });
            endpoint.connect_with_connector(connector).await
        }
    }
    .with_context(|| format!("connect to {url}; is the service running there?"))?;
    if let Some(secure) = secured_url(url).await {
        anyhow::bail!("the service at {url} speaks TLS: call it by {secure}");
    }
    Ok(InterceptedService::new(
        channel,
        Credentials::new(name, client)?,
    ))
}

/// Whether a service answers there: how it feels is not asked, but whether it lets this client in.
pub async fn look(url: &str, name: &str, client: &Client) -> anyhow::Result<()> {
    let mut health = HealthClient::new(connect(url, name, client).await?);
    let asked = health.check(HealthCheckRequest::default());
    let answer = timeout(CONNECT, asked)
        .await
        .with_context(|| format!("nobody answers at {url}"))?;
    answer.with_context(|| format!("ask the service at {url} how it feels"))?;
    Ok(())
}

fn prepared(url: &str, client: &Client) -> anyhow::Result<(Endpoint, Option<Dial>)> {
    let uri: Uri = url
        .parse()
        .with_context(|| format!("{url} is not an address such as http://127.0.0.1:50051"))?;
    let host = uri.host().with_context(|| format!("{url} names no host"))?;
    let secured = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secured { 443 } else { 80 });
    // The transport must not encrypt once more what the connection of our own encrypts.
    let endpoint = Endpoint::from_shared(format!("http://{host}:{port}"))
        .with_context(|| format!("{url} is not an address such as http://127.0.0.1:50051"))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .tcp_nodelay(true);
    if !secured {
        return Ok((endpoint, None));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let server_name = client.server_name.as_deref().unwrap_or(bare);
    let dial = Dial {
        address: format!("{host}:{port}").into(),
        server_name: ServerName::try_from(server_name.to_owned())
            .with_context(|| format!("{server_name} cannot be the name of a service"))?,
        client: client.clone().into(),
    };
    Ok((endpoint.origin(uri), Some(dial)))
}

/// The URL to call instead when an unencrypted one leads to a server that speaks TLS. HTTP/2 would say no more than that the
/// connection broke: such a server answers with an alert of TLS, whose first byte no answer of HTTP/2 has.
async fn secured_url(url: &str) -> Option<String> {
    const ALERT: u8 = 21;
    let uri: Uri = url
        .parse()
        .ok()
        .filter(|it: &Uri| it.scheme_str() == Some("http"))?;
    let authority = uri.authority()?;
    let address = format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(80));
    let first = timeout(LOOK, async {
        let mut stream = TcpStream::connect(&address).await.ok()?;
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .ok()?;
        stream.read_u8().await.ok()
    });
    (first.await.ok()?? == ALERT).then(|| format!("https://{authority}"))
}

/// Says of a server that answers otherwise than in TLS that it does.
fn no_tls(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|it| it.downcast_ref());
    if matches!(inner, Some(rustls::Error::InvalidMessage(_))) {
        io::Error::other("what answers there does not speak TLS: call it by http://")
    } else {
        error
    }
}

/// Looks whether the files can be read and what stands in them, without calling anybody.
pub(crate) async fn check(client: &Client) -> anyhow::Result<()> {
    config(client).await?;
    Credentials::new("check", client).map(drop)
}

/// Makes encrypted connections.
#[derive(Clone)]
struct Dial {
    address: Arc<str>,
    server_name: ServerName<'static>,
    client: Arc<Client>,
}

impl Dial {
    async fn connect(&self) -> io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
        let config = config(&self.client).await.map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "a connection is not made");
            io::Error::other(format!("{error:#}"))
        })?;
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(self.server_name.clone(), stream).await;
        Ok(TokioIo::new(stream.map_err(no_tls)?))
    }
}

/// Read for each connection, so that a new certificate is used from the next one on.
async fn config(client: &Client) -> anyhow::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context("TLS versions")?;
    let builder = match &client.ca_file {
        Some(path) => {
            let pem = read_file(path, "client.ca_file").await?;
            builder.with_root_certificates(roots(&pem).context("client.ca_file")?)
        }
        None => builder
            .with_platform_verifier()
            .context("the authorities that the system knows")?,
    };
    let mut config = match (&client.certificate_file, &client.key_file) {
        (Some(certificate), Some(key)) => {
            let certificate = read_file(certificate, "client.certificate_file").await?;
            let key = read_file(key, "client.key_file").await?;
            let (chain, key) = identity(&certificate, &key).context("client")?;
            builder
                .with_client_auth_cert(chain, key)
                .context("client: the certificate and the key do not belong together")?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
