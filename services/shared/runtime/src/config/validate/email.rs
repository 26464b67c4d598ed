//! What `[email]` must hold to.

use http::Uri;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    super::{Config, EmailTransport},
    Problems, is_webhook_secret,
};

impl Config {
    pub(super) fn check_email(&self, problems: &mut Problems) {
        let email = &self.email;
        if email.transport == EmailTransport::Smtp {
            let url = email.url.as_ref().map(SecretString::expose_secret);
            let known = url.is_some_and(|url| {
                ["smtp://", "smtps://"]
                    .iter()
                    .any(|scheme| url.starts_with(scheme))
                    && url.parse::<Uri>().is_ok()
            });
            problems.unless(
                known,
                "email.url",
                "must be smtp:// or smtps:// when the transport is smtp",
            );
        }
        problems.unless(is_mailbox(&email.from), "email.from", "must be an address");
        problems.unless(
            email.reply_to.as_deref().is_none_or(is_mailbox),
            "email.reply_to",
            "must be an address",
        );
        problems.unless(
            email.dkim.private_key.is_none() || email.dkim.selector.is_some(),
            "email.dkim.selector",
            "is needed with a private key",
        );
        let bounces = &email.bounces;
        problems.unless(
            bounces.address.as_deref().is_none_or(is_mailbox),
            "email.bounces.address",
            "must be an address",
        );
        problems.unless(
            bounces.address.is_some()
                || (bounces.maildir.is_none()
                    && bounces.secret.is_none()
                    && bounces.sns_topics.is_empty()),
            "email.bounces.address",
            "is needed for hearing of bounces: they are recognised by it",
        );
        problems.unless(
            bounces.secret.as_ref().is_none_or(is_webhook_secret),
            "email.bounces.secret",
            "must be whsec_ and 24 to 64 bytes in base64",
        );
        problems.unless(
            bounces
                .previous_secret
                .as_ref()
                .is_none_or(is_webhook_secret),
            "email.bounces.previous_secret",
            "must be whsec_ and 24 to 64 bytes in base64",
        );
        problems.unless(
            bounces.sns_topics.iter().all(|topic| is_sns_topic(topic)),
            "email.bounces.sns_topics",
            "must be topics of the form arn:aws:sns:{region}:{account}:{name}",
        );
    }
}

fn is_sns_topic(topic: &str) -> bool {
    let parts: Vec<&str> = topic.split(':').collect();
    let full = parts.len() == 6 && parts.iter().all(|part| !part.is_empty());
    let known = ["aws", "aws-cn", "aws-us-gov"].iter();
    full && parts[0] == "arn" && parts[2] == "sns" && known.copied().any(|it| it == parts[1])
}

/// A rough look; the mail library reads it properly where it is used.
pub(super) fn is_mailbox(text: &str) -> bool {
    text.trim().rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.trim_end_matches('>').is_empty()
    }) && !text.contains(['\r', '\n'])
}
