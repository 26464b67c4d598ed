//! `check-config`: whether the configuration works, and what it is.

use countersign_runtime::config::Config;

use crate::console::say;

/// Shows it; one that cannot work was refused before, with every bad field named.
pub(crate) fn run(config: &Config) {
    say(config.redacted().trim_end());
}
