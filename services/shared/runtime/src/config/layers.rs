//! One layer of the configuration: what a file, the environment or the command line says.

use std::{fs, path::Path};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Tag, Value},
};

use super::ConfigError;

/// Our variables begin with this; two underscores also stand between section and key.
const PREFIX: &str = "COUNTERSIGN__";

/// Secrets that may stand in a file of their own: section, key, key of the file.
const SECRETS: [(&str, &str, &str); 33] = [
    ("database", "url", "url_file"),
    ("email", "url", "url_file"),
    ("email.dkim", "private_key", "private_key_file"),
    ("email.bounces", "secret", "secret_file"),
    ("sms", "secret", "secret_file"),
    ("phone", "secret", "secret_file"),
    ("sms.alibaba", "access_key_secret", "access_key_secret_file"),
    ("sms.alibaba", "callback_secret", "callback_secret_file"),
    (
        "phone.alibaba",
        "access_key_secret",
        "access_key_secret_file",
    ),
    ("phone.alibaba", "callback_secret", "callback_secret_file"),
    ("sms.tencent", "secret_key", "secret_key_file"),
    ("sms.twilio", "auth_token", "auth_token_file"),
    ("sms.twilio", "api_key_secret", "api_key_secret_file"),
    ("phone.twilio", "auth_token", "auth_token_file"),
    ("phone.twilio", "api_key_secret", "api_key_secret_file"),
    ("sms.fallback", "secret", "secret_file"),
    ("phone.fallback", "secret", "secret_file"),
    (
        "sms.fallback.alibaba",
        "access_key_secret",
        "access_key_secret_file",
    ),
    (
        "sms.fallback.alibaba",
        "callback_secret",
        "callback_secret_file",
    ),
    (
        "phone.fallback.alibaba",
        "access_key_secret",
        "access_key_secret_file",
    ),
    (
        "phone.fallback.alibaba",
        "callback_secret",
        "callback_secret_file",
    ),
    ("sms.fallback.tencent", "secret_key", "secret_key_file"),
    ("sms.fallback.twilio", "auth_token", "auth_token_file"),
    (
        "sms.fallback.twilio",
        "api_key_secret",
        "api_key_secret_file",
    ),
    ("phone.fallback.twilio", "auth_token", "auth_token_file"),
    (
        "phone.fallback.twilio",
        "api_key_secret",
        "api_key_secret_file",
    ),
    ("links", "key", "key_file"),
    ("email.bounces", "previous_secret", "previous_secret_file"),
    ("sms", "previous_secret", "previous_secret_file"),
    ("phone", "previous_secret", "previous_secret_file"),
    (
        "sms.twilio",
        "previous_auth_token",
        "previous_auth_token_file",
    ),
    (
        "phone.twilio",
        "previous_auth_token",
        "previous_auth_token_file",
    ),
    ("personal_data", "keys", "keys_file"),
];

/// Giving the address of a server, or an account, means to use it: section and key of the address, section and word of
/// the transport.
const TRANSPORTS: [(&str, &str, &str, &str); 5] = [
    ("email", "url", "email", "smtp"),
    ("sms", "base_url", "sms", "gateway"),
    ("phone", "base_url", "phone", "gateway"),
    ("sms.twilio", "account_sid", "sms", "twilio"),
    ("phone.twilio", "account_sid", "phone", "twilio"),
];

/// What one source says, as a tree of sections and keys.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// For messages: the file, or what kind of variable or flag.
    origin: String,
    values: Dict,
}

