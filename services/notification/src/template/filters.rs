//! What templates may do with their values.

use minijinja::Value;

use super::clean;

/// Splits words at blank lines and joins each paragraph into one line. Text that was escaped stays so.
#[expect(clippy::needless_pass_by_value, reason = "filters take values")]
pub(super) fn paragraphs(text: Value) -> Vec<Value> {
    let safe = text.is_safe();
    let text = text.to_string();
    text.split("\n\n")
        .map(clean::one_line)
        .filter(|paragraph| !paragraph.is_empty())
        .map(|paragraph| {
            if safe {
                Value::from_safe_string(paragraph)
            } else {
                paragraph.into()
            }
        })
        .collect()
}

/// Cuts words to `most` characters.
pub(super) fn short(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let mut cut: String = text.chars().take(most.saturating_sub(2)).collect();
    cut.push_str("..");
    cut
}

/// Puts blanks between characters, so that a voice spells a number instead of counting it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "filters take owned arguments"
)]
pub(super) fn spell(text: String) -> String {
    let spelled: Vec<String> = text.chars().map(String::from).collect();
    spelled.join(" ")
}

/// At most one empty line in a row, no blanks at line ends.
pub(super) fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.trim().lines().map(str::trim_end) {
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
