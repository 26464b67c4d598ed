//! What of this crate reads the words of strangers, as functions of bytes: tests call them with inputs that are kept and
//! with inputs made from those, `scripts/fuzz` with inputs that it finds by what they reach (RELIABILITY I-11).

/// A reader by its name, which is also the name of the folder that its inputs are kept in.
pub type Entry = (&'static str, fn(&[u8]));

/// The readers of this crate.
pub const ENTRIES: [Entry; 2] = [
    ("caller_token", crate::callers::fuzz::caller_token),
    ("config", crate::config::fuzz::config),
];
