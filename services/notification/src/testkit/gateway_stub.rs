//! A gateway that speaks the generic contract (GATEWAY.md), and misbehaves on demand.

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::script::Script;
use crate::channel::signature::SigningKeys;

/// What the stub does with a request in place of accepting it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status, these headers (each with its line end), this body.
    Status(u16, String, String),
    /// Accepts into the ledger and answers these bytes as the whole body with 202.
    AcceptWith(Vec<u8>),
    /// Waits, then accepts as usual.
    Delay(Duration),
    /// Reads the request and never answers.
    Stall,
    /// Reads the request and closes.
    Drop,
    /// Accepts into the ledger and closes without an answer.
    AcceptAndDrop,
    /// Accepts, sends the head and half of the body, and resets the connection.
    ResetInBody,
    /// Sends the head of the answer one byte at a time with this pause.
    DripHead(Duration),
    /// Sends the head, then the body one byte at a time with this pause.
    DripBody(Duration),
    /// This status and a body without end.
    HugeBody(u16),
    /// Exactly these bytes.
    Raw(Vec<u8>),
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
}

/// A message that the stub took over.
#[derive(Clone, Debug)]
pub struct AcceptedMessage {
    /// The id that it gave.
    pub id: String,
    /// The caller's key.
    pub key: String,
    /// The request.
    pub request: Value,
}

struct State {
    keys: SigningKeys,
    script: Script<(), Answer>,
    seen: Mutex<Vec<SeenRequest>>,
    accepted: Mutex<Vec<AcceptedMessage>>,
}

/// A running gateway stub; it stops when dropped.
pub struct GatewayStub {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for GatewayStub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GatewayStub {
    /// A stub on a free port of 127.0.0.1 that shares `secret` (`whsec_…`) with us.
    pub async fn start(secret: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            keys: SigningKeys::parse(&[SecretString::from(secret)]).unwrap(),
            script: Script::new(),
            seen: Mutex::new(Vec::new()),
            accepted: Mutex::new(Vec::new()),
        });
        let task = tokio::spawn(serve(listener, state.clone()));
        Self {
            address,
            state,
            task,
        }
    }

    /// What goes into a gateway's `base` setting.
    pub fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Does this with the next request; several are done one after the other.
    pub fn once(&self, answer: Answer) {
        self.state.script.once((), answer);
    }

    /// Does this with every request.
    pub fn always(&self, answer: Answer) {
        self.state.script.always((), answer);
    }

    /// Behaves again.
    pub fn behave(&self) {
        self.state.script.clear();
    }

    /// The ledger: every message taken over, once, in order.
    pub fn accepted(&self) -> Vec<AcceptedMessage> {
        lock(&self.state.accepted).clone()
    }

    /// Every request, in order.
    pub fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.state.seen).clone()
    }

    /// Signs `event` and posts it to `url` at `timestamp`; answers the HTTP status.
    pub async fn send_callback(&self, url: &str, id: &str, timestamp: i64, event: &Value) -> u16 {
        let timeouts = crate::channel::gateway::GatewayTimeouts::default();
        let client = crate::channel::gateway::http_client(&timeouts).unwrap();
        let (headers, body) = self.signed_callback(id, timestamp, event);
        let response = client
            .post(url)
            .headers(headers)
            .body(body)
            .send()
            .await
            .unwrap();
        response.status().as_u16()
    }

    /// The headers and the body of a callback.
    pub fn signed_callback(&self, id: &str, timestamp: i64, event: &Value) -> (HeaderMap, Vec<u8>) {
        let body = serde_json::to_vec(event).unwrap();
        let signature = self.state.keys.sign(id, timestamp, &body).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("webhook-id", HeaderValue::from_str(id).unwrap());
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        headers.insert(
            "webhook-signature",
            HeaderValue::from_str(&signature).unwrap(),
        );
        (headers, body)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut talks = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).unwrap();
        while talks.try_join_next().is_some() {}
        let mut talk = Talk {
            tcp,
            unread: Vec::new(),
            state: state.clone(),
        };
        talks.spawn(async move {
            // An error is the client's hanging up, or the script's.
            drop(talk.run().await);
        });
    }
}

