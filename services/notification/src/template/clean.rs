//! Takes the traps out of text that strangers wrote, before it is laid into a message.
//!
//! Order data keeps what the customer typed; a message shows it without characters that reorder or
//! hide text (RELIABILITY I-03) or that end a header line (I-01).

use serde_json::Value;

/// Cleans every string in `value`. Line ends stay as single line feeds.
pub(crate) fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => {
            if text.contains(is_trap) {
                *text = clean(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean_value),
        Value::Object(fields) => fields.values_mut().for_each(clean_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_trap(c: char) -> bool {
    is_hidden(c) || is_break(c) || (c.is_control() && c != '\n')
}

fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_hidden(c) {
            continue;
        }
        if c == '\r' {
            if chars.peek() != Some(&'\n') {
                out.push('\n');
            }
        } else if is_break(c) {
            out.push('\n');
        } else if c == '\t' {
            out.push(' ');
        } else if c == '\n' || !c.is_control() {
            out.push(c);
        }
    }
    out
}

/// Characters that change the order of what is read, or are not seen at all.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

fn is_break(c: char) -> bool {
    matches!(
        c,
        '\u{0085}' | '\u{2028}' | '\u{2029}' | '\u{000B}' | '\u{000C}'
    )
}

/// One line: every run of white space becomes one blank.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One line of speech. Angle brackets and ampersands mean nothing when spoken, and a gateway that
/// pastes our text into its call markup must not be led to dial elsewhere (RELIABILITY I-05).
pub(crate) fn speakable(text: &str) -> String {
    one_line(&text.replace(['<', '>', '&'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_reorders_or_hides_is_taken_out() {
        let mut value = serde_json::json!({"a": ["x\u{202E}y\u{2066}z\u{200B}\u{FEFF}", 1]});
        clean_value(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["xyz", 1]}));
    }

    #[test]
    fn every_kind_of_line_end_becomes_one_line_feed() {
        assert_eq!(clean("a\r\nb\rc\u{2028}d\u{0}e\tf\ng"), "a\nb\nc\nde f\ng");
    }

    #[test]
    fn speech_holds_no_markup() {
        assert_eq!(
            speakable("a</Say><Dial>+900</Dial>"),
            "a /Say Dial +900 /Dial"
        );
    }
}
