//! Every kind of id has its own type, so that one cannot be passed for another. All are
//! `UUIDv7` (RFC 9562 §5.7): they sort by the time they were made and are stored as 16 bytes.
//! This file is the one registry of them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Why a text or a byte string is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not a UUID.
    #[error(
        "must be an id of 36 characters in small letters such as \
         01932e4f-7a3c-7cc1-9b5a-3f0e8c2d4b6a"
    )]
    NotAnId,
    /// The text is not a resource name of the wanted collection.
    #[error("must be a name of the form \"{collection}/{{id}}\"")]
    NotAName {
        /// The collection whose name was wanted.
        collection: &'static str,
    },
    /// A stored id has the wrong length.
    #[error("must be 16 bytes, was {len}")]
    NotSixteenBytes {
        /// How many bytes were given.
        len: usize,
    },
}

/// Makes a `UUIDv7`. The twelve bits after the millisecond hold the fraction of the millisecond
/// (RFC 9562 §6.2, method 3), so that ids made by one process sort by the microsecond.
fn uuid_v7(now: DateTime<Utc>, rng: &mut impl RngCore) -> Uuid {
    let micros = u64::try_from(now.timestamp_micros()).unwrap_or(0);
    let millis = micros / 1_000;
    let fraction = (micros % 1_000) * 4_096 / 1_000;
    let mut tail = [0_u8; 10];
    rng.fill_bytes(&mut tail);
    let [.., high, low] = fraction.to_be_bytes();
    tail[0] = high;
    tail[1] = low;
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}

/// Makes the id of the how many-th part of a whole, of the whole's id alone: whoever makes it anew makes the same one. It
/// has the time of the whole.
fn uuid_of_part(whole: Uuid, number: u32) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(b"countersign part");
    hasher.update(whole.as_bytes());
    hasher.update(number.to_be_bytes());
    let digest = hasher.finalize();
    let mut bytes = *whole.as_bytes();
    for (byte, hashed) in bytes.iter_mut().zip(digest.iter()).skip(8) {
        *byte = *hashed;
    }
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

impl DeliveryId {
    /// Of the how many-th channel that a message of the outbox goes by. A message that is dispatched again, because the
    /// database is a copy from before, gets the id under which its carrier may know it already.
    pub fn of_step(message: OutboxId, step: u32) -> Self {
        Self(uuid_of_part(message.0, step))
    }
}

/// Reads the one written form that we give out: 36 characters, small letters, hyphens.
fn parse_canonical(text: &str) -> Result<Uuid, IdError> {
    let id = Uuid::try_parse(text).map_err(|_| IdError::NotAnId)?;
    let mut buffer = Uuid::encode_buffer();
    if id.hyphenated().encode_lower(&mut buffer) == text {
        Ok(id)
    } else {
        Err(IdError::NotAnId)
    }
}

