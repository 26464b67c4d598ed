//! Files of certificates and keys, looked at before anything is started with them.

use std::path::Path;

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
    for (word, path) in database_files(config.database.url.expose_secret()) {
        note(check_authorities(Path::new(path), word).await);
    }
    problems
}

/// The authorities that a database URL names, with the word that names them.
fn database_files(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(word, _)| matches!(*word, "ssl-ca" | "sslca"))
}

async fn check_authorities(path: &Path, word: &str) -> anyhow::Result<()> {
    let key = format!("database.url, {word}");
    let pem = read_file(path, &key).await?;
    roots(&pem)
        .map(drop)
        .map_err(|error| error.context(format!("{key}: {}", path.display())))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use tempfile::TempDir;

    use super::*;

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
