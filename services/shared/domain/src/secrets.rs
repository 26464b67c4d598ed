//! The customer's link and code. Neither is stored: both are made from a secret key, and the
//! database keeps hashes only, so that a copy of it opens no order page (RELIABILITY, J-07).

#[cfg(test)]
mod change_tests;
mod lookup;
mod mail;
mod partner;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;

use crate::ids::OrderId;
pub use lookup::LookupKey;
pub use mail::BOUNCE_TOKEN_CHARS;

/// The shortest key that is taken, in bytes: as long as the hash, as RFC 2104 §3 advises.
pub const MIN_KEY_BYTES: usize = 32;
/// How many characters a link token has.
pub const LINK_TOKEN_CHARS: usize = 22;
/// How many digits a confirmation code has.
pub const CODE_DIGITS: usize = 6;

/// How many codes there are: all numbers of six digits, leading zeros included.
const CODES: u64 = 1_000_000;

/// How many link keys there may be: each of them signs what partners are told, and receivers look at ten signatures at most.
pub const LINK_KEYS_MAX: usize = 5;

/// Why a key or a code was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The key is too short to be safe.
    #[error("must be at least 32 random bytes, was {len}")]
    KeyTooShort {
        /// How many bytes were given.
        len: usize,
    },
    /// There is none, or there are more than anybody needs.
    #[error("must be 1 to {LINK_KEYS_MAX} keys, one a line, were {count}")]
    KeyCount {
        /// How many were given.
        count: usize,
    },
    /// What the customer typed is not a code.
    #[error("must be the 6 digits of the code, such as 042917")]
    NotACode,
}

/// The key that links and codes are made with, and those that are taken beside it while it is changed. Shown nowhere.
#[derive(Clone)]
pub struct LinkKey {
    // The keyed state, not the key: it is set up once and cannot fail afterwards.
    keyed: Hmac<Sha256>,
    /// Keys that make nothing new; what was made with them is good all the same. They have no others of their own.
    others: Vec<Self>,
}

impl LinkKey {
    /// Takes a secret of at least 32 random bytes.
    pub fn new(secret: &[u8]) -> Result<Self, SecretError> {
        let too_short = SecretError::KeyTooShort { len: secret.len() };
        if secret.len() < MIN_KEY_BYTES {
            return Err(too_short);
        }
        let keyed = Hmac::new_from_slice(secret).map_err(|_| too_short)?;
        Ok(Self {
            keyed,
            others: Vec::new(),
        })
    }

