//! A mail relay that accepts, refuses, stalls and drops as told.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{script::Script, tls::TestTls};

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

struct State {
    config: MailSinkConfig,
    acceptor: Option<TlsAcceptor>,
    script: Script<Stage, Act>,
    mails: Mutex<Vec<ReceivedMail>>,
    accepted: AtomicU64,
    connections: AtomicU64,
    open: AtomicUsize,
    most_open: AtomicUsize,
    commands: Mutex<Vec<String>>,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
            let mut talk = Talk {
                io,
                unread: Vec::new(),
                state: state.clone(),
                mail: ReceivedMail {
                    connection: number,
                    ..ReceivedMail::default()
                },
                encrypted: state.config.tls == SinkTls::Implicit,
                logged_in: state.config.login.is_none(),
            };
            // An error is the client's hanging up, or the script's.
            drop(talk.run().await);
            state.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

struct Talk {
    io: Box<dyn Io>,
    unread: Vec<u8>,
    state: Arc<State>,
    mail: ReceivedMail,
    encrypted: bool,
    logged_in: bool,
}

impl Talk {
    async fn run(&mut self) -> io::Result<()> {
        self.answer(Stage::Connect, "220 sink.example ESMTP\r\n")
            .await?;
        loop {
            let line = self.line().await?;
            if self.state.config.keep_mails {
                lock(&self.state.commands).push(line.clone());
            }
            let verb = line
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let hello = self.hello();
                    self.answer(Stage::Ehlo, &hello).await?;
                }
                "STARTTLS" => self.start_tls().await?,
                "AUTH" => self.log_in(&line).await?,
                "MAIL" if !self.logged_in => self.say("530 5.7.0 log in first\r\n").await?,
                "MAIL" => {
                    line[10..].clone_into(&mut self.mail.from);
                    self.mail.to.clear();
                    self.answer(Stage::Mail, "250 2.1.0 ok\r\n").await?;
                }
                "RCPT" => {
                    self.mail.to.push(line[8..].to_owned());
                    self.answer(Stage::Rcpt, "250 2.1.5 ok\r\n").await?;
                }
                "DATA" => self.data().await?,
                "RSET" => self.answer(Stage::Reset, "250 2.0.0 ok\r\n").await?,
                "NOOP" => self.say("250 2.0.0 ok\r\n").await?,
                "QUIT" => return self.say("221 2.0.0 bye\r\n").await,
                _ => self.say("500 5.5.2 what?\r\n").await?,
            }
        }
    }

    fn hello(&self) -> String {
        let mut lines = vec![
            "sink.example".to_owned(),
            "8BITMIME".to_owned(),
            "DSN".to_owned(),
        ];
        if self.state.config.tls == SinkTls::StartTls && !self.encrypted {
            lines.push("STARTTLS".to_owned());
        }
        if self.state.config.login.is_some() {
            lines.push(format!("AUTH {}", self.state.config.login_methods));
        }
        let last = lines.pop().unwrap_or_default();
        let mut hello = String::new();
        for line in lines {
            hello.push_str("250-");
            hello.push_str(&line);
            hello.push_str("\r\n");
        }
        hello + "250 " + &last + "\r\n"
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        self.answer(Stage::StartTls, "220 2.0.0 go\r\n").await?;
        let Some(acceptor) = self.state.acceptor.clone() else {
            return Err(gone());
        };
        let plain = std::mem::replace(&mut self.io, Box::new(tokio::io::empty()));
        self.io = Box::new(acceptor.accept(plain).await?);
        self.encrypted = true;
        self.unread.clear();
        Ok(())
    }

    async fn log_in(&mut self, line: &str) -> io::Result<()> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let Some((user, password)) = self.state.config.login.clone() else {
            return self.say("503 5.5.1 no login here\r\n").await;
        };
        let given = if line.eq_ignore_ascii_case("AUTH LOGIN") {
            self.answer(Stage::Auth, "334 VXNlcm5hbWU6\r\n").await?;
            let given_user = self.line().await?;
            self.answer(Stage::Auth, "334 UGFzc3dvcmQ6\r\n").await?;
            (given_user, self.line().await?)
        } else {
            let secret = line.rsplit(' ').next().unwrap_or_default();
            let text = String::from_utf8(STANDARD.decode(secret).unwrap_or_default());
            let text = text.unwrap_or_default();
            let mut parts = text.split('\0').skip(1).map(|part| STANDARD.encode(part));
            (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            )
        };
        self.logged_in = given == (STANDARD.encode(user), STANDARD.encode(password));
        let usual = if self.logged_in {
            "235 2.7.0 welcome\r\n"
        } else {
            "535 5.7.8 wrong login\r\n"
        };
        self.answer(Stage::Auth, usual).await
    }

    async fn data(&mut self) -> io::Result<()> {
        match self.state.script.next(&Stage::Data) {
            None => self.say("354 go on\r\n").await?,
            Some(Act::Reply(text)) if !text.starts_with('3') => return self.say(&text).await,
            Some(Act::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                self.say("354 go on\r\n").await?;
            }
            Some(act) => self.perform(act).await?,
        }
        if let Some(act) = self.state.script.next(&Stage::Body) {
            self.perform(act).await?;
        }
        let wire = self.body().await?;
        self.mail.wire = wire;
        match self.state.script.next(&Stage::Dot) {
            None => {
                self.record();
                self.say("250 2.0.0 queued\r\n").await
            }
            Some(Act::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                self.record();
                self.say("250 2.0.0 queued\r\n").await
            }
            Some(Act::AcceptAndDrop) => {
                self.record();
                Err(gone())
            }
            Some(Act::Reply(text)) => {
                if text.starts_with('2') {
                    self.record();
                }
                self.say(&text).await
            }
            Some(act) => self.perform(act).await,
        }
    }

    fn record(&mut self) {
        if self.state.config.keep_mails {
            lock(&self.state.mails).push(self.mail.clone());
        }
        self.state.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads up to and with the final dot.
    async fn body(&mut self) -> io::Result<Vec<u8>> {
        const END: &[u8] = b"\r\n.\r\n";
        let mut looked = 0_usize;
        loop {
            if self.unread.starts_with(b".\r\n") {
                return Ok(self.unread.drain(..3).collect());
            }
            let from = looked.saturating_sub(END.len());
            let end = self.unread[from..]
                .windows(END.len())
                .position(|part| part == END);
            if let Some(end) = end {
                let length = from + end + END.len();
                return Ok(self.unread.drain(..length).collect());
            }
            looked = self.unread.len();
            self.read().await?;
        }
    }

    async fn answer(&mut self, stage: Stage, usual: &str) -> io::Result<()> {
        match self.state.script.next(&stage) {
            None => self.say(usual).await,
            Some(Act::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                self.say(usual).await
            }
            Some(act) => self.perform(act).await,
        }
    }

    async fn perform(&mut self, act: Act) -> io::Result<()> {
        match act {
            Act::Reply(text) => self.say(&text).await,
            Act::Raw(bytes) => self.io.write_all(&bytes).await,
            Act::Delay(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Act::Stall => std::future::pending().await,
            Act::Drop | Act::AcceptAndDrop => Err(gone()),
            Act::ReplyAndDrop(text) => {
                self.say(&text).await?;
                Err(gone())
            }
            Act::Flood => loop {
                self.io.write_all(&[b'x'; 16 * 1024]).await?;
            },
        }
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.io.write_all(text.as_bytes()).await?;
        self.io.flush().await
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        self.unread.reserve(16 * 1024);
        if self.io.read_buf(&mut self.unread).await? == 0 {
            Err(gone())
        } else {
            Ok(())
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
