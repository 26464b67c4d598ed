//! HTTP as the gateway stubs speak it: by hand, so that every answer can go wrong at every byte.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::script::Script;

/// What the stub does with a request in place of accepting it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status, these headers (each with its line end), this body.
    Status(u16, String, String),
    /// Accepts into the ledger and answers these bytes as the whole body, with the status of an acceptance.
    AcceptWith(Vec<u8>),
    /// Waits, then accepts as usual.
    Delay(Duration),
    /// Waits until it is told to go on, then accepts as usual.
    WaitFor(Arc<Notify>),
    /// Reads the request and never answers.
    Stall,
    /// Reads the request and closes.
    Drop,
    /// Accepts into the ledger and closes without an answer.
    AcceptAndDrop,
    /// Accepts into the ledger and never answers.
    AcceptAndStall,
    /// Accepts, sends the head and half of the body, and resets the connection.
    ResetInBody,
    /// Sends the head of the answer one byte at a time with this pause.
    DripHead(Duration),
    /// Sends the head, then the body one byte at a time with this pause.
    DripBody(Duration),
    /// This status and a body without end.
    HugeBody(u16),
    /// Exactly these bytes, and the end.
    Raw(Vec<u8>),
    /// Exactly these bytes; the connection stays.
    RawAndStay(Vec<u8>),
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    /// GET or POST.
    pub method: String,
    /// With query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Whether its signature was right.
    pub signed: bool,
    /// By which connection it came, counted from 1.
    pub connection: u64,
}

/// A gateway's manners.
pub(super) trait Play: Send + Sync + 'static {
    /// The status of an acceptance.
    const ACCEPTED: u16;

    /// Whether the request shows that it comes from us.
    fn is_ours(&self, headers: &HeaderMap, body: &[u8]) -> bool;

    /// Takes the message over into the ledger; the body of the acceptance.
    fn accept(&self, request: &SeenRequest) -> String;

    /// Keeps the contract: status and body.
    fn obey(&self, request: &SeenRequest) -> (u16, String);
}

/// What a gateway does next and has seen so far.
pub(super) struct Stage<P> {
    pub(super) play: P,
    pub(super) script: Script<(), Answer>,
    pub(super) seen: Mutex<Vec<SeenRequest>>,
    /// Requests that are never answered.
    pub(super) stalled: AtomicU64,
    /// Bytes of bodies without end that were got rid of.
    pub(super) poured: AtomicU64,
    /// Requests of which a part came, and then the end.
    pub(super) torn: AtomicU64,
}

