//! The outward half of the worker: one attempt to hand one message to a relay or gateway, and what came of it.
//!
//! Whether a message may be tried again depends only on how sure we are that nobody accepted it, so
//! every failure is put into one of the classes of RELIABILITY section 3.4 before it leaves this module.

pub mod alibaba;
mod answer;
pub mod approved;
pub mod callback;
mod delivery_status;
pub mod dkim;
pub mod email;
pub(crate) mod exchange;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod fuzz;
pub mod gateway;
mod letter;
pub mod reason;
pub mod relay;
pub mod signature;
pub mod smtp;
pub mod tencent;
pub mod twilio;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use secrecy::SecretString;
use std::{collections::HashSet, fmt, time::Duration};
use uuid::Uuid;

pub use approved::Particulars;
pub use callback::DeliveryStatus;
pub use reason::{Reason, ReasonCode, RetryRule};

/// A way to reach a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// A letter by e-mail.
    Email,
    /// A text message.
    Sms,
    /// A telephone call that speaks and listens for keys.
    Phone,
}

impl Channel {
    /// The stored and published name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "EMAIL",
            Self::Sms => "SMS",
            Self::Phone => "PHONE",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One attempt to send one message.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The message; the same for every attempt.
    pub message_id: Uuid,
    /// Counts deliberate resends by staff. Message id and generation together are what receivers deduplicate by.
    pub generation: u32,
    /// This attempt; comes back in the gateway's callbacks.
    pub attempt_id: Uuid,
    /// When the message was made. It is the letter's date, so that a resend is the same letter byte for byte.
    pub created_at: DateTime<Utc>,
    /// E-mail address or E.164 number. Never printed.
    pub to: SecretString,
    /// What to say.
    pub content: Content,
    /// W3C trace context of the order's request, passed on to HTTP gateways.
    pub traceparent: Option<String>,
    /// After this moment the message is of no use; no attempt starts later.
    pub deadline: Option<DateTime<Utc>>,
}

impl Outgoing {
    /// The key by which a receiver recognises the same message again: the same for every attempt of a generation.
    ///
    /// It holds no dot, because a Standard Webhooks id may not.
    pub fn idempotency_key(&self) -> String {
        format!("{}-{}", self.message_id, self.generation)
    }

    /// Whether the message is of no use any more.
    pub fn is_late(&self, now: DateTime<Utc>) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// What is said, per channel. `Debug` shows sizes only.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A letter.
    Email(EmailContent),
    /// A text message.
    Sms(SmsContent),
    /// A call.
    Call(CallScript),
}

impl Content {
    /// The channel that can carry it.
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Email(_) => Channel::Email,
            Self::Sms(_) => Channel::Sms,
            Self::Call(_) => Channel::Phone,
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(mail) => {
                write!(f, "Email({} + {} bytes)", mail.text.len(), mail.html.len())
            }
            Self::Sms(sms) => write!(f, "Sms({} bytes)", sms.text.len()),
            Self::Call(call) => write!(f, "Call({} prompts)", call.prompts.len()),
        }
    }
}

/// A letter in both forms that mail programs show.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailContent {
    /// Subject, one line.
    pub subject: String,
    /// The letter as plain text.
    pub text: String,
    /// The letter as HTML.
    pub html: String,
    /// HTTPS address that stops such mail by one click (RFC 8058), when the message may be declined.
    pub unsubscribe: Option<String>,
    /// Kind of message in small letters: mailbox providers count complaints by it (Feedback-ID).
    pub kind: &'static str,
}

/// A text message.
#[derive(Clone, PartialEq, Eq)]
pub struct SmsContent {
    /// The text, one line.
    pub text: String,
    /// What the text says as values, for carriers that send only texts approved beforehand.
    pub particulars: Option<Particulars>,
}

/// What a call says and which keys it listens for.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CallScript {
    /// Language to speak, BCP 47.
    pub language: String,
    /// Said one after the other. Plain text, never markup.
    pub prompts: Vec<String>,
    /// Keys to listen for after the last prompt; empty when the call only tells.
    pub keys: Vec<CallKey>,
    /// What the prompts say as values, for carriers that speak only texts approved beforehand. No part of the generic
    /// contract, so it is never written into a request.
    #[serde(skip)]
    pub particulars: Option<Particulars>,
}

