//! Alibaba Cloud's interfaces for text messages and calls on a real socket, and its pushes; it misbehaves on demand.

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::http_talk::{Answer, Play, SeenRequest, Stage, lock, serve};
use crate::channel::alibaba::acs3::{Acs3Request, payload_hash, sign};

/// A message or call that the stub took over.
#[derive(Clone, Debug)]
pub struct AlibabaAccepted {
    /// `BizId` or `CallId`.
    pub id: String,
    /// Our id of the try.
    pub out_id: String,
    /// Everything that was asked for, decoded.
    pub parameters: Vec<(String, String)>,
    /// What `QuerySendDetails` says of it: 1 no news, 2 failed, 3 arrived.
    pub status: i64,
    /// The day in China, `yyyyMMdd`, on which it was taken over.
    pub date: String,
}

impl AlibabaAccepted {
    /// A parameter; empty when it was not given.
    pub fn parameter(&self, name: &str) -> &str {
        value(&self.parameters, name)
    }
}

struct Alibaba {
    access_key_id: String,
    secret: SecretString,
    accepted: Mutex<Vec<AlibabaAccepted>>,
    nonces: Mutex<HashSet<String>>,
}

fn value<'a>(parameters: &'a [(String, String)], name: &str) -> &'a str {
    let found = parameters.iter().find(|(key, _)| key == name);
    found.map_or("", |(_, value)| value)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn decoded(path: &str) -> Vec<(String, String)> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn refusal(code: &str) -> String {
    json!({"RequestId": "R-1", "HostId": "stub", "Code": code, "Message": "no"}).to_string()
}

impl Alibaba {
    /// By the algorithm itself, over the query exactly as it came.
    fn has_signature(&self, request: &SeenRequest) -> bool {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let names = [
            "host",
            "x-acs-action",
            "x-acs-content-sha256",
            "x-acs-date",
            "x-acs-signature-nonce",
            "x-acs-version",
        ];
        let headers = names.map(|name| (name, header(&request.headers, name)));
        let hash = payload_hash(&request.body);
        let wanted = sign(
            &Acs3Request {
                method: &request.method,
                path,
                query,
                headers: &headers,
                payload_hash: &hash,
            },
            &self.secret,
        );
        headers.iter().all(|(_, value)| !value.is_empty())
            && header(&request.headers, "x-acs-content-sha256") == hash
            && header(&request.headers, "authorization")
                == wanted.authorization(&self.access_key_id)
    }

    /// What was sent to a number on a day, a page of it.
    fn details(&self, parameters: &[(String, String)]) -> String {
        let accepted = lock(&self.accepted);
        let sent: Vec<Value> = accepted
            .iter()
            .filter(|it| {
                it.parameter("PhoneNumbers") == value(parameters, "PhoneNumber")
                    && it.date == value(parameters, "SendDate")
            })
            .map(|it| {
                json!({
                    "OutId": it.out_id, "SendStatus": it.status, "PhoneNum": it.parameter("PhoneNumbers"),
                    "TemplateCode": it.parameter("TemplateCode"), "Content": "【签名】…",
                    "SendDate": "2026-11-18 19:06:40", "ErrCode": "DELIVERED",
                })
            })
            .collect();
        let number = |name| value(parameters, name).parse::<usize>().unwrap();
        let (size, page) = (number("PageSize"), number("CurrentPage"));
        assert!((1..=50).contains(&size), "PageSize {size}");
        let listed: Vec<&Value> = sent.iter().skip(size * (page - 1)).take(size).collect();
        json!({
            "RequestId": "R-2", "Code": "OK", "Message": "OK", "TotalCount": sent.len().to_string(),
            "SmsSendDetailDTOs": {"SmsSendDetailDTO": listed},
        })
        .to_string()
    }
}

impl Play for Alibaba {
    const ACCEPTED: u16 = 200;

    /// The query is signed too, so the whole answer is given when the request is obeyed.
    fn is_ours(&self, headers: &HeaderMap, _body: &[u8]) -> bool {
        header(headers, "authorization").starts_with("ACS3-HMAC-SHA256 ")
    }

