//! Finds the public test data that lies beside the project and is never part of it.

use std::path::{Path, PathBuf};

/// A file of the shared data, or nothing when the data is not on this machine. When
/// `COUNTERSIGN_DATA` names a folder, the file must be in it.
#[expect(
    clippy::disallowed_methods,
    reason = "where test data lies is no setting of the program"
)]
pub(crate) fn shared_data(file: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("COUNTERSIGN_DATA") {
        let path = Path::new(&folder).join(file);
        assert!(
            path.is_file(),
            "COUNTERSIGN_DATA is set, but {} is missing",
            path.display()
        );
        return Some(path);
    }
    let beside_the_workspace = "../../../../shared/data";
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(beside_the_workspace)
        .join(file);
    if path.is_file() {
        return Some(path);
    }
    println!(
        "skipped: {} is not there and COUNTERSIGN_DATA is not set",
        path.display()
    );
    None
}
