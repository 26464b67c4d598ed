//! Telephone numbers and ids as Alibaba Cloud writes them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

/// Digits of a mobile number in mainland China, without its country.
const MAINLAND_DIGITS: usize = 11;

/// An E.164 number as the cloud wants it: eleven digits in mainland China, country and number elsewhere.
pub(super) fn national(e164: &str) -> &str {
    let digits = e164.trim_start_matches('+');
    match digits.strip_prefix("86") {
        Some(mobile) if mobile.len() == MAINLAND_DIGITS => mobile,
        _ => digits,
    }
}

/// A number as the cloud writes it (`13800138000`, `8613800138000`, `0086…`, `85200000000`) in E.164.
pub fn e164(number: &str) -> Option<String> {
    let digits = number.trim_start_matches('+');
    let digits = digits.strip_prefix("00").unwrap_or(digits);
    if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mainland = digits.len() == MAINLAND_DIGITS && digits.starts_with('1');
    Some(format!("+{}{digits}", if mainland { "86" } else { "" }))
}

/// The id of a call's try as the cloud gives it back. It takes 15 bytes at most, so this is the beginning of our id: the
/// millisecond and 34 random bits.
pub fn call_out_id(attempt: Uuid) -> String {
    let (head, _) = attempt.as_bytes().split_at(11);
    URL_SAFE_NO_PAD.encode(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_out_and_come_back() {
        assert_eq!(national("+8613800138000"), "13800138000");
        assert_eq!(national("+85251234567"), "85251234567");
        // A fixed line has no eleven digits behind its country.
        assert_eq!(national("+861012345678"), "861012345678");
        for number in [
            "13800138000",
            "8613800138000",
            "008613800138000",
            "+8613800138000",
        ] {
            assert_eq!(e164(number).as_deref(), Some("+8613800138000"), "{number}");
        }
        assert_eq!(e164("85251234567").as_deref(), Some("+85251234567"));
        for number in ["1381111****", "", "1", "abc", "１３８００１３８０００"] {
            assert_eq!(e164(number), None, "{number}");
        }
    }

    #[test]
    fn the_id_of_a_call_has_fifteen_characters_and_tells_tries_apart() {
        let one = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000);
        let two = Uuid::from_u128(0x0198_0000_0000_7000_8000_0100_0000_0000);
        assert_eq!(call_out_id(one).len(), 15);
        assert_ne!(call_out_id(one), call_out_id(two));
    }
}
