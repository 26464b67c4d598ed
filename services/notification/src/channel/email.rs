//! Sends letters through a mail relay, over a few kept connections.
//!
//! See [`super::smtp`] for the conversation and for why it is our own. Here: the pool, and the class of every failure.

use chrono::{DateTime, Utc};
use countersign_domain::secrets::{BOUNCE_TOKEN_CHARS, LinkKey};
use futures::{FutureExt, future::BoxFuture};
use lettre::{Address, message::Mailbox};
use rustls::ClientConfig;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    Content, Doubtful, Outcome, Outgoing, Reason, ReasonCode, Reconciled, Sender, delivery_status,
    dkim::{DkimConfig, DkimError, DkimSigner},
    letter::{BounceAddress, Letter, Letterhead},
    relay::{Relay, RelayError, RelayUrl, system_tls},
    smtp::{Cause, Failure, Parcel, Phase, Session, SmtpTimeouts},
};

/// The longest name of a bounce address: local parts have 64 characters at most, and a plus sign and the token follow.
const BOUNCE_USER_MAX: usize = 63 - BOUNCE_TOKEN_CHARS;

/// How letters are sent.
#[derive(Clone, Debug)]
pub struct EmailConfig {
    /// The relay.
    pub relay: RelayUrl,
    /// Who writes: `Hua Trading <orders@example.com>`.
    pub from: String,
    /// Where answers by mail go.
    pub reply_to: Option<String>,
    /// Where bounces go, and what proves that they are about a letter of ours: `bounce@example.com` becomes
    /// `bounce+{token}@example.com`. Without it they go to the writer.
    pub bounce: Option<(String, LinkKey)>,
    /// How letters are signed; not at all without it.
    pub dkim: Option<DkimConfig>,
    /// Right half of every Message-ID, our own domain.
    pub message_domain: String,
    /// How we call ourselves in EHLO.
    pub hello_name: String,
    /// Time limits.
    pub timeouts: SmtpTimeouts,
    /// Connections at a time.
    pub max_connections: usize,
    /// Messages before a connection is replaced.
    pub max_messages: u32,
    /// How long an unused connection is kept.
    pub max_idle: Duration,
    /// How long a message waits for a free connection.
    pub pool_wait: Duration,
    /// TLS to use in place of the system's trust.
    pub tls: Option<Arc<ClientConfig>>,
}

impl EmailConfig {
    /// The usual limits (RELIABILITY section 3.7).
    pub fn new(relay: RelayUrl, from: impl Into<String>, domain: impl Into<String>) -> Self {
        let domain = domain.into();
        Self {
            relay,
            from: from.into(),
            reply_to: None,
            bounce: None,
            dkim: None,
            hello_name: domain.clone(),
            message_domain: domain,
            timeouts: SmtpTimeouts::default(),
            max_connections: 10,
            max_messages: 100,
            max_idle: Duration::from_mins(1),
            pool_wait: Duration::from_secs(30),
            tls: None,
        }
    }
}

