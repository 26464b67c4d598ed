//! Accepting connections, whatever the system lacks at the moment.

use std::{io, time::Duration};

use futures::{Stream, stream};
use tokio::net::{TcpListener, TcpStream};

/// Before it is looked whether the system has room again.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections of a listener, without end. A server that runs out of file descriptors goes on when some are free again
/// (RELIABILITY, L-08); tonic's own stream of connections would end with the first such error, and its server with it.
pub fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> + Send {
    stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    // Without it each answer waits 40 ms for the client's delayed acknowledgement.
                    if let Err(error) = connection.set_nodelay(true) {
                        tracing::debug!(error = %error, "a connection ended at once");
                    }
                    return Some((Ok(connection), listener));
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}
