//! The program as a process of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use tokio::process::Command;

/// The program itself: the one that `COUNTERSIGN_BIN` names, else the one beside this test, which is built when it is not
/// there.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment what to test"
)]
pub(crate) async fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("COUNTERSIGN_BIN") {
        return given.into();
    }
    let beside = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .join("countersign");
    if !beside.is_file() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", "countersign"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .status()
            .await
            .unwrap();
        assert!(built.success(), "the program builds");
    }
    beside
}

/// Where nothing listens now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}
