//! Twilio as carrier of text messages and calls (RELIABILITY 4.2).
//!
//! Twilio recognises no message twice: what was posted may not be posted again before it is known that the first one was
//! not taken. So the classes are drawn strictly, and a message in doubt is looked for in the account's own lists.

pub(super) mod answer;
pub(crate) mod callback;
mod codes;
pub(super) mod lookup;
mod recent;
pub mod signature;
pub mod twiml;

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use reqwest::{Client, Method, RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};

use self::{answer::classify, recent::Recent};
use super::{
    CallScript, Channel, Content, Doubtful, Outcome, Outgoing, Reason, ReasonCode, Reconciled,
    Sender,
    exchange::{GatewayTimeouts, Unanswered, exchange, http_client},
    gateway::{GatewayConfigError, is_e164, safe_url},
};

pub use self::codes::{is_bad_number, is_opt_out};

/// Where Twilio answers.
pub const DEFAULT_BASE: &str = "https://api.twilio.com";
/// Retries of a webhook on connection errors, time-outs and our own failures. It is no part of what is signed.
const RETRY_OVERRIDE: &str = "rc=2&rp=ct,rt,5xx";
/// Longest time that Twilio keeps a text message for, in seconds.
const VALIDITY_MAX: i64 = 36_000;
/// How long a telephone rings at most, in seconds.
const RING_SECONDS_MAX: i64 = 60;
/// Longest call, in seconds: a menu that is heard a few times is over by then.
const CALL_SECONDS_MAX: u32 = 600;

/// Whom messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TwilioFrom {
    /// A number, short code or name of ours.
    Number(String),
    /// A Messaging Service, which chooses the number; for text messages only.
    MessagingService(String),
}

/// How an account is reached.
#[derive(Debug)]
pub struct TwilioConfig {
    /// What is sent: text messages or calls.
    pub channel: Channel,
    /// [`DEFAULT_BASE`], or a regional one. Plain http is taken on this machine only.
    pub base: String,
    /// `AC…`
    pub account_sid: String,
    /// Who signs in: the account itself or an API key.
    pub user: String,
    /// The account's token or the key's secret.
    pub password: SecretString,
    /// Whom messages come from.
    pub from: TwilioFrom,
    /// Where our callbacks are, such as `https://cs.example/callbacks/twilio`.
    pub callbacks: String,
    /// Time limits.
    pub timeouts: GatewayTimeouts,
}

/// Sends text messages or places calls. Share it by `Arc`.
#[derive(Debug)]
pub struct TwilioSender {
    kind: Kind,
    client: Client,
    /// Ends with a slash.
    account: Url,
    account_sid: String,
    user: String,
    password: SecretString,
    from: TwilioFrom,
    callbacks: String,
    total: Duration,
    recent: Recent,
}

impl TwilioSender {
    /// Checks the set-up. Does not connect.
    pub fn try_new(config: TwilioConfig) -> Result<Self, GatewayConfigError> {
        let client = http_client(&config.timeouts).map_err(GatewayConfigError::Client)?;
        let base = safe_url("base_url", &config.base)?;
        let account = format!(
            "{}/2010-04-01/Accounts/{}/",
            base.as_str().trim_end_matches('/'),
            config.account_sid
        );
        let account =
            Url::parse(&account).map_err(|_| GatewayConfigError::Url { field: "base_url" })?;
        safe_url("public_url", &config.callbacks)?;
        Ok(Self {
            kind: match config.channel {
                Channel::Phone => Kind::Call,
                Channel::Sms | Channel::Email => Kind::Sms,
            },
            client,
            account,
            account_sid: config.account_sid,
            user: config.user,
            password: config.password,
            from: config.from,
            callbacks: config.callbacks.trim_end_matches('/').to_owned(),
            total: config.timeouts.total,
            recent: Recent::default(),
        })
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client
            .request(method, url)
            .basic_auth(&self.user, Some(self.password.expose_secret()))
            .header(http::header::ACCEPT, "application/json")
    }

