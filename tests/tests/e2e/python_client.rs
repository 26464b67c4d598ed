//! A client that is not ours, made from nothing but what the server tells of itself.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use countersign_e2e::System;
use countersign_proto::v1::OrderState as S;
use tokio::process::Command;

/// A Python with grpcio: the one that `COUNTERSIGN_TEST_PYTHON` names, else one that is made under `target/`, once.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment what the machine has"
)]
async fn python() -> Result<PathBuf, String> {
    if let Some(python) = std::env::var_os("COUNTERSIGN_TEST_PYTHON") {
        return Ok(python.into());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python");
    let python = folder.join("bin/python");
    if run(Command::new(&python).args(["-c", "import grpc, grpc_reflection"]))
        .await
        .is_ok()
    {
        return Ok(python);
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))
    .await?;
    run(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "grpcio==1.85.1",
        "grpcio-reflection==1.85.1",
    ]))
    .await?;
    Ok(python)
}

async fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{command:?}: {error}"))?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("{command:?}: {said}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_client_without_generated_code_walks_an_order_to_confirmation() {
    let python = match python().await {
        Ok(python) => python,
        Err(problem) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "build machines say that they are one"
            )]
            let must = std::env::var_os("CI").is_some();
            assert!(!must, "no Python with grpcio: {problem}");
            eprintln!("!!! SKIPPED: no Python with grpcio: {problem}");
            return;
        }
    };
    let system = System::sqlite().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/walk_order.py");
    let said = run(Command::new(python)
        .arg(script)
        .arg(system.replicas[0].address.to_string()))
    .await
    .unwrap();
    let name = said.trim().lines().last().unwrap();
    let order = system.order(name).await;
    assert_eq!(order.state(), S::Allocated, "{said}");
    assert!(!order.order_number.is_empty());
    assert_eq!(order.contact.unwrap().phone, "+8613812345678");
}
