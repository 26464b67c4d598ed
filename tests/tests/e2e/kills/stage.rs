//! A database, gateways with ledgers, and the worker as a process that can be killed.

use std::{
    fs::{File, read_to_string},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use countersign_domain::ids::OrderId;
use countersign_e2e::{LINK_SECRET, link_key};
use countersign_notification::testkit::{GatewayStub, MailSink};
use countersign_store::{
    Claimed,
    testing::{DATA_KEYS, TestDatabase, shop::Shop},
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::{sleep, timeout},
};

pub(super) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// Runs what follows with files of its own for finding names, in a namespace of its own.
const WITH_OWN_NAMES: &str = "mount --bind \"$HOSTS\" /etc/hosts && \
     mount --bind \"$RESOLVER\" /etc/resolv.conf && exec \"$0\" \"$@\"";
/// The lease of thirty seconds, and the five of the sweep.
pub(super) const LEASE: TimeDelta = TimeDelta::seconds(36);
/// Longer than any step takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(45);

/// What the worker sends through. They take every message that they are given, a known one too.
pub(crate) struct Gateways {
    pub(crate) mail: MailSink,
    pub(super) texts: GatewayStub,
    pub(super) calls: GatewayStub,
}

impl Gateways {
    pub(super) async fn start() -> Self {
        Self {
            mail: MailSink::start(),
            texts: GatewayStub::start_forgetful(SECRET).await,
            calls: GatewayStub::start_forgetful(SECRET).await,
        }
    }

    /// Conversations in which they have fallen silent.
    fn stalled(&self) -> u64 {
        self.mail.stalled() + self.texts.stalled() + self.calls.stalled()
    }
}

/// Why nobody works any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Every message is finished; the worker lives.
    Done,
    /// The worker was killed at the step that it was armed for.
    Killed,
    /// A gateway keeps the worker waiting; the worker lives.
    Stalled,
}

/// A running worker.
pub(crate) struct Worker {
    child: Child,
    stalled_before: u64,
}

impl Worker {
    fn pid(&self) -> Pid {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        Pid::from_raw(id.unwrap()).unwrap()
    }

    /// A signal; to stop it, see [`Stage::freeze`].
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGKILL.
    pub(super) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; whether it then ended with nothing left undone.
    pub(crate) async fn ended(mut self) -> bool {
        // Waiting would close it, and that tells the worker a second time.
        let held = self.child.stdin.take();
        self.signal(Signal::TERM);
        let status = self.child.wait().await.unwrap();
        drop(held);
        status.success()
    }

    pub(super) fn is_dead(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

/// Its clock runs ahead of the machine's, by as much as was let pass.
pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(super) shop: Shop,
    pub(crate) gateways: Gateways,
    pub(crate) orders: Vec<OrderId>,
    pub(crate) order_service: String,
    /// After so many minutes without a worker one that starts takes the database for an old copy; 0: never. Time is let pass
    /// by hours here.
    pub(super) silence_minutes_max: u32,
    /// Where the gateway for texts answers, when not where it is.
    pub(super) texts_base: Option<String>,
    /// A configuration that says by whom texts go, when not by the gateway for texts.
    pub(super) carrier: Option<String>,
    /// The files by which the worker finds names, when not by the machine's.
    names: Option<[PathBuf; 2]>,
    lead: TimeDelta,
    folder: TempDir,
}

impl Stage {
    /// With a shop that asks its customers by letter, half an hour later by text, then by phone.
    pub(super) async fn on(database: TestDatabase) -> Self {
        let stage = Self::bare(database).await;
        stage.shop.publish_policy().await;
        stage
    }

