//! What gateways tell us: how a message fared, what a customer wrote back, which key was pressed (GATEWAY.md).

use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    gateway::parse_key,
    signature::{SignatureError, SigningKeys},
};

/// A callback whose signature fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The gateway's id of this callback; a second one with the same id is a replay.
    pub id: String,
    /// What it tells.
    pub event: CallbackEvent,
}

/// What a callback tells.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum CallbackEvent {
    /// How one of our messages fares.
    #[serde(rename = "message.status")]
    Status(StatusEvent),
    /// A customer sent a text message.
    #[serde(rename = "sms.received")]
    SmsReceived(SmsReceived),
    /// A customer pressed a key in a call of ours.
    #[serde(rename = "call.key_pressed")]
    KeyPressed(KeyPressed),
}

impl std::fmt::Debug for CallbackEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(event) => event.fmt(f),
            Self::SmsReceived(_) => f.write_str("SmsReceived(…)"),
            Self::KeyPressed(event) => event.fmt(f),
        }
    }
}

/// How one of our messages fares.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StatusEvent {
    /// The gateway's id of the message.
    pub id: String,
    /// The key that we gave: message and generation.
    pub idempotency_key: String,
    /// The attempt that we named, when the gateway kept it.
    pub attempt_id: Option<Uuid>,
    /// The new status.
    pub status: DeliveryStatus,
    /// Code of the error table, when it failed.
    pub code: Option<String>,
    /// When it happened at the gateway.
    pub at: DateTime<Utc>,
}

impl StatusEvent {
    /// Message id and generation, if the key is one of ours.
    pub fn message(&self) -> Option<(Uuid, u32)> {
        parse_key(&self.idempotency_key)
    }
}

/// Where a message is. The order is the order of progress; a later rank is never taken back by an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Taken over, not sent on.
    Queued,
    /// Sent on, or ringing.
    Sent,
    /// The telephone was not answered.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// An answering machine took the call. Never a confirmation.
    Machine,
    /// It could not be delivered.
    Failed,
    /// Its time was over before it could be delivered.
    Expired,
    /// It reached the telephone, or a person heard it to the end.
    Delivered,
}

/// A customer's text message.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct SmsReceived {
    /// The gateway's id of the incoming message.
    pub id: String,
    /// Who sent it, E.164. The number can be forged.
    pub from: String,
    /// To which of our numbers.
    pub to: String,
    /// What it says.
    pub text: String,
    /// The message that it answers, when the gateway knows.
    pub in_reply_to: Option<String>,
    /// When it arrived at the gateway.
    pub at: DateTime<Utc>,
}

/// A key pressed in a call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeyPressed {
    /// The gateway's id of the call.
    pub id: String,
    /// The key that we gave: message and generation.
    pub idempotency_key: String,
    /// The key, "0" to "9".
    pub digit: String,
    /// When it was pressed.
    pub at: DateTime<Utc>,
}

/// Why a callback is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// Answer 401: not from the gateway, or too old.
    #[error("callback refused")]
    Signature(#[source] SignatureError),
    /// Answer 400: signed, but not by the contract.
    #[error("callback is not by the contract")]
    Malformed(#[source] serde_json::Error),
}

/// Checks and reads a callback that came at `now`.
pub fn read_callback(
    keys: &SigningKeys,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<Callback, CallbackError> {
    let id = keys
        .verify(headers, body, now)
        .map_err(CallbackError::Signature)?;
    let event = serde_json::from_slice(body).map_err(CallbackError::Malformed)?;
    Ok(Callback {
        id: id.to_owned(),
        event,
    })
}
