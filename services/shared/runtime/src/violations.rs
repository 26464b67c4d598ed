//! How much of what is wrong with a request is told: the details of a status travel in headers, of which clients take 8 KiB.

use tonic_types::FieldViolation;

/// How much text of violations goes into one answer: details travel in a header, and clients take 8 KiB of those.
const VIOLATIONS_BYTES_MAX: usize = 3_000;
/// How much of one text goes into an answer. It may repeat what the caller sent, at any length; and the message is in a header of
/// its own, in which a byte may become three.
const TEXT_BYTES_MAX: usize = 512;

/// A text, or its beginning where it is too long for an answer.
pub fn cut(mut text: String) -> String {
    const MARK: &str = "…";
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX - MARK.len()));
        text.push_str(MARK);
    }
    text
}

/// As many violations as fit into a header, and how many were left out.
pub fn bounded(violations: Vec<FieldViolation>) -> Vec<FieldViolation> {
    let total = violations.len();
    let mut bytes = 0;
    let mut kept: Vec<FieldViolation> = violations
        .into_iter()
        .map(|it| FieldViolation::new(cut(it.field), cut(it.description)))
        .enumerate()
        .take_while(|(place, violation)| {
            bytes += violation.field.len() + violation.description.len() + 8;
            *place == 0 || bytes <= VIOLATIONS_BYTES_MAX
        })
        .map(|(_, violation)| violation)
        .collect();
    let left_out = total - kept.len();
    if left_out > 0 {
        kept.push(FieldViolation::new(
            "",
            format!("and {left_out} more fields"),
        ));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_huge_violation_is_kept() {
        assert_eq!(
            bounded(vec![FieldViolation::new("a", "b".repeat(4_000))]).len(),
            1
        );
    }
}
