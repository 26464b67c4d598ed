//! The customer's link and code. Neither is stored: both are made from a secret key, and the
//! database keeps hashes only, so that a copy of it opens no order page (RELIABILITY, J-07).

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

/// Why a key or a code was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The key is too short to be safe.
    #[error("must be at least 32 random bytes, was {len}")]
    KeyTooShort {
        /// How many bytes were given.
        len: usize,
    },
    /// What the customer typed is not a code.
    #[error("must be the 6 digits of the code, such as 042917")]
    NotACode,
}

/// The key that links and codes are made with. It is shown nowhere.
#[derive(Clone)]
pub struct LinkKey {
    // The keyed state, not the key: it is set up once and cannot fail afterwards.
    keyed: Hmac<Sha256>,
}

impl LinkKey {
    /// Takes a secret of at least 32 random bytes.
    pub fn new(secret: &[u8]) -> Result<Self, SecretError> {
        let too_short = SecretError::KeyTooShort { len: secret.len() };
        if secret.len() < MIN_KEY_BYTES {
            return Err(too_short);
        }
        let keyed = Hmac::new_from_slice(secret).map_err(|_| too_short)?;
        Ok(Self { keyed })
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

    /// What the browser keeps for the same purpose; a form counts only with both.
    pub fn form_cookie(&self, page_hash: &[u8; 32]) -> String {
        URL_SAFE_NO_PAD.encode(self.mac("form-cookie", &[page_hash]))
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
        read_code(typed)
            .is_ok_and(|code| equal_in_constant_time(&self.code_hash(order, round, &code), stored))
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
    use uuid::Uuid;

    use super::*;

    fn key() -> LinkKey {
        LinkKey::new(&[7; 32]).unwrap()
    }

    fn order(n: u128) -> OrderId {
        OrderId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn a_token_is_the_first_half_of_the_mac_over_purpose_order_and_generation() {
        // Made independently: python3 -c 'import hmac,hashlib,base64; …
        // hmac.new(b"\7"*32, b"link\0"+(1).to_bytes(16,"big")+(2).to_bytes(4,"big"), "sha256")'
        assert_eq!(key().link_token(order(1), 2), "4bsER_F4kbkHkfFXhWG4Cg");
        assert_eq!(key().confirmation_code(order(1), 2), "402955");
    }

    #[test]
    fn tokens_have_22_url_safe_characters_and_differ() {
        let mut seen = BTreeSet::new();
        for n in 0..1_000 {
            for generation in 1..=2 {
                let token = key().link_token(order(n), generation);
                assert!(is_link_token(&token), "{token}");
                assert!(seen.insert(token));
            }
        }
    }

    #[test]
    fn f_17_of_a_million_random_tokens_none_opens_one_of_ten_thousand_orders() {
        let known: HashSet<[u8; 32]> = (0..10_000)
            .map(|n| token_hash(&key().link_token(order(n), 1)))
            .collect();
        assert_eq!(known.len(), 10_000);
        let mut rng = StdRng::seed_from_u64(17);
        for _ in 0..1_000_000 {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            let token = URL_SAFE_NO_PAD.encode(bytes);
            assert!(!known.contains(&token_hash(&token)), "{token}");
        }
    }

    #[test]
    fn another_key_makes_another_token_and_code_hash() {
        let other = LinkKey::new(&[8; 32]).unwrap();
        assert_ne!(key().link_token(order(1), 1), other.link_token(order(1), 1));
        assert_ne!(
            key().code_hash(order(1), 1, "123456"),
            other.code_hash(order(1), 1, "123456")
        );
    }

    #[test]
    fn form_token_and_cookie_belong_to_one_page_and_differ() {
        let (one, other) = (token_hash("one"), token_hash("other"));
        assert_eq!(key().form_token(&one), key().form_token(&one));
        assert_ne!(key().form_token(&one), key().form_token(&other));
        assert_ne!(key().form_token(&one), key().form_cookie(&one));
        assert_ne!(key().form_cookie(&one), key().form_cookie(&other));
    }

    #[test]
    fn codes_have_six_digits_and_spread_over_the_whole_range() {
        let codes: Vec<String> = (0..10_000)
            .map(|n| key().confirmation_code(order(n), 1))
            .collect();
        assert!(
            codes
                .iter()
                .all(|c| c.len() == 6 && c.bytes().all(|b| b.is_ascii_digit()))
        );
        for first in '0'..='9' {
            let share = codes.iter().filter(|c| c.starts_with(first)).count();
            assert!(
                (850..1_150).contains(&share),
                "{share} codes begin with {first}"
            );
        }
    }

    #[test]
    fn only_the_code_of_this_order_and_round_matches_its_hash() {
        let (key, order_1) = (key(), order(1));
        let code = key.confirmation_code(order_1, 1);
        let stored = key.code_hash(order_1, 1, &code);
        assert!(key.code_matches(order_1, 1, &code, &stored));
        let spaced = format!(" {} {}\u{3000}", &code[..3], &code[3..]);
        assert!(key.code_matches(order_1, 1, &spaced, &stored));
        let full_width: String = code
            .chars()
            .map(|c| char::from_u32(0xFF10 + c.to_digit(10).unwrap()).unwrap())
            .collect();
        assert!(key.code_matches(order_1, 1, &full_width, &stored));
        assert!(!key.code_matches(order_1, 2, &code, &stored));
        assert!(!key.code_matches(order(2), 1, &code, &stored));
        assert!(!key.code_matches(order_1, 1, "", &stored));
        assert!(!key.code_matches(order_1, 1, &code, &[]));
        let wrong = if code == "000000" { "000001" } else { "000000" };
        assert!(!key.code_matches(order_1, 1, wrong, &stored));
    }

    #[test]
    fn what_is_not_six_digits_is_no_code() {
        for typed in [
            "",
            "12345",
            "1234567",
            "12345a",
            "①②③④⑤⑥⑦",
            "yes",
            "１２３４５",
            "१२३४५६",
        ] {
            assert_eq!(read_code(typed), Err(SecretError::NotACode), "{typed}");
        }
        assert_eq!(
            read_code(&"1".repeat(1_000_000)),
            Err(SecretError::NotACode)
        );
        assert_eq!(read_code("１２３ ４５６").unwrap(), "123456");
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_shown() {
        assert_eq!(
            LinkKey::new(&[1; 31]).unwrap_err(),
            SecretError::KeyTooShort { len: 31 }
        );
        assert_eq!(format!("{:?}", key()), "LinkKey(***)");
    }

    #[test]
    fn a_token_is_stored_as_its_sha_256() {
        let stored = token_hash("abc");
        assert_eq!(
            stored[..8],
            [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea]
        );
        assert_eq!(
            stored[24..],
            [0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad]
        );
    }

    #[test]
    fn other_texts_have_not_the_shape_of_a_token() {
        for text in [
            "",
            "abc",
            "AAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAA/AAAAAAAAAAA",
        ] {
            assert!(!is_link_token(text), "{text}");
        }
    }
}
