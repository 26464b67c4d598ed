use proptest::prelude::*;

use super::*;
use crate::test_data::shared_data;

fn one_line(text: &str) -> Result<String, TextError> {
    checked_text(text, 0, 2_000, TextKind::SingleLine)
}

fn lines(text: &str) -> Result<String, TextError> {
    checked_text(text, 0, 2_000, TextKind::MultiLine)
}

#[test]
fn words_of_every_script_are_kept_byte_for_byte() {
    for text in [
        "",
        " ",
        " 两端 ",
        "田中さんにあげて下さい",
        "Ṱ̺̺̕o͞ ̷i̲̬͇̪͙n̝̗͕v̟̜̘̦͟o̶̙̰̠kè",
        "👩‍👩‍👧‍👦 ✋🏿",
        "\u{202e}evil",
        "a\u{200b}b",
        "e\u{301}",
        "\u{e9}",
        "ﬁ",
        "１２３",
        "<script>alert(1)</script>",
        "'; DROP TABLE orders; --",
        "\u{feff}x",
        "\u{fffd}\u{ffff}\u{10ffff}",
        "\u{e000}",
    ] {
        assert_eq!(one_line(text).as_deref(), Ok(text));
        assert_eq!(lines(text).as_deref(), Ok(text));
    }
}

#[test]
fn one_line_has_no_control_characters_and_no_separators_of_lines() {
    for bad in "\0\u{1}\t\n\u{b}\u{c}\r\u{1b}\u{7f}\u{80}\u{85}\u{9f}\u{2028}\u{2029}".chars() {
        let error = one_line(&format!("a订{bad}c")).unwrap_err();
        let number = format!("character 3 is U+{:04X}", u32::from(bad));
        assert!(error.to_string().ends_with(&number), "{error}");
    }
}

#[test]
fn several_lines_have_newlines_and_tabs_and_no_other_controls() {
    for text in ["a\nb", "a\r\nb", "\ta\n\n", "a\u{2028}b"] {
        assert_eq!(lines(text).as_deref(), Ok(text));
    }
    for text in [
        "a\rb",
        "a\r",
        "a\r\r\nb",
        "a\0",
        "\u{1b}[31m",
        "a\u{85}b",
        "\u{b}",
    ] {
        assert!(
            matches!(lines(text), Err(TextError::ControlCharacter { .. })),
            "{text:?}"
        );
    }
}

#[test]
fn length_is_counted_in_characters_and_named_when_wrong() {
    let check = |text: &str| checked_text(text, 2, 3, TextKind::SingleLine);
    assert_eq!(check("订单").as_deref(), Ok("订单"));
    assert_eq!(check("👍👍👍").as_deref(), Ok("👍👍👍"));
    assert_eq!(check("").unwrap_err().to_string(), "must not be empty");
    assert_eq!(
        check("订").unwrap_err().to_string(),
        "must have at least 2 characters, has 1"
    );
    assert_eq!(
        check("订单号码").unwrap_err().to_string(),
        "must have at most 3 characters, has 4"
    );
}

#[test]
fn a_key_is_one_to_64_characters_without_white_space_at_its_ends() {
    for key in [
        "A",
        "SKU-1/2",
        "a b",
        "订单",
        "ß",
        "a\u{200b}",
        &"k".repeat(64),
        &"订".repeat(64),
    ] {
        assert_eq!(Key::parse(key).unwrap().as_str(), key);
    }
    for key in [" a", "a ", " ", "\u{3000}a", "a\u{a0}"] {
        assert_eq!(
            Key::parse(key),
            Err(TextError::SurroundingWhiteSpace),
            "{key:?}"
        );
    }
    assert_eq!(Key::parse(""), Err(TextError::Empty));
    assert!(matches!(
        Key::parse(&"k".repeat(65)),
        Err(TextError::TooLong { .. })
    ));
    assert!(matches!(
        Key::parse("a\nb"),
        Err(TextError::NotOneLine { .. })
    ));
}

#[test]
fn keys_are_told_apart_letter_for_letter() {
    assert_ne!(Key::parse("abc").unwrap(), Key::parse("ABC").unwrap());
    assert_ne!(Key::parse("é").unwrap(), Key::parse("e\u{301}").unwrap());
}

#[test]
fn invisible_and_direction_changing_characters_are_shown_by_number() {
    for (text, shown) in [
        ("evil\u{202e}gpj.exe", "evil‹U+202E›gpj.exe"),
        ("a\u{200b}b\u{2066}c\u{feff}", "a‹U+200B›b‹U+2066›c‹U+FEFF›"),
        ("soft\u{ad}hyphen", "soft‹U+00AD›hyphen"),
        ("pay\u{200d}pal", "pay‹U+200D›pal"),
        ("\u{200d}", "‹U+200D›"),
        ("bell\u{7}\r\n", "bell‹U+0007›‹U+000D›\n"),
        ("tag\u{e0041}", "tag‹U+E0041›"),
    ] {
        assert_eq!(display_safe(text), shown);
    }
}

#[test]
fn what_scripts_and_emoji_need_stays_as_it_is() {
    for text in [
        "订单 2 件",
        "👩‍👩‍👧‍👦",
        "👩🏽‍⚕️",
        "❤️",
        "می\u{200c}خواهم",
        "क्\u{200d}ष",
        "e\u{301}",
        "a\tb\nc",
        "葛󠄀",
    ] {
        assert_eq!(display_safe(text), text);
    }
}

#[test]
fn every_naughty_string_is_kept_byte_for_byte_or_refused_by_name() {
    let Some(path) = shared_data("validation/naughty_strings.json") else {
        return;
    };
    let strings: Vec<String> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(strings.len() > 400, "{}", strings.len());
    let mut refused = 0;
    for text in &strings {
        for kind in [TextKind::SingleLine, TextKind::MultiLine] {
            let separators = text.contains(['\u{2028}', '\u{2029}']);
            let control = text.contains(char::is_control);
            match checked_text(text, 0, 10_000, kind) {
                Ok(kept) => {
                    assert_eq!(kept.as_bytes(), text.as_bytes());
                    let one_line = kind == TextKind::SingleLine;
                    assert!(!(one_line && (control || separators)), "{text:?}");
                }
                Err(error) => {
                    refused += 1;
                    assert!(
                        control || (separators && kind == TextKind::SingleLine),
                        "{text:?}"
                    );
                    assert!(error.to_string().contains("is U+"), "{error}");
                }
            }
        }
        let safe = display_safe(text);
        assert!(
            !safe.contains(['\u{202e}', '\u{200b}', '\u{feff}', '\0', '\u{1b}']),
            "{safe:?}"
        );
        if let Ok(key) = Key::parse(text) {
            assert_eq!(key.as_str(), text);
        }
    }
    println!(
        "{} strings, {refused} refusals in two kinds of text",
        strings.len()
    );
}

proptest! {
    #[test]
    fn a_text_is_kept_or_refused_and_never_changed(text in any::<String>()) {
        for kind in [TextKind::SingleLine, TextKind::MultiLine] {
            if let Ok(kept) = checked_text(&text, 0, 1_000, kind) {
                prop_assert_eq!(&kept, &text);
            }
        }
    }

    #[test]
    fn a_safe_text_is_safe_again(text in any::<String>()) {
        let safe = display_safe(&text);
        prop_assert_eq!(display_safe(&safe), safe);
    }
}
