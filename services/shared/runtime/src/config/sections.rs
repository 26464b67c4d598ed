//! The sections, their keys and their defaults.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    clouds::{Alibaba, Tencent},
    letters::{Bounces, Dkim},
    redact,
    twilio::Twilio,
};

/// Where the data are.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `mysql://user:password@host/name` or `sqlite://file?mode=rwc`. The servers of a cluster stand one after the other:
    /// `mysql://user:password@host1:3306,host2:3306,host3:3306/name`; the program uses the one that takes writes.
    #[serde(serialize_with = "redact::url")]
    pub url: SecretString,
    /// A file that holds the URL, instead of `url`.
    pub url_file: Option<PathBuf>,
    /// Connections that one process may hold.
    pub max_connections: u32,
    /// Whether anybody has said which database; if not, `url` is what `countersign up` makes for itself.
    #[serde(skip)]
    pub is_chosen: bool,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: SecretString::from("sqlite://./var/countersign.db?mode=rwc"),
            url_file: None,
            max_connections: 32,
            is_chosen: false,
        }
    }
}

/// The order service.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Commits that may be under way at the same time.
    pub committers: usize,
    /// Orders that go together into one commit at most.
    pub batch_orders_max: usize,
    /// The country, in two letters of ISO 3166, of telephone numbers that are written without one.
    pub default_region: String,
    /// Days for which backups of the database are kept: an erasure tells until when they still hold what it erased. The
    /// program keeps no backups.
    pub backups_kept_days: Option<u32>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            listen: local(50051),
            committers: 2,
            batch_orders_max: 128,
            default_region: "CN".to_owned(),
            backups_kept_days: None,
        }
    }
}

/// The notification worker.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notification {
    /// Where the customers' pages and the gateways' callbacks are served.
    pub listen: SocketAddr,
    /// Where gRPC is served.
    pub grpc_listen: SocketAddr,
    /// How customers and gateways reach [`Self::listen`]: the beginning of every link that is sent.
    pub public_url: String,
    /// Header in which our own proxy names the client, such as `x-forwarded-for`, whose last entry counts. Without one the
    /// address of the connection does, which behind a proxy is the same for all customers.
    pub client_ip_header: Option<String>,
    /// Where the order service answers.
    pub order_service_url: String,
    /// Milliseconds between two looks at the outbox when nothing wakes the worker up.
    pub poll_interval_ms: u64,
    /// Seconds a claimed message belongs to its worker; after that another one may take it.
    pub lease_seconds: u64,
    /// Messages being put into the local mailbox at the same time.
    pub workers: usize,
    /// Letters being sent at the same time, each over a connection of its own.
    pub letters_at_once: usize,
    /// Texts being sent at the same time.
    pub texts_at_once: usize,
    /// Calls being ordered at the same time.
    pub calls_at_once: usize,
    /// Calls ordered in a second; gateways refuse more.
    pub calls_per_second: u32,
    /// Nothing is sent from the start of a worker on until staff switch safe mode off, as after a restore.
    pub start_in_safe_mode: bool,
    /// Minutes without a sign of life of any worker after which a worker that starts takes the database for an old copy and
    /// enters safe mode; 0: it never does by itself.
    pub silence_minutes_max: u32,
}

impl Default for Notification {
    fn default() -> Self {
        Self {
            listen: local(8080),
            grpc_listen: local(50052),
            public_url: "http://127.0.0.1:8080".to_owned(),
            client_ip_header: None,
            order_service_url: "http://127.0.0.1:50051".to_owned(),
            poll_interval_ms: 200,
            lease_seconds: 30,
            workers: 32,
            letters_at_once: 10,
            texts_at_once: 20,
            calls_at_once: 20,
            calls_per_second: 1,
            start_in_safe_mode: false,
            silence_minutes_max: 15,
        }
    }
}

impl Notification {
    /// [`Self::poll_interval_ms`] as a duration.
    pub fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    /// [`Self::lease_seconds`] as a duration.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }
}

/// Where letters go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailTransport {
    /// Into the local mailbox page; nothing leaves the machine.
    #[default]
    Mailbox,
    /// To the mail server of [`Email::url`].
    Smtp,
}

/// How letters leave.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Email {
    /// `mailbox`, or `smtp` as soon as a layer gives a URL.
    pub transport: EmailTransport,
    /// `smtp://user:password@host:port?tls=required`. `SMTP_URL` is honoured.
    #[serde(serialize_with = "redact::optional_url")]
    pub url: Option<SecretString>,
    /// A file that holds the URL, instead of `url`.
    pub url_file: Option<PathBuf>,
    /// The sender: `Name <address>`.
    pub from: String,
    /// Where answers go when not to the sender.
    pub reply_to: Option<String>,
    /// How letters are signed.
    pub dkim: Dkim,
    /// How the worker hears of letters that did not arrive.
    pub bounces: Bounces,
}

