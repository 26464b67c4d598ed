//! Who may call, and how this program calls.

use std::{net::SocketAddr, path::PathBuf};

use countersign_proto::v1::Role;
use http::Uri;
use serde::{Deserialize, Serialize};

use super::{
    Config,
    validate::{Problems, check_http, is_here},
};
use crate::callers::{is_name, word};

/// What must be written out in full before strangers are let in.
const ANYONE: &str = "anyone who reaches the port may do everything";
/// Signatures that a token may carry: those of key pairs, whose public half proves nothing when it is known.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// Who may call the gRPC services. Nobody is asked for anything while this is empty, and then they listen on loopback only.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Callers {
    /// TLS ends in front of the services, in a proxy that nobody gets around: tokens may come without it.
    pub tls_elsewhere: bool,
    /// Whether the services tell which methods they have. Left open: only where nobody is asked who they are.
    pub reflection: Option<bool>,
    /// The sentence that lets everybody in on an address that others reach.
    pub allow_unauthenticated: Option<String>,
    /// How connections are encrypted, and whose certificates count.
    pub tls: CallersTls,
    /// Which callers the names in certificates are.
    pub certificates: Vec<CallerCertificate>,
    /// Tokens that callers may bring.
    pub jwt: CallersJwt,
}

/// How connections are encrypted. Files are read anew when they change.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallersTls {
    /// The services' certificate and those between it and the authority, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The authorities whose certificates callers must show, in PEM; several while one takes over from another.
    pub client_ca_file: Option<PathBuf>,
    /// What those authorities took back, in PEM: a list for each of them.
    pub client_crl_file: Option<PathBuf>,
}

/// Whose certificate it is.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CallerCertificate {
    /// The URI or DNS name in the certificate, such as `spiffe://company/shop`.
    pub san: String,
    /// What the caller is called from then on.
    pub name: String,
    /// What it may do, such as `ORDER_WRITER`.
    pub roles: Vec<String>,
}

/// Tokens that callers may bring, as JSON Web Tokens in the `authorization` header.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallersJwt {
    /// Who must have made them.
    pub issuer: Option<String>,
    /// Whom they must be for: these services.
    pub audience: Option<String>,
    /// Where the issuer publishes its keys.
    pub jwks_url: Option<String>,
    /// A file with the keys, instead of `jwks_url`; it is read anew when it changes.
    pub jwks_file: Option<PathBuf>,
    /// The authority of the certificate at `jwks_url`, in PEM, when it is none that the system knows.
    pub jwks_ca_file: Option<PathBuf>,
    /// Signatures that count.
    pub algorithms: Vec<String>,
    /// Seconds that the issuer's clock may be off.
    pub leeway_seconds: u64,
    /// The claim that names the caller.
    pub subject_claim: String,
    /// The claim that names the roles, as a list or as words; dots lead into it.
    pub roles_claim: String,
}

impl Default for CallersJwt {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            jwks_url: None,
            jwks_file: None,
            jwks_ca_file: None,
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            leeway_seconds: 30,
            subject_claim: "sub".to_owned(),
            roles_claim: "roles".to_owned(),
        }
    }
}

impl Callers {
    /// Whether connections are encrypted here.
    pub const fn encrypts(&self) -> bool {
        self.tls.certificate_file.is_some()
    }

    /// Whether callers must prove who they are.
    pub const fn authenticates(&self) -> bool {
        self.tls.client_ca_file.is_some() || self.jwt.issuer.is_some()
    }

    /// Whether a service at this address tells which methods it has.
    pub fn reflects_at(&self, address: SocketAddr) -> bool {
        self.reflection
            .unwrap_or_else(|| !self.authenticates() && address.ip().is_loopback())
    }
}

/// How this program calls a service that asks who calls: the worker the order service, the commands either.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// The authority of the services' certificates, in PEM, when it is none that the system knows.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key_file: Option<PathBuf>,
    /// A file with the token to bring; it is read anew when it changes.
    pub token_file: Option<PathBuf>,
    /// The name in the service's certificate, where it is not the one in the address.
    pub server_name: Option<String>,
}

/// The role that a word of the configuration means.
pub(crate) fn role_of(word: &str) -> Option<Role> {
    Role::from_str_name(&format!("ROLE_{word}")).filter(|role| *role != Role::Unspecified)
}

fn known_roles() -> String {
    let roles = (1..32).filter_map(|number| Role::try_from(number).ok());
    roles.map(word).collect::<Vec<_>>().join(", ")
}

