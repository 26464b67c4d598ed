//! Accepting connections, whatever the system lacks at the moment, and no more of them than can be borne.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::load::LoadMetrics;

/// Before it is looked whether the system has room again.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two lines of the log about connections that were turned away.
const SILENCE: Duration = Duration::from_secs(10);

/// Whoever connects and says nothing for so long is hung up on: places are for those who call.
const HELLO: Duration = Duration::from_secs(10);

/// A connection, counted as long as it is there.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Until the first word must have come; absent when it has.
    silence: Option<Pin<Box<Sleep>>>,
    #[expect(dead_code, reason = "held until the connection ends")]
    place: OwnedSemaphorePermit,
}

/// The connections of a listener, without end, at most `most` of them at the same time. What is too much is accepted and closed
/// at once, so that a caller knows, and established connections go on (RELIABILITY, K-07). A server that runs out of file
/// descriptors goes on when some are free again (L-08); tonic's own stream of connections would end with the first such error,
/// and its server with it.
pub fn connections(
    listener: TcpListener,
    most: usize,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let places = Arc::new(Semaphore::new(bearable(most)));
    let refusals = Refusals::default();
    stream::unfold((listener, places, refusals), accept)
}

async fn accept(
    (listener, places, mut refusals): (TcpListener, Arc<Semaphore>, Refusals),
) -> Option<(
    io::Result<Connection>,
    (TcpListener, Arc<Semaphore>, Refusals),
)> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    drop(stream);
                    refusals.note("there are as many as can be borne");
                    continue;
                };
                // Without it each answer waits 40 ms for the client's delayed acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "a connection ended at once");
                }
                let connection = Connection {
                    stream,
                    silence: Some(Box::pin(sleep(HELLO))),
                    place,
                };
                return Some((Ok(connection), (listener, places, refusals)));
            }
            Err(error) => {
                refusals.note(&error.to_string());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// No more than three quarters of the files that this process may have open: the rest is for the database, relays and gateways.
fn bearable(most: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let bearable = most.min(files / 4 * 3);
    if bearable < most {
        tracing::warn!(
            connections = bearable,
            configured = most,
            files,
            "fewer connections than configured: the process may not have more files open"
        );
    }
    bearable
}

/// Connections that were turned away, counted all and told now and then.
#[derive(Debug, Default)]
struct Refusals {
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    fn note(&mut self, why: &str) {
        LoadMetrics::shared().connection_refused();
        self.untold += 1;
        let now = Instant::now();
        if self.told.is_none_or(|told| now - told >= SILENCE) {
            tracing::warn!(
                connections = self.untold,
                why,
                "connections were turned away"
            );
            self.untold = 0;
            self.told = Some(now);
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
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
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_too_much_is_closed_and_its_place_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = Box::pin(connections(listener, 1));
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut served = accepted.next().await.unwrap().unwrap();
        first.write_all(b"hello").await.unwrap();
        let mut word = [0; 5];
        served.read_exact(&mut word).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let next = accepted.next();
        tokio::pin!(next);
        let refused = tokio::select! {
            _ = &mut next => panic!("there is no place"),
            read = second.read(&mut word) => read,
        };
        assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
        drop(served);
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(next.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn whoever_says_nothing_is_hung_up_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = Box::pin(connections(listener, 1));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut served = accepted.next().await.unwrap().unwrap();
        tokio::time::pause();
        let read = served.read(&mut [0; 5]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
