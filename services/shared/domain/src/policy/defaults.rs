//! The policies that ship with the program.

use std::sync::LazyLock;

use super::OrderPolicy;

static DEFAULT_POLICIES: LazyLock<Vec<OrderPolicy>> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the file is part of the program and a test reads it"
    )]
    serde_json::from_str(include_str!("default_policies.json"))
        .expect("default_policies.json is right")
});

/// The policies that ship with the program: ECOMMERCE, STORE, WHOLESALE and CUSTOM, as they stand in
/// `default_policies.json`. A company replaces them by a newer version or adds types of its own.
pub fn default_policies() -> Vec<OrderPolicy> {
    DEFAULT_POLICIES.clone()
}
