//! One connection, encrypted or not, counted as long as it is there.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Whoever connects and says nothing for so long is hung up on: places are for those who call.
const HELLO: Duration = Duration::from_secs(10);

/// Where a connection came from, in the extensions of each call on it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The other end, if the system knew it.
    pub address: Option<SocketAddr>,
    /// The URIs and DNS names in the certificate that was shown and has proven good.
    pub names: Arc<[String]>,
}

/// A connection on which calls may come.
#[derive(Debug)]
pub struct Connection {
    stream: Encryption,
    origin: Origin,
    /// Until the first word must have come; absent when it has.
    silence: Option<Pin<Box<Sleep>>>,
    #[expect(dead_code, reason = "held until the connection ends")]
    place: OwnedSemaphorePermit,
}

/// What the bytes go through.
#[derive(Debug)]
pub(super) enum Encryption {
    None(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub(super) fn new(stream: Encryption, origin: Origin, place: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            origin,
            silence: Some(Box::pin(sleep(HELLO))),
            place,
        }
    }
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
        let read = match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_read(context, buffer),
            Encryption::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if let Some(silence) = &mut self.silence {
            if read.is_ready() {
                self.silence = None;
            } else if silence.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
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
