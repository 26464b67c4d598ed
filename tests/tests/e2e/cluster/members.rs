//! A cluster of the test's own.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use countersign_store::{Settings, Store, testing::data_keys};
use rustix::process::{Pid, Signal, kill_process};

/// A member that was given up joins again within this on a busy machine.
const REJOIN_MAX: Duration = Duration::from_mins(2);

/// Three members that keep every commit on disk. They end with the test.
pub(super) struct Cluster {
    /// All three, without a database.
    pub(super) url: String,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    number: String,
    port: String,
    state: String,
    role: String,
}

impl Member {
    pub(super) fn is_primary(&self) -> bool {
        self.state == "ONLINE" && self.role == "PRIMARY"
    }

    pub(super) fn is_secondary(&self) -> bool {
        self.state == "ONLINE" && self.role == "SECONDARY"
    }

    /// One connection to this member alone, which keeps what it locks.
    pub(super) async fn session(&self, database: &str) -> Store {
        Store::connect(&Settings {
            connections_max: 1,
            ..Settings::new(
                format!("mysql://root@127.0.0.1:{}/{database}", self.port),
                data_keys(),
            )
        })
        .await
        .unwrap()
    }
}

impl Cluster {
    pub(super) async fn start() -> Self {
        let url = script(&["start", "--durable"]).await;
        Self { url }
    }

    /// SIGKILL for `primary` or `all`.
    pub(super) async fn kill(&self, which: &str) {
        script(&["kill", &self.url, which]).await;
    }

    /// A signal to the process of a member.
    pub(super) async fn signal(&self, member: &Member, signal: Signal) {
        let pid = script(&["pid", &self.url, &member.number]).await;
        let pid = pid.parse().ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Starts those that are dead; afterwards all three are online.
    pub(super) async fn again(&self) {
        script(&["again", &self.url]).await;
        // One that stood still takes itself for the primary until it hears that it was given up.
        let began = Instant::now();
        loop {
            let all = self.members().await;
            let secondaries = all.iter().filter(|it| it.is_secondary()).count();
            if secondaries == 2 && all.iter().any(Member::is_primary) {
                return;
            }
            assert!(began.elapsed() < REJOIN_MAX, "{all:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) async fn members(&self) -> Vec<Member> {
        let said = script(&["members", &self.url]).await;
        let members = said.lines().map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            Member {
                number: word(),
                port: word(),
                state: word(),
                role: word(),
            }
        });
        members.collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        run(&["stop", &self.url]);
    }
}

async fn script(arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&arguments)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn run(arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/mysql-cluster");
    let output = Command::new(path).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
