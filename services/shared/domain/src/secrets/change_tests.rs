//! A key that is changed: what was made with any of the keys is good, and the first one makes what is new.

use uuid::Uuid;

use super::*;
use crate::ids::{DeliveryId, WebhookEndpointId};

const OLD: &str = "the key of last year, 32 bytes long";
const NEW: &str = "the key of this year, 32 bytes long";

fn keys(lines: &[&str]) -> LinkKey {
    LinkKey::read(&lines.join("\n")).unwrap()
}

#[test]
fn j_11_what_was_made_with_either_key_is_good_while_both_are_there() {
    let order = OrderId::from_uuid(Uuid::from_u128(1));
    let letter = DeliveryId::from_uuid(Uuid::from_u128(2));
    let (old, new) = (keys(&[OLD]), keys(&[NEW]));
    // What makes links in a process that learnt of the new key, and then in one that uses it.
    let (learning, using) = (keys(&[OLD, NEW]), keys(&[NEW, OLD]));
    for (both, maker) in [(&learning, &old), (&using, &new)] {
        assert_eq!(both.link_token(order, 1), maker.link_token(order, 1));
        assert_eq!(both.customer_hash("C-1"), maker.customer_hash("C-1"));
        assert!(both.is_being_changed() && !maker.is_being_changed());
    }
    let page = token_hash("page");
    let recipient = [7; 32];
    for maker in [&old, &new] {
        let code = maker.confirmation_code(order, 1);
        let stored = maker.code_hash(order, 1, &code);
        let bounce = maker.bounce_token(letter, 3);
        let unsubscribe = maker.unsubscribe_token(&recipient);
        for both in [&learning, &using] {
            assert!(both.code_matches(order, 1, &code, &stored));
            assert_eq!(both.stored_code(order, 1, &stored), code);
            assert_eq!(both.read_bounce_token(&bounce), Some((letter, 3)));
            assert_eq!(both.read_unsubscribe_token(&unsubscribe), Some(recipient));
            assert!(both.form_token_matches(&page, &maker.form_token(&page)));
            assert!(both.form_cookie_matches(&page, &maker.form_cookie(&page)));
            assert!(!both.form_token_matches(&page, &maker.form_cookie(&page)));
        }
    }
    // The change is over.
    assert_eq!(new.read_bounce_token(&old.bounce_token(letter, 3)), None);
    let code = old.confirmation_code(order, 1);
    assert!(!new.code_matches(order, 1, &code, &old.code_hash(order, 1, &code)));
}

#[test]
fn j_11_partners_are_told_with_what_either_key_makes() {
    let endpoint = WebhookEndpointId::from_uuid(Uuid::from_u128(1));
    let both: Vec<String> = keys(&[NEW, OLD])
        .each()
        .map(|key| key.webhook_secret(endpoint, 1))
        .collect();
    assert_eq!(
        both,
        [
            keys(&[NEW]).webhook_secret(endpoint, 1),
            keys(&[OLD]).webhook_secret(endpoint, 1)
        ]
    );
}

#[test]
fn keys_stand_one_a_line_and_a_single_one_is_what_it_was() {
    let order = OrderId::from_uuid(Uuid::from_u128(1));
    let single = LinkKey::new(OLD.as_bytes()).unwrap();
    for text in [OLD.to_owned(), format!("{OLD}\n"), format!("\r\n{OLD}\r\n")] {
        let read = LinkKey::read(&text).unwrap();
        assert_eq!(read.link_token(order, 1), single.link_token(order, 1));
    }
    assert_eq!(
        LinkKey::read(&format!("{OLD}\nshort")).unwrap_err(),
        SecretError::KeyTooShort { len: 5 }
    );
    for (text, count) in [("\n", 0), ([OLD; 6].join("\n").as_str(), 6)] {
        let refused = LinkKey::read(text).unwrap_err();
        assert_eq!(refused, SecretError::KeyCount { count });
    }
}
