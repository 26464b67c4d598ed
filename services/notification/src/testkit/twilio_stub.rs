//! Twilio's API on a real socket, and its callbacks; it misbehaves on demand.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::http_talk::{Answer, Play, SeenRequest, Stage, lock, serve};
use crate::channel::twilio::signature::{HEADER, TwilioSignature};

/// A message or call that the stub took over.
#[derive(Clone, Debug)]
pub struct TwilioAccepted {
    /// `SM…` or `CA…`
    pub sid: String,
    /// Everything that was posted, in order.
    pub fields: Vec<(String, String)>,
    /// What the account's list says of it.
    pub status: String,
}

impl TwilioAccepted {
    /// A posted field; empty when it was not.
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Our message id and generation, from the address of the callback.
    pub fn key(&self) -> String {
        query_value(self.field("StatusCallback"), "key")
    }

    /// Our id of the try, from the address of the callback.
    pub fn attempt(&self) -> String {
        query_value(self.field("StatusCallback"), "attempt")
    }

    /// Where the call sends the keys that are pressed.
    pub fn action(&self) -> String {
        action_of(self.field("Twiml"))
    }

    fn is_call(&self) -> bool {
        self.sid.starts_with("CA")
    }
}

/// Where the first `Gather` of a document sends keys to; empty when there is none.
fn action_of(twiml: &str) -> String {
    let rest = twiml.split_once("action=\"").map_or("", |(_, rest)| rest);
    let action = rest.split('"').next().unwrap_or_default();
    action.replace("&amp;", "&")
}

fn query_value(url: &str, name: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

struct Account {
    sid: String,
    login: String,
    accepted: Mutex<Vec<TwilioAccepted>>,
    /// The time of this moment in RFC 2822, as lists tell it.
    date: Mutex<String>,
}

impl Account {
    fn resource(&self, message: &TwilioAccepted) -> Value {
        let date = lock(&self.date).clone();
        let service = Some(message.field("MessagingServiceSid")).filter(|sid| !sid.is_empty());
        let from = Some(message.field("From")).filter(|from| !from.is_empty());
        if message.is_call() {
            return json!({
                "account_sid": self.sid, "api_version": "2010-04-01", "answered_by": null,
                "date_created": date, "date_updated": date, "direction": "outbound-api", "duration": null,
                "end_time": null, "from": from, "sid": message.sid, "start_time": null, "status": message.status,
                "to": message.field("To"), "uri": format!("/2010-04-01/Accounts/{}/Calls/{}.json", self.sid, message.sid),
            });
        }
        let body = message.field("Body");
        let segments = match service {
            Some(_) => 0,
            None => crate::template::segments(body).count,
        };
        json!({
            "account_sid": self.sid, "api_version": "2010-04-01", "body": body, "date_created": date,
            "date_sent": date, "date_updated": date, "direction": "outbound-api", "error_code": null,
            "error_message": null, "from": from, "messaging_service_sid": service, "num_media": "0",
            "num_segments": segments.to_string(), "price": null, "price_unit": null, "sid": message.sid,
            "status": message.status, "subresource_uris": {"media": "…"}, "to": message.field("To"),
            "uri": format!("/2010-04-01/Accounts/{}/Messages/{}.json", self.sid, message.sid),
        })
    }

    fn list(&self, path: &str, calls: bool) -> Value {
        let to = query_value(path, "To");
        let size: usize = query_value(path, "PageSize").parse().unwrap_or(50);
        let page: usize = query_value(path, "Page").parse().unwrap_or(0);
        let ledger = lock(&self.accepted).clone();
        // The newest first.
        let all: Vec<Value> = ledger
            .iter()
            .rev()
            .filter(|it| it.is_call() == calls && it.field("To") == to)
            .map(|it| self.resource(it))
            .collect();
        let shown: Vec<Value> = all.iter().skip(page * size).take(size).cloned().collect();
        let more = all.len() > (page + 1) * size;
        let name = if calls { "calls" } else { "messages" };
        let resource = if calls { "Calls" } else { "Messages" };
        let encoded: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
        let next = more.then(|| {
            format!(
                "/2010-04-01/Accounts/{}/{resource}.json?To={encoded}&PageSize={size}&Page={}",
                self.sid,
                page + 1
            )
        });
        json!({ name: shown, "next_page_uri": next, "page": page, "page_size": size })
    }
}

impl Play for Account {
    const ACCEPTED: u16 = 201;

    fn is_ours(&self, headers: &HeaderMap, _: &[u8]) -> bool {
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|given| given == self.login)
    }

    /// Every time anew: Twilio recognises no message.
    fn accept(&self, request: &SeenRequest) -> String {
        let fields: Vec<(String, String)> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        let mut ledger = lock(&self.accepted);
        let prefix = if request.path.ends_with("/Calls.json") {
            "CA"
        } else {
            "SM"
        };
        let message = TwilioAccepted {
            sid: format!("{prefix}{:032x}", ledger.len() + 1),
            fields,
            status: "queued".to_owned(),
        };
        ledger.push(message.clone());
        drop(ledger);
        self.resource(&message).to_string()
    }

    fn obey(&self, request: &SeenRequest) -> (u16, String) {
        if !request.signed {
            return problem(401, 20003);
        }
        let prefix = format!("/2010-04-01/Accounts/{}/", self.sid);
        let path = request.path.strip_prefix(&prefix).unwrap_or_default();
        let resource = path.split('?').next().unwrap_or_default();
        match (request.method.as_str(), resource) {
            ("POST", "Messages.json" | "Calls.json") => (Self::ACCEPTED, self.accept(request)),
            ("GET", "Messages.json") => (200, self.list(path, false).to_string()),
            ("GET", "Calls.json") => (200, self.list(path, true).to_string()),
            _ => problem(404, 20404),
        }
    }
}

