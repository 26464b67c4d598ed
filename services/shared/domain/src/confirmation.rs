//! Rounds of confirmation: one asking of the customer about one revision of the order.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{code::codes, ids::OrderId, order::Channel};

codes! {
    /// What silence means (R25 and the decision beside it).
    pub enum ConfirmationMode {
        /// Silence until the deadline confirms.
        Tacit = "TACIT",
        /// Only a yes confirms.
        Explicit = "EXPLICIT",
    }
}

codes! {
    /// How a round ended, if it did.
    pub enum ConfirmationState {
        /// Waiting for the customer.
        Open = "OPEN",
        /// The customer said yes.
        Accepted = "ACCEPTED",
        /// Confirmed by silence.
        Tacit = "TACIT",
        /// The customer said no.
        Objected = "OBJECTED",
        /// Silence where a yes was needed.
        Expired = "EXPIRED",
        /// An amendment, a cancellation or a newer round took its place.
        Superseded = "SUPERSEDED",
    }
}

codes! {
    /// By what way an answer came.
    pub enum AnswerChannel {
        /// Button on the order page.
        Link = "LINK",
        /// Code read out or typed in.
        Code = "CODE",
        /// Reply by SMS.
        Sms = "SMS",
        /// Key pressed during a call.
        PhoneKey = "PHONE_KEY",
        /// Told to a member of staff.
        Staff = "STAFF",
        /// Reply by e-mail.
        Email = "EMAIL",
        /// Nobody answered in time.
        Silence = "SILENCE",
    }
}

codes! {
    /// What the customer objects to (R24).
    pub enum ObjectionCategory {
        /// Wrong goods.
        Goods = "GOODS",
        /// Wrong quantity.
        Quantity = "QUANTITY",
        /// Wrong price.
        Price = "PRICE",
        /// Wrong address.
        Address = "ADDRESS",
        /// Wrong time.
        Time = "TIME",
        /// The customer has not ordered at all.
        NotOrdered = "NOT_ORDERED",
        /// See the text.
        Other = "OTHER",
    }
}

/// The customer's no.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objection {
    /// What about.
    pub category: ObjectionCategory,
    /// Lines that it is about; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line_numbers: Vec<u32>,
    /// The customer's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// An answer that no longer counts: recorded, never applied.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateAnswer {
    /// Yes or no.
    pub accepted: bool,
    /// By what way.
    pub answer_channel: AnswerChannel,
    /// When it was received.
    pub answer_time: DateTime<Utc>,
    /// The customer's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// Wrong codes after which a round takes no more codes; the link and staff still work.
pub const CODE_ATTEMPTS_MAX: u32 = 5;

/// One asking of the customer about one revision of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Whose.
    pub order_id: OrderId,
    /// 1, 2, 3 … within the order.
    pub round: u32,
    /// What was asked about.
    pub revision: u32,
    /// What silence means.
    pub mode: ConfirmationMode,
    /// How it stands.
    pub state: ConfirmationState,
    /// When silence counts.
    pub expire_time: DateTime<Utc>,
    /// When it was opened.
    pub create_time: DateTime<Utc>,
    /// Keyed hash of the code; the code itself is derived again when a message is rendered.
    pub code_hash: [u8; 32],
    /// The rest.
    pub details: RoundDetails,
}

/// What is only read when a round is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundDetails {
    /// In the order in which they are tried.
    pub channel_plan: Vec<Channel>,
    /// Seconds to wait before the next channel, one for each but the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub step_seconds: Vec<u32>,
    /// Member of staff who chose the channel; empty when the policy did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requested_by: String,
    /// A member of staff rings; nothing is sent.
    #[serde(default)]
    pub by_staff: bool,
    /// Wrong codes so far.
    #[serde(default)]
    pub code_attempts: u32,
    /// When the answer was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_time: Option<DateTime<Utc>>,
    /// By what way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_channel: Option<AnswerChannel>,
    /// "customer", "system" or a member of staff.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answered_by: String,
    /// The no, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objection: Option<Objection>,
    /// Answers that came too late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late_answers: Vec<LateAnswer>,
}

impl Round {
    /// Whether an answer received at `time` still counts: the round is open and its deadline not reached.
    pub fn takes_answer_at(&self, time: DateTime<Utc>) -> bool {
        self.state == ConfirmationState::Open && time < self.expire_time
    }
}

crate::hidden::hidden!(Objection, LateAnswer);