impl Layer {
    /// The TOML file.
    pub(super) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_text(path, &text)
    }

    /// What stands in such a file.
    pub(super) fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        // The parser's own text shows the line, which may hold a secret.
        let values = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            message: error.message().to_owned(),
        })?;
        Ok(Self {
            origin: path.display().to_string(),
            values,
        })
    }

    /// The variables whose names everyone uses. An empty one counts as not set.
    pub(super) fn from_well_known(environment: &[(String, String)]) -> Vec<Self> {
        [("DATABASE_URL", "database"), ("SMTP_URL", "email")]
            .into_iter()
            .filter_map(|(variable, section)| {
                let (_, value) = environment
                    .iter()
                    .find(|(name, value)| name == variable && !value.is_empty())?;
                Some(Self::single(
                    variable.to_owned(),
                    &[section, "url"],
                    Value::from(value.as_str()),
                ))
            })
            .collect()
    }

    /// The variables of our prefix.
    pub(super) fn from_environment(
        environment: &[(String, String)],
        shape: &Value,
    ) -> Result<Vec<Self>, ConfigError> {
        let mut ours: Vec<_> = environment
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        ours.sort();
        let mut values = Dict::new();
        for (name, value) in ours {
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            let path: Vec<&str> = key.split('.').collect();
            if !(2..=3).contains(&path.len()) || path.contains(&"") {
                return Err(ConfigError::Value {
                    key,
                    origin: format!("variable {name}"),
                    message: format!("a variable is named {PREFIX}SECTION__KEY"),
                });
            }
            insert(&mut values, &path, typed(value, shape.find_ref(&key)));
        }
        Ok(if values.is_empty() {
            Vec::new()
        } else {
            vec![Self {
                origin: "the environment".to_owned(),
                values,
            }]
        })
    }

    /// The flags of the command line.
    pub(super) fn from_flags(flags: &[(String, String)], shape: &Value) -> Option<Self> {
        let mut values = Dict::new();
        for (key, value) in flags {
            let path: Vec<&str> = key.split('.').collect();
            insert(&mut values, &path, typed(value, shape.find_ref(key)));
        }
        (!values.is_empty()).then(|| Self {
            origin: "the command line".to_owned(),
            values,
        })
    }

    fn single(origin: String, path: &[&str], value: Value) -> Self {
        let mut values = Dict::new();
        insert(&mut values, path, value);
        Self { origin, values }
    }

    /// Reads the secrets that this layer keeps in files, and lets what it says displace what lower layers said about the
    /// same thing in the other form.
    pub(super) fn settle(&mut self, lower: &mut [Self]) -> Result<(), ConfigError> {
        for (section, key, file_key) in SECRETS {
            let Some(keys) = section_mut(&mut self.values, section) else {
                continue;
            };
            let file = keys
                .get(file_key)
                .and_then(Value::as_str)
                .map(str::to_owned);
            match (keys.contains_key(key), file) {
                (true, Some(_)) => {
                    return Err(ConfigError::Value {
                        key: format!("{section}.{key}"),
                        origin: self.origin.clone(),
                        message: format!("give {key} or {file_key}, not both"),
                    });
                }
                (false, Some(file)) => {
                    let text = fs::read_to_string(&file).map_err(|source| ConfigError::Secret {
                        key: format!("{section}.{file_key}"),
                        path: file.into(),
                        source,
                    })?;
                    keys.insert(key.to_owned(), Value::from(text.trim()));
                }
                (true, None) => {
                    for layer in &mut *lower {
                        if let Some(keys) = section_mut(&mut layer.values, section) {
                            keys.remove(file_key);
                        }
                    }
                }
                (false, None) => {}
            }
        }
        for (section, address, holder, transport) in TRANSPORTS {
            let given = section_mut(&mut self.values, section)
                .is_some_and(|keys| keys.contains_key(address));
            if given
                && let Some(keys) = section_mut(&mut self.values, holder)
                && !keys.contains_key("transport")
            {
                keys.insert("transport".to_owned(), Value::from(transport));
            }
        }
        Ok(())
    }

    /// This layer's name, if it says anything at `path`.
    pub(super) fn origin_of(&self, path: &[String]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let mut value = self.values.get(first)?;
        for key in rest {
            value = value.as_dict()?.get(key)?;
        }
        Some(self.origin.clone())
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(at)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// A section, or a table within one by its dotted name.
fn section_mut<'a>(values: &'a mut Dict, section: &str) -> Option<&'a mut Dict> {
    section
        .split('.')
        .try_fold(values, |keys, part| match keys.get_mut(part)? {
            Value::Dict(_, keys) => Some(keys),
            _ => None,
        })
}

fn insert(values: &mut Dict, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            values.insert((*key).to_owned(), value);
        }
        [section, rest @ ..] => {
            let entry = values
                .entry((*section).to_owned())
                .or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
            if let Value::Dict(_, keys) = entry {
                insert(keys, rest, value);
            }
        }
    }
}

/// Variables and flags are text; where the default is a number or a yes/no, that is what is meant. Text stays text, so
/// that a password or a telephone number of digits only is not mistaken for a number.
fn typed(text: &str, default: Option<&Value>) -> Value {
    match default {
        Some(Value::Num(..)) => text
            .parse::<i64>()
            .map_or_else(|_| Value::from(text), Value::from),
        Some(Value::Bool(..)) => text
            .parse::<bool>()
            .map_or_else(|_| Value::from(text), Value::from),
        _ => Value::from(text),
    }
}
