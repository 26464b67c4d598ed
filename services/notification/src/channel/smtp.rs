//! One conversation with a mail relay (RFC 5321), phase by phase.
//!
//! Why not lettre's `AsyncSmtpConnection` (0.11.23 read): it makes one future of greeting and EHLO and one of body,
//! final dot and reply, so neither can have its own time limit and nobody can tell whether the dot was written,
//! which is what decides between "send again" and "ask first". Its error path waits for the answer to a QUIT without
//! limit. It reads a whole reply line into memory before it looks at the length, keeps bytes that came in the clear
//! before STARTTLS, and writes a message in two packets with Nagle's algorithm on (44 ms each). So the conversation
//! is ours, and lettre only builds the message.
//!
//! What holds here:
//! - every phase has its own limit for all of it, so a reply that drips in cannot stretch it;
//! - at most 8 KiB of a reply are read;
//! - a message counts as possibly accepted from the moment when its last byte was handed to the
//!   system, never before;
//! - after STARTTLS nothing that came before it is kept, and anything that did come is an attack.

mod handover;
mod reply;
mod wire;

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use std::{fmt, future::Future, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

pub(crate) use reply::Reply;
#[cfg(any(test, feature = "testkit"))]
pub(super) use reply::end as reply_end;
pub(crate) use wire::Cause;
use wire::{Stream, Wire};

use super::relay::{Relay, TlsPolicy};
use crate::failpoint;

/// How long a kept connection may take to show that it lives. A fresh one is better than a long wait.
const MAX_PROBE: Duration = Duration::from_secs(10);

/// A relay that answered within this time is taken to be there.
const JUST_NOW: Duration = Duration::from_secs(1);

/// How long each phase may take (RELIABILITY section 3.7).
#[derive(Clone, Debug)]
pub struct SmtpTimeouts {
    /// Name lookup and TCP connection.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// The relay's first line.
    pub greeting: Duration,
    /// Answer to EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET.
    pub command: Duration,
    /// Answer to DATA.
    pub data: Duration,
    /// Longest time without any byte of the body going out.
    pub progress: Duration,
    /// Answer to the final dot. Too short a time makes duplicates of mail that was accepted.
    pub final_dot: Duration,
}

impl Default for SmtpTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            greeting: Duration::from_secs(30),
            command: Duration::from_mins(1),
            data: Duration::from_mins(2),
            progress: Duration::from_mins(3),
            final_dot: Duration::from_mins(10),
        }
    }
}

/// Where in the conversation something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connect,
    Tls,
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Rset,
    Mail,
    Rcpt,
    Data,
    /// Writing the message; its last byte has not gone out.
    Body,
    /// The last byte has gone out.
    FinalDot,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Tls => "TLS handshake",
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Rset => "RSET",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Body => "message body",
            Self::FinalDot => "final dot",
        })
    }
}

/// What went wrong, and where.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) phase: Phase,
    pub(crate) cause: Cause,
}

impl Failure {
    fn new(phase: Phase, cause: Cause) -> Self {
        Self { phase, cause }
    }
}

/// A message ready for the wire.
pub(crate) struct Parcel<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    /// Dot-stuffed, with the final dot.
    pub(crate) data: &'a [u8],
    /// Given to relays that report on delivery.
    pub(crate) envelope_id: &'a str,
}

#[derive(Default)]
struct Abilities {
    starttls: bool,
    dsn: bool,
    pipelining: bool,
    login: Option<LoginMethod>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LoginMethod {
    Plain,
    Login,
}

/// An open conversation, ready for MAIL.
pub(crate) struct Session {
    wire: Wire,
    abilities: Abilities,
    timeouts: SmtpTimeouts,
    /// Stays true when a command is cut off half-way, so that a dropped future cannot leave a usable-looking session.
    broken: bool,
    /// The last message was taken over, so that no half-made envelope is left.
    clean: bool,
    /// Messages sent so far.
    pub(crate) used: u32,
    /// When it was last given back to the pool.
    pub(crate) idle_since: Instant,
}

impl Session {
    /// Connects, encrypts as the relay's policy says, and logs in.
    pub(crate) async fn open(relay: &Relay) -> Result<Self, Failure> {
        let limits = &relay.timeouts;
        let address = (relay.url.host.as_str(), relay.url.port);
        let tcp = within(Phase::Connect, limits.connect, async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            Ok(tcp)
        })
        .await?;
        let mut session = Self {
            wire: Wire::new(Stream::Plain(tcp)),
            abilities: Abilities::default(),
            timeouts: limits.clone(),
            broken: false,
            clean: false,
            used: 0,
            idle_since: Instant::now(),
        };
        if relay.url.tls == TlsPolicy::Implicit {
            session = session.encrypt(relay).await?;
        }
        let greeting = within(Phase::Greeting, limits.greeting, session.wire.read_reply()).await?;
        expect(Phase::Greeting, 220, greeting)?;
        session.ehlo(relay).await?;
        session = session.starttls(relay).await?;
        session.log_in(relay).await?;
        failpoint::hit("connected");
        Ok(session)
    }

    /// Whether it can carry another message.
    pub(crate) fn is_usable(&self) -> bool {
        !self.broken
    }

    /// Whether it needs no [`Self::reset`]: nothing is half-made, and the relay answered just now. Should it have gone since,
    /// the next message finds out before anything of it is sent.
    pub(crate) fn is_ready(&self) -> bool {
        self.clean && self.idle_since.elapsed() < JUST_NOW
    }

