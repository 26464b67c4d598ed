//! Twilio as a transport: its settings, and what they must hold to.

use std::path::PathBuf;

use http::Uri;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    Config, Gateway, GatewayTransport, redact,
    validate::{Problems, check_http, is_here},
};

/// An account at Twilio.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Twilio {
    /// Where Twilio answers; another region has another address.
    pub base_url: String,
    /// `AC` and 32 hexadecimal digits.
    pub account_sid: Option<String>,
    /// The account's token. It proves that callbacks come from Twilio, also where an API key signs requests in.
    #[serde(serialize_with = "redact::optional_secret")]
    pub auth_token: Option<SecretString>,
    /// A file that holds the token, instead of `auth_token`.
    pub auth_token_file: Option<PathBuf>,
    /// The token before, while Twilio changes to the new one: callbacks that are signed with either are taken.
    #[serde(serialize_with = "redact::optional_secret")]
    pub previous_auth_token: Option<SecretString>,
    /// A file that holds it, instead of `previous_auth_token`.
    pub previous_auth_token_file: Option<PathBuf>,
    /// `SK` and 32 hexadecimal digits, to sign requests in with a key that can be withdrawn by itself.
    pub api_key_sid: Option<String>,
    /// The key's secret.
    #[serde(serialize_with = "redact::optional_secret")]
    pub api_key_secret: Option<SecretString>,
    /// A file that holds the key's secret, instead of `api_key_secret`.
    pub api_key_secret_file: Option<PathBuf>,
    /// The number that messages and calls come from, E.164; text messages also take a short code or a name.
    pub from: Option<String>,
    /// `MG` and 32 hexadecimal digits: a Messaging Service that chooses the number, for text messages, instead of `from`.
    pub messaging_service_sid: Option<String>,
}

impl Default for Twilio {
    fn default() -> Self {
        Self {
            base_url: "https://api.twilio.com".to_owned(),
            account_sid: None,
            auth_token: None,
            auth_token_file: None,
            previous_auth_token: None,
            previous_auth_token_file: None,
            api_key_sid: None,
            api_key_secret: None,
            api_key_secret_file: None,
            from: None,
            messaging_service_sid: None,
        }
    }
}

/// Names what a Twilio transport lacks.
pub(super) fn check(config: &Config, gateway: &Gateway, section: &str, problems: &mut Problems) {
    if gateway.transport != GatewayTransport::Twilio {
        return;
    }
    let twilio = &gateway.twilio;
    let is_text = section.starts_with("sms");
    let mut unless = |holds: bool, key: &str, message: &str| {
        problems.unless(holds, &format!("{section}.twilio.{key}"), message);
    };
    let is_sid = |sid: &Option<String>, prefix| {
        sid.as_deref().is_some_and(|sid| {
            sid.strip_prefix(prefix).is_some_and(|rest| {
                rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        })
    };
    let is_given = |secret: &Option<SecretString>| {
        secret
            .as_ref()
            .is_some_and(|it| !it.expose_secret().trim().is_empty())
    };
    unless(
        is_sid(&twilio.account_sid, "AC"),
        "account_sid",
        "must be AC and 32 hexadecimal digits when the transport is twilio",
    );
    unless(
        is_given(&twilio.auth_token),
        "auth_token",
        "is needed when the transport is twilio: callbacks are signed with it",
    );
    unless(
        twilio.api_key_sid.is_none() || is_sid(&twilio.api_key_sid, "SK"),
        "api_key_sid",
        "must be SK and 32 hexadecimal digits",
    );
    unless(
        twilio.api_key_sid.is_some() == is_given(&twilio.api_key_secret),
        "api_key_secret",
        "must be given together with api_key_sid",
    );
    let service = &twilio.messaging_service_sid;
    if is_text {
        unless(
            twilio.from.is_some() != service.is_some(),
            "from",
            "give from or messaging_service_sid, and only one of them",
        );
        unless(
            service.is_none() || is_sid(service, "MG"),
            "messaging_service_sid",
            "must be MG and 32 hexadecimal digits",
        );
        unless(
            twilio.from.as_deref().is_none_or(is_text_sender),
            "from",
            "must be a number such as +14155552345, a short code, or a name of at most 11 letters",
        );
    } else {
        unless(
            twilio.from.as_deref().is_some_and(is_number),
            "from",
            "must be a number such as +14155552345",
        );
        unless(
            service.is_none(),
            "messaging_service_sid",
            "is for text messages only",
        );
    }
    check_http(
        &twilio.base_url,
        &format!("{section}.twilio.base_url"),
        problems,
    );
    let public = config.notification.public_url.parse::<Uri>().ok();
    let host = public.as_ref().and_then(Uri::host).unwrap_or_default();
    problems.unless(
        is_here(&config.notification.public_url)
            || (config.notification.public_url.starts_with("https://") && !host.contains('_')),
        "notification.public_url",
        "must be an https:// address without an underscore in its host: Twilio calls it",
    );
}

/// E.164.
fn is_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A number, a short code, or a name that telephones show in its place.
fn is_text_sender(text: &str) -> bool {
    let short = (3..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let name = (1..=11).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b' ')
        && text.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_number(text) || short || name
}
