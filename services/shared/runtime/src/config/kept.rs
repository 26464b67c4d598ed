//! Secrets that a development machine makes for itself and keeps in a file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// What stands in a file; `fresh` when there was none, readable by its owner only.
pub(super) fn read_or_create(kept: &Path, fresh: &str) -> io::Result<String> {
    if let Some(folder) = kept.parent() {
        fs::create_dir_all(folder)?;
    }
    // Written aside and linked into place: of two processes that start together one wins, and none reads half a secret.
    let aside = kept.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(fresh.as_bytes())?;
    file.sync_all()?;
    let linked = match fs::hard_link(&aside, kept) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&aside)?;
    linked?;
    fs::read_to_string(kept)
}
