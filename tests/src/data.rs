//! Public test data that lies beside the project and is never part of it.

use std::path::{Path, PathBuf};

/// A file of the shared data. When `COUNTERSIGN_DATA` names a folder the file must be in it; else the folder `shared/data`
/// is looked for beside the workspace, and when that is not there either, the test says so and goes on without.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "where test data lies is no setting of the program, and a test that is skipped must be seen"
)]
pub fn shared_data(file: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("COUNTERSIGN_DATA") {
        let path = Path::new(&folder).join(file);
        assert!(
            path.is_file(),
            "COUNTERSIGN_DATA is set, but {} is missing",
            path.display()
        );
        return Some(path);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = workspace
        .ancestors()
        .map(|folder| folder.join("shared/data").join(file))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!(
            "!!! SKIPPED: no shared/data/{file} beside the project and COUNTERSIGN_DATA is not set"
        );
    }
    found
}