fn problem(status: u16, code: u32) -> (u16, String) {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    let body = json!({"code": code, "message": "no", "more_info": more, "status": status});
    (status, body.to_string())
}

/// A running stub of Twilio; it stops when dropped.
pub struct TwilioStub {
    address: SocketAddr,
    stage: Arc<Stage<Account>>,
    signature: TwilioSignature,
    task: JoinHandle<()>,
}

impl Drop for TwilioStub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TwilioStub {
    /// The account that the stub knows.
    pub const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
    /// Its token.
    pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    /// A stub on a free port of 127.0.0.1. Lists tell `date`, in RFC 2822, as the time of every message.
    pub async fn start(date: &str) -> Self {
        Self::start_as(date, Self::TOKEN).await
    }

    /// One that knows the account by another token.
    pub async fn start_as(date: &str, token: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let login = STANDARD.encode(format!("{}:{token}", Self::ACCOUNT));
        let stage = Stage::new(Account {
            sid: Self::ACCOUNT.to_owned(),
            login: format!("Basic {login}"),
            accepted: Mutex::new(Vec::new()),
            date: Mutex::new(date.to_owned()),
        });
        Self {
            address,
            task: tokio::spawn(serve(listener, stage.clone())),
            stage,
            signature: TwilioSignature::new(SecretString::from(token)),
        }
    }

    /// What goes into `base_url`.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An error body as Twilio writes it.
    pub fn problem(status: u16, code: u32) -> Answer {
        Answer::Status(status, String::new(), problem(status, code).1)
    }

    /// Does this with the next request; several are done one after the other.
    pub fn once(&self, answer: Answer) {
        self.stage.script.once((), answer);
    }

    /// Does this with every request.
    pub fn always(&self, answer: Answer) {
        self.stage.script.always((), answer);
    }

    /// Behaves again.
    pub fn behave(&self) {
        self.stage.script.clear();
    }

    /// The ledger: every message and call taken over, in order.
    pub fn accepted(&self) -> Vec<TwilioAccepted> {
        lock(&self.stage.play.accepted).clone()
    }

    /// Every request, in order.
    pub fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.stage.seen).clone()
    }

    /// From now on lists tell this time.
    pub fn set_date(&self, date: &str) {
        date.clone_into(&mut lock(&self.stage.play.date));
    }

    /// Tells the message's status callback, with further fields; answers the HTTP status.
    pub async fn tell_status(
        &self,
        message: &TwilioAccepted,
        status: &str,
        more: &[(&str, &str)],
    ) -> u16 {
        let sid = message.sid.as_str();
        let mut fields = vec![
            ("AccountSid", Self::ACCOUNT),
            ("ApiVersion", "2010-04-01"),
            ("From", message.field("From")),
            ("To", message.field("To")),
        ];
        if message.is_call() {
            fields.extend([
                ("CallSid", sid),
                ("CallStatus", status),
                ("CallbackSource", "call-progress-events"),
            ]);
        } else {
            fields.extend([
                ("MessageSid", sid),
                ("MessageStatus", status),
                ("SmsSid", sid),
                ("SmsStatus", status),
            ]);
        }
        fields.extend(more);
        self.post(message.field("StatusCallback"), &fields).await.0
    }

    /// Tells the keys that were pressed in a call, at the address that it gave or that the last answer gave; answers the
    /// HTTP status, and the markup with which the call goes on.
    pub async fn press(
        &self,
        call: &TwilioAccepted,
        last_answer: Option<&str>,
        digits: &str,
    ) -> (u16, String) {
        let action = last_answer.map_or_else(|| call.action(), action_of);
        let fields = [
            ("AccountSid", Self::ACCOUNT),
            ("CallSid", call.sid.as_str()),
            ("CallStatus", "in-progress"),
            ("Digits", digits),
            ("From", call.field("From")),
            ("To", call.field("To")),
        ];
        self.post(&action, &fields).await
    }

    /// Posts a signed form to `url`; answers status and body.
    pub async fn post(&self, url: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let signature = self.signature.sign_form(url, fields);
        self.post_signed(url, fields, &signature).await
    }

    /// Posts a form with this signature.
    pub async fn post_signed(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        signature: &str,
    ) -> (u16, String) {
        let timeouts = crate::channel::gateway::GatewayTimeouts::default();
        let client = crate::channel::gateway::http_client(&timeouts).unwrap();
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let response = client
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header(HEADER, signature)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    }

    /// The signature that Twilio makes for a form posted to `url`.
    pub fn signature(&self, url: &str, fields: &[(&str, &str)]) -> String {
        self.signature.sign_form(url, fields)
    }
}
