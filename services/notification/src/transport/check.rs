//! What is wrong with a relay's URL or a key shows when they are set up. Nothing is connected to.

use std::path::Path;

use countersign_domain::secrets::LinkKey;
use countersign_runtime::config::{Config, EmailTransport};
use secrecy::ExposeSecret as _;

use super::{dkim, domain_of, sender};
use crate::channel::{
    dkim::{DkimError, DkimSigner},
    relay::RelayUrl,
};

/// Names what of the configuration no letter could be sent with, by its key and file. None of it repeats a secret.
pub fn check(config: &Config) -> Vec<String> {
    let email = &config.email;
    if email.transport == EmailTransport::Mailbox {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if let Some(url) = &email.url
        && let Err(error) = url.expose_secret().parse::<RelayUrl>()
    {
        problems.push(problem("email.url", email.url_file.as_deref(), &error));
    }
    let signed = dkim(&email.dkim, domain_of(&email.from));
    if let Ok(Some(signed)) = signed
        && let Err(error) = DkimSigner::try_new(&signed)
    {
        let (key, file) = match error {
            DkimError::Key => ("private_key", email.dkim.private_key_file.as_deref()),
            DkimError::Name(name) => (name, None),
        };
        problems.push(problem(&format!("email.dkim.{key}"), file, &error));
    }
    // Addresses are looked at only where what is above is in order, so that nothing is told twice.
    if problems.is_empty()
        && let Ok(any_key) = LinkKey::new(&[0; 32])
        && let Err(error) = sender(config, &any_key)
    {
        problems.push(problem("email", None, &error));
    }
    problems
}

fn problem(key: &str, file: Option<&Path>, error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = key.to_owned();
    if let Some(file) = file {
        text = format!("{text} ({})", file.display());
    }
    let mut cause = Some(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn what_no_letter_could_be_sent_with_is_named_by_key_and_file_and_no_secret_is_repeated() {
        let mut config = Config::default();
        assert_eq!(check(&config), [] as [String; 0]);
        config.email.transport = EmailTransport::Smtp;
        config.email.from = "Hua Trading <orders@hua.example>".to_owned();
        for (url, word) in [
            ("smtp://shop:s3cret@relay.example?tls=maybe", "tls"),
            ("smtps://shop:s3cret@relay.example?tls=required", "tls"),
            ("smtp://shop:s3cret@relay.example?tsl=none", "tls=none"),
        ] {
            config.email.url = Some(SecretString::from(url));
            config.email.url_file = Some("/run/secrets/smtp-url".into());
            let problems = check(&config);
            assert_eq!(problems.len(), 1, "{url}: {problems:?}");
            assert!(
                problems[0].starts_with("email.url (/run/secrets/smtp-url): ")
                    && problems[0].contains(word)
                    && !problems[0].contains("s3cret"),
                "{problems:?}"
            );
        }
        config.email.url = Some(SecretString::from("smtp://relay.example?tls=none"));
        assert_eq!(check(&config), [] as [String; 0]);
        config.email.dkim.selector = Some("k1".to_owned());
        config.email.dkim.private_key = Some(SecretString::from("s3cret, and no PEM"));
        config.email.dkim.private_key_file = Some("/run/secrets/dkim-key".into());
        let problems = check(&config);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with("email.dkim.private_key (/run/secrets/dkim-key): ")
                && !problems[0].contains("s3cret"),
            "{problems:?}"
        );
        config.email.dkim.private_key = None;
        config.email.bounces.address = Some(format!("{}@hua.example", "b".repeat(40)));
        assert!(
            check(&config)[0].starts_with("email: "),
            "{:?}",
            check(&config)
        );
    }
}