    fn accept(&self, request: &SeenRequest) -> String {
        let parameters = decoded(&request.path);
        let call = header(&request.headers, "x-acs-action") == "SingleCallByTts";
        let claimed: chrono::DateTime<chrono::Utc> =
            header(&request.headers, "x-acs-date").parse().unwrap();
        let mut ledger = lock(&self.accepted);
        let id = format!("9006197469364984{:04}^0", ledger.len() + 1);
        ledger.push(AlibabaAccepted {
            id: id.clone(),
            out_id: value(&parameters, "OutId").to_owned(),
            parameters,
            status: 1,
            date: (claimed + chrono::TimeDelta::hours(8))
                .format("%Y%m%d")
                .to_string(),
        });
        let name = if call { "CallId" } else { "BizId" };
        json!({"RequestId": "R-3", "Code": "OK", "Message": "OK", name: id}).to_string()
    }

    fn obey(&self, request: &SeenRequest) -> (u16, String) {
        if !self.has_signature(request) {
            return (400, refusal("SignatureDoesNotMatch"));
        }
        let nonce = header(&request.headers, "x-acs-signature-nonce").to_owned();
        if !lock(&self.nonces).insert(nonce) {
            return (400, refusal("SignatureNonceUsed"));
        }
        if header(&request.headers, "x-acs-version") != "2017-05-25" || request.method != "POST" {
            return (404, refusal("InvalidVersion"));
        }
        match header(&request.headers, "x-acs-action") {
            "SendSms" | "SingleCallByTts" => (200, self.accept(request)),
            "QuerySendDetails" => (200, self.details(&decoded(&request.path))),
            _ => (404, refusal("InvalidAction.NotFound")),
        }
    }
}

/// A running stub of the cloud; it stops when dropped.
pub struct AlibabaStub {
    address: SocketAddr,
    state: Arc<Stage<Alibaba>>,
    task: JoinHandle<()>,
}

impl Drop for AlibabaStub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AlibabaStub {
    /// A stub on a free port of 127.0.0.1 for this key.
    pub async fn start(access_key_id: &str, secret: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Stage::new(Alibaba {
            access_key_id: access_key_id.to_owned(),
            secret: SecretString::from(secret),
            accepted: Mutex::default(),
            nonces: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, state.clone()));
        Self {
            address,
            state,
            task,
        }
    }

    /// What goes into the setting `base_url`.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this with the next request; several are done one after the other.
    pub fn once(&self, answer: Answer) {
        self.state.script.once((), answer);
    }

    /// Does this with every request.
    pub fn always(&self, answer: Answer) {
        self.state.script.always((), answer);
    }

    /// Refuses the next request with this code, and 200 as the cloud does.
    pub fn refuse_once(&self, code: &str) {
        self.once(Answer::Status(200, String::new(), refusal(code)));
    }

    /// Behaves again.
    pub fn behave(&self) {
        self.state.script.clear();
    }

    /// The ledger: every message or call taken over, in order.
    pub fn accepted(&self) -> Vec<AlibabaAccepted> {
        lock(&self.state.play.accepted).clone()
    }

    /// From now on `QuerySendDetails` says this of the message with our id `out_id`: 1 no news, 2 failed, 3 arrived.
    pub fn set_status(&self, out_id: &str, status: i64) {
        for message in lock(&self.state.play.accepted).iter_mut() {
            if message.out_id == out_id {
                message.status = status;
            }
        }
    }

    /// Every request, in order.
    pub fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.state.seen).clone()
    }

    /// Pushes `body` to `url` as the cloud does, without any signature; answers status and body.
    pub async fn push(&self, url: &str, body: &Value) -> (u16, String) {
        let timeouts = crate::channel::gateway::GatewayTimeouts::default();
        let client = crate::channel::gateway::http_client(&timeouts).unwrap();
        let response = client.post(url).json(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    }
}