/// A key and what pressing it means.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CallKey {
    /// "0" to "9".
    pub digit: String,
    /// What the customer says by it.
    pub means: KeyMeaning,
}

/// What a customer can say with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMeaning {
    /// The order is right.
    Confirm,
    /// Something is wrong: a member of staff rings back.
    Object,
    /// A member of staff is to ring back; neither a yes nor a no.
    Person,
    /// Say it again. The gateway does this by itself.
    Repeat,
}

/// What came of an attempt (RELIABILITY section 3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The relay or gateway took the message over.
    Sent {
        /// The gateway's id, or the letter's Message-ID without angle brackets.
        provider_id: String,
    },
    /// Proven not accepted: may be tried again without fear of a duplicate.
    NotSent {
        /// What happened.
        reason: Reason,
        /// How long the other side asked us to wait, between zero and one hour.
        retry_after: Option<Duration>,
    },
    /// Will never work; go to the next channel.
    Permanent {
        /// What happened.
        reason: Reason,
        /// The address itself is wrong: do not use it again for any message.
        bad_recipient: bool,
    },
    /// May have been accepted: ask before sending again.
    InDoubt {
        /// What happened.
        reason: Reason,
    },
    /// Our set-up is wrong and every message would fail alike: stop the channel, keep the attempts, call somebody.
    Config {
        /// What happened.
        reason: Reason,
    },
}

impl Outcome {
    /// The stored and published name of the class.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "SENT",
            Self::NotSent { .. } => "NOT_SENT",
            Self::Permanent { .. } => "PERMANENT",
            Self::InDoubt { .. } => "IN_DOUBT",
            Self::Config { .. } => "CONFIG",
        }
    }

    /// The reason, unless it was sent.
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Sent { .. } => None,
            Self::NotSent { reason, .. }
            | Self::Permanent { reason, .. }
            | Self::InDoubt { reason }
            | Self::Config { reason } => Some(reason),
        }
    }

    pub(crate) const fn not_sent(reason: Reason) -> Self {
        Self::NotSent {
            reason,
            retry_after: None,
        }
    }

    pub(crate) const fn permanent(reason: Reason) -> Self {
        Self::Permanent {
            reason,
            bad_recipient: false,
        }
    }
}

/// A message whose last try is in doubt: what its carrier can be asked by.
#[derive(Clone, Debug)]
pub struct Doubtful {
    /// The message; the same for every attempt.
    pub message_id: Uuid,
    /// Counts deliberate resends by staff.
    pub generation: u32,
    /// The tries so far, first to last.
    pub attempts: Vec<DoubtfulAttempt>,
    /// Since when there may have been tries that are not among these: after a restore, those that were made after the backup.
    pub unrecorded_since: Option<DateTime<Utc>>,
    /// E-mail address or E.164 number. Never printed.
    pub to: SecretString,
    /// What was said, for a carrier that knows messages by their text only. None when it cannot be written again.
    pub content: Option<Content>,
    /// Ids that the carrier gave to other messages to this recipient, whichever process sent them.
    pub taken: HashSet<String>,
}

/// A try that a carrier may know.
#[derive(Clone, Copy, Debug)]
pub struct DoubtfulAttempt {
    /// The id that the carrier was given.
    pub id: Uuid,
    /// When it was begun.
    pub start_time: DateTime<Utc>,
}

/// What a carrier says about a message that we are not sure of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// It has the message.
    Accepted {
        /// The carrier's id.
        provider_id: String,
        /// How it fares.
        status: DeliveryStatus,
        /// It was asked for by a key of ours, and not by what a message to the same number looks like.
        by_our_key: bool,
    },
    /// It has never taken it: safe to send again.
    NotFound,
    /// No answer that tells; ask again later.
    Unknown {
        /// Why.
        reason: Reason,
    },
    /// It keeps no record that could be asked for, as a mail relay does not.
    NobodyToAsk,
}

/// Something that can carry messages outward. One call is one attempt; it never retries a message by itself.
pub trait Sender: Send + Sync {
    /// Makes one attempt at `now`. Always ends within the sender's own time limits, and tells the class of the result.
    fn send<'a>(&'a self, message: &'a Outgoing, now: DateTime<Utc>) -> BoxFuture<'a, Outcome>;

    /// Asks whether a message was taken whose last try is in doubt.
    fn reconcile<'a>(
        &'a self,
        message: &'a Doubtful,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Reconciled>;
}

#[cfg(test)]
mod tests;
