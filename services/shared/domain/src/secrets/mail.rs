//! Tokens that travel with letters: in the address that bounces come back to, and in the link that stops letters.
//! Neither is stored: whoever holds the key reads from them what they stand for, and nobody else can make one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use uuid::Uuid;

use super::{LinkKey, is_equal};
use crate::ids::DeliveryId;

/// How many characters a bounce token has: with a short name before it, it fits into the 64 of a local part.
pub const BOUNCE_TOKEN_CHARS: usize = 48;

/// Bytes of the delivery's id, its generation and the proof in a bounce token.
const BOUNCE_BYTES: (usize, usize, usize) = (16, 4, 10);
/// Bytes of a recipient's hash and of the proof in an unsubscribe token.
const UNSUBSCRIBE_BYTES: (usize, usize) = (32, 16);

impl LinkKey {
    /// What stands in the envelope of a letter (`bounce+TOKEN@…`): small letters and digits only, because mail servers on
    /// the way may change the case.
    pub fn bounce_token(&self, delivery: DeliveryId, generation: u32) -> String {
        let uuid = delivery.as_uuid();
        let generation = generation.to_be_bytes();
        let mac = self.mac("bounce", &[uuid.as_bytes(), &generation]);
        let proof = mac.get(..BOUNCE_BYTES.2).unwrap_or(&mac);
        BASE32_NOPAD
            .encode(&[uuid.as_bytes(), generation.as_slice(), proof].concat())
            .to_ascii_lowercase()
    }

    /// The delivery and generation behind a bounce token of ours.
    pub fn read_bounce_token(&self, token: &str) -> Option<(DeliveryId, u32)> {
        if token.len() != BOUNCE_TOKEN_CHARS {
            return None;
        }
        let bytes = BASE32_NOPAD
            .decode(token.to_ascii_uppercase().as_bytes())
            .ok()?;
        let (id, rest) = bytes.split_at_checked(BOUNCE_BYTES.0)?;
        let (generation, _) = rest.split_at_checked(BOUNCE_BYTES.1)?;
        let id = DeliveryId::from_uuid(Uuid::from_slice(id).ok()?);
        let generation = u32::from_be_bytes(generation.try_into().ok()?);
        let token = token.to_ascii_lowercase();
        self.each()
            .any(|key| is_equal(&key.bounce_token(id, generation), &token))
            .then_some((id, generation))
    }

    /// What stands in the link that stops letters to a recipient. It works for as long as the key does, whatever has
    /// become of the message that carried it.
    pub fn unsubscribe_token(&self, recipient_hash: &[u8; 32]) -> String {
        let mac = self.mac("unsubscribe", &[recipient_hash]);
        let proof = mac.get(..UNSUBSCRIBE_BYTES.1).unwrap_or(&mac);
        URL_SAFE_NO_PAD.encode([recipient_hash.as_slice(), proof].concat())
    }

    /// The keyed hash of the recipient behind an unsubscribe token of ours.
    pub fn read_unsubscribe_token(&self, token: &str) -> Option<[u8; 32]> {
        if token.len() > 128 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (hash, _) = bytes.split_at_checked(UNSUBSCRIBE_BYTES.0)?;
        let hash: [u8; 32] = hash.try_into().ok()?;
        self.each()
            .any(|key| is_equal(&key.unsubscribe_token(&hash), token))
            .then_some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::LookupKey;

    fn key(byte: u8) -> LinkKey {
        LinkKey::new(&[byte; 32]).unwrap()
    }

    fn delivery() -> DeliveryId {
        DeliveryId::from_uuid(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001))
    }

    #[test]
    fn a_bounce_token_tells_its_message_in_either_case() {
        let token = key(7).bounce_token(delivery(), 3);
        assert_eq!(token.len(), BOUNCE_TOKEN_CHARS);
        assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        );
        assert_eq!(key(7).read_bounce_token(&token), Some((delivery(), 3)));
        let shouted = token.to_ascii_uppercase();
        assert_eq!(key(7).read_bounce_token(&shouted), Some((delivery(), 3)));
    }

    #[test]
    fn a_bounce_token_that_is_not_ours_tells_nothing() {
        let token = key(7).bounce_token(delivery(), 3);
        assert_eq!(key(8).read_bounce_token(&token), None);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'a' { b'b' } else { b'a' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(key(7).read_bounce_token(&forged), None, "{at}");
        }
        for text in ["", "a", &token[1..], &"1".repeat(48), &"ä".repeat(24)] {
            assert_eq!(key(7).read_bounce_token(text), None, "{text}");
        }
    }

    #[test]
    fn an_unsubscribe_token_tells_its_recipient_and_cannot_be_made_without_the_key() {
        let hash = LookupKey::new(&[7; 32])
            .unwrap()
            .recipient_hash("li.wei@example.com");
        let token = key(7).unsubscribe_token(&hash);
        assert_eq!(token.len(), 64);
        assert_eq!(key(7).read_unsubscribe_token(&token), Some(hash));
        assert_eq!(key(8).read_unsubscribe_token(&token), None);
        for text in ["", "abc", &token[..63], &"A".repeat(64), &"A".repeat(500)] {
            assert_eq!(key(7).read_unsubscribe_token(text), None, "{text}");
        }
    }
}
