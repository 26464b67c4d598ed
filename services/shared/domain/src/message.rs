//! Messages on their way to the customer: how they stand, and what tells two of them apart.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    code::codes,
    event::{MessageDetails, MessageKind},
    ids::{DeliveryId, OrderId},
    order::Channel,
};

codes! {
    /// How a message to one recipient by one channel stands.
    pub enum DeliveryState {
        /// To be sent as soon as it is due.
        Ready = "READY",
        /// An earlier message about the order comes first.
        Waiting = "WAITING",
        /// A worker has it.
        Leased = "LEASED",
        /// The relay or gateway took it over.
        Sent = "SENT",
        /// The gateway says that it arrived.
        Delivered = "DELIVERED",
        /// It cannot reach the recipient by this channel.
        Failed = "FAILED",
        /// A newer revision or the end of the round took its sense away; it was not sent.
        Superseded = "SUPERSEDED",
        /// The recipient does not want to be written to; it was not sent.
        Suppressed = "SUPPRESSED",
        /// All tries are used up.
        Dead = "DEAD",
        /// Perhaps sent, and nobody can tell: staff decide.
        InDoubt = "IN_DOUBT",
        /// It was given up, and staff had it sent once more as a new generation.
        Requeued = "REQUEUED",
    }
}

impl DeliveryState {
    /// Nothing more happens by itself.
    pub const fn is_finished(self) -> bool {
        !matches!(self, Self::Ready | Self::Waiting | Self::Leased)
    }

    /// The customer has the message, or may have it.
    pub const fn is_out(self) -> bool {
        matches!(self, Self::Sent | Self::Delivered | Self::InDoubt)
    }
}

codes! {
    /// What came of one try (RELIABILITY 3.4).
    pub enum AttemptOutcome {
        /// Under way.
        Sending = "SENDING",
        /// Taken over.
        Sent = "SENT",
        /// Proven not accepted.
        NotSent = "NOT_SENT",
        /// Will never work.
        Permanent = "PERMANENT",
        /// May have been accepted.
        InDoubt = "IN_DOUBT",
        /// Our set-up is wrong.
        Config = "CONFIG",
    }
}

codes! {
    /// Why a recipient is not written to.
    pub enum OptOutReason {
        /// Answered a text message with STOP or the like.
        StopWord = "STOP_WORD",
        /// Clicked on the letter's unsubscribe link: courtesy stops, the order's own papers do not.
        Unsubscribed = "UNSUBSCRIBED",
        /// The gateway or relay said so.
        Gateway = "GATEWAY",
        /// The address does not exist.
        BadAddress = "BAD_ADDRESS",
        /// Called a letter of ours spam.
        Complaint = "COMPLAINT",
        /// Told to a member of staff.
        Staff = "STAFF",
    }
}

impl OptOutReason {
    /// Whether the recipient is spared a message of this kind. The link in a letter stops only what may be declined; every
    /// other reason stops all.
    pub const fn stops(self, kind: MessageKind) -> bool {
        match self {
            Self::Unsubscribed => kind.may_be_declined(),
            Self::StopWord | Self::Gateway | Self::BadAddress | Self::Complaint | Self::Staff => {
                true
            }
        }
    }
}

codes! {
    /// Whether an account at a gateway or relay is used.
    pub enum GatewayState {
        /// Messages go through it.
        Open = "OPEN",
        /// It is left alone.
        Held = "HELD",
    }
}

/// Name under which all accounts of a channel are held at once, such as `every-sms`: the switch that stops a channel.
pub fn every_account(channel: Channel) -> String {
    format!("every-{}", channel.as_str().to_lowercase())
}

/// An e-mail address or a number in E.164. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recipient(String);

impl Recipient {
    /// Takes an address that was checked when the order came in, or a gateway's sender number.
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// The address itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Enough to recognise it by, too little to use it: "w***@example.com", "+86***1234".
    pub fn masked(&self) -> String {
        if let Some((local, domain)) = self.0.rsplit_once('@') {
            let first: String = local.chars().take(1).collect();
            return format!("{first}***@{domain}");
        }
        let characters: Vec<char> = self.0.chars().collect();
        if characters.len() < 10 {
            return "***".to_owned();
        }
        let head: String = characters.iter().take(3).collect();
        let tail: String = characters.iter().skip(characters.len() - 4).collect();
        format!("{head}***{tail}")
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(***)")
    }
}

/// One message to one recipient by one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Ours; the relay and the gateway see it.
    pub id: DeliveryId,
    /// About which order.
    pub order_id: OrderId,
    /// Of the message within the order: they go out in this sequence.
    pub seq: u32,
    /// About what.
    pub kind: MessageKind,
    /// Revision of the order that it is about.
    pub revision: u32,
    /// Round of confirmation that it asks for; 0 when it asks for none.
    pub round: u32,
    /// By what way.
    pub channel: Channel,
    /// 1, 2, 3 … of the round's channel plan.
    pub step: u32,
    /// Counts deliberate resends by staff, from 1 on.
    pub generation: u32,
    /// To whom.
    pub recipient: Recipient,
    /// Keyed hash of the recipient.
    pub recipient_hash: [u8; 32],
    /// How it stands.
    pub state: DeliveryState,
    /// READY, WAITING: when it may go. LEASED: until when its worker has it. Afterwards: when it was last due.
    pub due_time: DateTime<Utc>,
    /// Tries so far.
    pub attempts: u32,
    /// The gateway's or relay's id of it.
    pub provider_id: Option<String>,
    /// Class and code of the last failure, in our own words.
    pub last_error: String,
    /// Version of the words that its tries are written with, 0 for those that are not in the database; none before the
    /// first try.
    pub template_version: Option<u32>,
    /// What the renderer needs besides the order.
    pub details: MessageDetails,
    /// When it was made.
    pub create_time: DateTime<Utc>,
    /// When it was finished.
    pub finish_time: Option<DateTime<Utc>>,
}

impl Delivery {
    /// Two deliveries with the same key say the same to the same person. The sequence number stands for the message: a
    /// second delay of the same revision is another message.
    pub fn dedupe_key(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.order_id.as_bytes());
        for number in [self.seq, self.revision, self.round, self.generation] {
            hasher.update(number.to_be_bytes());
        }
        for word in [self.kind.as_str(), self.channel.as_str()] {
            hasher.update(word.as_bytes());
            hasher.update([0]);
        }
        // Not the recipient: whoever has a copy of the database would find a telephone number by trying them all.
        hasher.update(self.recipient_hash);
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_pinned() {
        let words: Vec<&str> = DeliveryState::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(
            words.join(" "),
            "READY WAITING LEASED SENT DELIVERED FAILED SUPERSEDED SUPPRESSED DEAD IN_DOUBT REQUEUED"
        );
        let words: Vec<&str> = AttemptOutcome::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(
            words.join(" "),
            "SENDING SENT NOT_SENT PERMANENT IN_DOUBT CONFIG"
        );
        let words: Vec<&str> = GatewayState::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.join(" "), "OPEN HELD");
    }

    #[test]
    fn a_recipient_is_never_shown_whole() {
        let mail = Recipient::new("wang.wei@example.com");
        assert_eq!(mail.masked(), "w***@example.com");
        assert_eq!(Recipient::new("+8613912345678").masked(), "+86***5678");
        assert_eq!(Recipient::new("+123").masked(), "***");
        assert!(!format!("{mail:?}").contains("wang"));
    }
}