impl Config {
    pub(super) fn check_callers(&self, problems: &mut Problems) {
        let callers = &self.callers;
        let tls = &callers.tls;
        problems.unless(
            tls.certificate_file.is_some() == tls.key_file.is_some(),
            "callers.tls",
            "certificate_file and key_file belong together",
        );
        problems.unless(
            tls.client_ca_file.is_none() || tls.certificate_file.is_some(),
            "callers.tls.client_ca_file",
            "needs certificate_file and key_file: callers show certificates on encrypted connections only",
        );
        problems.unless(
            tls.client_crl_file.is_none() || tls.client_ca_file.is_some(),
            "callers.tls.client_crl_file",
            "needs client_ca_file",
        );
        self.check_certificates(problems);
        self.check_jwt(problems);
        let sentence = callers.allow_unauthenticated.as_deref();
        problems.unless(
            sentence.is_none_or(|sentence| sentence == ANYONE),
            "callers.allow_unauthenticated",
            &format!("must be \"{ANYONE}\", or be left out"),
        );
        problems.unless(
            sentence.is_none() || !callers.authenticates(),
            "callers.allow_unauthenticated",
            "contradicts the rest of callers",
        );
        for (key, address) in [
            ("order.listen", self.order.listen),
            ("notification.grpc_listen", self.notification.grpc_listen),
        ] {
            let reached = !address.ip().is_loopback();
            problems.unless(
                !reached || callers.authenticates() || sentence.is_some(),
                key,
                &format!(
                    "{address} can be reached from outside, and nobody is asked who calls: set callers.tls.client_ca_file or \
                     callers.jwt.issuer, or listen on 127.0.0.1, or say callers.allow_unauthenticated = \"{ANYONE}\""
                ),
            );
            problems.unless(
                !reached || callers.jwt.issuer.is_none() || callers.encrypts() || callers.tls_elsewhere,
                key,
                "tokens would be readable on the way: set callers.tls, or callers.tls_elsewhere = true where a proxy in front encrypts",
            );
        }
        let client = &self.client;
        problems.unless(
            client.certificate_file.is_some() == client.key_file.is_some(),
            "client",
            "certificate_file and key_file belong together",
        );
    }

    fn check_certificates(&self, problems: &mut Problems) {
        let certificates = &self.callers.certificates;
        problems.unless(
            certificates.is_empty() == self.callers.tls.client_ca_file.is_none(),
            "callers.certificates",
            "and callers.tls.client_ca_file belong together: one says whose certificates count, the other who they are",
        );
        for (at, certificate) in certificates.iter().enumerate() {
            let key = |field: &str| format!("callers.certificates[{at}].{field}");
            problems.unless(
                !certificate.san.trim().is_empty(),
                &key("san"),
                "must be the URI or DNS name in a certificate",
            );
            let again = certificates
                .iter()
                .take(at)
                .any(|other| other.san == certificate.san);
            problems.unless(!again, &key("san"), "stands there twice");
            problems.unless(
                is_name(&certificate.name),
                &key("name"),
                "must be 1 to 64 characters of A–Z a–z 0–9 . _ : @ -",
            );
            problems.unless(
                !certificate.roles.is_empty()
                    && certificate.roles.iter().all(|word| role_of(word).is_some()),
                &key("roles"),
                &format!("must be some of {}", known_roles()),
            );
        }
    }

    fn check_jwt(&self, problems: &mut Problems) {
        let jwt = &self.callers.jwt;
        if jwt.issuer.is_none() {
            problems.unless(
                jwt.audience.is_none() && jwt.jwks_url.is_none() && jwt.jwks_file.is_none(),
                "callers.jwt.issuer",
                "is needed for tokens",
            );
            return;
        }
        problems.unless(
            jwt.audience.as_ref().is_some_and(|it| !it.is_empty()),
            "callers.jwt.audience",
            "is needed: a token for another service must not open this one",
        );
        problems.unless(
            jwt.jwks_url.is_some() != jwt.jwks_file.is_some(),
            "callers.jwt.jwks_url",
            "or jwks_file is needed, one of them",
        );
        if let Some(url) = &jwt.jwks_url {
            check_http(url, "callers.jwt.jwks_url", problems);
            let parsed = url.parse::<Uri>().ok();
            let encrypted = parsed.as_ref().and_then(Uri::scheme_str) == Some("https");
            problems.unless(
                encrypted || is_here(url),
                "callers.jwt.jwks_url",
                "must be https: whoever changes the keys on the way can make tokens",
            );
        }
        problems.unless(
            !jwt.algorithms.is_empty()
                && jwt
                    .algorithms
                    .iter()
                    .all(|it| ALGORITHMS.contains(&it.as_str())),
            "callers.jwt.algorithms",
            &format!("must be some of {}", ALGORITHMS.join(", ")),
        );
        problems.unless(
            jwt.leeway_seconds <= 300,
            "callers.jwt.leeway_seconds",
            "must be from 0 to 300",
        );
        for (key, claim) in [
            ("callers.jwt.subject_claim", &jwt.subject_claim),
            ("callers.jwt.roles_claim", &jwt.roles_claim),
        ] {
            problems.unless(!claim.is_empty(), key, "must name a claim");
        }
    }
}
