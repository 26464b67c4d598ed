//! A mail relay that accepts, refuses, stalls and drops as told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{
    mail_talk::{Io, Talk},
    script::Script,
    tls::TestTls,
};

/// Where the sink can be told to do something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// In place of the greeting.
    Connect,
    /// After EHLO.
    Ehlo,
    /// After STARTTLS.
    StartTls,
    /// After AUTH and each line of it.
    Auth,
    /// After MAIL.
    Mail,
    /// After RCPT.
    Rcpt,
    /// After DATA.
    Data,
    /// After 354, before any byte of the message is read.
    Body,
    /// After the final dot.
    Dot,
    /// After RSET.
    Reset,
}

/// What the sink does in place of its usual answer.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these bytes; line ends are the script's.
    Reply(String),
    /// Sends these bytes, whatever they are.
    Raw(Vec<u8>),
    /// Says nothing more, reads nothing more, keeps the connection.
    Stall,
    /// Closes the connection.
    Drop,
    /// Takes the message into the ledger and closes without an answer. Only at [`Stage::Dot`].
    AcceptAndDrop,
    /// Takes the message into the ledger and never answers. Only at [`Stage::Dot`].
    AcceptAndStall,
    /// Answers this line and closes.
    ReplyAndDrop(String),
    /// Waits, then does as usual.
    Delay(Duration),
    /// Sends `x` without an end and never a line end.
    Flood,
}

/// How the sink encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkTls {
    /// Not at all.
    None,
    /// Offers STARTTLS.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// What the sink is.
#[derive(Clone, Debug)]
pub struct MailSinkConfig {
    /// Encryption, with the certificate.
    pub tls: SinkTls,
    /// Certificate; a fresh one for 127.0.0.1 and localhost.
    pub certificate: Option<TestTls>,
    /// User and password that it wants.
    pub login: Option<(String, String)>,
    /// Login methods that it offers.
    pub login_methods: &'static str,
    /// Keeps whole messages. Without it only counts, for benches.
    pub keep_mails: bool,
    /// What it offers besides encryption and login.
    pub extensions: &'static [&'static str],
    /// A tiny receive buffer, so that a sink that does not read blocks the writer early.
    pub small_window: bool,
}

impl Default for MailSinkConfig {
    fn default() -> Self {
        Self {
            tls: SinkTls::None,
            certificate: None,
            login: None,
            login_methods: "PLAIN LOGIN",
            keep_mails: true,
            extensions: &["8BITMIME", "DSN", "PIPELINING"],
            small_window: false,
        }
    }
}

/// A message that the sink took over.
#[derive(Clone, Debug, Default)]
pub struct ReceivedMail {
    /// As in MAIL FROM, with parameters.
    pub from: String,
    /// As in RCPT TO, with parameters.
    pub to: Vec<String>,
    /// Bytes after 354, with stuffed dots and the final dot.
    pub wire: Vec<u8>,
    /// Which connection it came on, counted from 1.
    pub connection: u64,
}

impl ReceivedMail {
    /// The message without stuffed dots and final dot.
    pub fn message(&self) -> Vec<u8> {
        let body = self.wire.strip_suffix(b".\r\n").unwrap_or(&self.wire);
        let mut out = Vec::with_capacity(body.len());
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        out
    }

    /// The value of a header line, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let message = String::from_utf8_lossy(&self.message()).into_owned();
        let head = message.split("\r\n\r\n").next()?.replace("\r\n ", " ");
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }
}

pub(super) struct State {
    pub(super) config: MailSinkConfig,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) script: Script<Stage, Act>,
    pub(super) mails: Mutex<Vec<ReceivedMail>>,
    pub(super) accepted: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) open: AtomicUsize,
    pub(super) most_open: AtomicUsize,
    pub(super) commands: Mutex<Vec<String>>,
    pub(super) stalled: AtomicU64,
}

/// A running mail sink; it stops when dropped.
pub struct MailSink {
    address: SocketAddr,
    tls: Option<TestTls>,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for MailSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MailSink {
    /// A plain sink. Call it inside a Tokio runtime.
    pub fn start() -> Self {
        Self::start_with(MailSinkConfig::default())
    }

    /// A sink of this kind on a free port of 127.0.0.1. Call it inside a Tokio runtime.
    pub fn start_with(config: MailSinkConfig) -> Self {
        let tls = match config.tls {
            SinkTls::None => None,
            _ => Some(
                config
                    .certificate
                    .clone()
                    .unwrap_or_else(|| TestTls::new(&["127.0.0.1", "localhost"])),
            ),
        };
        let socket = TcpSocket::new_v4().unwrap();
        if config.small_window {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tls
            .as_ref()
            .map(|tls| TlsAcceptor::from(tls.server.clone()));
        let state = Arc::new(State {
            config,
            acceptor,
            script: Script::new(),
            mails: Mutex::new(Vec::new()),
            accepted: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            commands: Mutex::new(Vec::new()),
            stalled: AtomicU64::new(0),
        });
        let task = tokio::spawn(serve(listener, state.clone()));
        Self {
            address,
            tls,
            state,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate and the clients that go with it.
    pub fn tls(&self) -> Option<&TestTls> {
        self.tls.as_ref()
    }

    /// Does `act` the next time it comes to `stage`; several are done one after the other.
    pub fn once(&self, stage: Stage, act: Act) {
        self.state.script.once(stage, act);
    }

    /// Does `act` every time it comes to `stage`.
    pub fn always(&self, stage: Stage, act: Act) {
        self.state.script.always(stage, act);
    }

    /// Behaves again.
    pub fn behave(&self) {
        self.state.script.clear();
    }

    /// The ledger: every message taken over, in order.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        lock(&self.state.mails).clone()
    }

    /// How many messages were taken over.
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// How many conversations it has left standing.
    pub fn stalled(&self) -> u64 {
        self.state.stalled.load(Ordering::SeqCst)
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// The most connections that were open at one time.
    pub fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::Relaxed)
    }

    /// Every command line received, in order; empty when mails are not kept.
    pub fn commands(&self) -> Vec<String> {
        lock(&self.state.commands).clone()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut sessions = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).unwrap();
        while sessions.try_join_next().is_some() {}
        let state = state.clone();
        sessions.spawn(async move {
            let number = state.connections.fetch_add(1, Ordering::Relaxed) + 1;
            let open = state.open.fetch_add(1, Ordering::Relaxed) + 1;
            state.most_open.fetch_max(open, Ordering::Relaxed);
            let io: Box<dyn Io> = match (&state.config.tls, &state.acceptor) {
                (SinkTls::Implicit, Some(acceptor)) => match acceptor.accept(tcp).await {
                    Ok(tls) => Box::new(tls),
                    Err(_) => return,
                },
                _ => Box::new(tcp),
            };
            let mut talk = Talk::new(io, state.clone(), number);
            // An error is the client's hanging up, or the script's.
            drop(talk.run().await);
            state.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}
