//! Where mail goes out: the relay's URL and the rules of encryption.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use rustls::{ClientConfig, crypto::aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt;
use secrecy::SecretString;
use std::{str::FromStr, sync::Arc};

use super::smtp::SmtpTimeouts;

/// When the conversation with the relay is encrypted. A certificate that cannot be trusted is refused under every policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// Never. For a relay on the same machine or a private network.
    None,
    /// By STARTTLS if the relay offers it. Login data are never sent in the clear.
    Opportunistic,
    /// By STARTTLS, or not at all.
    Required,
    /// From the first byte (`smtps`).
    Implicit,
}

/// User and password at the relay.
#[derive(Clone, Debug)]
pub struct Login {
    /// User.
    pub user: SecretString,
    /// Password.
    pub password: SecretString,
}

/// `smtp://user:password@host:port?tls=none|opportunistic|required` or `smtps://user:password@host:port`.
///
/// Without `tls`, `smtp` means `required`. Ports, if not named: 465 for `smtps`, 25 for `tls=none`, else 587.
#[derive(Clone, Debug)]
pub struct RelayUrl {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Encryption.
    pub tls: TlsPolicy,
    /// Login, if the relay wants one.
    pub login: Option<Login>,
}

/// Why a relay's URL or its encryption cannot be used. Never repeats the URL: it holds the password.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Not a URL.
    #[error("the relay's URL cannot be parsed")]
    Url,
    /// Neither `smtp` nor `smtps`.
    #[error("the relay's URL must begin with smtp:// or smtps://")]
    Scheme,
    /// No host.
    #[error("the relay's URL names no host")]
    Host,
    /// An unknown parameter, or an unknown value of `tls`.
    #[error(
        "the relay's URL takes one parameter, tls=none|opportunistic|required, and smtps:// takes none"
    )]
    Parameter,
    /// User without password, or not UTF-8.
    #[error("the relay's URL needs both user and password, percent-encoded UTF-8, or neither")]
    Login,
    /// The system's certificates cannot be used.
    #[error("setting up TLS for the relay")]
    Tls(#[source] rustls::Error),
}

impl FromStr for RelayUrl {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<Self, RelayError> {
        let url = Url::parse(text).map_err(|_| RelayError::Url)?;
        let implicit = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err(RelayError::Scheme),
        };
        let mut tls = if implicit {
            TlsPolicy::Implicit
        } else {
            TlsPolicy::Required
        };
        for (name, value) in url.query_pairs() {
            tls = match (implicit, name.as_ref(), value.as_ref()) {
                (false, "tls", "none") => TlsPolicy::None,
                (false, "tls", "opportunistic") => TlsPolicy::Opportunistic,
                (false, "tls", "required") => TlsPolicy::Required,
                _ => return Err(RelayError::Parameter),
            };
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or(RelayError::Host)?;
        let port = url.port().unwrap_or(match tls {
            TlsPolicy::Implicit => 465,
            TlsPolicy::None => 25,
            TlsPolicy::Opportunistic | TlsPolicy::Required => 587,
        });
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self {
            host,
            port,
            tls,
            login: login(&url)?,
        })
    }
}

fn login(url: &Url) -> Result<Option<Login>, RelayError> {
    let decode = |text: &str| {
        let text = percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| RelayError::Login)?;
        // A NUL would end the user's name inside AUTH PLAIN.
        if text.contains('\0') {
            return Err(RelayError::Login);
        }
        Ok(SecretString::from(text.into_owned()))
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => Err(RelayError::Login),
        (user, Some(password)) => Ok(Some(Login {
            user: decode(user)?,
            password: decode(password)?,
        })),
    }
}

/// Everything that a conversation needs to know about the relay.
pub(crate) struct Relay {
    pub(crate) url: RelayUrl,
    pub(crate) hello_name: String,
    pub(crate) timeouts: SmtpTimeouts,
    pub(crate) tls: Arc<ClientConfig>,
}

/// TLS that trusts what this system trusts.
pub fn system_tls() -> Result<Arc<ClientConfig>, RelayError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(RelayError::Tls)?
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_url_names_host_port_encryption_and_login() {
        let url: RelayUrl = "smtp://o%40x:p%3A%2F@mail.example:2525?tls=opportunistic"
            .parse()
            .unwrap();
        assert_eq!((url.host.as_str(), url.port), ("mail.example", 2525));
        assert_eq!(url.tls, TlsPolicy::Opportunistic);
        let login = url.login.unwrap();
        assert_eq!(login.user.expose_secret(), "o@x");
        assert_eq!(login.password.expose_secret(), "p:/");
    }

    #[test]
    fn encryption_is_required_unless_the_url_says_otherwise() {
        let parse = |text: &str| {
            text.parse::<RelayUrl>()
                .map(|url| (url.port, url.tls))
                .unwrap()
        };
        assert_eq!(parse("smtp://h"), (587, TlsPolicy::Required));
        assert_eq!(parse("smtp://h?tls=none"), (25, TlsPolicy::None));
        assert_eq!(parse("smtps://h"), (465, TlsPolicy::Implicit));
        assert_eq!("smtp://[::1]:25".parse::<RelayUrl>().unwrap().host, "::1");
    }

    #[test]
    fn wrong_urls_are_refused_without_repeating_them() {
        for text in [
            "mail.example",
            "http://h",
            "smtp://",
            "smtp://h?tls=maybe",
            "smtps://h?tls=none",
            "smtp://h?x=1",
            "smtp://secret@h",
            "smtp://u:secret%00@h",
            "smtp://u:%ff@h",
        ] {
            let error = text.parse::<RelayUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{text}");
        }
    }

    #[test]
    fn login_data_are_not_printed() {
        let url: RelayUrl = "smtp://someone:secret@h".parse().unwrap();
        let text = format!("{url:?}");
        assert!(
            !text.contains("secret") && !text.contains("someone"),
            "{text}"
        );
    }
}
