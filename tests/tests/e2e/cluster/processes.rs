//! Two order services and two notification workers, each a process of the program itself.

use std::{
    fs::{File, read_to_string},
    net::SocketAddr,
    path::Path,
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    kills::stage::{Gateways, SECRET},
    program::{answers, free_address, program, start},
};

/// Short, so that what was lost with a database's answer is not waited for so long.
const LEASE_SECONDS: &str = "15";

/// What runs; it ends with the test.
pub(super) struct Processes {
    pub(super) services: [SocketAddr; 2],
    order_services: [Child; 2],
    workers: [Child; 2],
    folder: TempDir,
}

impl Processes {
    pub(super) async fn start(url: &str, gateways: &Gateways) -> Self {
        let program = program().await;
        let folder = tempfile::tempdir().unwrap();
        let services = [free_address(), free_address()];
        let order_services = services.map(|address| start(&program, url, address, folder.path()));
        for address in services {
            answers(address).await;
        }
        let workers =
            services.map(|service| worker(&program, url, service, gateways, folder.path()));
        Self {
            services,
            order_services,
            workers,
            folder,
        }
    }

    /// Those that have ended although nobody told them to.
    pub(super) fn ended(&mut self) -> usize {
        let all = self.order_services.iter_mut().chain(&mut self.workers);
        all.filter_map(|it| it.try_wait().unwrap()).count()
    }

    /// Tells all to end; whether they did with nothing left undone.
    pub(super) async fn end(&mut self) -> bool {
        let mut clean = true;
        for process in self.workers.iter_mut().chain(&mut self.order_services) {
            let id = process.id().and_then(|id| i32::try_from(id).ok());
            kill_process(id.and_then(Pid::from_raw).unwrap(), Signal::TERM).unwrap();
            clean &= process.wait().await.unwrap().success();
        }
        clean
    }

    /// What the workers have complained about.
    pub(super) fn log(&self) -> String {
        read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn worker(
    program: &Path,
    url: &str,
    service: SocketAddr,
    gateways: &Gateways,
    folder: &Path,
) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    Command::new(program)
        .arg("notification-worker")
        .env("DATABASE_URL", url)
        .env(
            "SMTP_URL",
            format!("smtp://{}?tls=none", gateways.mail.address()),
        )
        .env("COUNTERSIGN__SMS__BASE_URL", gateways.texts.base())
        .env("COUNTERSIGN__SMS__SECRET", SECRET)
        .env(
            "COUNTERSIGN__LINKS__KEY",
            "a key of thirty-two bytes or more for links",
        )
        .env(
            "COUNTERSIGN__PERSONAL_DATA__KEYS",
            countersign_store::testing::DATA_KEYS,
        )
        .env("COUNTERSIGN__NOTIFICATION__LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN__NOTIFICATION__GRPC_LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN__NOTIFICATION__LEASE_SECONDS", LEASE_SECONDS)
        .env(
            "COUNTERSIGN__NOTIFICATION__ORDER_SERVICE_URL",
            format!("http://{service}"),
        )
        .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "warn")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
