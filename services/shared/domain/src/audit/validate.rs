//! Whether a rule that somebody wrote can be used.

use super::{AuditRule, engine, template::Template};
use crate::problem::{FieldProblem, Problems};

/// The longest id of a rule, in characters; the tables are made for it.
const ID_CHARS_MAX: usize = 64;
/// The longest message, in characters.
const MESSAGE_CHARS_MAX: usize = 500;
/// The most options of a rule.
const OPTIONS_MAX: usize = 20;

impl AuditRule {
    /// Everything that keeps the rule from being used, by field.
    pub fn validate(&self) -> Result<(), Vec<FieldProblem>> {
        let mut problems = Problems::default();
        let is_id = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        problems.unless(
            !self.id.is_empty() && self.id.len() <= ID_CHARS_MAX && self.id.chars().all(is_id),
            "id",
            "must be 1 to 64 small letters, digits and hyphens, such as stock-enough",
        );
        problems.unless(self.version > 0, "version", "must be 1 or more");
        for (index, order_type) in self.order_types.iter().enumerate() {
            problems.unless(
                crate::policy::is_order_type(order_type),
                &format!("order_types[{index}]"),
                crate::policy::ORDER_TYPE_FORM,
            );
        }
        problems.repeated("order_types", &self.order_types);
        problems.line_of_text("message", &self.message, MESSAGE_CHARS_MAX);
        if !self.customer_message.is_empty() {
            problems.line_of_text(
                "customer_message",
                &self.customer_message,
                MESSAGE_CHARS_MAX,
            );
        }
        problems.unless(
            self.options.len() <= OPTIONS_MAX,
            "options",
            "must be at most 20",
        );
        for (index, option) in self.options.iter().enumerate() {
            problems.line_of_text(&format!("options[{index}]"), option, ID_CHARS_MAX);
        }
        match engine::compile_expression(&self.expression) {
            Err(problem) => problems.add("expression", problem),
            Ok(compiled) => {
                let texts = [
                    ("message", &self.message),
                    ("customer_message", &self.customer_message),
                    ("field", &self.field),
                ];
                for (field, text) in texts {
                    if let Err(problem) = Template::parse(text, compiled.per_line) {
                        problems.add(field, problem);
                    }
                }
                problems.unless(
                    compiled.per_line || !self.field.contains("[]"),
                    "field",
                    "must have no [] where the expression does not name line",
                );
            }
        }
        problems.into_result()
    }
}
