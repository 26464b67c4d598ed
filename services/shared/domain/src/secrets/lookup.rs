//! What personal data is found by without standing in the clear. The key has a root of its own and is never changed: what it
//! made cannot be made anew, for whoever wants no letters is known by his hash alone.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{MIN_KEY_BYTES, SecretError};

/// The key of keyed hashes. It is shown nowhere.
#[derive(Clone)]
pub struct LookupKey {
    // The keyed state, not the key: it is set up once and cannot fail afterwards.
    keyed: Hmac<Sha256>,
}

impl LookupKey {
    /// Takes at least 32 random bytes.
    pub fn new(root: &[u8]) -> Result<Self, SecretError> {
        let too_short = SecretError::KeyTooShort { len: root.len() };
        if root.len() < MIN_KEY_BYTES {
            return Err(too_short);
        }
        let keyed = Hmac::new_from_slice(root).map_err(|_| too_short)?;
        Ok(Self { keyed })
    }

    /// HMAC-SHA256 over a purpose, a zero byte and a value.
    pub fn hash(&self, purpose: &str, value: &[u8]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(value);
        mac.finalize().into_bytes().into()
    }

    /// What recipients are recognised by: the same for all ways of writing an address in capitals and small letters.
    pub fn recipient_hash(&self, recipient: &str) -> [u8; 32] {
        self.hash("recipient", recipient.trim().to_lowercase().as_bytes())
    }

    /// Hides a hash of 32 bytes that anybody could make who guesses what it was made of, such as a telephone number: a pad
    /// made of `unique`, which names one row, is laid over it. Done twice it gives back what it was given.
    #[must_use]
    pub fn hidden(&self, unique: &[u8], hash: &[u8; 32]) -> [u8; 32] {
        let mut hidden = self.hash("pad", unique);
        for (byte, of_hash) in hidden.iter_mut().zip(hash) {
            *byte ^= of_hash;
        }
        hidden
    }
}

impl fmt::Debug for LookupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LookupKey {
        LookupKey::new(&[7; 32]).unwrap()
    }

    #[test]
    fn a_hash_is_the_hmac_over_purpose_and_value() {
        // Made independently: python3 -c 'import hmac; print(hmac.new(b"\7"*32, b"recipient\0a@b.example", "sha256").hexdigest())'
        let hash = key().recipient_hash(" A@b.Example ");
        assert_eq!(hash[..8], [0x03, 0x97, 0x17, 0x0e, 0x7f, 0x51, 0x45, 0x7c]);
    }

    #[test]
    fn a_short_root_is_refused() {
        assert_eq!(
            LookupKey::new(&[7; 31]).unwrap_err(),
            SecretError::KeyTooShort { len: 31 }
        );
    }

    #[test]
    fn purposes_and_keys_keep_hashes_apart() {
        assert_ne!(key().hash("one", b"x"), key().hash("other", b"x"));
        assert_ne!(
            key().recipient_hash("a@b.example"),
            LookupKey::new(&[8; 32])
                .unwrap()
                .recipient_hash("a@b.example")
        );
        assert_eq!(format!("{:?}", key()), "LookupKey(***)");
    }

    #[test]
    fn what_is_hidden_is_found_again_by_the_same_name_only() {
        let hidden = key().hidden(b"row 1", &[5; 32]);
        assert_ne!(hidden, [5; 32]);
        assert_eq!(key().hidden(b"row 1", &hidden), [5; 32]);
        assert_ne!(key().hidden(b"row 2", &hidden), [5; 32]);
        assert_ne!(key().hidden(b"row 2", &[5; 32]), hidden);
    }
}
