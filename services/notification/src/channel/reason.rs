//! Why an attempt did not succeed: a closed list of codes, and a short text that we wrote ourselves.

use std::{borrow::Cow, fmt};

/// A code for programs and a text for operators. The text is made of our own words, numbers and
/// protocol codes, never of the other side's words: those may quote the customer's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What happened, from a closed list.
    pub code: ReasonCode,
    /// Where and with which reply code, at most 160 bytes.
    pub text: Cow<'static, str>,
}

impl Reason {
    /// A reason with its explanation.
    pub fn new(code: ReasonCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.text)
    }
}

macro_rules! reason_codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal,)+) => {
        /// The closed list of reasons.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ReasonCode {
            $($(#[$doc])+ $name,)+
        }

        impl ReasonCode {
            /// Every code, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stored and published name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

reason_codes! {
    /// No connection: refused, name not found, no answer in time.
    Unreachable = "UNREACHABLE",
    /// The name leads to no address that may be called.
    ForbiddenAddress = "FORBIDDEN_ADDRESS",
    /// The encrypted connection could not be made or the certificate is not trusted.
    TlsFailed = "TLS_FAILED",
    /// The relay offers no encryption but the set-up demands it.
    TlsUnavailable = "TLS_UNAVAILABLE",
    /// The other side stopped answering before it could have accepted the message.
    TimedOut = "TIMED_OUT",
    /// The connection broke before the message could have been accepted.
    ConnectionLost = "CONNECTION_LOST",
    /// The other side broke the protocol before it could have accepted the message.
    ProtocolError = "PROTOCOL_ERROR",
    /// No connection of our own pool became free in time.
    PoolExhausted = "POOL_EXHAUSTED",
    /// Refused for now.
    Deferred = "DEFERRED",
    /// Refused for now because the relay does not know us yet.
    Greylisted = "GREYLISTED",
    /// The customer's mailbox is full.
    MailboxFull = "MAILBOX_FULL",
    /// Too many messages; later.
    RateLimited = "RATE_LIMITED",
    /// The address does not exist or takes no messages.
    BadRecipient = "BAD_RECIPIENT",
    /// The relay cannot carry this kind of address.
    AddressUnsupported = "ADDRESS_UNSUPPORTED",
    /// The customer told the gateway to stop.
    OptedOut = "OPTED_OUT",
    /// This message was refused for what it is.
    MessageRefused = "MESSAGE_REFUSED",
    /// We could not make a correct message out of this content.
    MessageInvalid = "MESSAGE_INVALID",
    /// The carrier does not know or has not approved the words' template, or its gaps are others than ours: whoever uses it
    /// fails, and nobody else.
    TemplateRefused = "TEMPLATE_REFUSED",
    /// The message came too late to be of use.
    DeadlinePassed = "DEADLINE_PASSED",
    /// The whole message was written, but no answer came.
    Unconfirmed = "UNCONFIRMED",
    /// The gateway failed while it had the message.
    GatewayFailed = "GATEWAY_FAILED",
    /// The gateway answered something that cannot be read.
    UnreadableAnswer = "UNREADABLE_ANSWER",
    /// The gateway gave the message an id that is another message's.
    IdTaken = "ID_TAKEN",
    /// The gateway pointed elsewhere; secrets are not carried there.
    Redirected = "REDIRECTED",
    /// User, password or signature refused.
    AuthRefused = "AUTH_REFUSED",
    /// Our sender address or account is not allowed to send.
    SenderRefused = "SENDER_REFUSED",
    /// Our own program failed while it wrote the message.
    Poison = "POISON",
    /// The set-up of the channel cannot work.
    Misconfigured = "MISCONFIGURED",
}

/// How the queue treats a `NOT_SENT` result (RELIABILITY section 3.5 and E-07, E-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryRule {
    /// The usual schedule.
    Standard,
    /// Wait at least 1, 5, 15, 30, 60 minutes, with the same sender and recipient.
    Greylist,
    /// At most three tries that end so, then the next channel.
    ThreeTries,
    /// Does not use up an attempt.
    Free,
}

impl ReasonCode {
    /// How to try again when the outcome was `NOT_SENT`.
    pub const fn retry_rule(self) -> RetryRule {
        match self {
            Self::Greylisted => RetryRule::Greylist,
            Self::MailboxFull | Self::Poison => RetryRule::ThreeTries,
            Self::RateLimited | Self::PoolExhausted => RetryRule::Free,
            _ => RetryRule::Standard,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
