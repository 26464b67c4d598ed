//! What comes back from customers and gateways, as the inbox keeps it until it is settled.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    code::codes,
    confirmation::{AnswerChannel, Objection},
    decide::CallOutcome,
    feedback::FeedbackAnswer,
    ids::{OrderId, ReplyId},
    message::{OptOutReason, Recipient},
    money::Money,
    order::Channel,
};

/// Characters that are kept of what cannot be read.
pub const UNREADABLE_MAX: usize = 4_000;

codes! {
    /// How a reply stands.
    pub enum ReplyState {
        /// Stored, not yet settled.
        Pending = "PENDING",
        /// Did what it asked for.
        Applied = "APPLIED",
        /// Will never do it; the result says why.
        Refused = "REFUSED",
    }
}

/// What was said. `Debug` shows the kind only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplyContent {
    /// The customer's yes.
    Accept {
        /// Of which round; the open one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<u32>,
        /// By what way.
        answer_channel: AnswerChannel,
        /// The total that the customer saw.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        amount: Option<Money>,
    },
    /// The customer's no.
    Object {
        /// Of which round; the open one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<u32>,
        /// By what way.
        answer_channel: AnswerChannel,
        /// What about.
        objection: Objection,
    },
    /// The customer's yes, proved by the code.
    Code {
        /// Of which round; the open one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<u32>,
        /// By what way.
        answer_channel: AnswerChannel,
        /// Six digits.
        code: String,
    },
    /// How it was.
    Feedback {
        /// What the customer said.
        answer: FeedbackAnswer,
    },
    /// How a call went.
    Call {
        /// Of which round; the open one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<u32>,
        /// How it ended.
        outcome: CallOutcome,
        /// The gateway's id of the call.
        call_id: String,
        /// Keys pressed.
        digits: String,
        /// Needed with a no.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objection: Option<Objection>,
    },
    /// Words for staff: a question, a complaint, or an answer that is neither yes nor no.
    Words {
        /// "PAGE", "SMS", "EMAIL", "PHONE".
        channel: String,
        /// What was said.
        text: String,
    },
    /// A text message, not yet understood.
    Text {
        /// Who sent it.
        from: Recipient,
        /// What it says.
        text: String,
        /// The gateway's id of the message that it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_reply_to: Option<String>,
    },
    /// A key pressed in a call of ours.
    Key {
        /// The delivery that is the call.
        delivery: Uuid,
        /// The gateway's id of the call.
        call_id: String,
        /// "0" to "9".
        digit: String,
    },
    /// How a message fares.
    Status {
        /// Which.
        delivery: Uuid,
        /// Of which generation.
        generation: u32,
        /// The gateway's id of it.
        provider_id: String,
        /// What the gateway says.
        status: GatewayStatus,
        /// The gateway's code of an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// How a message fares, by a report that bears no signature: a hint, on which the carrier is asked.
    Report {
        /// By which channel it went.
        channel: Channel,
        /// To whom.
        recipient: Recipient,
        /// Our id of the try, as the carrier gives it back.
        attempt: String,
        /// The carrier's id of the message.
        provider_id: String,
        /// What the report says.
        status: GatewayStatus,
        /// The carrier's code of an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// No channel has led to the customer who was to be asked.
    Unreachable {
        /// In which round.
        round: u32,
    },
    /// How a message fares that is named by the gateway's id alone.
    StatusById {
        /// The gateway's id of it.
        provider_id: String,
        /// What the gateway says.
        status: GatewayStatus,
        /// The gateway's code of an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// What a mail server or relay says of a letter afterwards.
    Bounce {
        /// Which letter.
        delivery: Uuid,
        /// Of which generation.
        generation: u32,
        /// What it says.
        bounce: BounceKind,
        /// Enhanced status code (RFC 3463), such as 5.1.1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// A topic of Amazon SNS asks whether it is welcome to tell of bounces.
    Subscription {
        /// `arn:aws:sns:…`
        topic: String,
        /// Where to say that it is.
        url: String,
    },
    /// A part of a carrier's push that cannot be read, kept for staff as it came. It is settled when it is stored.
    Unreadable {
        /// What was pushed, such as `SMS_REPORT`.
        push: String,
        /// The part, at most [`UNREADABLE_MAX`] characters of it.
        part: String,
    },
    /// The recipient does not want to be written to by a channel, or wants to again.
    OptOut {
        /// Who.
        recipient: Recipient,
        /// By which channel.
        channel: Channel,
        /// Why; absent: writing is welcome again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<OptOutReason>,
    },
}

codes! {
    /// What a gateway says of a message, in the order of progress.
    pub enum GatewayStatus {
        /// Taken over or on its way.
        Underway = "UNDERWAY",
        /// The telephone was not answered.
        NoAnswer = "NO_ANSWER",
        /// The line was busy.
        Busy = "BUSY",
        /// A machine took the call.
        Machine = "MACHINE",
        /// It could not be delivered, or its time was over.
        Failed = "FAILED",
        /// It arrived.
        Delivered = "DELIVERED",
        /// It came back, even if it had seemed to arrive.
        Bounced = "BOUNCED",
    }
}

codes! {
    /// What a mail server or relay says of a letter that it had taken over, from the harmless to the worst.
    pub enum BounceKind {
        /// Not delivered yet; it is still being tried, or the other side gives no final answer.
        Delayed = "DELAYED",
        /// Could not be delivered, for a reason that is not the address.
        Failed = "FAILED",
        /// There is no such address.
        BadAddress = "BAD_ADDRESS",
        /// The recipient called it spam.
        Complaint = "COMPLAINT",
    }
}

impl ReplyContent {
    /// Words of [`Self::kind`] for what a customer said. The rest is news of messages, which may wait for a day until the message is
    /// known.
    pub const SAID: [&str; 8] = [
        "ACCEPT", "OBJECT", "CODE", "FEEDBACK", "CALL", "WORDS", "TEXT", "KEY",
    ];

    /// The word for it in the inbox.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Accept { .. } => "ACCEPT",
            Self::Object { .. } => "OBJECT",
            Self::Code { .. } => "CODE",
            Self::Feedback { .. } => "FEEDBACK",
            Self::Call { .. } => "CALL",
            Self::Words { .. } => "WORDS",
            Self::Text { .. } => "TEXT",
            Self::Key { .. } => "KEY",
            Self::Status { .. } => "STATUS",
            Self::Report { .. } => "REPORT",
            Self::StatusById { .. } => "STATUS_BY_ID",
            Self::Bounce { .. } => "BOUNCE",
            Self::OptOut { .. } => "OPT_OUT",
            Self::Subscription { .. } => "SUBSCRIPTION",
            Self::Unreadable { .. } => "UNREADABLE",
            Self::Unreachable { .. } => "UNREACHABLE",
        }
    }
}

impl fmt::Debug for ReplyContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// One thing that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Ours; the request id of the calls that it leads to.
    pub id: ReplyId,
    /// Who brought it: `PAGE`, `SMS_GATEWAY`, `PHONE_GATEWAY`, `BOUNCE_FOLDER`, `MAIL_WEBHOOK`, `MAIL_SNS`.
    pub source: String,
    /// The source's id of it; the same id a second time is the same reply.
    pub source_event_id: String,
    /// About which order, where that is known.
    pub order_id: Option<OrderId>,
    /// What was said.
    pub content: ReplyContent,
    /// How it stands.
    pub state: ReplyState,
    /// When it is to be tried next.
    pub due_time: DateTime<Utc>,
    /// Tries so far.
    pub attempts: u32,
    /// What came of it.
    pub result: String,
    /// When it was stored: this decides against the deadline.
    pub receive_time: DateTime<Utc>,
}
