//! A process that is given another configuration while it runs.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use countersign_e2e::{LINK_SECRET, seed};
use countersign_store::testing::TestDatabase;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    full::Process,
    program::{answers, free_address, program},
};

/// Waits until the log says something, and answers the line.
fn told(log: &Path, words: &str) -> String {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap();
        if let Some(line) = text.lines().rev().find(|line| line.contains(words)) {
            return line.to_owned();
        }
        assert!(
            began.elapsed() < Duration::from_secs(45),
            "{words}:\n{text}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_06_a_running_service_refuses_a_wrong_configuration_and_takes_the_next_right_one() {
    let database = TestDatabase::sqlite().await;
    seed(&database.store).await;
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let file = folder.path().join("countersign.toml");
    let log = folder.path().join("log");
    let right = format!(
        "[database]\nurl = \"{}\"\n[order]\nlisten = \"{address}\"\n[links]\nkey = \"{LINK_SECRET}\"\n",
        database.url
    );
    fs::write(&file, &right).unwrap();
    let started = Command::new(program().await)
        .arg("--config")
        .arg(&file)
        .arg("order-service")
        .env_remove("COUNTERSIGN__TELEMETRY__LOG_FILTER")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut process = Process(started);
    answers(address).await;
    let pid = i32::try_from(process.0.id())
        .ok()
        .and_then(Pid::from_raw)
        .unwrap();

    fs::write(&file, format!("{right}[shutdown]\ngrace_seconds = 0\n")).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let refused = told(&log, "the old one stays in force");
    assert!(refused.contains("shutdown.grace_seconds"), "{refused}");
    assert!(refused.contains("ERROR"), "{refused}");
    answers(address).await;

    // Without a signal: the file is looked at again and again.
    let better = "[shutdown]\ngrace_seconds = 9\n[retention]\nmailbox_days = 3\n";
    fs::write(&file, format!("{right}{better}")).unwrap();
    let taken = told(&log, "are in force");
    assert!(taken.contains("retention.mailbox_days"), "{taken}");
    let later = told(&log, "need a restart");
    assert!(later.contains("shutdown.grace_seconds"), "{later}");
    answers(address).await;

    kill_process(pid, Signal::TERM).unwrap();
    assert!(process.0.wait().unwrap().success());
}
