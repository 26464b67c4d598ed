//! Tokens: JSON Web Tokens of one issuer, checked by keys that it publishes.

use std::{fmt, sync::Arc};

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::{
    Roles, is_name,
    keys::{Found, KeySet},
};
use crate::{
    clock::SharedClock,
    config::{CallersJwt, role_of},
    lifecycle::Lifecycle,
};

/// A longer token is not read.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Roles of one token that are looked at.
const ROLES_MAX: usize = 256;

/// Why a token does not prove who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproven {
    /// It is not one that counts here. The words go to the caller and hold nothing of the token.
    Refused(&'static str),
    /// There are no keys to check it with.
    NotNow,
}

/// Checks tokens.
pub(super) struct Tokens {
    keys: KeySet,
    validation: Validation,
    subject_claim: String,
    roles_claim: String,
    leeway_seconds: i64,
    clock: SharedClock,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// As it is configured; none without an issuer.
    pub(super) async fn of(jwt: &CallersJwt, clock: SharedClock) -> anyhow::Result<Option<Self>> {
        let Some(issuer) = &jwt.issuer else {
            return Ok(None);
        };
        // The algorithms are those of the key that the token names, never what the token wishes.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.algorithms = Vec::new();
        validation.set_issuer(&[issuer]);
        validation.set_audience(jwt.audience.as_slice());
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // By our own clock, which a test can move.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Some(Self {
            keys: KeySet::load(jwt).await?,
            validation,
            subject_claim: jwt.subject_claim.clone(),
            roles_claim: jwt.roles_claim.clone(),
            leeway_seconds: i64::try_from(jwt.leeway_seconds)?,
            clock,
        }))
    }

    /// Keeps the keys up to date in the background.
    pub(super) fn spawn_refreshing(&self, lifecycle: &Lifecycle) {
        self.keys.spawn_refreshing(lifecycle);
    }

    /// Who brings a token in an `authorization` header.
    pub(super) async fn prove(&self, header: &[u8]) -> Result<(Arc<str>, Roles), Unproven> {
        let (token, kid) = named(header)?;
        let key = match self.keys.find(&kid).await {
            Found::Key(key) => key,
            Found::Unknown => return Err(Unproven::Refused("the token's key is not the issuer's")),
            Found::NoKeys => return Err(Unproven::NotNow),
        };
        let mut validation = self.validation.clone();
        validation.algorithms.clone_from(&key.algorithms);
        let claims: Map<String, Value> = decode(token, &key.key, &validation)
            .map_err(|error| {
                tracing::debug!(error = %error, "a token was refused");
                Unproven::Refused(
                    "the token is not of this issuer, for this service and signed with its key",
                )
            })?
            .claims;
        let now = self.clock.now().timestamp();
        in_time(&claims, now, self.leeway_seconds)?;
        who(&claims, &self.subject_claim, &self.roles_claim)
    }
}

/// The token in an `authorization` header and the name of the key that it says it is signed with.
pub(super) fn named(header: &[u8]) -> Result<(&[u8], String), Unproven> {
    const NO_TOKEN: Unproven = Unproven::Refused("the authorization header holds no bearer token");
    let (scheme, token) = header.split_at_checked(7).ok_or(NO_TOKEN)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") || token.len() > TOKEN_BYTES_MAX {
        return Err(NO_TOKEN);
    }
    let token = token.trim_ascii();
    // A header without an algorithm that we know, such as none, cannot be read.
    let head = decode_header(token).map_err(|_| {
        Unproven::Refused("the token's header cannot be read, or names no signature that counts")
    })?;
    let kid = head
        .kid
        .ok_or(Unproven::Refused("the token does not name its key (kid)"))?;
    Ok((token, kid))
}

/// Whom a token names, and with which roles.
pub(super) fn who(
    claims: &Map<String, Value>,
    subject_claim: &str,
    roles_claim: &str,
) -> Result<(Arc<str>, Roles), Unproven> {
    let name = claim(claims, subject_claim)
        .and_then(Value::as_str)
        .filter(|name| is_name(name))
        .ok_or(Unproven::Refused(
            "the token names no caller of 1 to 64 characters of A–Z a–z 0–9 . _ : @ -",
        ))?;
    let roles = claim(claims, roles_claim).map_or(Roles::NONE, roles);
    Ok((name.into(), roles))
}

/// Whether a token is good now.
pub(super) fn in_time(
    claims: &Map<String, Value>,
    now: i64,
    leeway_seconds: i64,
) -> Result<(), Unproven> {
    let moment = |name: &str| {
        let value = claims.get(name)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a date with a fraction of a second; the cast ends at the bounds"
        )]
        let seconds = value
            .as_i64()
            .or_else(|| value.as_f64().map(|it| it as i64));
        Some(seconds.ok_or(Unproven::Refused("the token's times are no numbers")))
    };
    let expiry = moment("exp").ok_or(Unproven::Refused("the token has no end (exp)"))??;
    if now >= expiry.saturating_add(leeway_seconds) {
        return Err(Unproven::Refused("the token has expired"));
    }
    match moment("nbf").transpose()? {
        Some(begin) if now < begin.saturating_sub(leeway_seconds) => {
            Err(Unproven::Refused("the token is not good yet (nbf)"))
        }
        _ => Ok(()),
    }
}

/// A claim by its name, or by the way into it: `realm_access.roles`.
fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// Those words of a claim that are roles; an issuer's other words are about other services.
fn roles(claim: &Value) -> Roles {
    match claim {
        Value::Array(words) => Roles::of(
            words
                .iter()
                .take(ROLES_MAX)
                .filter_map(Value::as_str)
                .filter_map(role_of),
        ),
        Value::String(words) => {
            Roles::of(words.split_whitespace().take(ROLES_MAX).filter_map(role_of))
        }
        _ => Roles::NONE,
    }
}

#[cfg(test)]
mod tests;
