//! The sections of the clouds that carry text messages and calls in China: `[sms.alibaba]`, `[phone.alibaba]` and
//! `[sms.tencent]`.

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    redact,
    sections::{Gateway, GatewayTransport},
    validate::{Problems, check_http},
};

/// The shortest secret that may stand in a callback's address.
const CALLBACK_SECRET_MIN: usize = 16;

/// Texts by language (`zh-CN`, `en`) and kind of message (`CONFIRMATION_REQUEST`).
pub type TextsByKind<T> = BTreeMap<String, BTreeMap<String, T>>;

/// An account at Alibaba Cloud.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alibaba {
    /// Where the cloud answers, if not at its usual address.
    pub base_url: Option<String>,
    /// Names the key.
    pub access_key_id: String,
    /// The key.
    #[serde(serialize_with = "redact::optional_secret")]
    pub access_key_secret: Option<SecretString>,
    /// A file that holds the key, instead of `access_key_secret`.
    pub access_key_secret_file: Option<PathBuf>,
    /// The approved signature of text messages.
    pub sign_name: String,
    /// The number that the customer of a call sees; without one the cloud takes one of its own.
    pub show_number: Option<String>,
    /// How often a call speaks its text, 1 to 3.
    pub play_times: u8,
    /// Stands in the addresses that the cloud pushes its reports to: `/callbacks/alibaba/{secret}/sms-report`, `…/sms-up`
    /// and `…/voice-report`. The pushes bear no signature, so this is what keeps others out.
    #[serde(serialize_with = "redact::optional_secret")]
    pub callback_secret: Option<SecretString>,
    /// A file that holds it, instead of `callback_secret`.
    pub callback_secret_file: Option<PathBuf>,
    /// Characters that the value of a gap may have.
    pub value_chars_max: usize,
    /// The approved texts.
    pub templates: TextsByKind<NamedGaps>,
}

impl Default for Alibaba {
    fn default() -> Self {
        Self {
            base_url: None,
            access_key_id: String::new(),
            access_key_secret: None,
            access_key_secret_file: None,
            sign_name: String::new(),
            show_number: None,
            play_times: 2,
            callback_secret: None,
            callback_secret_file: None,
            value_chars_max: 35,
            templates: TextsByKind::new(),
        }
    }
}

/// An approved text whose gaps have names.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamedGaps {
    /// `SMS_…` or `TTS_…`.
    pub code: String,
    /// The name of each gap, and our name of the value that fills it: `no = "order"`.
    pub variables: BTreeMap<String, String>,
}

/// An account at Tencent Cloud.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tencent {
    /// Where the cloud answers, if not at its usual address.
    pub base_url: Option<String>,
    /// Names the key.
    pub secret_id: String,
    /// The key.
    #[serde(serialize_with = "redact::optional_secret")]
    pub secret_key: Option<SecretString>,
    /// A file that holds the key, instead of `secret_key`.
    pub secret_key_file: Option<PathBuf>,
    /// Such as `ap-guangzhou`.
    pub region: String,
    /// The application that the messages belong to.
    pub sdk_app_id: String,
    /// The approved signature of text messages.
    pub sign_name: String,
    /// Characters that the value of a gap may have.
    pub value_chars_max: usize,
    /// The approved texts.
    pub templates: TextsByKind<NumberedGaps>,
}

impl Default for Tencent {
    fn default() -> Self {
        Self {
            base_url: None,
            secret_id: String::new(),
            secret_key: None,
            secret_key_file: None,
            region: "ap-guangzhou".to_owned(),
            sdk_app_id: String::new(),
            sign_name: String::new(),
            value_chars_max: 35,
            templates: TextsByKind::new(),
        }
    }
}

/// An approved text whose gaps are numbered.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NumberedGaps {
    /// Digits.
    pub code: String,
    /// Our names of the values that fill gap 1, 2, 3 …
    pub variables: Vec<String>,
}

