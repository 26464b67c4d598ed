//! A Prometheus with the rules of the chart.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::PATIENCE;
use crate::program::free_address;

const RULES: &str = include_str!("../../../../helm/countersign/files/alerts.yaml");

/// The rules as the chart ships them, but that a minute of theirs is a second: what must be so for five minutes before an alarm
/// rings need be so for five seconds, and what is counted of an hour is counted of a minute.
fn hastened() -> String {
    let mut rules = RULES
        .replace("RELEASE_NAMESPACE", "prod")
        .replace("RELEASE_NAME", "shop");
    for before in ["for: ", "[", "offset "] {
        for count in 1..60 {
            for (unit, seconds) in [("m", count), ("h", count * 60)] {
                let span = format!("{before}{count}{unit}");
                rules = rules.replace(&span, &format!("{before}{seconds}s"));
            }
        }
    }
    let left = rules.lines().find(|line| {
        let waits = line.trim_start().starts_with("for: ");
        line.contains("m]") || line.contains("h]") || (waits && !line.ends_with('s'))
    });
    assert_eq!(left, None, "not in seconds");
    rules
}

/// The program: the one that `COUNTERSIGN_TEST_PROMETHEUS` names, else the one that `scripts/prometheus.bash` finds or fetches.
/// None where there is none, which is said; a build machine must have one.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment what the machine has"
)]
pub(super) async fn program() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("COUNTERSIGN_TEST_PROMETHEUS") {
        return Some(given.into());
    }
    let found = Command::new("bash")
        .args(["-c", "source scripts/prometheus.bash && prometheus_at"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .await
        .unwrap();
    if found.status.success() {
        let path = String::from_utf8(found.stdout).unwrap();
        return Some(path.trim_end().into());
    }
    let problem = String::from_utf8_lossy(&found.stderr);
    assert!(std::env::var_os("CI").is_none(), "{problem}");
    eprintln!("!!! SKIPPED: {problem}");
    None
}

/// It ends with the test.
pub(super) struct Prometheus {
    address: SocketAddr,
    // Ends before its folder does.
    _process: Child,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that reads a collector's page every second.
    pub(super) async fn start(program: &Path, page: SocketAddr) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        fs::write(folder.path().join("alerts.yaml"), hastened()).unwrap();
        // As the chart's ServiceMonitor does it: job and instance are those of the figures.
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [alerts.yaml]\n\
             scrape_configs:\n\
             - {{job_name: collector, honor_labels: true, static_configs: [{{targets: ['{page}']}}]}}\n"
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(program)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let started = Self {
            address,
            folder,
            _process: process,
        };
        let began = Instant::now();
        while started.ask("alerts").await.is_none() {
            assert!(began.elapsed() < PATIENCE, "{}", started.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        started
    }

    async fn ask(&self, what: &str) -> Option<Value> {
        let url = format!("http://{}/api/v1/{what}", self.address);
        let answer = reqwest::get(url).await.ok()?.text().await.ok()?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until there are figures of this name.
    pub(super) async fn until_told(&self, name: &str) {
        let began = Instant::now();
        loop {
            let found = self.ask(&format!("query?query={name}")).await;
            let series = found.as_ref().and_then(|it| it["result"].as_array());
            if series.is_some_and(|it| !it.is_empty()) {
                return;
            }
            let log = self.log();
            assert!(began.elapsed() < PATIENCE, "no {name}: {found:?}\n{log}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The alarms that ring, with all labels and the summary.
    async fn ringing(&self) -> BTreeSet<String> {
        let found = self.ask("alerts").await.unwrap_or_default();
        let alerts = found["alerts"].as_array().cloned().unwrap_or_default();
        let ringing = alerts.iter().filter(|it| it["state"] == "firing");
        ringing
            .map(|it| {
                let mut labels = it["labels"].as_object().cloned().unwrap();
                let name = labels.remove("alertname").unwrap();
                let labels: Vec<String> = labels
                    .iter()
                    .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
                    .collect();
                format!("{} {}", name.as_str().unwrap(), labels.join(" "))
            })
            .collect()
    }

    /// Waits until these alarms ring and no others.
    pub(super) async fn until_ringing(&self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|&it| it.to_owned()).collect();
        let began = Instant::now();
        loop {
            let found = self.ringing().await;
            if found == wanted {
                return;
            }
            let log = self.log();
            assert!(
                began.elapsed() < PATIENCE,
                "{found:?} instead of {wanted:?}\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether this alarm rings, maybe with others.
    pub(super) async fn rings(&self, alarm: &str) -> bool {
        self.ringing().await.contains(alarm)
    }
}
