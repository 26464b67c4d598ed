//! The program as a process of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use countersign_e2e::{LINK_SECRET, order_builder};
use countersign_proto::v1::{self, order_service_client::OrderServiceClient};
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;

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

/// Where nobody listens yet.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Starts an order service on a database.
pub(crate) fn start(program: &Path, url: &str, address: SocketAddr, folder: &Path) -> Child {
    Command::new(program)
        .arg("order-service")
        .env("DATABASE_URL", url)
        .env("COUNTERSIGN__ORDER__LISTEN", address.to_string())
        .env("COUNTERSIGN__LINKS__KEY", LINK_SECRET)
        .env(
            "COUNTERSIGN__PERSONAL_DATA__KEYS",
            countersign_store::testing::DATA_KEYS,
        )
        .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "error")
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits until it judges orders: reading and compiling the rules is behind it then.
pub(crate) async fn answers(address: SocketAddr) {
    let began = Instant::now();
    loop {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .timeout(Duration::from_secs(10))
            .connect_lazy();
        let preview = v1::CreateOrderRequest {
            validate_only: true,
            ..order_builder().request()
        };
        let answer = OrderServiceClient::new(channel).create_order(preview).await;
        if answer.is_ok() {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it does not start"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