/// Why letters cannot be sent with this set-up.
#[derive(Debug, thiserror::Error)]
pub enum EmailConfigError {
    /// `from`, `reply_to` or `bounce` is no address.
    #[error("{field} is not a mail address")]
    Address {
        /// The setting.
        field: &'static str,
    },
    /// `message_domain` or `hello_name` is no name.
    #[error("{field} is not a domain name")]
    Domain {
        /// The setting.
        field: &'static str,
    },
    /// The bounce address leaves no room for the token in its local part.
    #[error("bounce must have at most {} characters before the @", BOUNCE_USER_MAX)]
    LongBounce,
    /// Letters cannot be signed.
    #[error("setting up DKIM")]
    Dkim(#[source] DkimError),
    /// Encryption cannot be set up.
    #[error("setting up the relay")]
    Relay(#[source] RelayError),
}

/// Sends letters. Share it by `Arc`.
pub struct EmailSender {
    head: Letterhead,
    relay: Relay,
    slots: Semaphore,
    idle: Mutex<Vec<Session>>,
    max_messages: u32,
    max_idle: Duration,
    pool_wait: Duration,
}

impl EmailSender {
    /// Checks the set-up. Does not connect.
    pub fn try_new(config: EmailConfig) -> Result<Self, EmailConfigError> {
        let head = Letterhead {
            from: mailbox("from", &config.from)?,
            reply_to: config
                .reply_to
                .as_deref()
                .map(|text| mailbox("reply_to", text))
                .transpose()?,
            bounce: config.bounce.map(bounce_address).transpose()?,
            dkim: config
                .dkim
                .map(|dkim| DkimSigner::try_new(&dkim))
                .transpose()
                .map_err(EmailConfigError::Dkim)?,
            message_domain: domain("message_domain", config.message_domain)?,
        };
        let tls = match config.tls {
            Some(tls) => tls,
            None => system_tls().map_err(EmailConfigError::Relay)?,
        };
        let relay = Relay {
            url: config.relay,
            hello_name: domain("hello_name", config.hello_name)?,
            timeouts: config.timeouts,
            tls,
        };
        Ok(Self {
            head,
            relay,
            slots: Semaphore::new(config.max_connections.max(1)),
            idle: Mutex::new(Vec::new()),
            max_messages: config.max_messages,
            max_idle: config.max_idle,
            pool_wait: config.pool_wait,
        })
    }

    /// Says good-bye on every unused connection.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        futures::future::join_all(idle.into_iter().map(Session::quit)).await;
    }

    async fn attempt(&self, message: &Outgoing, now: DateTime<Utc>) -> Outcome {
        if message.is_late(now) {
            let reason = Reason::new(ReasonCode::DeadlinePassed, "the message came too late");
            return Outcome::not_sent(reason);
        }
        let Content::Email(content) = &message.content else {
            let reason = Reason::new(ReasonCode::MessageInvalid, "not a letter");
            return Outcome::permanent(reason);
        };
        let letter = match self.head.write(message, content) {
            Ok(letter) => letter,
            Err(error) => {
                let bad_recipient = error.bad_recipient;
                return Outcome::Permanent {
                    reason: error.reason,
                    bad_recipient,
                };
            }
        };
        let Ok(Ok(_slot)) = timeout(self.patience(message, now), self.slots.acquire()).await else {
            let text = "no connection to the relay became free";
            return Outcome::not_sent(Reason::new(ReasonCode::PoolExhausted, text));
        };
        let envelope_id = message.idempotency_key();
        match self.deliver(&letter, &envelope_id).await {
            Ok(()) => Outcome::Sent {
                provider_id: letter.message_id,
            },
            Err(failure) => delivery_status::classify(&failure),
        }
    }

    /// How long to wait for a connection: never beyond the message's use.
    fn patience(&self, message: &Outgoing, now: DateTime<Utc>) -> Duration {
        let left = message
            .deadline
            .and_then(|deadline| (deadline - now).to_std().ok());
        left.map_or(self.pool_wait, |left| left.min(self.pool_wait))
    }

    async fn deliver(&self, letter: &Letter, envelope_id: &str) -> Result<(), Failure> {
        let parcel = Parcel {
            from: &letter.from,
            to: &letter.to,
            data: &letter.data,
            envelope_id,
        };
        if let Some(mut session) = self.kept_session().await {
            let result = session.deliver(&parcel).await;
            let went_away = result.as_ref().is_err_and(relay_went_away);
            self.keep(session);
            if !went_away {
                return result.map(drop);
            }
        }
        let mut session = Box::pin(Session::open(&self.relay)).await?;
        let result = session.deliver(&parcel).await;
        self.keep(session);
        result.map(drop)
    }

    /// A kept connection on which the relay has answered just now.
    async fn kept_session(&self) -> Option<Session> {
        loop {
            let mut session = self.idle().pop()?;
            if session.idle_since.elapsed() > self.max_idle {
                continue;
            }
            if session.is_ready() {
                return Some(session);
            }
            let Err(failure) = session.reset().await else {
                return Some(session);
            };
            tracing::debug!("a kept connection to the relay is gone");
            if matches!(failure.cause, Cause::TimedOut) {
                // The others are as dead, and each would cost the same wait.
                self.idle().clear();
            }
        }
    }

    fn keep(&self, mut session: Session) {
        if session.is_usable() && session.used < self.max_messages {
            session.idle_since = Instant::now();
            self.idle().push(session);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender for EmailSender {
    fn send<'a>(&'a self, message: &'a Outgoing, now: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        self.attempt(message, now).boxed()
    }

    fn reconcile<'a>(
        &'a self,
        _message: &'a Doubtful,
        _now: DateTime<Utc>,
    ) -> BoxFuture<'a, Reconciled> {
        std::future::ready(Reconciled::NobodyToAsk).boxed()
    }
}

/// The relay closed a kept connection between our messages; nothing of this one was taken.
fn relay_went_away(failure: &Failure) -> bool {
    failure.phase == Phase::Mail
        && match &failure.cause {
            Cause::Io(_) | Cause::Closed => true,
            Cause::Reply(reply) => reply.code == 421,
            _ => false,
        }
}

fn mailbox(field: &'static str, text: &str) -> Result<Mailbox, EmailConfigError> {
    match text.parse::<Mailbox>() {
        Ok(mailbox) if mailbox.email.to_string().is_ascii() => Ok(mailbox),
        _ => Err(EmailConfigError::Address { field }),
    }
}

fn bounce_address((text, key): (String, LinkKey)) -> Result<BounceAddress, EmailConfigError> {
    let address: Address = mailbox("bounce", &text)?.email;
    if address.user().len() > BOUNCE_USER_MAX {
        return Err(EmailConfigError::LongBounce);
    }
    Ok(BounceAddress { address, key })
}

fn domain(field: &'static str, text: String) -> Result<String, EmailConfigError> {
    let fits = !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte));
    if fits {
        Ok(text)
    } else {
        Err(EmailConfigError::Domain { field })
    }
}
