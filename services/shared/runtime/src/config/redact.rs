//! Secrets as they may be shown.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serializer;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

pub(super) fn url<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_password(secret.expose_secret()))
}

// serde hands the field's type over as it is
#[expect(clippy::ref_option, reason = "the signature that serialize_with calls")]
pub(super) fn optional_url<S: Serializer>(
    secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => url(secret, serializer),
        None => serializer.serialize_none(),
    }
}

#[expect(clippy::ref_option, reason = "the signature that serialize_with calls")]
pub(super) fn optional_secret<S: Serializer>(
    secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(_) => serializer.serialize_str(REDACTED),
        None => serializer.serialize_none(),
    }
}

/// A URL without its password and without the values of its query. In doubt it hides too much: everything between the
/// first colon and the last at sign counts as a password, for people paste passwords that hold slashes.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return REDACTED.to_owned();
    };
    let shown = match rest.rsplit_once('@') {
        Some((account, host)) => {
            let user = account.split(':').next().unwrap_or_default();
            format!("{user}:{REDACTED}@{}", without_query_values(host))
        }
        None => without_query_values(rest),
    };
    format!("{scheme}://{shown}")
}

/// Names of a query and harmless values stay; values of other keys may be passwords.
fn without_query_values(rest: &str) -> String {
    const HARMLESS: [&str; 5] = ["mode", "tls", "ssl-mode", "charset", "cache"];
    let Some((address, query)) = rest.split_once('?') else {
        return rest.to_owned();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if !HARMLESS.contains(&name) => format!("{name}={REDACTED}"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{address}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_inside_a_url_is_never_shown() {
        let cases = [
            (
                "mysql://app:s3cret@db:3306/shop",
                "mysql://app:[redacted]@db:3306/shop",
            ),
            (
                "mysql://app:a/b@c?d#s3cret@db/shop",
                "mysql://app:[redacted]@db/shop",
            ),
            (
                "mysql://app@db/shop?password=s3cret",
                "mysql://app:[redacted]@db/shop?password=[redacted]",
            ),
            (
                "mysql://db/shop?ssl-mode=REQUIRED",
                "mysql://db/shop?ssl-mode=REQUIRED",
            ),
            (
                "sqlite://./var/shop.db?mode=rwc",
                "sqlite://./var/shop.db?mode=rwc",
            ),
            (
                "smtp://:s3cret@mail?tls=required",
                "smtp://:[redacted]@mail?tls=required",
            ),
            ("s3cret", "[redacted]"),
            ("app:s3cret@db", "[redacted]"),
        ];
        for (url, shown) in cases {
            assert_eq!(without_password(url), shown, "{url}");
        }
    }
}
