//! Alibaba Cloud: text messages (`SendSms`) and calls (`SingleCallByTts`).
//!
//! The cloud recognises no repeated message, so a try in doubt is never just sent again: a text message is looked for
//! first among those that the cloud lists for the number and day (`QuerySendDetails`), and a call is never placed twice.
//! It takes approved texts only, see [`super::approved`], and a call only speaks: it listens for no keys.

pub mod acs3;
pub(super) mod answer;
mod api;
mod number;
pub mod push;
pub(super) mod query;
mod sms;
mod voice;

pub use api::AlibabaAccount;
pub(crate) use api::host;
pub use number::{call_out_id, e164};
pub use sms::{AlibabaSms, AlibabaSmsConfig};
pub use voice::{AlibabaVoice, AlibabaVoiceConfig};
