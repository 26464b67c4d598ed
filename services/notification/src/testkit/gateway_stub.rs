//! A gateway that speaks the generic contract (GATEWAY.md), and misbehaves on demand.

use http::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::http_talk::{Answer, Play, SeenRequest, Stage, lock, serve};
use crate::channel::signature::SigningKeys;

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

/// No two gateways of a test give the same id: a worker takes one that it knows for another message's.
static IDS: AtomicU64 = AtomicU64::new(1);

struct Generic {
    keys: SigningKeys,
    accepted: Mutex<Vec<AcceptedMessage>>,
    /// Takes a message with a known key for a new one.
    forgetful: bool,
}

impl Play for Generic {
    const ACCEPTED: u16 = 202;

    fn is_ours(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let stamp = headers
            .get("webhook-timestamp")
            .and_then(|value| value.to_str().ok());
        let stamp = stamp.and_then(|text| text.parse().ok()).unwrap_or_default();
        // The stub has no clock of its own: it checks the signature at the time that the caller claims.
        let claimed = chrono::DateTime::from_timestamp(stamp, 0).unwrap_or_default();
        self.keys.verify(headers, body, claimed).is_ok()
    }

    /// Once per key, unless it is forgetful.
    fn accept(&self, request: &SeenRequest) -> String {
        let key = request
            .headers
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok());
        let key = key.unwrap_or_default().to_owned();
        let mut ledger = lock(&self.accepted);
        let known = ledger.iter().find(|accepted| accepted.key == key);
        if let Some(known) = known.filter(|_| !self.forgetful) {
            return json!({ "id": known.id }).to_string();
        }
        let id = format!("gw_{:06}", IDS.fetch_add(1, Ordering::Relaxed));
        let request = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        ledger.push(AcceptedMessage {
            id: id.clone(),
            key,
            request,
        });
        json!({ "id": id }).to_string()
    }

    fn obey(&self, request: &SeenRequest) -> (u16, String) {
        if !request.signed {
            let text = r#"{"code":"invalid_signature","message":"no"}"#;
            return (401, text.to_owned());
        }
        if request.method == "POST" && request.path == "/v1/messages" {
            return (Self::ACCEPTED, self.accept(request));
        }
        let found = request.path.strip_prefix("/v1/messages/").and_then(|key| {
            lock(&self.accepted)
                .iter()
                .find(|accepted| accepted.key == key)
                .cloned()
        });
        match found {
            Some(message) if request.method == "GET" => {
                let body = json!({ "id": message.id, "status": "sent" }).to_string();
                (200, body)
            }
            _ => (404, r#"{"code":"not_found","message":"no"}"#.to_owned()),
        }
    }
}

/// A running gateway stub; it stops when dropped.
pub struct GatewayStub {
    address: SocketAddr,
    state: Arc<Stage<Generic>>,
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
        Self::start_with(secret, false).await
    }

    /// One that takes every message that it is given, the same one twice too, as most gateways do. It can still be asked
    /// whether it has a message, so whoever asks first sends none twice.
    pub async fn start_forgetful(secret: &str) -> Self {
        Self::start_with(secret, true).await
    }

    async fn start_with(secret: &str, forgetful: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Stage::new(Generic {
            keys: SigningKeys::parse(&[SecretString::from(secret)]).unwrap(),
            accepted: Mutex::new(Vec::new()),
            forgetful,
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
        lock(&self.state.play.accepted).clone()
    }

    /// How many requests it has left standing.
    pub fn stalled(&self) -> u64 {
        self.state.stalled.load(Ordering::SeqCst)
    }

    /// How many requests broke off half-way.
    pub fn torn(&self) -> u64 {
        self.state.torn.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies without end it could write.
    pub fn poured(&self) -> u64 {
        self.state.poured.load(Ordering::SeqCst)
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
        let signature = self.state.play.keys.sign(id, timestamp, &body).unwrap();
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