impl<P: Play> Stage<P> {
    pub(super) fn new(play: P) -> Arc<Self> {
        Arc::new(Self {
            play,
            script: Script::new(),
            seen: Mutex::new(Vec::new()),
            stalled: AtomicU64::new(0),
            poured: AtomicU64::new(0),
            torn: AtomicU64::new(0),
        })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn serve<P: Play>(listener: TcpListener, state: Arc<Stage<P>>) {
    let mut talks = tokio::task::JoinSet::new();
    let mut number = 0;
    while let Ok((tcp, _)) = listener.accept().await {
        number += 1;
        tcp.set_nodelay(true).unwrap();
        while talks.try_join_next().is_some() {}
        let mut talk = Talk {
            number,
            tcp,
            unread: Vec::new(),
            begun: false,
            state: state.clone(),
        };
        talks.spawn(async move {
            // An error is the client's hanging up, or the script's.
            drop(talk.run().await);
        });
    }
}

/// Of a body without end.
static PART: [u8; 16 * 1024] = [b'x'; 16 * 1024];

struct Talk<P> {
    number: u64,
    tcp: TcpStream,
    unread: Vec<u8>,
    /// A part of a request has come.
    begun: bool,
    state: Arc<Stage<P>>,
}

impl<P: Play> Talk<P> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let request = match self.request().await {
                Ok(request) => request,
                Err(error) => {
                    let torn = u64::from(self.begun);
                    self.state.torn.fetch_add(torn, Ordering::SeqCst);
                    return Err(error);
                }
            };
            lock(&self.state.seen).push(request.clone());
            match self.state.script.next(&()) {
                None => self.obey(&request).await?,
                Some(answer) => self.perform(answer, &request).await?,
            }
        }
    }

    async fn perform(&mut self, answer: Answer, request: &SeenRequest) -> io::Result<()> {
        match answer {
            Answer::Status(status, headers, body) => self.reply(status, &headers, &body).await,
            Answer::AcceptWith(body) => {
                self.accept(request);
                let status = P::ACCEPTED;
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                self.tcp.write_all(head.as_bytes()).await?;
                self.tcp.write_all(&body).await
            }
            Answer::Delay(wait) => {
                tokio::time::sleep(wait).await;
                self.obey(request).await
            }
            Answer::WaitFor(word) => {
                word.notified().await;
                self.obey(request).await
            }
            Answer::Stall => self.stall().await,
            Answer::Drop => Err(gone()),
            Answer::AcceptAndDrop => {
                self.accept(request);
                Err(gone())
            }
            Answer::AcceptAndStall => {
                self.accept(request);
                self.stall().await
            }
            Answer::ResetInBody => {
                self.accept(request);
                let half = format!(
                    "HTTP/1.1 {} X\r\ncontent-length: 40\r\n\r\n{{\"id\": \"abc",
                    P::ACCEPTED
                );
                self.tcp.write_all(half.as_bytes()).await?;
                // Unread or not, closing with a zero linger time sends RST.
                socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO))?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(gone())
            }
            Answer::DripHead(pause) => {
                let head = format!(
                    "HTTP/1.1 {} X\r\ncontent-length: 2\r\n\r\n{{}}",
                    P::ACCEPTED
                );
                self.drip(&head.into_bytes().repeat(100), pause).await
            }
            Answer::DripBody(pause) => {
                let head = format!(
                    "HTTP/1.1 {} X\r\ncontent-length: 99999\r\n\r\n",
                    P::ACCEPTED
                );
                self.tcp.write_all(head.as_bytes()).await?;
                self.drip(&b" ".repeat(99_999), pause).await
            }
            Answer::HugeBody(status) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 1000000000\r\n\r\n");
                // What is written and not read does not count for long.
                socket2::SockRef::from(&self.tcp).set_send_buffer_size(64 * 1024)?;
                self.tcp.write_all(head.as_bytes()).await?;
                loop {
                    self.tcp.write_all(&PART).await?;
                    let written = PART.len() as u64;
                    self.state.poured.fetch_add(written, Ordering::SeqCst);
                }
            }
            Answer::RawAndStay(bytes) => self.tcp.write_all(&bytes).await,
            Answer::Raw(bytes) => {
                self.tcp.write_all(&bytes).await?;
                self.tcp.shutdown().await?;
                Err(gone())
            }
        }
    }

    /// A question about a message is no message, whatever the script says.
    fn accept(&self, request: &SeenRequest) {
        if request.method == "POST" {
            self.state.play.accept(request);
        }
    }

    async fn stall(&mut self) -> io::Result<()> {
        self.state.stalled.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn obey(&mut self, request: &SeenRequest) -> io::Result<()> {
        let (status, body) = self.state.play.obey(request);
        self.reply(status, "", &body).await
    }

    async fn reply(&mut self, status: u16, headers: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        self.tcp.write_all(text.as_bytes()).await
    }

    async fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            self.tcp.write_all(std::slice::from_ref(byte)).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn request(&mut self) -> io::Result<SeenRequest> {
        const END: &[u8] = b"\r\n\r\n";
        let head = loop {
            if let Some(end) = self.unread.windows(END.len()).position(|part| part == END) {
                break self.unread.drain(..end + END.len()).collect::<Vec<u8>>();
            }
            self.read().await?;
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let method = first.next().unwrap_or_default().to_owned();
        let path = first.next().unwrap_or_default().to_owned();
        let mut headers = HeaderMap::new();
        for line in lines {
            if let Some((name, value)) = line.split_once(": ") {
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
        }
        let length: usize = headers
            .get("content-length")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        while self.unread.len() < length {
            self.read().await?;
        }
        let body: Vec<u8> = self.unread.drain(..length).collect();
        self.begun = !self.unread.is_empty();
        let signed = self.state.play.is_ours(&headers, &body);
        Ok(SeenRequest {
            method,
            path,
            headers,
            body,
            signed,
            connection: self.number,
        })
    }

    async fn read(&mut self) -> io::Result<()> {
        self.unread.reserve(8 * 1024);
        if self.tcp.read_buf(&mut self.unread).await? == 0 {
            Err(gone())
        } else {
            self.begun = true;
            Ok(())
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