/// What the sections of the clouds must hold to, where they are used.
pub(super) fn check(gateway: &Gateway, section: &str, problems: &mut Problems) {
    let is_sms = section == "sms";
    match gateway.transport {
        GatewayTransport::Alibaba => match &gateway.alibaba {
            Some(alibaba) => {
                check_alibaba(alibaba, &format!("{section}.alibaba"), is_sms, problems);
            }
            None => problems.unless(
                false,
                &format!("{section}.alibaba"),
                "is needed when the transport is alibaba",
            ),
        },
        GatewayTransport::Tencent if !is_sms => problems.unless(
            false,
            &format!("{section}.transport"),
            "must be another: tencent carries text messages only",
        ),
        GatewayTransport::Tencent => match &gateway.tencent {
            Some(tencent) => check_tencent(tencent, &format!("{section}.tencent"), problems),
            None => problems.unless(
                false,
                &format!("{section}.tencent"),
                "is needed when the transport is tencent",
            ),
        },
        _ => {}
    }
}

fn check_alibaba(alibaba: &Alibaba, section: &str, is_sms: bool, problems: &mut Problems) {
    let mut needed = |holds, key: &str| needs(holds, section, key, problems);
    needed(!alibaba.access_key_id.is_empty(), "access_key_id");
    needed(alibaba.access_key_secret.is_some(), "access_key_secret");
    needed(!is_sms || !alibaba.sign_name.is_empty(), "sign_name");
    needed(!alibaba.templates.is_empty(), "templates");
    let fits = alibaba.callback_secret.as_ref().is_some_and(|secret| {
        let secret = secret.expose_secret();
        secret.len() >= CALLBACK_SECRET_MIN
            && secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    problems.unless(
        fits,
        &format!("{section}.callback_secret"),
        "must be at least 16 letters, digits, - or _: it keeps others from pushing reports",
    );
    problems.unless(
        (1..=3).contains(&alibaba.play_times),
        &format!("{section}.play_times"),
        "must be from 1 to 3",
    );
    let texts = texts(&alibaba.templates).map(|(key, text)| {
        let names: Vec<&str> = text.variables.values().map(String::as_str).collect();
        (key, text.code.as_str(), names)
    });
    check_texts(texts, section, problems);
    check_common(
        alibaba.base_url.as_ref(),
        alibaba.value_chars_max,
        section,
        problems,
    );
}

fn check_tencent(tencent: &Tencent, section: &str, problems: &mut Problems) {
    let mut needed = |holds, key: &str| needs(holds, section, key, problems);
    needed(!tencent.secret_id.is_empty(), "secret_id");
    needed(tencent.secret_key.is_some(), "secret_key");
    needed(!tencent.region.is_empty(), "region");
    needed(!tencent.sdk_app_id.is_empty(), "sdk_app_id");
    needed(!tencent.sign_name.is_empty(), "sign_name");
    needed(!tencent.templates.is_empty(), "templates");
    let texts = texts(&tencent.templates).map(|(key, text)| {
        let names: Vec<&str> = text.variables.iter().map(String::as_str).collect();
        (key, text.code.as_str(), names)
    });
    check_texts(texts, section, problems);
    check_common(
        tencent.base_url.as_ref(),
        tencent.value_chars_max,
        section,
        problems,
    );
}

fn needs(holds: bool, section: &str, key: &str, problems: &mut Problems) {
    let message = "is needed when the transport is this cloud";
    problems.unless(holds, &format!("{section}.{key}"), message);
}

fn texts<T>(templates: &TextsByKind<T>) -> impl Iterator<Item = (String, &T)> {
    templates.iter().flat_map(|(locale, kinds)| {
        kinds
            .iter()
            .map(move |(kind, text)| (format!("templates.{locale}.{kind}"), text))
    })
}

fn check_texts<'a>(
    texts: impl Iterator<Item = (String, &'a str, Vec<&'a str>)>,
    section: &str,
    problems: &mut Problems,
) {
    for (key, code, names) in texts {
        problems.unless(
            !code.is_empty(),
            &format!("{section}.{key}.code"),
            "must be the code of an approved text",
        );
        problems.unless(
            !names.contains(&"link"),
            &format!("{section}.{key}.variables"),
            "must not hold link: an address stands in the approved text, and link_token fills its end",
        );
    }
}

fn check_common(
    base_url: Option<&String>,
    value_chars_max: usize,
    section: &str,
    problems: &mut Problems,
) {
    if let Some(url) = base_url {
        check_http(url, &format!("{section}.base_url"), problems);
    }
    problems.unless(
        (1..=1_000).contains(&value_chars_max),
        &format!("{section}.value_chars_max"),
        "must be from 1 to 1000",
    );
}
