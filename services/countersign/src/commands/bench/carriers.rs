//! A relay and a gateway that accept everything, in a process of their own, so that what they cost is not the worker's.
//! They answer at once and keep nothing but counts.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::{
    io::{self, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::console;

/// More than any message of the benchmark has.
const BODY_BYTES_MAX: usize = 1 << 20;

static LETTERS: AtomicU64 = AtomicU64::new(0);
static TEXTS: AtomicU64 = AtomicU64::new(0);

/// Says both ports in one line, then answers each line of standard input with the counts. Ends with its input.
pub(super) async fn run() -> anyhow::Result<()> {
    let relay = TcpListener::bind("127.0.0.1:0").await?;
    let gateway = TcpListener::bind("127.0.0.1:0").await?;
    console::say(&format!(
        "{} {}",
        relay.local_addr()?.port(),
        gateway.local_addr()?.port()
    ));
    let questions = async {
        let mut lines = BufReader::new(io::stdin()).lines();
        while lines.next_line().await?.is_some() {
            console::say(&format!(
                "{} {}",
                LETTERS.load(Ordering::Relaxed),
                TEXTS.load(Ordering::Relaxed)
            ));
        }
        Ok::<(), io::Error>(())
    };
    tokio::select! {
        done = serve(relay, letters) => done?,
        done = serve(gateway, texts) => done?,
        done = questions => done?,
    }
    Ok(())
}

/// Talks on every connection that is made.
async fn serve<F>(listener: TcpListener, talk: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut talks = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while talks.try_join_next().is_some() {}
        talks.spawn(talk(stream));
    }
}

/// One SMTP conversation.
async fn letters(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 bench\r\n").await?;
    let (mut line, mut in_body) = (Vec::new(), false);
    while stream.read_until(b'\n', &mut line).await? > 0 {
        let answer: &[u8] = if in_body {
            if line == b".\r\n" {
                in_body = false;
                LETTERS.fetch_add(1, Ordering::Relaxed);
                b"250 taken\r\n"
            } else {
                b""
            }
        } else {
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            match verb.as_slice() {
                b"EHLO" => b"250-bench\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n",
                b"DATA" => {
                    in_body = true;
                    b"354 go on\r\n"
                }
                b"QUIT" => return stream.write_all(b"221 bye\r\n").await,
                _ => b"250 ok\r\n",
            }
        };
        if !answer.is_empty() {
            stream.write_all(answer).await?;
        }
        line.clear();
    }
    Ok(())
}

/// One HTTP connection on which messages are taken over.
async fn texts(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length.min(BODY_BYTES_MAX)];
        stream.read_exact(&mut body).await?;
        let number = TEXTS.fetch_add(1, Ordering::Relaxed);
        let answer = format!("{{\"id\":\"bench-{number}\"}}");
        let head = format!(
            "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(head.as_bytes()).await?;
    }
}
