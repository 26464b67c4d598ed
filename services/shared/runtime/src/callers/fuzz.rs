//! Tokens and the keys of their issuer, as a function of bytes.

use jsonwebtoken::{Algorithm, Validation, decode};
use serde_json::{Map, Value};

use super::{
    keys::read,
    tokens::{in_time, named, who},
};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// An `authorization` header, a line end, the keys; either alone is read, too, and the bytes as the claims of a token.
pub(crate) fn caller_token(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n');
    let (header, rest) = bytes.split_at(at.unwrap_or(bytes.len()));
    let keys = read(rest, &ALGORITHMS).or_else(|_| read(bytes, &ALGORITHMS));
    if let Ok((token, kid)) = named(header)
        && let Some(key) = keys.ok().and_then(|keys| keys.get(&kid).cloned())
    {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.algorithms.clone_from(&key.algorithms);
        let read = decode::<Map<String, Value>>(token, &key.key, &validation);
        assert!(read.is_err(), "nobody but the issuer signs");
    }
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(bytes) else {
        return;
    };
    in_time(&claims, 1_795_000_000, 60).ok();
    for (subject, roles) in [("sub", "roles"), ("realm.name", "realm_access.roles")] {
        if let Ok((name, _)) = who(&claims, subject, roles) {
            assert!((1..=64).contains(&name.len()));
        }
    }
}