macro_rules! typed_ids {
    ($( $(#[$doc:meta])* $name:ident => $collection:literal; )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// The collection in resource names: the word before the id.
            pub const COLLECTION: &'static str = $collection;

            /// Makes a new id from the time and the randomness given.
            pub fn new_v7(now: DateTime<Utc>, rng: &mut impl RngCore) -> Self {
                Self(uuid_v7(now, rng))
            }

            /// Wraps a UUID that is known to be an id of this kind, such as one read from a row.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID itself.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }

            /// The 16 bytes that are stored.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From the 16 bytes that are stored.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
                Uuid::from_slice(bytes)
                    .map(Self)
                    .map_err(|_| IdError::NotSixteenBytes { len: bytes.len() })
            }

            /// The resource name: the collection, a slash and the id.
            pub fn resource_name(&self) -> String {
                format!("{}/{}", $collection, self.0)
            }

            /// Reads exactly `{collection}/{id}`.
            pub fn from_resource_name(name: &str) -> Result<Self, IdError> {
                let wrong = IdError::NotAName { collection: $collection };
                let Some((collection, id)) = name.split_once('/') else { return Err(wrong) };
                if collection != $collection {
                    return Err(wrong);
                }
                parse_canonical(id).map(Self).map_err(|_| wrong)
            }

            /// Reads this kind's id out of a longer name such as
            /// `orders/{order}/contacts/{contact}`. The other segments are not looked at.
            pub fn in_name(name: &str) -> Result<Self, IdError> {
                let mut segments = name.split('/');
                while let (Some(collection), Some(id)) = (segments.next(), segments.next()) {
                    if collection == $collection {
                        return parse_canonical(id)
                            .map(Self)
                            .map_err(|_| IdError::NotAName { collection: $collection });
                    }
                }
                Err(IdError::NotAName { collection: $collection })
            }

            /// When the id was made, to the millisecond; nothing when it is not a `UUIDv7`.
            pub fn made_at(&self) -> Option<DateTime<Utc>> {
                let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
                DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_canonical(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )+

    /// The collection of every kind of id, for tests that no two are the same.
    #[cfg(test)]
    const COLLECTIONS: &[&str] = &[$($collection),+];
    };
}

typed_ids! {
    /// One try to hand one message to a gateway or mail server.
    AttemptId => "attempts";
    /// One group commit of the intake: the orders that went into one transaction.
    CommitId => "commits";
    /// One recorded contact with a customer: a call, a visit, a letter.
    ContactId => "contacts";
    /// One message to one recipient over one channel.
    DeliveryId => "deliveries";
    /// One delivery note of an order's revision.
    DeliveryNoteId => "deliveryNotes";
    /// A customer whose data are erased.
    ErasureId => "erasures";
    /// What a customer said about one delivery.
    FeedbackId => "feedback";
    /// One hold on an order.
    HoldId => "holds";
    /// One order, from intake to its end.
    OrderId => "orders";
    /// One row of the outbox.
    OutboxId => "outbox";
    /// One answer that came back from a customer.
    ReplyId => "replies";
    /// One event of an order's way to the customer.
    TrackingEventId => "trackingEvents";
    /// One event for one partner's endpoint.
    WebhookDeliveryId => "webhookDeliveries";
    /// Where a partner hears of orders.
    WebhookEndpointId => "webhookEndpoints";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::TimeDelta;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_435_200, 123_456_000).unwrap()
    }

    #[test]
    fn ids_sort_by_the_microsecond_they_were_made_in() {
        let mut rng = StdRng::seed_from_u64(1);
        let ids: Vec<OrderId> = (0..5_000)
            .map(|n| OrderId::new_v7(noon() + TimeDelta::microseconds(n), &mut rng))
            .collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(
            ids.windows(2)
                .all(|pair| pair[0].as_bytes() < pair[1].as_bytes())
        );
    }

    #[test]
    fn an_id_is_a_version_7_uuid_that_knows_its_time() {
        let id = AttemptId::new_v7(noon(), &mut StdRng::seed_from_u64(2));
        assert_eq!(id.as_uuid().get_version_num(), 7);
        assert_eq!(id.as_uuid().get_variant(), uuid::Variant::RFC4122);
        assert_eq!(
            id.made_at().unwrap().timestamp_millis(),
            noon().timestamp_millis()
        );
    }

    #[test]
    fn the_same_time_and_randomness_make_the_same_id() {
        let one = ReplyId::new_v7(noon(), &mut StdRng::seed_from_u64(3));
        let two = ReplyId::new_v7(noon(), &mut StdRng::seed_from_u64(3));
        assert_eq!(one, two);
    }

    #[test]
    fn ids_of_one_instant_differ() {
        let mut rng = StdRng::seed_from_u64(4);
        let ids: BTreeSet<_> = (0..10_000)
            .map(|_| OutboxId::new_v7(noon(), &mut rng))
            .collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn text_bytes_names_and_json_come_back() {
        let id = OrderId::new_v7(noon(), &mut StdRng::seed_from_u64(5));
        assert_eq!(id.to_string().parse::<OrderId>().unwrap(), id);
        assert_eq!(OrderId::from_bytes(id.as_bytes()).unwrap(), id);
        assert_eq!(
            OrderId::from_resource_name(&id.resource_name()).unwrap(),
            id
        );
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<OrderId>(&json).unwrap(), id);
    }

    #[test]
    fn only_the_written_form_that_we_give_out_is_read() {
        let id = OrderId::new_v7(noon(), &mut StdRng::seed_from_u64(6));
        let written = id.to_string();
        for other in [
            written.to_uppercase(),
            written.replace('-', ""),
            format!("{{{written}}}"),
            format!("urn:uuid:{written}"),
            format!(" {written}"),
            String::new(),
        ] {
            assert_eq!(other.parse::<OrderId>(), Err(IdError::NotAnId), "{other:?}");
        }
    }

    #[test]
    fn a_name_of_another_collection_is_refused_by_saying_the_right_one() {
        let id = DeliveryId::new_v7(noon(), &mut StdRng::seed_from_u64(7));
        for name in [
            id.resource_name(),
            id.to_string(),
            format!("orders/{id}/contacts/{id}"),
            format!("orders/{id}/"),
            "orders/".to_owned(),
            "orders".to_owned(),
            String::new(),
        ] {
            let error = OrderId::from_resource_name(&name).unwrap_err();
            assert_eq!(
                error.to_string(),
                "must be a name of the form \"orders/{id}\"",
                "{name:?}"
            );
        }
    }

    #[test]
    fn each_id_of_a_longer_name_is_found_by_its_collection() {
        let mut rng = StdRng::seed_from_u64(8);
        let order = OrderId::new_v7(noon(), &mut rng);
        let contact = ContactId::new_v7(noon(), &mut rng);
        let name = format!("{}/{}", order.resource_name(), contact.resource_name());
        assert_eq!(OrderId::in_name(&name).unwrap(), order);
        assert_eq!(ContactId::in_name(&name).unwrap(), contact);
        assert!(HoldId::in_name(&name).is_err());
        assert!(OrderId::in_name("orders").is_err());
    }

    #[test]
    fn a_byte_string_of_another_length_is_refused() {
        assert_eq!(
            OrderId::from_bytes(&[0; 15]),
            Err(IdError::NotSixteenBytes { len: 15 })
        );
    }

    #[test]
    fn every_kind_has_a_collection_of_its_own() {
        let distinct: BTreeSet<_> = COLLECTIONS.iter().collect();
        assert_eq!(distinct.len(), COLLECTIONS.len());
    }
}
