//! D-15, E-10, E-11: staff are called. A Prometheus works out the rules of the chart on what the program itself, an order service
//! and a worker, tells a collector; a minute of the rules is a second here.

use std::{
    fs,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use countersign_domain::message::GatewayState;
use countersign_e2e::{LINK_SECRET, order_builder, seed, texts_at_any_hour};
use countersign_notification::testkit::{
    Act, Answer, GatewayStub, MailSink, MailSinkConfig, Stage,
};
use countersign_proto::v1::order_service_client::OrderServiceClient;
use countersign_runtime::lifecycle::Lifecycle;
use countersign_store::testing::{DATA_KEYS, TestDatabase};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use self::prometheus::Prometheus;
use crate::{
    collector::Collector,
    program::{answers, free_address, program},
};

pub(crate) mod page;
mod prometheus;

/// Longer than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// Not that hundreds of customers are reached by no channel.
const LOGGED: &str = "error,countersign_store::unreachable=off";

/// The product in two processes, what they send through, and who looks at their figures.
struct Watched {
    prometheus: Prometheus,
    relay: MailSink,
    texts: GatewayStub,
    orders: SocketAddr,
    worker: SocketAddr,
    order_service: Child,
    _worker: Child,
    database: TestDatabase,
    folder: TempDir,
    lifecycle: Lifecycle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.lifecycle.shutdown();
    }
}

impl Watched {
    /// None where there is no Prometheus.
    async fn start() -> Option<Self> {
        let watcher = prometheus::program().await?;
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let (collector, endpoint) = Collector::start(&lifecycle).await;
        let page = page::serve(collector, &lifecycle).await;
        let database = TestDatabase::sqlite().await;
        seed(&database.store).await;
        texts_at_any_hour(&database.store).await;
        let login = MailSinkConfig {
            login: Some(("shop".to_owned(), "right".to_owned())),
            login_methods: "PLAIN",
            ..MailSinkConfig::default()
        };
        let relay = MailSink::start_with(login);
        let texts = GatewayStub::start(SECRET).await;
        let folder = tempfile::tempdir().unwrap();
        let (orders, worker) = (free_address(), free_address());
        let program = program().await;
        let process = |role: &str| {
            let file = folder.path().join(format!("{role}.toml"));
            fs::write(&file, "").unwrap();
            let mut command = Command::new(&program);
            command
                .arg("--config")
                .arg(file)
                .arg(role)
                .env("DATABASE_URL", &database.url)
                .env("COUNTERSIGN__LINKS__KEY", LINK_SECRET)
                .env("COUNTERSIGN__PERSONAL_DATA__KEYS", DATA_KEYS)
                .env("COUNTERSIGN__TELEMETRY__OTLP_ENDPOINT", &endpoint)
                .env("COUNTERSIGN__TELEMETRY__LOG_FILTER", LOGGED)
                // As the chart does it, but every second instead of every minute.
                .env(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    format!("service.instance.id={role}-1"),
                )
                .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .kill_on_drop(true);
            command
        };
        let order_service = process("order-service")
            .env("COUNTERSIGN__ORDER__LISTEN", orders.to_string())
            .spawn()
            .unwrap();
        answers(orders).await;
        let smtp = format!("smtp://shop:right@{}?tls=none", relay.address());
        let running = process("notification-worker")
            .env("SMTP_URL", smtp)
            .env("COUNTERSIGN__SMS__BASE_URL", texts.base())
            .env("COUNTERSIGN__SMS__SECRET", SECRET)
            .env("COUNTERSIGN__NOTIFICATION__LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN__NOTIFICATION__GRPC_LISTEN", worker.to_string())
            .env("COUNTERSIGN__NOTIFICATION__POLL_INTERVAL_MS", "50")
            .env(
                "COUNTERSIGN__NOTIFICATION__ORDER_SERVICE_URL",
                format!("http://{orders}"),
            )
            // All customers of the tests have one number.
            .env("COUNTERSIGN__SENDING__NUMBER_PER_10_MINUTES", "0")
            .env("COUNTERSIGN__SENDING__NUMBER_PER_DAY", "0")
            .spawn()
            .unwrap();
        let prometheus = Prometheus::start(&watcher, page).await;
        for figure in ["deadlines_held", "oldest_due_age_seconds", "safe_mode"] {
            prometheus.until_told(figure).await;
        }
        prometheus.until_ringing(&[]).await;
        Some(Self {
            prometheus,
            relay,
            texts,
            orders,
            worker,
            order_service,
            _worker: running,
            database,
            folder,
            lifecycle,
        })
    }

