//! The configuration of every role: one struct, read once at start.
//!
//! Layers, later ones win: defaults, the TOML file of `--config`, `DATABASE_URL` and `SMTP_URL`, variables
//! `COUNTERSIGN__SECTION__KEY` (`COUNTERSIGN__SMS__TWILIO__KEY` for a section within), flags of the command line. A key that nobody knows is refused, wherever it stands.
//! A secret can be given by value or by a file (`url_file`, `secret_file`, `key_file`, `keys_file`); each layer may use one of the two.

use std::{fmt, path::PathBuf};

use figment::{Error, Figment, error::Kind};
use serde::{Deserialize, Serialize};

use self::layers::Layer;

mod audit;
mod callers;
mod changes;
mod clouds;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod fuzz;
mod kept;
mod layers;
mod letters;
mod limits;
mod links;
mod personal_data;
mod redact;
mod remarks;
mod retention;
mod sections;
mod sending;
mod twilio;
mod validate;
mod webhooks;

pub(crate) use self::callers::role_of;
pub use self::{
    audit::Audit,
    callers::{CallerCertificate, Callers, CallersJwt, CallersTls, Client},
    changes::{changed_keys, takes_effect},
    clouds::{Alibaba, NamedGaps, NumberedGaps, Tencent, TextsByKind},
    letters::{Bounces, Dkim},
    limits::{CallerLimits, Limits},
    links::LinkKeyError,
    personal_data::{PersonalData, PersonalDataError, PersonalDataKeys},
    remarks::Process,
    retention::Retention,
    sections::{
        Company, Database, Email, EmailTransport, Gateway, GatewayTransport, Links, LogFormat,
        Notification, Order, Shutdown, Telemetry, Templates,
    },
    sending::{Sending, SendingChannel},
    twilio::Twilio,
    webhooks::Webhooks,
};

/// Everything that can be configured. `Display` shows it as TOML with every secret as `[redacted]`.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the data are.
    pub database: Database,
    /// The order service.
    pub order: Order,
    /// The notification worker.
    pub notification: Notification,
    /// Who may call.
    pub callers: Callers,
    /// How the services are called.
    pub client: Client,
    /// How letters leave.
    pub email: Email,
    /// How text messages leave.
    pub sms: Gateway,
    /// How calls are made.
    pub phone: Gateway,
    /// How partners' systems are told of orders.
    pub webhooks: Webhooks,
    /// What the servers bear, and what one caller may have.
    pub limits: Limits,
    /// How many texts and calls may go out, to whom, and what they may cost.
    pub sending: Sending,
    /// Where the end of the audit chain is told to.
    pub audit: Audit,
    /// What links and codes are derived from.
    pub links: Links,
    /// What personal data is sealed with in the database.
    pub personal_data: PersonalData,
    /// Where the company keeps its own wording.
    pub templates: Templates,
    /// Who the customer deals with.
    pub company: Company,
    /// What is seen from outside.
    pub telemetry: Telemetry,
    /// How a process ends.
    pub shutdown: Shutdown,
    /// What is forgotten, and when.
    pub retention: Retention,
}

/// Where [`Config::load`] looks.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file. It must exist when it is named.
    pub file: Option<PathBuf>,
    /// Variables of the environment; those that are not ours are left alone.
    pub environment: Vec<(String, String)>,
    /// Flags of the command line as dotted key and value, such as `("database.url", "mysql://…")`.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The environment of this process and, when `--config` named one, a file.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            file,
            environment,
            flags: Vec::new(),
        }
    }

    /// Adds a flag of the command line when it was given.
    #[must_use]
    pub fn flag(mut self, key: &str, value: Option<&str>) -> Self {
        self.flags
            .extend(value.map(|value| (key.to_owned(), value.to_owned())));
        self
    }
}