    pub(crate) async fn bare(database: TestDatabase) -> Self {
        let mut shop = Shop::new(database.store.clone());
        shop.key = link_key();
        Self {
            database,
            shop,
            gateways: Gateways::start().await,
            orders: Vec::new(),
            order_service: "http://127.0.0.1:9".to_owned(),
            silence_minutes_max: 0,
            texts_base: None,
            carrier: None,
            names: None,
            lead: TimeDelta::zero(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// On SQLite with one order, whose customer has these addresses.
    pub(super) async fn with_order(mail: bool, phone: bool) -> Self {
        let mut stage = Self::on(TestDatabase::sqlite().await).await;
        stage.order(mail, phone).await;
        stage
    }

    pub(super) async fn order(&mut self, mail: bool, phone: bool) {
        let mail = mail.then_some("customer@example.com");
        let phone = phone.then_some("+8613912345678");
        let order = self.shop.order(mail, phone).await;
        self.orders.push(order.id);
    }

    /// New gateways and no orders, on the same database.
    pub(super) async fn clear(&mut self) {
        self.gateways = Gateways::start().await;
        self.orders.clear();
    }

    /// Starts a worker that is killed when it comes to a step the how many-th time.
    pub(crate) fn worker(&self, armed: Option<(&str, u32)>) -> Worker {
        let gateways = &self.gateways;
        if let Some(carrier) = &self.carrier {
            std::fs::write(self.folder.path().join("worker.toml"), carrier).unwrap();
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let program = env!("CARGO_BIN_EXE_worker-under-test");
        let mut command = match &self.names {
            None => Command::new(program),
            Some([hosts, resolver]) => {
                let mut command = Command::new("unshare");
                command
                    .args([
                        "--map-root-user",
                        "--mount",
                        "sh",
                        "-c",
                        WITH_OWN_NAMES,
                        program,
                    ])
                    .env("HOSTS", hosts)
                    .env("RESOLVER", resolver);
                command
            }
        };
        command.arg(self.lead.num_milliseconds().to_string());
        if let Some((step, nth)) = armed {
            command.args([step, &nth.to_string()]);
        }
        let child = command
            .envs(self.environment())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Worker {
            child,
            stalled_before: gateways.stalled(),
        }
    }

    /// Has workers that are started from now on find names by a file, which is empty at first. Answers where it is.
    pub(super) fn lead_names(&mut self) -> PathBuf {
        let [hosts, resolver] = ["hosts", "resolv.conf"].map(|it| self.folder.path().join(it));
        std::fs::write(&hosts, "").unwrap();
        // Nobody answers there, at once.
        std::fs::write(
            &resolver,
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )
        .unwrap();
        self.names = Some([hosts.clone(), resolver]);
        hosts
    }

    /// How a worker is set up.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let gateways = &self.gateways;
        let relay = format!("smtp://{}?tls=none", gateways.mail.address());
        let silence = self.silence_minutes_max.to_string();
        let texts_base = self
            .texts_base
            .clone()
            .unwrap_or_else(|| gateways.texts.base());
        [
            ("DATABASE_URL", self.database.url.as_str()),
            ("SMTP_URL", relay.as_str()),
            ("COUNTERSIGN__SMS__BASE_URL", &texts_base),
            ("COUNTERSIGN__SMS__SECRET", SECRET),
            ("COUNTERSIGN__PHONE__BASE_URL", &gateways.calls.base()),
            ("COUNTERSIGN__PHONE__SECRET", SECRET),
            ("COUNTERSIGN__LINKS__KEY", LINK_SECRET),
            ("COUNTERSIGN__PERSONAL_DATA__KEYS", DATA_KEYS),
            ("COUNTERSIGN__NOTIFICATION__LISTEN", "127.0.0.1:0"),
            ("COUNTERSIGN__NOTIFICATION__GRPC_LISTEN", "127.0.0.1:0"),
            ("COUNTERSIGN__NOTIFICATION__POLL_INTERVAL_MS", "10"),
            ("COUNTERSIGN__NOTIFICATION__CALLS_PER_SECOND", "1000"),
            ("COUNTERSIGN__NOTIFICATION__SILENCE_MINUTES_MAX", &silence),
            (
                "COUNTERSIGN__NOTIFICATION__ORDER_SERVICE_URL",
                &self.order_service,
            ),
            // All customers of the tests have one number.
            ("COUNTERSIGN__SENDING__NUMBER_PER_10_MINUTES", "0"),
            ("COUNTERSIGN__SENDING__NUMBER_PER_DAY", "0"),
            ("COUNTERSIGN__SENDING__PREFIX_PER_10_MINUTES", "0"),
            ("COUNTERSIGN__TELEMETRY__LOG_FILTER", "warn"),
        ]
        .into_iter()
        .filter(|(name, _)| self.carrier.is_none() || !name.starts_with("COUNTERSIGN__SMS__"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    /// Lets time pass, for nobody or for a worker too.
    pub(super) async fn pass(&mut self, time: TimeDelta, worker: Option<&mut Worker>) {
        self.lead += time;
        self.database.store.shift_clock(time);
        if let Some(stdin) = worker.and_then(|worker| worker.child.stdin.as_mut()) {
            let line = format!("{}\n", time.num_milliseconds());
            // It may have been killed just now.
            stdin.write_all(line.as_bytes()).await.ok();
        }
    }

    /// Stops a worker, but never within a transaction: SQLite has one writer, and a stopped one would keep all others out.
    pub(super) async fn freeze(&self, worker: &Worker) {
        for _ in 0..100 {
            worker.signal(Signal::STOP);
            // Its last threads may still be on their way into a transaction; it has stopped when all of them have.
            waitid(WaitId::Pid(worker.pid()), WaitIdOptions::STOPPED).unwrap();
            let write = self.database.execute("DELETE FROM outbox WHERE 1 = 0");
            if timeout(Duration::from_millis(500), write).await.is_ok() {
                return;
            }
            worker.signal(Signal::CONT);
            sleep(Duration::from_millis(20)).await;
        }
        unreachable!("it writes whenever it is stopped");
    }

    /// Watches a worker until nobody works; where all that is left is to wait, time is let pass.
    pub(crate) async fn watch(&mut self, worker: &mut Worker) -> Stop {
        let (mut began, mut finished) = (Instant::now(), 0);
        loop {
            if worker.is_dead() {
                return Stop::Killed;
            }
            if self.gateways.stalled() > worker.stalled_before {
                return Stop::Stalled;
            }
            if !self.is_busy().await {
                match self.time_to_next().await {
                    None => return Stop::Done,
                    Some(wait) if wait > TimeDelta::milliseconds(40) => {
                        let wait = wait + TimeDelta::milliseconds(1);
                        self.pass(wait, Some(worker)).await;
                    }
                    Some(_) => {}
                }
            }
            if began.elapsed() > PATIENCE {
                let known = std::mem::replace(&mut finished, self.finished().await);
                if finished > known {
                    began = Instant::now();
                    continue;
                }
                let left = self.deliveries().await;
                let log = self.log();
                unreachable!(
                    "it stands still: {left:#?}
{log}"
                );
            }
            sleep(Duration::from_millis(4)).await;
        }
    }

    /// What became of the messages about all orders.
    pub(crate) async fn deliveries(&self) -> Vec<Claimed> {
        let mut all = Vec::new();
        for order in &self.orders {
            all.extend(self.database.store.list_deliveries(*order).await.unwrap());
        }
        all
    }

    /// What the workers have complained about.
    pub(crate) fn log(&self) -> String {
        read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A worker that must be killed at this step; its lease ends.
    pub(super) async fn killed_at(&mut self, step: &str, nth: u32) {
        let mut worker = self.worker(Some((step, nth)));
        let end = self.watch(&mut worker).await;
        assert_eq!(end, Stop::Killed, "{step} is not reached\n{}", self.log());
        self.leases_end_in_time().await;
        self.pass(LEASE, None).await;
    }

    /// A worker that is killed while a gateway keeps it waiting; its lease ends.
    pub(super) async fn killed_waiting(&mut self) {
        let mut worker = self.worker(None);
        let end = self.watch(&mut worker).await;
        assert_eq!(end, Stop::Stalled, "{}", self.log());
        worker.kill().await;
        self.leases_end_in_time().await;
        self.pass(LEASE, None).await;
    }

    /// A worker that brings everything to its end and ends cleanly itself.
    pub(super) async fn finish(&mut self) {
        let mut worker = self.worker(None);
        let end = self.watch(&mut worker).await;
        assert_eq!(end, Stop::Done, "{}", self.log());
        assert!(worker.ended().await, "{}", self.log());
    }
}