    /// An order whose customer has only this address, or only this number.
    async fn order(&self, by_mail: bool) {
        let request = order_builder()
            .with(|order| {
                let contact = order.contact.as_mut().unwrap();
                if by_mail {
                    contact.phone.clear();
                } else {
                    contact.email.clear();
                }
            })
            .request();
        let channel: Channel = Endpoint::from_shared(format!("http://{}", self.orders))
            .unwrap()
            .connect_lazy();
        let mut client = OrderServiceClient::new(channel);
        client.create_order(request).await.unwrap();
    }

    /// Puts a configuration before the order service.
    fn configure(&self, text: &str) {
        fs::write(self.folder.path().join("order-service.toml"), text).unwrap();
        let id = self
            .order_service
            .id()
            .and_then(|id| i32::try_from(id).ok());
        kill_process(id.and_then(Pid::from_raw).unwrap(), Signal::HUP).unwrap();
    }

    /// Waits until so many accounts are held and as many messages wait for them.
    async fn until_held(&self, count: usize) {
        let began = Instant::now();
        loop {
            let gateways = self.database.store.list_gateways().await.unwrap();
            let held = gateways.iter().filter(|it| it.state == GatewayState::Held);
            let ready = "SELECT COUNT(*) AS n FROM deliveries WHERE state = 'READY'";
            let ready = self.database.number(ready).await;
            if held.count() == count && usize::try_from(ready) == Ok(count) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{ready} wait: {gateways:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What staff do when it is mended.
    async fn release(&self, gateway: &str) {
        let url = format!("http://{}", self.worker);
        let done = Command::new(program().await)
            .args(["gateway", "release", gateway, "--reason", "mended"])
            .args(["--actor", "wang", "--url", &url])
            .output()
            .await
            .unwrap();
        let wrong = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d_15_e_11_prometheus_calls_staff_while_an_account_refuses_us_and_what_waits_grows_old_and_no_longer()
 {
    let Some(watched) = Watched::start().await else {
        return;
    };
    let prometheus = &watched.prometheus;
    let no = r#"{"code":"unauthorized","message":"no"}"#.to_owned();
    watched.texts.always(Answer::Status(401, String::new(), no));
    let no = "535 5.7.8 wrong login\r\n".to_owned();
    watched.relay.always(Stage::Auth, Act::Reply(no));
    watched.order(true).await;
    watched.order(false).await;
    watched.configure("[order]\nno_such_key = 1\n");
    watched.until_held(2).await;
    // As if they had been held for longer.
    let past = "UPDATE deliveries SET due_time = '2020-01-01T00:00:00+00:00' WHERE state = 'READY'";
    watched.database.execute(past).await;
    prometheus
        .until_ringing(&[
            "CountersignConfigRefused job=countersign/order-service severity=warning",
            "CountersignGatewayLeftAlone gateway=email-smtp severity=critical",
            "CountersignGatewayLeftAlone gateway=sms-gateway severity=critical",
            "CountersignMessagesLate channel=EMAIL severity=critical",
            "CountersignMessagesLate channel=SMS severity=critical",
        ])
        .await;

    assert_eq!(watched.relay.accepted(), 0);
    assert!(watched.texts.accepted().is_empty());
    watched.texts.behave();
    watched.relay.behave();
    watched.configure("");
    watched.release("sms-gateway").await;
    watched.release("email-smtp").await;
    prometheus.until_ringing(&[]).await;
    assert!(watched.relay.accepted() > 0);
    assert!(!watched.texts.accepted().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e_10_prometheus_calls_staff_when_a_relay_takes_our_letters_for_spam() {
    const SPAM: &str = "CountersignLettersRefused severity=warning";
    let Some(watched) = Watched::start().await else {
        return;
    };
    let spam = "554 5.7.1 spam\r\n".to_owned();
    watched.relay.always(Stage::Dot, Act::Reply(spam));
    let began = Instant::now();
    while !watched.prometheus.rings(SPAM).await {
        assert!(began.elapsed() < PATIENCE, "it does not ring");
        watched.order(true).await;
    }
    assert_eq!(watched.relay.accepted(), 0);
}