/// Why there is no usable configuration. None of these texts holds a configured value that could be secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that a key names cannot be read.
    #[error("{key} names {}, which cannot be read (a relative path counts from the working directory)", path.display())]
    Secret {
        /// Which key.
        key: String,
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The configuration file is not TOML.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser missed.
        message: String,
    },
    /// A key that no section has.
    #[error("unknown key {key} in {origin}; known there: {}", known.join(", "))]
    UnknownKey {
        /// The dotted key.
        key: String,
        /// The file, variable or flag that named it.
        origin: String,
        /// The keys that the section has.
        known: Vec<&'static str>,
    },
    /// A value that cannot be what its key needs.
    #[error("{key} in {origin}: {message}")]
    Value {
        /// The dotted key.
        key: String,
        /// The file, variable or flag that gave it.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// Values that are well-formed and make no sense; all of them at once.
    #[error("the configuration cannot work:\n  {}", problems.join("\n  "))]
    Invalid {
        /// One line each, beginning with the dotted key.
        problems: Vec<String>,
    },
}

impl Config {
    /// Reads all layers, reads the secrets that stand in files, and checks the result.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let shape = shape()?;
        let mut layers = Vec::new();
        if let Some(path) = &sources.file {
            layers.push(Layer::from_file(path)?);
        }
        Self::of(layers, sources, &shape)
    }

    /// What these layers come to, with the environment and the flags above them.
    fn of(
        mut layers: Vec<Layer>,
        sources: &Sources,
        shape: &figment::value::Value,
    ) -> Result<Self, ConfigError> {
        layers.extend(Layer::from_well_known(&sources.environment));
        layers.extend(Layer::from_environment(&sources.environment, shape)?);
        layers.extend(Layer::from_flags(&sources.flags, shape));
        for at in 0..layers.len() {
            let (lower, upper) = layers.split_at_mut(at);
            if let Some(layer) = upper.first_mut() {
                layer.settle(lower)?;
            }
        }
        let merged = layers.iter().cloned().fold(Figment::new(), Figment::merge);
        let mut config: Self = merged.extract().map_err(|error| explain(error, &layers))?;
        let url = ["database".to_owned(), "url".to_owned()];
        config.database.is_chosen = layers.iter().any(|layer| layer.origin_of(&url).is_some());
        config.validate()?;
        Ok(config)
    }

    /// The configuration as TOML with every secret, and every password inside a URL, as `[redacted]`.
    pub fn redacted(&self) -> String {
        // Serialising is redacting: no secret has another way out of this struct.
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}"))
    }
}

impl fmt::Display for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.redacted())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The defaults as a tree: it tells for each key whether text, a number or a yes/no is meant.
fn shape() -> Result<figment::value::Value, ConfigError> {
    figment::value::Value::serialize(Config::default()).map_err(|error| explain(error, &[]))
}

/// Says in our words what the deserialiser found, without repeating a value that may be secret.
fn explain(error: Error, layers: &[Layer]) -> ConfigError {
    let mut path = error.path.clone();
    let origin = |path: &[String]| {
        layers
            .iter()
            .rev()
            .find_map(|layer| layer.origin_of(path))
            .unwrap_or_else(|| "the defaults".to_owned())
    };
    match error.kind {
        Kind::UnknownField(name, known) => {
            if path.last() != Some(&name) {
                path.push(name);
            }
            ConfigError::UnknownKey {
                origin: origin(&path),
                key: path.join("."),
                known: known.to_vec(),
            }
        }
        kind => ConfigError::Value {
            origin: origin(&path),
            key: path.join("."),
            message: match kind {
                Kind::InvalidType(found, wanted) => {
                    format!("expected {wanted}, found {}", class(&found))
                }
                Kind::InvalidValue(_, wanted) => format!("expected {wanted}"),
                other => other.to_string(),
            },
        },
    }
}

fn class(found: &figment::error::Actual) -> &'static str {
    use figment::error::Actual;
    match found {
        Actual::Bool(_) => "a yes/no",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests;