    /// Forgets a half-made envelope, and proves that the relay is still there.
    pub(crate) async fn reset(&mut self) -> Result<(), Failure> {
        let limit = self.timeouts.command.min(MAX_PROBE);
        self.exchange(Phase::Rset, limit, "RSET\r\n", 250)
            .await
            .map(drop)
    }

    /// Says good-bye without waiting long for the answer; the connection is closed in any case.
    pub(crate) async fn quit(mut self) {
        let farewell = Duration::from_secs(1).min(self.timeouts.command);
        let said = timeout(farewell, async {
            self.wire.write_all(b"QUIT\r\n").await?;
            self.wire.read_reply().await
        });
        if let Ok(Err(cause)) = said.await {
            tracing::debug!(?cause, "the relay did not say good-bye");
        }
    }

    async fn ehlo(&mut self, relay: &Relay) -> Result<(), Failure> {
        let reply = self
            .command(Phase::Ehlo, &format!("EHLO {}\r\n", relay.hello_name), 250)
            .await?;
        self.abilities = Abilities::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split([' ', '=']);
            match words.next() {
                Some("STARTTLS") => self.abilities.starttls = true,
                Some("DSN") => self.abilities.dsn = true,
                Some("PIPELINING") => self.abilities.pipelining = true,
                Some("AUTH") => {
                    let words: Vec<&str> = words.collect();
                    if words.contains(&"PLAIN") {
                        self.abilities.login = Some(LoginMethod::Plain);
                    } else if words.contains(&"LOGIN") && self.abilities.login.is_none() {
                        self.abilities.login = Some(LoginMethod::Login);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn starttls(mut self, relay: &Relay) -> Result<Self, Failure> {
        match relay.url.tls {
            TlsPolicy::None | TlsPolicy::Implicit => return Ok(self),
            TlsPolicy::Opportunistic if !self.abilities.starttls => return Ok(self),
            TlsPolicy::Required if !self.abilities.starttls => {
                return Err(Failure::new(Phase::StartTls, Cause::TlsUnavailable));
            }
            TlsPolicy::Opportunistic | TlsPolicy::Required => {}
        }
        self.command(Phase::StartTls, "STARTTLS\r\n", 220).await?;
        if self.wire.has_unread() {
            return Err(Failure::new(Phase::StartTls, Cause::Malformed));
        }
        self = self.encrypt(relay).await?;
        self.ehlo(relay).await?;
        Ok(self)
    }

    async fn encrypt(mut self, relay: &Relay) -> Result<Self, Failure> {
        let failed = |_| Failure::new(Phase::Tls, Cause::Malformed);
        let name = ServerName::try_from(relay.url.host.clone()).map_err(failed)?;
        let Stream::Plain(tcp) = self.wire.into_stream() else {
            return Err(Failure::new(Phase::Tls, Cause::Malformed));
        };
        let connector = TlsConnector::from(relay.tls.clone());
        let tls = within(Phase::Tls, relay.timeouts.tls, async {
            Ok(connector.connect(name, tcp).await?)
        })
        .await?;
        self.wire = Wire::new(Stream::Tls(Box::new(tls)));
        Ok(self)
    }

    async fn log_in(&mut self, relay: &Relay) -> Result<(), Failure> {
        let Some(login) = &relay.url.login else {
            return Ok(());
        };
        if !self.wire.is_encrypted() && relay.url.tls != TlsPolicy::None {
            return Err(Failure::new(Phase::Auth, Cause::TlsUnavailable));
        }
        let (user, password) = (login.user.expose_secret(), login.password.expose_secret());
        match self.abilities.login {
            Some(LoginMethod::Plain) => {
                let secret = STANDARD.encode(format!("\0{user}\0{password}"));
                self.command(Phase::Auth, &format!("AUTH PLAIN {secret}\r\n"), 235)
                    .await?;
            }
            Some(LoginMethod::Login) => {
                let line = |text: &str| format!("{}\r\n", STANDARD.encode(text));
                self.command(Phase::Auth, "AUTH LOGIN\r\n", 334).await?;
                self.command(Phase::Auth, &line(user), 334).await?;
                self.command(Phase::Auth, &line(password), 235).await?;
            }
            None => return Err(Failure::new(Phase::Auth, Cause::NoLoginMethod)),
        }
        Ok(())
    }

    async fn command(&mut self, phase: Phase, line: &str, want: u16) -> Result<Reply, Failure> {
        self.exchange(phase, self.timeouts.command, line, want)
            .await
    }

    async fn exchange(
        &mut self,
        phase: Phase,
        limit: Duration,
        line: &str,
        want: u16,
    ) -> Result<Reply, Failure> {
        self.broken = true;
        let reply = within(phase, limit, async {
            self.wire.write_all(line.as_bytes()).await?;
            self.wire.read_reply().await
        })
        .await?;
        self.broken = reply.code == 421;
        expect(phase, want, reply)
    }
}

fn expect(phase: Phase, want: u16, reply: Reply) -> Result<Reply, Failure> {
    // 251 and the like are as good as 250.
    if reply.code == want || (want == 250 && (250..260).contains(&reply.code)) {
        Ok(reply)
    } else {
        Err(Failure::new(phase, Cause::Reply(reply)))
    }
}

async fn within<T>(
    phase: Phase,
    limit: Duration,
    work: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Failure> {
    match timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(cause)) => Err(Failure::new(phase, cause)),
        Err(_) => Err(Failure::new(phase, Cause::TimedOut)),
    }
}
