//! Tencent Cloud's interface for text messages on a real socket; it misbehaves on demand.

use http::HeaderMap;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::http_talk::{Answer, Play, SeenRequest, Stage, lock, serve};
use crate::channel::tencent::tc3::{Tc3Request, sign};

/// A message that the stub took over.
#[derive(Clone, Debug)]
pub struct TencentAccepted {
    /// `SerialNo`.
    pub id: String,
    /// Our id of the try.
    pub session_context: String,
    /// The request.
    pub request: Value,
}

struct Tencent {
    secret_id: String,
    secret: SecretString,
    accepted: Mutex<Vec<TencentAccepted>>,
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn failure(code: &str) -> String {
    json!({"Response": {"Error": {"Code": code, "Message": "no"}, "RequestId": "R"}}).to_string()
}

impl Play for Tencent {
    const ACCEPTED: u16 = 200;

    fn is_ours(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let stamp = header(headers, "x-tc-timestamp")
            .parse()
            .unwrap_or_default();
        let wanted = sign(
            &Tc3Request {
                service: "sms",
                headers: &["content-type", "host", "x-tc-action"]
                    .map(|name| (name, header(headers, name))),
                body,
                time: chrono::DateTime::from_timestamp(stamp, 0).unwrap_or_default(),
            },
            &self.secret,
        );
        header(headers, "authorization") == wanted.authorization(&self.secret_id)
    }

    fn accept(&self, request: &SeenRequest) -> String {
        let request: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let session_context = request["SessionContext"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let number = request["PhoneNumberSet"][0].clone();
        let mut ledger = lock(&self.accepted);
        let id = format!("2433:{:012}", ledger.len() + 1);
        let answer = json!({"Response": {"SendStatusSet": [{
            "SerialNo": id, "PhoneNumber": number, "Fee": 1, "SessionContext": session_context,
            "Code": "Ok", "Message": "send success", "IsoCode": "CN",
        }], "RequestId": "R"}});
        ledger.push(TencentAccepted {
            id,
            session_context,
            request,
        });
        answer.to_string()
    }

    fn obey(&self, request: &SeenRequest) -> (u16, String) {
        let headers = &request.headers;
        let code = if !request.signed {
            "AuthFailure.SignatureFailure"
        } else if header(headers, "x-tc-version") != "2021-01-11" {
            "NoSuchVersion"
        } else if header(headers, "x-tc-action") != "SendSms" {
            "InvalidAction"
        } else {
            return (Self::ACCEPTED, self.accept(request));
        };
        (200, failure(code))
    }
}

/// A running stub of the cloud; it stops when dropped.
pub struct TencentStub {
    address: SocketAddr,
    state: Arc<Stage<Tencent>>,
    task: JoinHandle<()>,
}

impl Drop for TencentStub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TencentStub {
    /// A stub on a free port of 127.0.0.1 for this key.
    pub async fn start(secret_id: &str, secret: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Stage::new(Tencent {
            secret_id: secret_id.to_owned(),
            secret: SecretString::from(secret),
            accepted: Mutex::default(),
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

    /// Refuses the next request as a whole with this code.
    pub fn fail_once(&self, code: &str) {
        self.once(Answer::Status(200, String::new(), failure(code)));
    }

    /// The ledger: every message taken over, in order.
    pub fn accepted(&self) -> Vec<TencentAccepted> {
        lock(&self.state.play.accepted).clone()
    }

    /// Every request, in order.
    pub fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.state.seen).clone()
    }
}
