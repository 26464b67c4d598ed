//! Stands between a program and its server, understands the protocol of MySQL as far as statements go, and breaks what it is
//! told to break. Without encryption (`ssl-mode=disabled`), or it would understand nothing.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const QUERY: u8 = 0x03;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;

/// What happens to a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The connection is cut; the server never sees the statement.
    CutBefore,
    /// The server carries it out; the connection is cut before its answer.
    CutAfter,
    /// 1213: the server has rolled the whole transaction back.
    Deadlock,
    /// 1205: the statement was not carried out, the transaction is still open.
    LockWaitTimeout,
    /// A code of a server that can be reached and takes nothing: it has become a replica, or it has lost its group.
    Refuses(u16),
    /// 3101: another member of the group has changed the same rows; the transaction is rolled back.
    GroupConflict,
    /// The server is told to cut what does not fit, in place of the statement.
    Lax,
    /// 3100: the statement is carried out, but the plugin could not watch it.
    Unwatched,
}

/// Which statement: the first so many times that it contains `on`, in a transaction in which `after` was said before.
#[derive(Debug)]
struct Rule {
    after: String,
    on: String,
    fault: Fault,
    times: u32,
}

/// A statement, shortened, and the number of the connection that it came by.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) connection: u32,
    pub(super) text: String,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    /// All statements since the last look.
    said: Vec<Said>,
    connections: u32,
    broken: u32,
}

