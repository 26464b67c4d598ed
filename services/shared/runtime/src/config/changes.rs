//! What differs between two configurations, and what of it a running process follows.

use toml::{Table, Value};

use super::Config;

/// Keys that take effect while a process runs. Everything else does at its next start.
const LIVE: [&str; 7] = [
    "notification.calls_at_once",
    "notification.calls_per_second",
    "notification.poll_interval_ms",
    "notification.texts_at_once",
    "notification.workers",
    "retention",
    "telemetry.log_filter",
];

/// Whether a change of this key, or of one within this section, is in force at once.
pub fn takes_effect(key: &str) -> bool {
    LIVE.iter().any(|live| {
        key.strip_prefix(live)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The dotted keys whose values differ, in order. Secrets are not compared: they are hidden here, too.
pub fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    let tree = |config: &Config| config.redacted().parse::<Table>().unwrap_or_default();
    let mut changed = Vec::new();
    compare("", &tree(old), &tree(new), &mut changed);
    changed
}

fn compare(path: &str, old: &Table, new: &Table, changed: &mut Vec<String>) {
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let dotted = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (old.get(key), new.get(key)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => {
                compare(&dotted, old, new, changed);
            }
            (old, new) if old == new => {}
            _ => changed.push(dotted),
        }
    }
}
