//! One conversation of the mail sink.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::mail_sink::{Act, ReceivedMail, SinkTls, Stage, State, lock};

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) struct Talk {
    io: Box<dyn Io>,
    unread: Vec<u8>,
    state: Arc<State>,
    mail: ReceivedMail,
    encrypted: bool,
    logged_in: bool,
}

impl Talk {
    pub(super) fn new(io: Box<dyn Io>, state: Arc<State>, connection: u64) -> Self {
        Self {
            io,
            unread: Vec::new(),
            encrypted: state.config.tls == SinkTls::Implicit,
            logged_in: state.config.login.is_none(),
            state,
            mail: ReceivedMail {
                connection,
                ..ReceivedMail::default()
            },
        }
    }

    pub(super) async fn run(&mut self) -> io::Result<()> {
        self.answer(Stage::Connect, "220 sink.example ESMTP\r\n")
            .await?;
        loop {
            let line = self.line().await?;
            if self.state.config.keep_mails {
                lock(&self.state.commands).push(line.clone());
            }
            let verb = line
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let hello = self.hello();
                    self.answer(Stage::Ehlo, &hello).await?;
                }
                "STARTTLS" => self.start_tls().await?,
                "AUTH" => self.log_in(&line).await?,
                "MAIL" if !self.logged_in => self.say("530 5.7.0 log in first\r\n").await?,
                "MAIL" => {
                    self.mail.from.clear();
                    self.mail.to.clear();
                    if self.answer(Stage::Mail, "250 2.1.0 ok\r\n").await? {
                        line[10..].clone_into(&mut self.mail.from);
                    }
                }
                "RCPT" if self.mail.from.is_empty() => {
                    self.say("503 5.5.1 no sender\r\n").await?;
                }
                "RCPT" => {
                    if self.answer(Stage::Rcpt, "250 2.1.5 ok\r\n").await? {
                        self.mail.to.push(line[8..].to_owned());
                    }
                }
                "DATA" if self.mail.to.is_empty() => {
                    self.answer(Stage::Data, "503 5.5.1 no recipient\r\n")
                        .await?;
                }
                "DATA" => self.data().await?,
                "RSET" => {
                    self.answer(Stage::Reset, "250 2.0.0 ok\r\n").await?;
                }
                "NOOP" => self.say("250 2.0.0 ok\r\n").await?,
                "QUIT" => return self.say("221 2.0.0 bye\r\n").await,
                _ => self.say("500 5.5.2 what?\r\n").await?,
            }
        }
    }

    fn hello(&self) -> String {
        let mut lines = vec!["sink.example".to_owned()];
        lines.extend(
            self.state
                .config
                .extensions
                .iter()
                .map(|&word| word.to_owned()),
        );
        if self.state.config.tls == SinkTls::StartTls && !self.encrypted {
            lines.push("STARTTLS".to_owned());
        }
        if self.state.config.login.is_some() {
            lines.push(format!("AUTH {}", self.state.config.login_methods));
        }
        let last = lines.pop().unwrap_or_default();
        let mut hello = String::new();
        for line in lines {
            hello.push_str("250-");
            hello.push_str(&line);
            hello.push_str("\r\n");
        }
        hello + "250 " + &last + "\r\n"
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        self.answer(Stage::StartTls, "220 2.0.0 go\r\n").await?;
        let Some(acceptor) = self.state.acceptor.clone() else {
            return Err(gone());
        };
        let plain = std::mem::replace(&mut self.io, Box::new(tokio::io::empty()));
        self.io = Box::new(acceptor.accept(plain).await?);
        self.encrypted = true;
        self.unread.clear();
        Ok(())
    }

    async fn log_in(&mut self, line: &str) -> io::Result<()> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let Some((user, password)) = self.state.config.login.clone() else {
            return self.say("503 5.5.1 no login here\r\n").await;
        };
        let given = if line.eq_ignore_ascii_case("AUTH LOGIN") {
            self.answer(Stage::Auth, "334 VXNlcm5hbWU6\r\n").await?;
            let given_user = self.line().await?;
            self.answer(Stage::Auth, "334 UGFzc3dvcmQ6\r\n").await?;
            (given_user, self.line().await?)
        } else {
            let secret = line.rsplit(' ').next().unwrap_or_default();
            let text = String::from_utf8(STANDARD.decode(secret).unwrap_or_default());
            let text = text.unwrap_or_default();
            let mut parts = text.split('\0').skip(1).map(|part| STANDARD.encode(part));
            (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            )
        };
        self.logged_in = given == (STANDARD.encode(user), STANDARD.encode(password));
        let usual = if self.logged_in {
            "235 2.7.0 welcome\r\n"
        } else {
            "535 5.7.8 wrong login\r\n"
        };
        self.answer(Stage::Auth, usual).await.map(drop)
    }

    async fn data(&mut self) -> io::Result<()> {
        match self.state.script.next(&Stage::Data) {
            None => self.say("354 go on\r\n").await?,
            Some(Act::Reply(text)) if !text.starts_with('3') => return self.say(&text).await,
            Some(Act::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                self.say("354 go on\r\n").await?;
            }
            Some(act) => self.perform(act).await?,
        }
        if let Some(act) = self.state.script.next(&Stage::Body) {
            self.perform(act).await?;
        }
        let wire = self.body().await?;
        self.mail.wire = wire;
        match self.state.script.next(&Stage::Dot) {
            None => {
                self.record();
                self.say("250 2.0.0 queued\r\n").await
            }
            Some(Act::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                self.record();
                self.say("250 2.0.0 queued\r\n").await
            }
            Some(Act::AcceptAndDrop) => {
                self.record();
                Err(gone())
            }
            Some(Act::AcceptAndStall) => {
                self.record();
                self.stall().await
            }
            Some(Act::Reply(text)) => {
                if text.starts_with('2') {
                    self.record();
                }
                self.say(&text).await
            }
            Some(act) => self.perform(act).await,
        }
    }

    fn record(&mut self) {
        if self.state.config.keep_mails {
            lock(&self.state.mails).push(self.mail.clone());
        }
        self.state.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads up to and with the final dot.
    async fn body(&mut self) -> io::Result<Vec<u8>> {
        const END: &[u8] = b"\r\n.\r\n";
        let mut looked = 0_usize;
        loop {
            if self.unread.starts_with(b".\r\n") {
                return Ok(self.unread.drain(..3).collect());
            }
            let from = looked.saturating_sub(END.len());
            let end = self.unread[from..]
                .windows(END.len())
                .position(|part| part == END);
            if let Some(end) = end {
                let length = from + end + END.len();
                return Ok(self.unread.drain(..length).collect());
            }
            looked = self.unread.len();
            self.read().await?;
        }
    }

    /// Whether it was a yes.
    async fn answer(&mut self, stage: Stage, usual: &str) -> io::Result<bool> {
        let act = match self.state.script.next(&stage) {
            None => Act::Reply(usual.to_owned()),
            Some(Act::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                Act::Reply(usual.to_owned())
            }
            Some(act) => act,
        };
        let yes = match &act {
            Act::Reply(text) => text.starts_with('2'),
            Act::Raw(bytes) => bytes.starts_with(b"2"),
            _ => false,
        };
        self.perform(act).await?;
        Ok(yes)
    }

    async fn perform(&mut self, act: Act) -> io::Result<()> {
        match act {
            Act::Reply(text) => self.say(&text).await,
            Act::Raw(bytes) => self.io.write_all(&bytes).await,
            Act::Delay(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Act::Stall | Act::AcceptAndStall => self.stall().await,
            Act::Drop | Act::AcceptAndDrop => Err(gone()),
            Act::ReplyAndDrop(text) => {
                self.say(&text).await?;
                Err(gone())
            }
            Act::Flood => loop {
                self.io.write_all(&[b'x'; 16 * 1024]).await?;
            },
        }
    }

    async fn stall(&mut self) -> io::Result<()> {
        self.state.stalled.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.io.write_all(text.as_bytes()).await?;
        self.io.flush().await
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        self.unread.reserve(16 * 1024);
        if self.io.read_buf(&mut self.unread).await? == 0 {
            Err(gone())
        } else {
            Ok(())
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
