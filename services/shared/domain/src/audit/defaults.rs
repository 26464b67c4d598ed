//! The rules that ship with the program.

use std::sync::LazyLock;

use super::AuditRule;

static DEFAULT_RULES: LazyLock<Vec<AuditRule>> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the file is part of the program and a test reads it"
    )]
    serde_json::from_str(include_str!("default_rules.json")).expect("default_rules.json is right")
});

/// The rules that ship with the program, as they stand in `default_rules.json`. A company switches them off, replaces
/// them by a newer version or adds its own.
pub fn default_rules() -> Vec<AuditRule> {
    DEFAULT_RULES.clone()
}
