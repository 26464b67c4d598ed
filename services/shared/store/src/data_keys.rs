//! The keys of personal data: what values are sealed with, and what they are found by.

use std::{collections::BTreeMap, fmt, sync::Arc};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use countersign_domain::secrets::LookupKey;

use crate::error::StoreError;

/// Bytes of a key.
pub const DATA_KEY_BYTES: usize = 32;

/// The first byte of every sealed value: how it is written.
const VERSION: u8 = 1;
/// Version and number of the key.
pub(crate) const HEAD_BYTES: usize = 3;
/// Everything before the ciphertext.
const PREFIX_BYTES: usize = HEAD_BYTES + NONCE_LEN;
const TAG_BYTES: usize = 16;

/// Keys that values are sealed with, of which one writes and all read, and the key of the hashes that they are found by.
/// Shown nowhere; cloning is cheap.
#[derive(Clone)]
pub struct DataKeys {
    inner: Arc<Inner>,
}

struct Inner {
    writing: u16,
    keys: BTreeMap<u16, LessSafeKey>,
    lookup: LookupKey,
}

/// Why a value could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("is not a sealed value")]
    NotSealed,
    #[error("is sealed with key {0}, which personal_data.keys lacks")]
    UnknownKey(u16),
    #[error("was not sealed for this place with this key")]
    Forged,
}

/// Why a value could not be sealed. It does not say what the value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("is no JSON")]
    NotJson,
    #[error("cannot be sealed")]
    Failed,
}

impl From<aws_lc_rs::error::Unspecified> for SealError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Failed
    }
}

impl DataKeys {
    /// The first of the numbered keys writes. `lookup` is the root of the keyed hashes.
    pub fn new(
        lookup: &[u8; DATA_KEY_BYTES],
        numbered: &[(u16, [u8; DATA_KEY_BYTES])],
    ) -> Result<Self, StoreError> {
        let unusable =
            |problem: &str| StoreError::Settings(format!("personal_data.keys: {problem}"));
        let Some((writing, _)) = numbered.first() else {
            return Err(unusable("there must be a numbered key"));
        };
        let mut keys = BTreeMap::new();
        for (number, key) in numbered {
            let key = UnboundKey::new(&AES_256_GCM_SIV, key)
                .map_err(|_| unusable("a key must have 32 bytes"))?;
            if keys.insert(*number, LessSafeKey::new(key)).is_some() {
                return Err(unusable("two keys have the same number"));
            }
        }
        let lookup = LookupKey::new(lookup).map_err(|error| unusable(&error.to_string()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                writing: *writing,
                keys,
                lookup,
            }),
        })
    }

    /// Number of the key that writes.
    pub fn writing(&self) -> u16 {
        self.inner.writing
    }

    /// The numbers of all keys.
    pub fn numbers(&self) -> impl Iterator<Item = u16> {
        self.inner.keys.keys().copied()
    }

    /// The key of keyed hashes.
    pub fn lookup(&self) -> &LookupKey {
        &self.inner.lookup
    }

    /// What every value of the writing key begins with.
    pub(crate) fn head(&self) -> [u8; HEAD_BYTES] {
        let [high, low] = self.inner.writing.to_be_bytes();
        [VERSION, high, low]
    }

    /// Seals what `fill` appends, for one place. Version, key number, nonce, ciphertext and tag stand in one allocation.
    pub(crate) fn seal(
        &self,
        place: &[u8],
        size: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), SealError>,
    ) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(PREFIX_BYTES + size + TAG_BYTES);
        sealed.extend_from_slice(&self.head());
        sealed.extend_from_slice(&nonce);
        fill(&mut sealed)?;
        let key = self
            .inner
            .keys
            .get(&self.inner.writing)
            .ok_or(SealError::Failed)?;
        let plain = sealed.get_mut(PREFIX_BYTES..).ok_or(SealError::Failed)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(place), plain)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens a value that was sealed for this place.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (head, rest) = sealed
            .split_at_checked(HEAD_BYTES)
            .ok_or(OpenError::NotSealed)?;
        let (nonce, rest) = rest
            .split_at_checked(NONCE_LEN)
            .ok_or(OpenError::NotSealed)?;
        let &[VERSION, high, low] = head else {
            return Err(OpenError::NotSealed);
        };
        let number = u16::from_be_bytes([high, low]);
        let key = self
            .inner
            .keys
            .get(&number)
            .ok_or(OpenError::UnknownKey(number))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::NotSealed)?;
        let mut plain = rest.to_vec();
        let length = key
            .open_in_place(nonce, Aad::from(place), &mut plain)
            .map_err(|_| OpenError::Forged)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKeys({:?}, ***)", self.inner.keys.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbered: &[(u16, u8)]) -> DataKeys {
        let numbered: Vec<_> = numbered
            .iter()
            .map(|(number, byte)| (*number, [*byte; 32]))
            .collect();
        DataKeys::new(&[1; 32], &numbered).unwrap()
    }

    fn sealed(keys: &DataKeys, place: &str, text: &str) -> Vec<u8> {
        keys.seal(place.as_bytes(), text.len(), |out| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn a_value_is_opened_with_its_key_at_its_place_only() {
        let one = keys(&[(1, 10)]);
        let value = sealed(&one, "orders", "Li Wei");
        assert_eq!(value.len(), PREFIX_BYTES + 6 + TAG_BYTES);
        assert!(!value.windows(6).any(|part| part == b"Li Wei"));
        assert_eq!(one.open(b"orders", &value).unwrap(), b"Li Wei");
        assert_eq!(one.open(b"order2", &value), Err(OpenError::Forged));
        assert_eq!(
            keys(&[(2, 10)]).open(b"orders", &value),
            Err(OpenError::UnknownKey(1))
        );
        assert_eq!(
            keys(&[(1, 11)]).open(b"orders", &value),
            Err(OpenError::Forged)
        );
        for at in HEAD_BYTES..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert_eq!(
                one.open(b"orders", &changed),
                Err(OpenError::Forged),
                "{at}"
            );
        }
        for short in [&[][..], &value[..3], &value[..14], b"{\"name\":\"Li Wei\"}"] {
            assert_eq!(one.open(b"orders", short), Err(OpenError::NotSealed));
        }
    }

    #[test]
    fn the_same_words_never_look_the_same() {
        let one = keys(&[(1, 10)]);
        assert_ne!(sealed(&one, "orders", "a"), sealed(&one, "orders", "a"));
    }

    #[test]
    fn the_first_key_writes_and_all_read() {
        let old = keys(&[(1, 10)]);
        let both = keys(&[(2, 20), (1, 10)]);
        let value = sealed(&old, "p", "x");
        assert_eq!(both.open(b"p", &value).unwrap(), b"x");
        assert!(sealed(&both, "p", "x").starts_with(&[VERSION, 0, 2]));
        assert_eq!(both.writing(), 2);
        assert_eq!(both.numbers().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_list_without_a_key_or_with_a_number_twice_is_refused_and_none_is_shown() {
        assert!(DataKeys::new(&[1; 32], &[]).is_err());
        assert!(DataKeys::new(&[1; 32], &[(1, [1; 32]), (1, [2; 32])]).is_err());
        assert_eq!(format!("{:?}", keys(&[(7, 10)])), "DataKeys([7], ***)");
    }
}
