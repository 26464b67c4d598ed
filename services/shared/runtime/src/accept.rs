//! Accepting connections, whatever the system lacks at the moment, no more of them than can be borne, and encrypting them.

mod connection;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::{
    FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream, stream::FuturesUnordered,
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    callers::{Gate, names_in},
    load::LoadMetrics,
};
use connection::Encryption;

pub use connection::{Connection, Origin};

/// Before it is looked whether the system has room again.
const PAUSE: Duration = Duration::from_millis(100);
/// Whoever connects has so long to agree on encryption.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Connections that are agreeing on encryption at the same time; more wait in the system's queue.
const HANDSHAKES_MAX: usize = 512;
/// Between two lines of the log about connections that were turned away.
const SILENCE: Duration = Duration::from_secs(10);

/// The connections of a listener, without end, encrypted as the gate says, at most `most` of them at the same time. What is
/// too much is accepted and closed at once, so that a caller knows, and established connections go on (RELIABILITY, K-07). A
/// server that runs out of file descriptors goes on when some are free again (L-08); tonic's own stream of connections would
/// end with the first such error, and its server with it. Who is slow to agree on encryption keeps nobody else waiting.
pub fn connections(
    listener: TcpListener,
    gate: Gate,
    most: usize,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let accepting = Accepting {
        listener,
        gate,
        places: Arc::new(Semaphore::new(bearable(most))),
        refusals: Refusals::default(),
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
    places: Arc<Semaphore>,
    refusals: Refusals,
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
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.refusals.note(&error.to_string());
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                drop(stream);
                self.refusals.note("there are as many as can be borne");
                continue;
            };
            // Without it each answer waits 40 ms for the client's delayed acknowledgement.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(error = %error, "a connection ended at once");
            }
            let Some(tls) = self.gate.tls() else {
                let origin = Origin {
                    address: Some(address),
                    names: Arc::default(),
                };
                return Connection::new(Encryption::None(stream), origin, place);
            };
            let acceptor = TlsAcceptor::from(tls.config());
            let gate = self.gate.clone();
            self.handshakes
                .push(encrypted(acceptor, stream, address, gate, place).boxed());
        }
    }
}

/// The connection when both ends have agreed; none when they do not. Nothing of a call is read before.
async fn encrypted(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    gate: Gate,
    place: OwnedSemaphorePermit,
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
    let origin = Origin {
        address: Some(address),
        names: names.into(),
    };
    Some(Connection::new(
        Encryption::Tls(Box::new(stream)),
        origin,
        place,
    ))
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

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_too_much_is_closed_and_its_place_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = Box::pin(connections(listener, Gate::open(), 1));
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
        let mut accepted = Box::pin(connections(listener, Gate::open(), 1));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut served = accepted.next().await.unwrap().unwrap();
        tokio::time::pause();
        let read = served.read(&mut [0; 5]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