impl Default for Email {
    fn default() -> Self {
        Self {
            transport: EmailTransport::default(),
            url: None,
            url_file: None,
            from: "Countersign <orders@localhost>".to_owned(),
            reply_to: None,
            dkim: Dkim::default(),
            bounces: Bounces::default(),
        }
    }
}

/// Where text messages and calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayTransport {
    /// Into the local mailbox page; nothing leaves the machine.
    #[default]
    Mailbox,
    /// To the gateway at [`Gateway::base_url`].
    Gateway,
    /// To Alibaba Cloud, as [`Gateway::alibaba`] says.
    Alibaba,
    /// To Tencent Cloud, as [`Gateway::tencent`] says. Text messages only.
    Tencent,
    /// To the account in [`Gateway::twilio`].
    Twilio,
}

/// A gateway for text messages or for calls.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// `mailbox`, or `gateway` as soon as a layer gives a base URL, or `twilio` as soon as it gives an account there.
    pub transport: GatewayTransport,
    /// Where the gateway answers.
    pub base_url: Option<String>,
    /// `whsec_` and the shared key in base64, as the Standard Webhooks specification writes it.
    #[serde(serialize_with = "redact::optional_secret")]
    pub secret: Option<SecretString>,
    /// A file that holds the secret, instead of `secret`.
    pub secret_file: Option<PathBuf>,
    /// The secret before, while the other side changes to the new one: what is signed with either is taken, and what is sent
    /// is signed with both.
    #[serde(serialize_with = "redact::optional_secret")]
    pub previous_secret: Option<SecretString>,
    /// A file that holds it, instead of `previous_secret`.
    pub previous_secret_file: Option<PathBuf>,
    /// The account at Alibaba Cloud.
    pub alibaba: Option<Alibaba>,
    /// The account at Tencent Cloud.
    pub tencent: Option<Tencent>,
    /// The account at Twilio, when that is the transport.
    pub twilio: Twilio,
    /// A second account, whose transport is named. It is used while the first one is left alone.
    pub fallback: Option<Box<Gateway>>,
}

impl Gateway {
    /// The account, and the one behind it.
    pub fn accounts(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.fallback.as_deref())
    }

    /// The one of both that has a transport.
    pub fn with_transport(&self, transport: GatewayTransport) -> Option<&Self> {
        self.accounts().find(|it| it.transport == transport)
    }
}

/// What links and codes are derived from. See [`Links::key_or_create`] for the key of a development machine.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Links {
    /// At least 32 bytes, the same for every process; several ones stand one a line. The first makes links, codes and
    /// partners' secrets; what was made with any of them is good.
    #[serde(serialize_with = "redact::optional_secret")]
    pub key: Option<SecretString>,
    /// A file that holds the keys, instead of `key`.
    pub key_file: Option<PathBuf>,
    /// Processes start although none of the newest orders' links was made with the key: the one that made them is lost, and they with it.
    pub key_is_lost: bool,
}

/// Where the company keeps its own wording.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Templates {
    /// Templates in here replace the ones that ship with the program.
    pub folder: Option<PathBuf>,
}

/// Who the customer deals with, as it stands in messages and on papers.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Company {
    /// The company's name.
    pub name: String,
    /// The number that customers ring.
    pub phone: Option<String>,
    /// The address that customers write to.
    pub email: Option<String>,
    /// Where returned goods go.
    pub return_address: Option<String>,
}

impl Default for Company {
    fn default() -> Self {
        Self {
            name: "Countersign".to_owned(),
            phone: None,
            email: None,
            return_address: None,
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is seen from outside.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The collector's gRPC address, such as `http://127.0.0.1:4317`. Without one nothing is exported.
    pub otlp_endpoint: Option<String>,
    /// How log lines are written to standard error.
    pub log_format: LogFormat,
    /// Which ones, in the words of `tracing_subscriber::EnvFilter`. By default what matters, but not what the library for migrations
    /// says beside our own words.
    pub log_filter: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            log_format: LogFormat::default(),
            log_filter: "info,sea_orm_migration=warn".to_owned(),
        }
    }
}

/// How a process ends.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Seconds after the first signal in which calls are still taken while health already tells that no more are wanted, so
    /// that balancers hear of it first.
    pub notice_seconds: u64,
    /// Seconds that work under way gets after the notice. Keep a supervisor's own limit above both.
    pub grace_seconds: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            notice_seconds: 0,
            grace_seconds: 30,
        }
    }
}

impl Shutdown {
    /// [`Self::notice_seconds`] as a duration.
    pub fn notice(&self) -> Duration {
        Duration::from_secs(self.notice_seconds)
    }

    /// [`Self::grace_seconds`] as a duration.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
