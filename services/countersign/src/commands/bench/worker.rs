//! The notification worker in a process of its own, with a relay and a gateway that accept everything at once.

use std::{env, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::server::{DATA_KEYS, Database};

/// Relay and gateway in a process of their own.
pub(super) struct Carriers {
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    relay: u64,
    gateway: u64,
}

impl Carriers {
    /// Starts them.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(["bench", "carriers"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start relay and gateway")?;
        let questions = child.stdin.take().context("their input")?;
        let output = child.stdout.take().context("their output")?;
        let mut answers = BufReader::new(output).lines();
        let (relay, gateway) = pair(&mut answers).await?;
        Ok(Self {
            _child: child,
            questions,
            answers,
            relay,
            gateway,
        })
    }

    /// Messages that both have accepted.
    pub(super) async fn accepted(&mut self) -> anyhow::Result<u64> {
        self.questions.write_all(b"\n").await?;
        let (letters, texts) = pair(&mut self.answers).await?;
        Ok(letters + texts)
    }
}

async fn pair(answers: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<(u64, u64)> {
    let line = answers
        .next_line()
        .await?
        .context("relay and gateway ended")?;
    let (first, second) = line.split_once(' ').context("two numbers")?;
    Ok((first.parse()?, second.parse()?))
}

/// The worker, once it listens.
pub(super) async fn start_worker(
    database: &Database,
    carriers: &Carriers,
    at_once: usize,
) -> anyhow::Result<Child> {
    let free = || std::net::TcpListener::bind("127.0.0.1:0")?.local_addr();
    let (pages, grpc) = (free()?.to_string(), free()?.to_string());
    let child = Command::new(env::current_exe()?)
        .arg("notification-worker")
        .env("DATABASE_URL", &database.url)
        .env(
            "SMTP_URL",
            format!("smtp://127.0.0.1:{}?tls=none", carriers.relay),
        )
        .env("COUNTERSIGN__NOTIFICATION__LISTEN", &pages)
        .env("COUNTERSIGN__NOTIFICATION__GRPC_LISTEN", &grpc)
        .env(
            "COUNTERSIGN__NOTIFICATION__LETTERS_AT_ONCE",
            at_once.to_string(),
        )
        .env(
            "COUNTERSIGN__NOTIFICATION__TEXTS_AT_ONCE",
            at_once.to_string(),
        )
        .env(
            "COUNTERSIGN__SMS__BASE_URL",
            format!("http://127.0.0.1:{}/v1", carriers.gateway),
        )
        .env(
            "COUNTERSIGN__SMS__SECRET",
            "whsec_YSBrZXkgZm9yIG1lYXN1cmluZyBvbmx5LCAyNGI=",
        )
        .env(
            "COUNTERSIGN__LINKS__KEY",
            "a key for measuring only, nothing is sent",
        )
        .env("COUNTERSIGN__PERSONAL_DATA__KEYS", DATA_KEYS)
        // Everything is counted, and nothing of it is too much.
        .env("COUNTERSIGN__SENDING__NUMBER_PER_10_MINUTES", "50")
        .env("COUNTERSIGN__SENDING__NUMBER_PER_DAY", "50")
        .env("COUNTERSIGN__SENDING__PREFIX_PER_10_MINUTES", "1000000")
        .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", "error")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("start the worker")?;
    for _ in 0..200 {
        if TcpStream::connect(&pages).await.is_ok() {
            return Ok(child);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("the worker does not listen on {pages}")
}
