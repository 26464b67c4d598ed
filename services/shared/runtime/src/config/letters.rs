//! What goes with letters besides the relay: their signature, and what comes back.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::redact;

/// How letters are signed (DKIM). Without a private key they are not.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dkim {
    /// The domain that vouches for the letters; the sender's when not given.
    pub domain: Option<String>,
    /// Which of the domain's keys: `{selector}._domainkey.{domain}` publishes the public half.
    pub selector: Option<String>,
    /// RSA of at least 2048 bits or Ed25519, as PEM.
    #[serde(serialize_with = "redact::optional_secret")]
    pub private_key: Option<SecretString>,
    /// A file that holds the key, instead of `private_key`.
    pub private_key_file: Option<PathBuf>,
}

/// How the worker hears of letters that did not arrive, by a mailbox folder, a webhook, topics of Amazon SNS,
/// or several of them.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounces {
    /// Envelope sender of every letter: `bounce@example.com` becomes `bounce+TOKEN@example.com`. Without it letters come
    /// back to the sender, where nobody reads them.
    pub address: Option<String>,
    /// A Maildir into which a mail server delivers what comes to [`Self::address`] with any token.
    pub maildir: Option<PathBuf>,
    /// `whsec_` and a key in base64: whoever signs with it may report bounces to `/callbacks/bounces`.
    #[serde(serialize_with = "redact::optional_secret")]
    pub secret: Option<SecretString>,
    /// A file that holds the secret, instead of `secret`.
    pub secret_file: Option<PathBuf>,
    /// The secret before, while the other side changes to the new one.
    #[serde(serialize_with = "redact::optional_secret")]
    pub previous_secret: Option<SecretString>,
    /// A file that holds it, instead of `previous_secret`.
    pub previous_secret_file: Option<PathBuf>,
    /// Topics of Amazon SNS that may report bounces to `/callbacks/bounces/sns`, as `arn:aws:sns:{region}:{account}:{name}`.
    pub sns_topics: Vec<String>,
}