/// A running proxy; it ends with the test.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// In front of the server of this URL.
    pub(super) async fn start(url: &str) -> Self {
        let server = url.rsplit('@').next().unwrap_or_default();
        let server = server.split('/').next().unwrap_or_default().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let talk = Talk::open(client, server.clone(), Arc::clone(&shared));
                tokio::spawn(talk);
            }
        });
        Self { address, state }
    }

    /// The URL of the same database through the proxy.
    pub(super) fn url(&self, url: &str) -> String {
        let (head, rest) = url.rsplit_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{head}@{}/{database}?ssl-mode=disabled", self.address)
    }

    /// Breaks `on` so many times, in transactions that have said `after`.
    pub(super) fn breaks(&self, after: &str, on: &str, fault: Fault, times: u32) {
        self.lock().rules.push(Rule {
            after: after.to_owned(),
            on: on.to_owned(),
            fault,
            times,
        });
    }

    /// Forgets what is left to break, and tells how often it broke something since it was asked last.
    pub(super) fn broken(&self) -> u32 {
        let mut state = self.lock();
        state.rules.clear();
        std::mem::take(&mut state.broken)
    }

    /// What was said since it was asked last.
    pub(super) fn said(&self) -> Vec<Said> {
        std::mem::take(&mut self.lock().said)
    }

    /// Connections made so far.
    pub(super) fn connections(&self) -> u32 {
        self.lock().connections
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
struct Talk {
    number: u32,
    client: TcpStream,
    server: TcpStream,
    state: Arc<Mutex<State>>,
    /// Statements by the server's number.
    prepared: HashMap<u32, String>,
    /// What the server is just preparing.
    preparing: Option<String>,
    /// Said since the transaction began.
    transaction: Vec<String>,
}

/// Whether the connection lives on.
enum Next {
    Go,
    End,
}

impl Talk {
    async fn open(client: TcpStream, server: String, state: Arc<Mutex<State>>) {
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        let number = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.connections += 1;
            state.connections
        };
        let talk = Self {
            number,
            client,
            server,
            state,
            prepared: HashMap::new(),
            preparing: None,
            transaction: Vec::new(),
        };
        // Either side may hang up whenever it likes.
        talk.run().await.ok();
    }

    async fn run(mut self) -> io::Result<()> {
        let (mut asked, mut answer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            tokio::select! {
                read = self.client.read_buf(&mut asked) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while let Some(packet) = take_packet(&mut asked) {
                        if let Next::End = self.ask(packet).await? {
                            return Ok(());
                        }
                    }
                }
                read = self.server.read(&mut answer) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    self.note_prepared(&answer[..read]);
                    self.client.write_all(&answer[..read]).await?;
                }
            }
        }
    }

    /// An answer to PREPARE begins with 0 and the statement's number.
    fn note_prepared(&mut self, answer: &[u8]) {
        if let Some(text) = self.preparing.take()
            && answer.get(4) == Some(&0)
            && let Some(number) = answer.get(5..9)
        {
            let number = u32::from_le_bytes(number.try_into().unwrap_or_default());
            self.prepared.insert(number, text);
        }
    }

    async fn ask(&mut self, packet: Vec<u8>) -> io::Result<Next> {
        // Commands begin a sequence; what belongs to the handshake does not.
        let text = match (packet.get(3), packet.get(4)) {
            (Some(0), Some(&QUERY)) => Some(String::from_utf8_lossy(&packet[5..]).into_owned()),
            (Some(0), Some(&PREPARE)) => {
                self.preparing = Some(String::from_utf8_lossy(&packet[5..]).into_owned());
                None
            }
            (Some(0), Some(&EXECUTE)) => packet
                .get(5..9)
                .and_then(|number| number.try_into().ok())
                .and_then(|number| self.prepared.get(&u32::from_le_bytes(number)).cloned()),
            _ => None,
        };
        let fault = text.and_then(|text| self.look(&text));
        match fault {
            None => self.server.write_all(&packet).await?,
            Some(Fault::CutBefore) => return Ok(Next::End),
            Some(Fault::CutAfter) => {
                self.server.write_all(&packet).await?;
                self.server.readable().await?;
                return Ok(Next::End);
            }
            Some(Fault::Lax) => {
                self.server
                    .write_all(&query("SET SESSION sql_mode = ''"))
                    .await?;
            }
            Some(Fault::Deadlock) => {
                self.roll_back().await?;
                self.refuse(1213, "40001", "Deadlock found when trying to get lock")
                    .await?;
            }
            Some(Fault::GroupConflict) => {
                self.roll_back().await?;
                let text = "Plugin instructed the server to rollback the current transaction.";
                self.refuse(3101, "40000", text).await?;
            }
            Some(Fault::Unwatched) => {
                self.server.write_all(&packet).await?;
                let mut answer = [0; 64];
                let _length = self.server.read(&mut answer).await?;
                let text = "Error on observer while running replication hook 'before_commit'.";
                self.refuse(3100, "HY000", text).await?;
            }
            Some(Fault::LockWaitTimeout) => {
                self.refuse(1205, "HY000", "Lock wait timeout exceeded")
                    .await?;
            }
            Some(Fault::Refuses(code)) => {
                let (state, text) = match code {
                    1047 => (
                        "08S01",
                        "WSREP has not yet prepared node for application use",
                    ),
                    1792 => (
                        "25006",
                        "Cannot execute statement in a READ ONLY transaction.",
                    ),
                    1836 => ("HY000", "Running in read-only mode"),
                    _ => (
                        "HY000",
                        "The MySQL server is running with the --super-read-only option",
                    ),
                };
                self.refuse(code, state, text).await?;
            }
        }
        Ok(Next::Go)
    }

    /// Notes a statement, and whether it is to be broken.
    fn look(&mut self, text: &str) -> Option<Fault> {
        let short: String = text.chars().take(120).collect();
        if short.starts_with("BEGIN") || short.starts_with("START TRANSACTION") {
            self.transaction.clear();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = state.rules.iter_mut().find(|rule| {
            rule.times > 0
                && short.contains(&rule.on)
                && (rule.after.is_empty()
                    || self
                        .transaction
                        .iter()
                        .any(|said| said.contains(&rule.after)))
        });
        let fault = rule.map(|rule| {
            rule.times -= 1;
            rule.fault
        });
        state.broken += u32::from(fault.is_some());
        state.said.push(Said {
            connection: self.number,
            text: short.clone(),
        });
        self.transaction.push(short);
        fault
    }

    async fn roll_back(&mut self) -> io::Result<()> {
        self.server.write_all(&query("ROLLBACK")).await?;
        let mut answer = [0; 64];
        self.server.read(&mut answer).await.map(drop)
    }

    async fn refuse(&mut self, code: u16, state: &str, text: &str) -> io::Result<()> {
        let mut payload = vec![0xff];
        payload.extend_from_slice(&code.to_le_bytes());
        payload.push(b'#');
        payload.extend_from_slice(state.as_bytes());
        payload.extend_from_slice(text.as_bytes());
        let length = u32::try_from(payload.len())
            .unwrap_or_default()
            .to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], 1];
        packet.extend_from_slice(&payload);
        self.client.write_all(&packet).await
    }
}

/// A short statement as a packet.
fn query(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or_default();
    let mut packet = vec![length, 0, 0, 0, QUERY];
    packet.extend_from_slice(text.as_bytes());
    packet
}

/// The first whole packet, with its head.
fn take_packet(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head = bytes.get(..3)?;
    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    (bytes.len() >= length + 4).then(|| bytes.drain(..length + 4).collect())
}