    /// Takes several secrets, one a line: the first one makes what is new, and what was made with any of them is good.
    pub fn read(secrets: &str) -> Result<Self, SecretError> {
        let mut keys = secrets
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| Self::new(line.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        if !(1..=LINK_KEYS_MAX).contains(&keys.len()) {
            return Err(SecretError::KeyCount { count: keys.len() });
        }
        let mut first = keys.remove(0);
        first.others = keys;
        Ok(first)
    }

    /// Each key by itself, the one that makes what is new first.
    pub fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// Whether there are others than the one that makes what is new.
    pub const fn is_being_changed(&self) -> bool {
        !self.others.is_empty()
    }

    /// HMAC-SHA256 over a purpose and fields of fixed length. The purposes are prefix-free by
    /// the zero byte after them, so no two inputs run together to the same bytes.
    fn mac(&self, purpose: &str, fields: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        for field in fields {
            mac.update(field);
        }
        mac.finalize().into_bytes().into()
    }

    /// The token in the customer's link: 22 characters of base64url, 128 bits. A new generation
    /// makes a new token, which is how a leaked link is taken out of use.
    pub fn link_token(&self, order: OrderId, generation: u32) -> String {
        let mac = self.mac("link", &[order.as_bytes(), &generation.to_be_bytes()]);
        let (token, _) = mac.split_at(16);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What a form on a page carries hidden, so that a form sent back is known to come from that page. `page_hash` is the
    /// [`token_hash`] of the link or name of the page.
    pub fn form_token(&self, page_hash: &[u8; 32]) -> String {
        URL_SAFE_NO_PAD.encode(self.mac("form", &[page_hash]))
    }

    /// Whether that is what came back, from a page that any of the keys may have made.
    pub fn form_token_matches(&self, page_hash: &[u8; 32], given: &str) -> bool {
        self.each()
            .any(|key| is_equal(&key.form_token(page_hash), given))
    }

    /// What the browser keeps for the same purpose; a form counts only with both.
    pub fn form_cookie(&self, page_hash: &[u8; 32]) -> String {
        URL_SAFE_NO_PAD.encode(self.mac("form-cookie", &[page_hash]))
    }

    /// Whether that is what the browser kept.
    pub fn form_cookie_matches(&self, page_hash: &[u8; 32], given: &str) -> bool {
        self.each()
            .any(|key| is_equal(&key.form_cookie(page_hash), given))
    }

    /// The six digits that the customer answers with in a confirmation round.
    pub fn confirmation_code(&self, order: OrderId, round: u32) -> String {
        let mac = self.mac("code", &[order.as_bytes(), &round.to_be_bytes()]);
        let (head, _) = mac.split_at(8);
        // 2^64 is so much more than the number of codes that none is noticeably likelier.
        let number = head
            .iter()
            .fold(0_u64, |n, byte| (n << 8) | u64::from(*byte))
            % CODES;
        format!("{number:06}")
    }

    /// The code of a round that was opened with any of the keys, by the hash that is stored of it: what a reminder says must be
    /// what the first message said.
    pub fn stored_code(&self, order: OrderId, round: u32, stored: &[u8]) -> String {
        let made_by = |key: &&Self| {
            let code = key.confirmation_code(order, round);
            equal_in_constant_time(&key.code_hash(order, round, &code), stored)
        };
        self.each()
            .find(made_by)
            .unwrap_or(self)
            .confirmation_code(order, round)
    }

    /// What is stored of a code. It is keyed because a plain hash of six digits is found by
    /// trying them all.
    pub fn code_hash(&self, order: OrderId, round: u32, code: &str) -> [u8; 32] {
        self.mac(
            "code-hash",
            &[order.as_bytes(), &round.to_be_bytes(), code.as_bytes()],
        )
    }

    /// What an erased customer is known by afterwards: enough to find the same code again after a restore, and nothing else.
    pub fn customer_hash(&self, code: &str) -> [u8; 32] {
        self.mac("customer", &[code.as_bytes()])
    }

    /// Whether what the customer typed is the code behind a stored hash. White space, hyphens
    /// and full-width digits are overlooked; the comparison takes the same time either way.
    pub fn code_matches(&self, order: OrderId, round: u32, typed: &str, stored: &[u8]) -> bool {
        read_code(typed).is_ok_and(|code| {
            self.each()
                .any(|key| equal_in_constant_time(&key.code_hash(order, round, &code), stored))
        })
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(***)")
    }
}

/// What is stored of a link token: its SHA-256. The token has 128 bits, so no key is needed.
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether a text has the shape of a link token; anything else need not be looked up.
pub fn is_link_token(text: &str) -> bool {
    text.len() == LINK_TOKEN_CHARS
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Brings what a customer typed to the six digits of a code: white space and hyphens go, digits
/// of full width become plain ones.
pub fn read_code(typed: &str) -> Result<String, SecretError> {
    // A code typed with every digit apart is far below this; longer text is no code.
    if typed.len() > 64 {
        return Err(SecretError::NotACode);
    }
    let code: String = typed
        .nfkc()
        .filter(|c| !c.is_whitespace() && !matches!(c, '-' | '.' | '。'))
        .collect();
    if code.len() == CODE_DIGITS && code.bytes().all(|b| b.is_ascii_digit()) {
        Ok(code)
    } else {
        Err(SecretError::NotACode)
    }
}

/// Compares without telling by its time where two secrets first differ.
pub fn equal_in_constant_time(one: &[u8], two: &[u8]) -> bool {
    one.ct_eq(two).into()
}

fn is_equal(one: &str, two: &str) -> bool {
    equal_in_constant_time(one.as_bytes(), two.as_bytes())
}

#[cfg(test)]
mod tests;
