//! What is wrong with a piece of data that people write, such as a policy or a rule.

use std::fmt;

/// A field and what would be right there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Path: `channel_plan[1]`.
    pub field: String,
    /// What would be right, in words that follow the name of the field.
    pub description: String,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.description)
    }
}

/// Gathers problems, so that all are told at once.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<FieldProblem>);

impl Problems {
    /// Notes a problem.
    pub(crate) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldProblem {
            field: field.into(),
            description: description.into(),
        });
    }

    /// Notes a problem unless all is well.
    pub(crate) fn unless(&mut self, is_right: bool, field: &str, description: &str) {
        if !is_right {
            self.add(field, description);
        }
    }

    /// Notes items of a list that are there more than once.
    pub(crate) fn repeated<T: PartialEq + fmt::Display>(&mut self, field: &str, items: &[T]) {
        for (index, item) in items.iter().enumerate() {
            if items.iter().take(index).any(|before| before == item) {
                self.add(
                    format!("{field}[{index}]"),
                    format!("must not name {item} a second time"),
                );
            }
        }
    }

    /// Notes a text that is empty, too long, or not one line.
    pub(crate) fn line_of_text(&mut self, field: &str, text: &str, max: usize) {
        let checked = crate::text::checked_text(text, 1, max, crate::text::TextKind::SingleLine);
        match checked {
            Err(error) => self.add(field, error.to_string()),
            Ok(text) if text.trim().is_empty() => self.add(field, "must not be empty"),
            Ok(_) => {}
        }
    }

    /// All or nothing.
    pub(crate) fn into_result(self) -> Result<(), Vec<FieldProblem>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }
}
