//! Bytes to and from the relay, plain or encrypted, with a bound on what is read.

use std::{fmt::Write as _, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::reply::{NoReply, Reply, end};

/// Longest reply, all lines together.
const MAX_REPLY: usize = 8 * 1024;

/// Why a step of the conversation failed.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The system's error; the connection is of no use any more.
    Io(io::Error),
    /// The relay hung up.
    Closed,
    /// No answer, or no progress, in time.
    TimedOut,
    /// More than 8 KiB of reply.
    TooLong,
    /// Not SMTP.
    Malformed,
    /// A complete answer that is not the one wanted.
    Reply(Reply),
    /// Encryption is demanded and not offered.
    TlsUnavailable,
    /// The relay offers neither PLAIN nor LOGIN.
    NoLoginMethod,
}

impl From<NoReply> for Cause {
    fn from(NoReply: NoReply) -> Self {
        Self::Malformed
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else {
            Self::Io(error)
        }
    }
}

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(super) struct Wire {
    stream: Stream,
    unread: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            unread: Vec::with_capacity(512),
        }
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Bytes beyond the last reply have arrived.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Hands some bytes to the system and tells how many. Dropping the future loses none that were counted.
    pub(super) async fn write_some(&mut self, bytes: &[u8]) -> Result<usize, Cause> {
        let written = match &mut self.stream {
            Stream::Plain(tcp) => tcp.write(bytes).await?,
            Stream::Tls(tls) => tls.write(bytes).await?,
        };
        if written == 0 {
            Err(Cause::Closed)
        } else {
            Ok(written)
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Cause> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.flush().await?,
            Stream::Tls(tls) => tls.flush().await?,
        }
        Ok(())
    }

    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Cause> {
        while !bytes.is_empty() {
            let written = self.write_some(bytes).await?;
            bytes = &bytes[written..];
        }
        self.flush().await
    }

    /// Reads one whole reply. What comes after it stays for the next call.
    pub(super) async fn read_reply(&mut self) -> Result<Reply, Cause> {
        let mut looked = 0;
        loop {
            if let Some(end) = end(&self.unread, &mut looked)? {
                return self.take(end);
            }
            if self.unread.len() >= MAX_REPLY {
                return Err(Cause::TooLong);
            }
            self.read_some().await?;
        }
    }

    fn take(&mut self, length: usize) -> Result<Reply, Cause> {
        let text = &self.unread[..length];
        let reply = Reply::read(text).ok_or(Cause::Malformed);
        self.unread.drain(..length);
        reply
    }

    async fn read_some(&mut self) -> Result<(), Cause> {
        let mut block = [0_u8; 1024];
        let room = block.len().min(MAX_REPLY - self.unread.len());
        let got = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut block[..room]).await?,
            Stream::Tls(tls) => tls.read(&mut block[..room]).await?,
        };
        if got == 0 {
            return Err(Cause::Closed);
        }
        self.unread.extend_from_slice(&block[..got]);
        Ok(())
    }
}

/// The writing of addresses in parameters (RFC 3461 section 4).
pub(super) fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'+' | b'=') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(out, "+{byte:02X}").ok();
        }
    }
    out
}
