//! What a person at the terminal reads. Log lines go through `tracing` instead.

use std::io::{self, Write as _};

/// Writes a line to standard output. A reader that went away is not our failure.
pub(crate) fn say(line: &str) {
    writeln!(io::stdout().lock(), "{line}").ok();
}

/// Writes to standard error what is not as it should be, though nothing failed.
pub(crate) fn warn(what: &str) {
    writeln!(io::stderr().lock(), "warning: {what}").ok();
}

/// Writes why the command failed to standard error.
pub(crate) fn complain(error: &str) {
    writeln!(io::stderr().lock(), "error: {error}").ok();
}