struct Talk {
    tcp: TcpStream,
    unread: Vec<u8>,
    state: Arc<State>,
}

impl Talk {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let request = self.request().await?;
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
                let head = format!("HTTP/1.1 202 X\r\ncontent-length: {}\r\n\r\n", body.len());
                self.tcp.write_all(head.as_bytes()).await?;
                self.tcp.write_all(&body).await
            }
            Answer::Delay(wait) => {
                tokio::time::sleep(wait).await;
                self.obey(request).await
            }
            Answer::Stall => std::future::pending().await,
            Answer::Drop => Err(gone()),
            Answer::AcceptAndDrop => {
                self.accept(request);
                Err(gone())
            }
            Answer::ResetInBody => {
                self.accept(request);
                let half = b"HTTP/1.1 202 Accepted\r\ncontent-length: 40\r\n\r\n{\"id\": \"abc";
                self.tcp.write_all(half).await?;
                // Unread or not, closing with a zero linger time sends RST.
                socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO))?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(gone())
            }
            Answer::DripHead(pause) => {
                let text = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}".repeat(100);
                self.drip(&text, pause).await
            }
            Answer::DripBody(pause) => {
                self.tcp
                    .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 99999\r\n\r\n")
                    .await?;
                self.drip(&b" ".repeat(99_999), pause).await
            }
            Answer::HugeBody(status) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 1000000000\r\n\r\n");
                self.tcp.write_all(head.as_bytes()).await?;
                loop {
                    self.tcp.write_all(&[b'x'; 16 * 1024]).await?;
                }
            }
            Answer::Raw(bytes) => {
                self.tcp.write_all(&bytes).await?;
                self.tcp.shutdown().await?;
                Err(gone())
            }
        }
    }

    /// Keeps the contract.
    async fn obey(&mut self, request: &SeenRequest) -> io::Result<()> {
        if !request.signed {
            return self
                .reply(401, "", r#"{"code":"invalid_signature","message":"no"}"#)
                .await;
        }
        if request.method == "POST" && request.path == "/v1/messages" {
            let id = self.accept(request);
            return self.reply(202, "", &json!({ "id": id }).to_string()).await;
        }
        let found = request.path.strip_prefix("/v1/messages/").and_then(|key| {
            lock(&self.state.accepted)
                .iter()
                .find(|accepted| accepted.key == key)
                .cloned()
        });
        match found {
            Some(message) if request.method == "GET" => {
                let body = json!({ "id": message.id, "status": "sent" }).to_string();
                self.reply(200, "", &body).await
            }
            _ => {
                self.reply(404, "", r#"{"code":"not_found","message":"no"}"#)
                    .await
            }
        }
    }

    /// Takes the message over, once per key.
    fn accept(&self, request: &SeenRequest) -> String {
        let key = request
            .headers
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok());
        let key = key.unwrap_or_default().to_owned();
        let mut ledger = lock(&self.state.accepted);
        if let Some(known) = ledger.iter().find(|accepted| accepted.key == key) {
            return known.id.clone();
        }
        let id = format!("gw_{:06}", ledger.len() + 1);
        let request = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        ledger.push(AcceptedMessage {
            id: id.clone(),
            key,
            request,
        });
        id
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
        let stamp = headers
            .get("webhook-timestamp")
            .and_then(|value| value.to_str().ok());
        let stamp = stamp.and_then(|text| text.parse().ok()).unwrap_or_default();
        // The stub has no clock of its own: it checks the signature at the time that the caller claims.
        let claimed = chrono::DateTime::from_timestamp(stamp, 0).unwrap_or_default();
        let signed = self.state.keys.verify(&headers, &body, claimed).is_ok();
        Ok(SeenRequest {
            method,
            path,
            headers,
            body,
            signed,
        })
    }

    async fn read(&mut self) -> io::Result<()> {
        self.unread.reserve(8 * 1024);
        if self.tcp.read_buf(&mut self.unread).await? == 0 {
            Err(gone())
        } else {
            Ok(())
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
