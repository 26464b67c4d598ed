//! The customer's link and code.

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
