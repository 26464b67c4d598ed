//! The audit chain: hashes over everything that was done, so that a record that is changed, taken away, put in or moved shows.
//!
//! A transaction that records something leaves a commit, whose `digest` is made of the hashes of its records. Commits are
//! put in a row afterwards; each gets a hash that is made of the one before. What may have to be erased one day does not go
//! into a record's hash itself but into a commitment with a salt: once text and salt are gone nobody can find out what the
//! text was, and the commitment that is left still proves the rest.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::code::codes;

mod anchor;
mod walk;

pub use anchor::{AnchorError, AnchorLine};
pub use walk::{Anchor, CommitSeen, Fault, FaultKind, RecordName, RecordSeen, Summary, Walk};

/// SHA-256.
pub type Hash = [u8; 32];
/// Random bytes that keep a commitment from being guessed.
pub type Salt = [u8; 16];

codes! {
    /// What is recorded besides the events of orders.
    pub enum EntryKind {
        /// What staff did about messages, gateways, recipients and partners.
        Act = "ACT",
        /// A version of a policy.
        Policy = "POLICY",
        /// A version of a rule.
        Rule = "RULE",
        /// A customer's data were erased.
        Erasure = "ERASURE",
    }
}

/// What stands before the first commit.
pub const GENESIS: Hash = [0; 32];

/// Puts fields one after the other so that no two lists of fields give the same bytes.
struct Fields(Sha256);

impl Fields {
    /// `kind` keeps the hashes of different things apart.
    fn of(kind: &str) -> Self {
        Self(Sha256::new()).text(kind)
    }

    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn number(mut self, number: i64) -> Self {
        self.0.update(number.to_be_bytes());
        self
    }

    /// To the microsecond, which is what every database keeps.
    fn time(self, time: DateTime<Utc>) -> Self {
        self.number(time.timestamp_micros())
    }

    fn hash(mut self) -> Hash {
        self.0.finalize_reset().into()
    }
}

/// Of an order's event, what is never erased.
#[derive(Clone, Copy, Debug)]
pub struct EventFields<'a> {
    /// Of which order.
    pub order: Uuid,
    /// The order's version after it.
    pub version: i64,
    /// What happened.
    pub kind: &'a str,
    /// Revision then.
    pub revision: i32,
    /// State before.
    pub from_state: &'a str,
    /// State after.
    pub to_state: &'a str,
    /// Who.
    pub actor: &'a str,
    /// When.
    pub create_time: DateTime<Utc>,
}

/// Commits to an event's details, as they are stored.
pub fn details_commitment(salt: &Salt, details: &str) -> Hash {
    Fields::of("details").bytes(salt).text(details).hash()
}

/// Of an event.
pub fn event_hash(fields: &EventFields<'_>, commitment: &Hash) -> Hash {
    Fields::of("event")
        .bytes(fields.order.as_bytes())
        .number(fields.version)
        .text(fields.kind)
        .number(fields.revision.into())
        .text(fields.from_state)
        .text(fields.to_state)
        .text(fields.actor)
        .time(fields.create_time)
        .bytes(commitment)
        .hash()
}

/// Of what staff did, what is never erased.
#[derive(Clone, Copy, Debug)]
pub struct ActFields<'a> {
    /// Of the record.
    pub id: Uuid,
    /// Tells the call.
    pub request_hash: &'a [u8],
    /// What was done.
    pub action: &'a str,
    /// Generation of the message.
    pub generation: i32,
    /// What came of it.
    pub outcome: &'a str,
    /// Who.
    pub actor: &'a str,
    /// The second person.
    pub approver: &'a str,
    /// When.
    pub create_time: DateTime<Utc>,
}

/// Commits to what may be erased of an act: whom or what it was done to, what was asked for, why, and what came of it.
pub fn act_commitment(
    salt: &Salt,
    subject: &str,
    fingerprint: &[u8],
    reason: &str,
    result: &str,
) -> Hash {
    Fields::of("act words")
        .bytes(salt)
        .text(subject)
        .bytes(fingerprint)
        .text(reason)
        .text(result)
        .hash()
}

/// Of what staff did.
pub fn act_hash(fields: &ActFields<'_>, commitment: &Hash) -> Hash {
    Fields::of("act")
        .bytes(fields.id.as_bytes())
        .bytes(fields.request_hash)
        .text(fields.action)
        .number(fields.generation.into())
        .text(fields.outcome)
        .text(fields.actor)
        .text(fields.approver)
        .time(fields.create_time)
        .bytes(commitment)
        .hash()
}

