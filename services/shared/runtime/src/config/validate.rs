//! What a well-formed configuration must also hold to.

mod email;

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, Uri};
use secrecy::{ExposeSecret as _, SecretString};
use tracing_subscriber::EnvFilter;

use self::email::is_mailbox;
use super::{Config, ConfigError, Gateway, GatewayTransport, Links, clouds, personal_data, twilio};

/// Collects one line for each bad field.
#[derive(Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    pub(super) fn unless(&mut self, holds: bool, key: &str, message: &str) {
        if !holds {
            self.0.push(format!("{key}: {message}"));
        }
    }
}

impl Config {
    /// Checks values against each other and against what the program can do, and names every bad field at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.check_database_and_keys(&mut problems);
        self.check_order(&mut problems);
        self.check_notification(&mut problems);
        self.check_callers(&mut problems);
        self.check_email(&mut problems);
        for (gateway, section) in [(&self.sms, "sms"), (&self.phone, "phone")] {
            check_gateway(gateway, section, &mut problems);
            twilio::check(self, gateway, section, &mut problems);
            if let Some(fallback) = &gateway.fallback {
                let inner = format!("{section}.fallback");
                check_gateway(fallback, &inner, &mut problems);
                twilio::check(self, fallback, &inner, &mut problems);
                check_fallback(gateway, fallback, &inner, &mut problems);
            }
        }
        self.limits.check(&mut problems);
        self.sending.check(&mut problems);
        self.check_rest(&mut problems);
        self.retention.check(&mut problems);
        if problems.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid {
                problems: problems.0,
            })
        }
    }

    /// Whether the data are in a file of this machine instead of a database server.
    pub fn is_embedded(&self) -> bool {
        self.database.url.expose_secret().starts_with("sqlite:")
    }

    fn check_database_and_keys(&self, problems: &mut Problems) {
        let url = self.database.url.expose_secret();
        let known = self.is_embedded()
            || ["mysql://", "mariadb://"]
                .iter()
                .any(|scheme| url.starts_with(scheme));
        problems.unless(
            known,
            "database.url",
            "must begin with mysql:// or sqlite://",
        );
        problems.unless(
            self.database.max_connections > 0,
            "database.max_connections",
            "must be at least 1",
        );
        if let Some(key) = &self.links.key {
            let lines = key.expose_secret().lines();
            let keys: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
            problems.unless(
                (1..=Links::KEYS_MAX).contains(&keys.len())
                    && keys.iter().all(|key| key.len() >= Links::MIN_KEY_BYTES),
                "links.key",
                "must have at least 32 bytes; several keys, five at most, stand one a line",
            );
        } else {
            problems.unless(
                self.is_embedded(),
                "links.key",
                "is needed next to a database server: every process must derive the same links",
            );
        }
        match &self.personal_data.keys {
            Some(keys) => {
                if let Err(problem) = personal_data::read(keys) {
                    problems.unless(false, "personal_data.keys", &problem);
                }
            }
            None => problems.unless(
                self.is_embedded(),
                "personal_data.keys",
                "is needed next to a database server: every process must read what another has sealed",
            ),
        }
    }

    fn check_order(&self, problems: &mut Problems) {
        let order = &self.order;
        problems.unless(
            order.committers > 0,
            "order.committers",
            "must be at least 1",
        );
        problems.unless(
            (1..=10_000).contains(&order.batch_orders_max),
            "order.batch_orders_max",
            "must be from 1 to 10000",
        );
        let region = order.default_region.as_bytes();
        problems.unless(
            region.len() == 2 && region.iter().all(u8::is_ascii_uppercase),
            "order.default_region",
            "must be a country in two capital letters, such as CN",
        );
        problems.unless(
            order
                .backups_kept_days
                .is_none_or(|days| (1..=3_650).contains(&days)),
            "order.backups_kept_days",
            "must be from 1 to 3650",
        );
    }

    fn check_notification(&self, problems: &mut Problems) {
        let notification = &self.notification;
        check_http(
            &notification.public_url,
            "notification.public_url",
            problems,
        );
        let header = notification.client_ip_header.as_deref();
        problems.unless(
            header.is_none_or(|name| name.parse::<HeaderName>().is_ok()),
            "notification.client_ip_header",
            "must be the name of a header, such as x-forwarded-for",
        );
        check_http(
            &notification.order_service_url,
            "notification.order_service_url",
            problems,
        );
        let asked = self.callers.tls.client_ca_file.is_some() && self.callers.jwt.issuer.is_none();
        problems.unless(
            !asked
                || !notification.order_service_url.starts_with("https:")
                || self.client.certificate_file.is_some(),
            "client.certificate_file",
            "is needed: callers show certificates, and the worker calls notification.order_service_url",
        );
        problems.unless(
            notification.poll_interval_ms > 0,
            "notification.poll_interval_ms",
            "must be at least 1",
        );
        problems.unless(
            (5..=3_600).contains(&notification.lease_seconds),
            "notification.lease_seconds",
            "must be from 5 to 3600",
        );
        for (key, count) in [
            ("notification.workers", notification.workers),
            ("notification.letters_at_once", notification.letters_at_once),
            ("notification.texts_at_once", notification.texts_at_once),
            ("notification.calls_at_once", notification.calls_at_once),
        ] {
            let message = "must be from 1 to 1000";
            problems.unless((1..=1_000).contains(&count), key, message);
        }
        problems.unless(
            notification.calls_per_second > 0,
            "notification.calls_per_second",
            "must be at least 1",
        );
        problems.unless(
            notification.silence_minutes_max == 0
                || (5..=10_080).contains(&notification.silence_minutes_max),
            "notification.silence_minutes_max",
            "must be 0, or from 5 to 10080 (a week)",
        );
        let ports = [
            self.order.listen,
            notification.listen,
            notification.grpc_listen,
        ];
        for (at, port) in ports.iter().enumerate() {
            let taken = port.port() != 0 && ports.iter().take(at).any(|other| other == port);
            let key = [
                "order.listen",
                "notification.listen",
                "notification.grpc_listen",
            ][at];
            problems.unless(!taken, key, "another service listens there");
        }
    }

    fn check_rest(&self, problems: &mut Problems) {
        problems.unless(
            (1..=86_400).contains(&self.audit.anchor_interval_seconds),
            "audit.anchor_interval_seconds",
            "must be from 1 to 86400",
        );
        problems.unless(
            !self.company.name.trim().is_empty(),
            "company.name",
            "must not be empty",
        );
        problems.unless(
            self.company.email.as_deref().is_none_or(is_mailbox),
            "company.email",
            "must be an address",
        );
        if let Some(folder) = &self.templates.folder {
            problems.unless(folder.is_dir(), "templates.folder", "is not a folder");
        }
        if let Some(endpoint) = &self.telemetry.otlp_endpoint {
            check_http(endpoint, "telemetry.otlp_endpoint", problems);
        }
        problems.unless(
            EnvFilter::try_new(&self.telemetry.log_filter).is_ok(),
            "telemetry.log_filter",
            "is not a filter such as info,countersign=debug",
        );
        problems.unless(
            (1..=3_600).contains(&self.shutdown.grace_seconds),
            "shutdown.grace_seconds",
            "must be from 1 to 3600",
        );
        problems.unless(
            self.shutdown.notice_seconds <= 300,
            "shutdown.notice_seconds",
            "must be at most 300",
        );
    }
}

