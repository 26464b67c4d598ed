//! What a customer's text message means (RELIABILITY F-12). Pure: the words go in, their meaning comes out. What is not
//! plainly one or the other is for people to read, never a yes.

use countersign_domain::secrets::read_code;
use unicode_normalization::UnicodeNormalization as _;

/// What a reply means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Write to me no more.
    Stop,
    /// Write to me again.
    Start,
    /// The order is right.
    Yes,
    /// Something is wrong.
    No,
    /// Six digits: the order is right, and this proves it.
    Code(String),
    /// For people to read.
    Unclear,
}

/// They win over everything else that a text says.
const STOP: &[&str] = &[
    "stop",
    "stopall",
    "unsubscribe",
    "cancel",
    "end",
    "quit",
    "optout",
    "revoke",
    "arret",
    "td",
    "t",
    "r",
    "停",
    "停止",
    "退订",
    "退訂",
    "取消订阅",
];
const START: &[&str] = &["start", "unstop", "恢复", "恢复订阅"];
const YES: &[&str] = &[
    "1",
    "y",
    "yes",
    "ok",
    "okay",
    "confirm",
    "confirmed",
    "correct",
    "right",
    "是",
    "是的",
    "好",
    "好的",
    "对",
    "对的",
    "确认",
    "確認",
    "同意",
    "没问题",
    "可以",
    "正确",
];
const NO: &[&str] = &[
    "2",
    "n",
    "no",
    "wrong",
    "object",
    "not ok",
    "incorrect",
    "否",
    "不",
    "不是",
    "不对",
    "不好",
    "不同意",
    "不确认",
    "有误",
    "错",
    "错误",
    "有问题",
];

/// Longer texts are for people.
const LONGEST: usize = 64;

/// Reads a text: full-width letters and digits are plain ones, capitals are small, punctuation around it does not count.
pub fn understand(text: &str) -> Meaning {
    if text.chars().count() > 1_600 {
        return Meaning::Unclear;
    }
    let plain: String = text.nfkc().collect::<String>().to_lowercase();
    let words = plain.trim_matches(|c: char| !c.is_alphanumeric());
    let first = words
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    if STOP.contains(&words) || (STOP.contains(&first) && first.chars().count() > 3) {
        return Meaning::Stop;
    }
    if words.chars().count() > LONGEST {
        return Meaning::Unclear;
    }
    if START.contains(&words) {
        return Meaning::Start;
    }
    if YES.contains(&words) {
        return Meaning::Yes;
    }
    if NO.contains(&words) {
        return Meaning::No;
    }
    read_code(words).map_or(Meaning::Unclear, Meaning::Code)
}

/// Stars, where a text is nothing but a digit from 1 to 5, full width or not, perhaps with the word for stars or points.
pub fn stars(text: &str) -> Option<u32> {
    if text.chars().count() > LONGEST {
        return None;
    }
    let plain: String = text.nfkc().collect::<String>().to_lowercase();
    let words = plain.trim_matches(|c: char| !c.is_alphanumeric());
    let digit = ["stars", "star", "星", "颗星", "分"]
        .iter()
        .find_map(|word| words.strip_suffix(word))
        .unwrap_or(words)
        .trim()
        .trim_end_matches('颗');
    match digit {
        "1" => Some(1),
        "2" => Some(2),
        "3" => Some(3),
        "4" => Some(4),
        "5" => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_12_yes_and_no_are_known_in_all_their_spellings() {
        for yes in [
            "是",
            "YES ",
            "yes!",
            "1",
            "Ｙ",
            " 好的。",
            "确认",
            "１",
            "OK",
        ] {
            assert_eq!(understand(yes), Meaning::Yes, "{yes}");
        }
        for no in ["2", "NO", "不对", "有误！", "ｎｏ"] {
            assert_eq!(understand(no), Meaning::No, "{no}");
        }
    }

    #[test]
    fn f_12_a_wish_for_silence_wins() {
        for stop in [
            "STOP",
            "停",
            "退订",
            "Stop!",
            "stop yes",
            "unsubscribe please",
            "TD",
        ] {
            assert_eq!(understand(stop), Meaning::Stop, "{stop}");
        }
        assert_eq!(understand("START"), Meaning::Start);
    }

    #[test]
    fn a_digit_from_one_to_five_is_stars_and_nothing_else_is() {
        for (text, given) in [
            ("1", 1),
            (" 5 。", 5),
            ("５", 5),
            ("４！", 4),
            ("3星", 3),
            ("2颗星", 2),
            ("5 stars", 5),
            ("4分", 4),
        ] {
            assert_eq!(stars(text), Some(given), "{text}");
        }
        for text in [
            "0",
            "6",
            "12",
            "1 or 2",
            "four",
            "yes",
            "",
            "5 but late",
            "12345",
        ] {
            assert_eq!(stars(text), None, "{text}");
        }
    }

    #[test]
    fn six_digits_are_a_code() {
        assert_eq!(understand("042917"), Meaning::Code("042917".to_owned()));
        assert_eq!(
            understand(" ０４２ ９１７。"),
            Meaning::Code("042917".to_owned())
        );
    }

    #[test]
    fn f_12_what_is_not_plain_is_for_people() {
        for words in [
            "",
            "👍",
            "maybe",
            "yes but no",
            "是不是",
            "3",
            "12345",
            "1234567",
            "not now",
            "I did not order this",
            "yes please change the address",
        ] {
            assert_eq!(understand(words), Meaning::Unclear, "{words}");
        }
        assert_eq!(understand(&"yes ".repeat(400)), Meaning::Unclear);
        assert_eq!(understand(&"y".repeat(2_000)), Meaning::Unclear);
    }
}
