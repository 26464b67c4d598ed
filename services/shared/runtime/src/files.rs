//! Files of certificates and keys, looked at before anything is started with them.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use secrecy::ExposeSecret as _;

use crate::{
    callers::Gate,
    client,
    clock::SystemClock,
    config::Config,
    tls::{ServerTls, read_file, roots},
};

/// Names every file of certificates, keys or tokens that cannot be used, by its key. Nobody is called.
pub async fn check(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |outcome: anyhow::Result<()>| {
        if let Err(error) = outcome {
            problems.push(format!("{error:#}"));
        }
    };
    // Keys that an issuer publishes at a URL are fetched when a service starts.
    if config.callers.jwt.jwks_url.is_none() {
        note(
            Gate::load(&config.callers, SystemClock::shared())
                .await
                .map(drop),
        );
    } else {
        note(ServerTls::of(&config.callers).await.map(drop));
    }
    note(client::check(&config.client).await);
    let files = DatabaseFiles::of(config.database.url.expose_secret());
    note(files.check_authorities().await);
    note(files.check_identity().await);
    problems
}

/// What a database URL names, as the driver reads it: a value is decoded, the last of several counts, and it may be the text of
/// the file itself.
#[derive(Debug, Default)]
struct DatabaseFiles {
    mode: String,
    authorities: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl DatabaseFiles {
    fn of(url: &str) -> Self {
        let mut files = Self::default();
        // SQLite has no connections to encrypt.
        if url.starts_with("sqlite:") {
            return files;
        }
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        let query = url.split_once('?').map_or("", |(_, query)| query);
        for (word, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*word {
                "ssl-mode" | "sslmode" => files.mode = value.to_ascii_lowercase(),
                "ssl-ca" | "sslca" => files.authorities = Some(value),
                "ssl-cert" | "sslcert" => files.certificate = Some(value),
                "ssl-key" | "sslkey" => files.key = Some(value),
                _ => {}
            }
        }
        files
    }

    /// Whom the server's certificate must be from; read only where that is looked at.
    async fn check_authorities(&self) -> anyhow::Result<()> {
        const KEY: &str = "database.url, ssl-ca";
        let looked_at = matches!(&*self.mode, "verify_ca" | "verify_identity");
        let Some(given) = self.authorities.as_ref().filter(|_| looked_at) else {
            return Ok(());
        };
        roots(&text_of(given, KEY).await?)
            .map(drop)
            .with_context(|| named(given, KEY))
    }

    /// What the server knows us by; not used where nothing is encrypted.
    async fn check_identity(&self) -> anyhow::Result<()> {
        const CERTIFICATE: &str = "database.url, ssl-cert";
        const KEY: &str = "database.url, ssl-key";
        if self.mode == "disabled" {
            return Ok(());
        }
        match (&self.certificate, &self.key) {
            (None, None) => Ok(()),
            (Some(_), None) => {
                bail!("{KEY}: is missing, and a certificate is of no use without its key")
            }
            (None, Some(_)) => {
                bail!("{CERTIFICATE}: is missing, and a key is of no use without its certificate")
            }
            (Some(certificate), Some(key)) => {
                let chain =
                    CertificateDer::pem_slice_iter(&text_of(certificate, CERTIFICATE).await?)
                        .collect::<Result<Vec<_>, _>>()
                        .context("it is not PEM")
                        .with_context(|| named(certificate, CERTIFICATE))?;
                ensure!(
                    !chain.is_empty(),
                    "{}: there is no certificate in it",
                    named(certificate, CERTIFICATE)
                );
                PrivateKeyDer::from_pem_slice(&text_of(key, KEY).await?)
                    .map(drop)
                    .context("there is no private key in it")
                    .with_context(|| named(key, KEY))
            }
        }
    }
}

/// Whether it is what a file would hold, by the driver's own rule.
fn is_text(given: &str) -> bool {
    let given = given.trim();
    given.starts_with("-----BEGIN") && given.ends_with("-----")
}

async fn text_of(given: &str, key: &str) -> anyhow::Result<Vec<u8>> {
    if is_text(given) {
        return Ok(given.as_bytes().to_vec());
    }
    read_file(Path::new(given), key).await
}

/// The key, and the file where there is one: a text may be a secret.
fn named(given: &str, key: &str) -> String {
    if is_text(given) {
        key.to_owned()
    } else {
        format!("{key}: {given}")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use tempfile::TempDir;

    use super::*;

    /// A certificate with its key, and what is neither, in a folder whose name must be written otherwise in a URL.
    fn folder() -> (TempDir, String, String) {
        let folder = TempDir::new().unwrap();
        let inner = folder.path().join("my keys+");
        std::fs::create_dir(&inner).unwrap();
        let made = rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
        let write = |name: &str, text: String| std::fs::write(inner.join(name), text).unwrap();
        write("ca.pem", made.cert.pem());
        write("key.pem", made.signing_key.serialize_pem());
        write("wrong.pem", "this is no certificate".to_owned());
        let plain = inner.display().to_string();
        let encoded = plain.replace('+', "%2B").replace(' ', "%20");
        (folder, plain, encoded)
    }

    async fn of_url(query: &str) -> Vec<String> {
        let config = Config {
            database: crate::config::Database {
                url: SecretString::from(format!("mysql://app:p%26w@db/shop?{query}")),
                ..crate::config::Database::default()
            },
            ..Config::default()
        };
        check(&config).await
    }

    #[tokio::test]
    async fn a_database_url_that_the_driver_takes_is_not_refused() {
        let (_folder, plain, at) = folder();
        let inline = std::fs::read_to_string(format!("{plain}/ca.pem")).unwrap();
        let inline: String = form_urlencoded::byte_serialize(inline.as_bytes()).collect();
        for query in [
            String::new(),
            format!("ssl-mode=VERIFY_CA&ssl-ca={at}%2Fca.pem"),
            format!(
                "ssl-mode=verify_identity&sslca={}/ca.pem",
                at.replace("%20", "+")
            ),
            format!("ssl-mode=VERIFY_CA&ssl-ca={inline}"),
            format!(
                "ssl-mode=VERIFY_CA&ssl-ca={at}/ca.pem&ssl-cert={at}/ca.pem&ssl-key={at}/key.pem"
            ),
            format!("ssl-cert={at}/ca.pem&sslkey={at}/key.pem#{at}"),
            // What is not used is not read.
            format!("ssl-mode=REQUIRED&ssl-ca={at}/missing.pem"),
            format!("ssl-mode=DISABLED&ssl-cert={at}/missing.pem"),
            // The last one counts.
            format!("ssl-mode=VERIFY_CA&ssl-ca={at}/missing.pem&ssl-ca={at}/ca.pem"),
        ] {
            assert_eq!(of_url(&query).await, [] as [String; 0], "{query}");
        }
    }

    #[tokio::test]
    async fn what_a_database_url_names_and_the_driver_cannot_use_is_told_by_its_key() {
        let (_folder, _, at) = folder();
        for (query, word) in [
            (
                format!("ssl-mode=VERIFY_CA&ssl-ca={at}/missing.pem"),
                "ssl-ca",
            ),
            (
                format!("ssl-mode=VERIFY_IDENTITY&sslca={at}/wrong.pem"),
                "ssl-ca",
            ),
            (
                format!("ssl-cert={at}/wrong.pem&ssl-key={at}/key.pem"),
                "ssl-cert",
            ),
            (
                format!("ssl-cert={at}/ca.pem&ssl-key={at}/missing.pem"),
                "ssl-key",
            ),
            (
                format!("ssl-cert={at}/ca.pem&ssl-key={at}/wrong.pem"),
                "ssl-key",
            ),
            (format!("ssl-cert={at}/ca.pem"), "ssl-key"),
            (format!("ssl-key={at}/key.pem"), "ssl-cert"),
        ] {
            let problems = of_url(&query).await;
            let told = matches!(problems.as_slice(), [only] if only.contains(&format!("database.url, {word}")));
            assert!(told, "{query}: {problems:#?}");
        }
    }

    #[tokio::test]
    async fn every_file_that_cannot_be_used_is_named_by_its_key() {
        let folder = TempDir::new().unwrap();
        let wrong = folder.path().join("wrong.pem");
        std::fs::write(&wrong, "this is no certificate").unwrap();
        let missing = folder.path().join("missing.pem");
        let mut config = Config::default();
        assert_eq!(check(&config).await, [] as [String; 0]);
        config.callers.tls.certificate_file = Some(wrong.clone());
        config.callers.tls.key_file = Some(missing.clone());
        config.client.ca_file = Some(wrong.clone());
        config.database.url = SecretString::from(format!(
            "mysql://app@db/shop?ssl-mode=VERIFY_CA&ssl-ca={}",
            wrong.display()
        ));
        let problems = check(&config).await;
        let words = [
            ("callers.tls.key_file", "missing.pem"),
            ("client.ca_file", "certificate"),
            ("database.url, ssl-ca", "wrong.pem"),
        ];
        assert_eq!(problems.len(), words.len(), "{problems:#?}");
        for (problem, (key, word)) in problems.iter().zip(words) {
            assert!(problem.contains(key) && problem.contains(word), "{problem}");
        }
        config.callers.tls.key_file = Some(wrong);
        let problems = check(&config).await;
        assert!(problems[0].contains("certificate_file"), "{problems:#?}");
    }
}