    async fn attempt(&self, message: &Outgoing, now: DateTime<Utc>) -> Outcome {
        if message.is_late(now) {
            let reason = Reason::new(ReasonCode::DeadlinePassed, "the message came too late");
            return Outcome::not_sent(reason);
        }
        if !is_e164(message.to.expose_secret()) {
            return Outcome::Permanent {
                reason: Reason::new(ReasonCode::BadRecipient, "not an E.164 number"),
                bad_recipient: true,
            };
        }
        let invalid = |text| Outcome::permanent(Reason::new(ReasonCode::MessageInvalid, text));
        let form = match (self.kind, &message.content) {
            (Kind::Sms, Content::Sms(sms)) => self.sms(message, &sms.text, now),
            (Kind::Call, Content::Call(script)) => match self.call(message, script, now) {
                Some(form) => form,
                None => return invalid("the call says more than 4,000 characters"),
            },
            _ => return invalid("the message is for another channel"),
        };
        let Ok(url) = self.account.join(self.kind.resource()) else {
            let text = "Twilio's address cannot be made";
            return Outcome::Config {
                reason: Reason::new(ReasonCode::Misconfigured, text),
            };
        };
        let request = self.request(Method::POST, url).form(&form);
        let answer = match exchange(request, self.total, now).await {
            Ok(answer) => answer,
            Err(Unanswered::NotSent(reason)) => return Outcome::not_sent(reason),
            Err(Unanswered::InDoubt(text)) => {
                return Outcome::InDoubt {
                    reason: Reason::new(ReasonCode::Unconfirmed, text),
                };
            }
        };
        let outcome = classify(
            &answer,
            self.kind,
            &self.account_sid,
            message.to.expose_secret(),
        );
        if let Outcome::Sent { provider_id } = &outcome
            && !self.recent.note(provider_id, message.message_id)
        {
            tracing::error!("Twilio gave one id to two messages; the second is in doubt");
            let text = "the id belongs to another message";
            return Outcome::InDoubt {
                reason: Reason::new(ReasonCode::IdTaken, text),
            };
        }
        outcome
    }

    fn sms(
        &self,
        message: &Outgoing,
        text: &str,
        now: DateTime<Utc>,
    ) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("To", message.to.expose_secret().to_owned()),
            self.sender_field(),
            ("Body", text.to_owned()),
            ("StatusCallback", self.callback("sms/status", message, None)),
        ];
        if let Some(deadline) = message.deadline {
            let left = (deadline - now).num_seconds().clamp(1, VALIDITY_MAX);
            form.push(("ValidityPeriod", left.to_string()));
        }
        form
    }

    fn call(
        &self,
        message: &Outgoing,
        script: &CallScript,
        now: DateTime<Utc>,
    ) -> Option<Vec<(&'static str, String)>> {
        let action = self.callback("voice/gather", message, Some(1));
        let twiml = twiml::ask(script, None, &action);
        if twiml.chars().count() > twiml::MAX_CHARS {
            return None;
        }
        let ring = message.deadline.map_or(RING_SECONDS_MAX, |deadline| {
            (deadline - now).num_seconds().clamp(5, RING_SECONDS_MAX)
        });
        let mut form = vec![
            ("To", message.to.expose_secret().to_owned()),
            self.sender_field(),
            ("Twiml", twiml),
            (
                "StatusCallback",
                self.callback("voice/status", message, None),
            ),
            ("StatusCallbackMethod", "POST".to_owned()),
        ];
        for event in ["initiated", "ringing", "answered", "completed"] {
            form.push(("StatusCallbackEvent", event.to_owned()));
        }
        form.push(("Timeout", ring.to_string()));
        form.push(("TimeLimit", CALL_SECONDS_MAX.to_string()));
        form.push(("MachineDetection", "Enable".to_owned()));
        Some(form)
    }

    fn sender_field(&self) -> (&'static str, String) {
        match &self.from {
            TwilioFrom::Number(number) => ("From", number.clone()),
            TwilioFrom::MessagingService(sid) => ("MessagingServiceSid", sid.clone()),
        }
    }

    fn callback(&self, path: &str, message: &Outgoing, turn: Option<u32>) -> String {
        callback_url(
            &self.callbacks,
            path,
            &message.attempt_id.to_string(),
            &message.idempotency_key(),
            turn.map(|turn| Turn { turn, misses: 0 }),
        )
    }
}

/// Where a call stands: how often it has asked, and how often it got no answer that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) turn: u32,
    pub(crate) misses: u32,
}

/// An address of ours that says which message and which try it is about. It is part of what Twilio signs.
pub(crate) fn callback_url(
    callbacks: &str,
    path: &str,
    attempt: &str,
    key: &str,
    turn: Option<Turn>,
) -> String {
    let turn = turn.map_or_else(String::new, |at| {
        format!("&turn={}&misses={}", at.turn, at.misses)
    });
    format!("{callbacks}/{path}?attempt={attempt}&key={key}{turn}#{RETRY_OVERRIDE}")
}

/// What Twilio keeps apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sms,
    Call,
}

impl Kind {
    const fn resource(self) -> &'static str {
        match self {
            Self::Sms => "Messages.json",
            Self::Call => "Calls.json",
        }
    }

    /// Whether Twilio names such things like that: two letters and 32 hexadecimal digits.
    fn owns(self, sid: &str) -> bool {
        let prefixes: &[&str] = match self {
            Self::Sms => &["SM", "MM"],
            Self::Call => &["CA"],
        };
        sid.len() == 34
            && prefixes.iter().any(|prefix| sid.starts_with(prefix))
            && sid.bytes().skip(2).all(|byte| byte.is_ascii_hexdigit())
    }
}

impl Sender for TwilioSender {
    fn send<'a>(&'a self, message: &'a Outgoing, now: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        self.attempt(message, now).boxed()
    }

    fn reconcile<'a>(
        &'a self,
        message: &'a Doubtful,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Reconciled> {
        self.look_up(message, now).boxed()
    }
}