fn check_gateway(gateway: &Gateway, section: &str, problems: &mut Problems) {
    clouds::check(gateway, section, problems);
    if let Some(secret) = &gateway.secret {
        problems.unless(
            is_webhook_secret(secret),
            &format!("{section}.secret"),
            "must be whsec_ and 24 to 64 bytes in base64",
        );
    }
    problems.unless(
        gateway
            .previous_secret
            .as_ref()
            .is_none_or(is_webhook_secret),
        &format!("{section}.previous_secret"),
        "must be whsec_ and 24 to 64 bytes in base64",
    );
    if let Some(url) = &gateway.base_url {
        check_http(url, &format!("{section}.base_url"), problems);
    }
    if gateway.transport == GatewayTransport::Gateway {
        let message = "is needed when the transport is gateway";
        problems.unless(
            gateway.base_url.is_some(),
            &format!("{section}.base_url"),
            message,
        );
        problems.unless(
            gateway.secret.is_some(),
            &format!("{section}.secret"),
            message,
        );
    }
}

/// Which second account may stand behind a first one. Each cloud tells both apart by its callbacks' address alone, so there is one
/// of each.
fn check_fallback(first: &Gateway, second: &Gateway, section: &str, problems: &mut Problems) {
    problems.unless(
        first.transport != GatewayTransport::Mailbox,
        section,
        "stands behind no account: the channel's own transport is mailbox",
    );
    problems.unless(
        second.transport != GatewayTransport::Mailbox,
        &format!("{section}.transport"),
        "must name how the second account is reached",
    );
    problems.unless(
        second.transport != first.transport || second.transport == GatewayTransport::Gateway,
        &format!("{section}.transport"),
        "must be another one than the first account's, unless both are gateway",
    );
    problems.unless(
        second.fallback.is_none(),
        &format!("{section}.fallback"),
        "there is no third account",
    );
}

/// The Standard Webhooks specification: 24 to 64 random bytes, in base64 behind the prefix.
fn is_webhook_secret(secret: &SecretString) -> bool {
    secret
        .expose_secret()
        .strip_prefix("whsec_")
        .and_then(|key| STANDARD.decode(key).ok())
        .is_some_and(|bytes| (24..=64).contains(&bytes.len()))
}

/// These are shown and logged as they are, so they must not hold a password.
pub(super) fn check_http(url: &str, key: &str, problems: &mut Problems) {
    let parsed = url.parse::<Uri>().ok();
    let host = parsed
        .as_ref()
        .and_then(Uri::host)
        .is_some_and(|host| !host.is_empty());
    let scheme = parsed
        .as_ref()
        .and_then(Uri::scheme_str)
        .is_some_and(|it| it == "http" || it == "https");
    problems.unless(
        host && scheme,
        key,
        "must be an http:// or https:// address",
    );
    problems.unless(!url.contains('@'), key, "must not hold a user or password");
}

/// Whether a URL leads to the machine that asks.
pub(super) fn is_here(url: &str) -> bool {
    let url = url.parse::<Uri>().ok();
    let host = url.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| {
            let ip = ip.to_canonical();
            ip.is_loopback() || ip.is_unspecified()
        })
}
