//! Accepting connections, whatever the system lacks at the moment, and encrypting them.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream, stream::FuturesUnordered,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use crate::callers::{Gate, names_in};

/// Before it is looked whether the system has room again.
const PAUSE: Duration = Duration::from_millis(100);
/// Whoever connects has so long to agree on encryption.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that are agreeing on encryption at the same time; more wait in the system's queue.
const HANDSHAKES_MAX: usize = 512;

/// Where a connection came from, in the extensions of each call on it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The other end, if the system knew it.
    pub address: Option<SocketAddr>,
    /// The URIs and DNS names in the certificate that was shown and has proven good.
    pub names: Arc<[String]>,
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub struct Connection {
    stream: Encryption,
    origin: Origin,
}

#[derive(Debug)]
enum Encryption {
    None(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        self.origin.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_read(context, buffer),
            Encryption::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_write(context, bytes),
            Encryption::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Encryption::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Encryption::None(stream) => stream.is_write_vectored(),
            Encryption::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_flush(context),
            Encryption::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_shutdown(context),
            Encryption::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// The connections of a listener, without end, encrypted as the gate says. A server that runs out of file descriptors goes
/// on when some are free again (RELIABILITY, L-08); tonic's own stream of connections would end with the first such error,
/// and its server with it. Who is slow to agree on encryption keeps nobody else waiting.
pub fn connections(
    listener: TcpListener,
    gate: Gate,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let accepting = Accepting {
        listener,
        gate,
        handshakes: FuturesUnordered::new(),
    };
    stream::unfold(accepting, |mut accepting| async move {
        let connection = accepting.next().await;
        Some((Ok(connection), accepting))
    })
}

struct Accepting {
    listener: TcpListener,
    gate: Gate,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
}

impl Accepting {
    async fn next(&mut self) -> Connection {
        loop {
            let accepted = tokio::select! {
                Some(made) = self.handshakes.next() => {
                    if let Some(connection) = made {
                        return connection;
                    }
                    continue;
                }
                accepted = self.listener.accept(), if self.handshakes.len() < HANDSHAKES_MAX => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    // Without it each answer waits 40 ms for the client's delayed acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(error = %error, "a connection ended at once");
                    }
                    let Some(tls) = self.gate.tls() else {
                        return Connection {
                            stream: Encryption::None(stream),
                            origin: Origin {
                                address: Some(address),
                                names: Arc::default(),
                            },
                        };
                    };
                    let acceptor = TlsAcceptor::from(tls.config());
                    let gate = self.gate.clone();
                    self.handshakes
                        .push(encrypted(acceptor, stream, address, gate).boxed());
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The connection when both ends have agreed; none when they do not. Nothing of a call is read before.
async fn encrypted(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    gate: Gate,
) -> Option<Connection> {
    let made = timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let stream = match made {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "a connection was not encrypted");
            // Who only looks whether somebody listens, as a supervisor does, was refused nothing.
            if error.kind() != io::ErrorKind::UnexpectedEof {
                gate.note_failed_handshake(Some(address));
            }
            return None;
        }
        Err(_) => {
            tracing::debug!("a connection was not encrypted in time");
            gate.note_failed_handshake(Some(address));
            return None;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates();
    let names = certificate
        .and_then(|chain| chain.first())
        .map(names_in)
        .unwrap_or_default();
    Some(Connection {
        stream: Encryption::Tls(Box::new(stream)),
        origin: Origin {
            address: Some(address),
            names: names.into(),
        },
    })
}