/// Of a version of a policy or a rule, as it is stored. `kind` keeps the two apart.
pub fn version_hash(
    kind: &str,
    name: &str,
    version: i32,
    content: &str,
    create_time: DateTime<Utc>,
) -> Hash {
    Fields::of(kind)
        .text(name)
        .number(version.into())
        .text(content)
        .time(create_time)
        .hash()
}

/// Of an erasure: who had whose data erased, when and why. The customer is a keyed hash.
pub fn erasure_hash(
    id: Uuid,
    customer_hash: &[u8],
    actor: &str,
    reason: &str,
    create_time: DateTime<Utc>,
) -> Hash {
    Fields::of("erasure")
        .bytes(id.as_bytes())
        .bytes(customer_hash)
        .text(actor)
        .text(reason)
        .time(create_time)
        .hash()
}

/// Of a commit: over the hashes of its records in their order.
pub fn digest<'a>(records: impl ExactSizeIterator<Item = &'a Hash>) -> Hash {
    let count = records.len();
    let fields = Fields::of("commit").number(i64::try_from(count).unwrap_or(i64::MAX));
    records
        .fold(fields, |fields, record| fields.bytes(record))
        .hash()
}

/// A commit that is put in its place.
#[derive(Clone, Copy, Debug)]
pub struct LinkFields<'a> {
    /// Where.
    pub position: i64,
    /// Which.
    pub commit: Uuid,
    /// When it was written.
    pub create_time: DateTime<Utc>,
    /// How many records it has.
    pub records: Option<i32>,
    /// Over them. None when a version of the program wrote it that knew no chain.
    pub digest: Option<&'a Hash>,
}

/// The chain's hash after a commit.
pub fn link_hash(previous: &Hash, link: &LinkFields<'_>) -> Hash {
    Fields::of("link")
        .bytes(previous)
        .number(link.position)
        .bytes(link.commit.as_bytes())
        .time(link.create_time)
        .number(link.records.unwrap_or(-1).into())
        .bytes(link.digest.map_or(&[], |digest| digest.as_slice()))
        .hash()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: EventFields<'static> = EventFields {
        order: Uuid::from_u128(1),
        version: 2,
        kind: "order.held",
        revision: 1,
        from_state: "UNDER_AUDIT",
        to_state: "UNDER_AUDIT",
        actor: "wang",
        create_time: DateTime::UNIX_EPOCH,
    };

    fn hex(hash: &Hash) -> String {
        data_encoding::HEXLOWER.encode(hash)
    }

    #[test]
    fn hashes_are_pinned() {
        let commitment = details_commitment(&[7; 16], "{}");
        let event = event_hash(&EVENT, &commitment);
        let digest = digest([event].iter());
        let link = LinkFields {
            position: 1,
            commit: Uuid::from_u128(3),
            create_time: DateTime::UNIX_EPOCH,
            records: Some(1),
            digest: Some(&digest),
        };
        insta::assert_snapshot!(
            [commitment, event, digest, link_hash(&GENESIS, &link)]
                .iter()
                .map(hex)
                .collect::<Vec<_>>()
                .join("\n")
        );
    }

    #[test]
    fn every_field_of_an_event_counts() {
        let later = DateTime::UNIX_EPOCH + chrono::TimeDelta::microseconds(1);
        let others = [
            EventFields {
                order: Uuid::from_u128(9),
                ..EVENT
            },
            EventFields {
                version: 3,
                ..EVENT
            },
            EventFields {
                kind: "order.released",
                ..EVENT
            },
            EventFields {
                revision: 2,
                ..EVENT
            },
            EventFields {
                from_state: "RECEIVED",
                ..EVENT
            },
            EventFields {
                to_state: "RECEIVED",
                ..EVENT
            },
            EventFields {
                actor: "li",
                ..EVENT
            },
            EventFields {
                create_time: later,
                ..EVENT
            },
        ];
        let commitment = details_commitment(&[7; 16], "{}");
        for other in others {
            assert_ne!(
                event_hash(&EVENT, &commitment),
                event_hash(&other, &commitment)
            );
        }
        assert_ne!(commitment, details_commitment(&[8; 16], "{}"));
        assert_ne!(commitment, details_commitment(&[7; 16], "{ }"));
    }

    #[test]
    fn what_moves_from_one_field_to_the_next_shows() {
        let act = |subject, reason| act_commitment(&[0; 16], subject, &[], reason, "");
        assert_ne!(act("ab", "c"), act("a", "bc"));
    }
}
