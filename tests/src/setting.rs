//! How long some tests go on, which a command may say.

/// What a variable of the environment says, or else the usual number.
///
/// # Panics
///
/// When it is not a whole number.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment how long to go on"
)]
pub fn setting(variable: &str, usual: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| text.parse().expect(variable))
}
