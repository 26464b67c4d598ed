//! Compiled rules.

use super::{AuditInput, AuditRule, Finding};

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}: {problem}")]
pub struct RuleError {
    /// Which rule.
    pub rule: String,
    /// What is wrong.
    pub problem: String,
}

/// The rules in force, compiled once.
#[derive(Debug, Default)]
pub struct RuleSet {}

impl RuleSet {
    /// Compiles the newest version of each rule.
    pub fn compile(_rules: &[AuditRule]) -> Result<Self, Vec<RuleError>> {
        Ok(Self {})
    }

    /// Holds an order against the rules.
    pub fn evaluate(&self, _input: &AuditInput<'_>) -> Vec<Finding> {
        Vec::new()
    }
}
