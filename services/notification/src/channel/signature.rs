//! Standard Webhooks signatures (RELIABILITY 4.1): on what we send to gateways, and on what they send to us.

use chrono::{DateTime, Utc};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use std::fmt;
use subtle::ConstantTimeEq;

/// Clock difference that is allowed, in seconds, both ways.
const TOLERANCE: i64 = 300;
/// Signatures looked at in one header.
const MAX_SIGNATURES: usize = 10;
/// Shortest and longest key in bytes. The standard's text says 24 at least, but published test vectors have 18.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Why a signature cannot be made or is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No key, or one that is not base64 of 16 to 64 bytes.
    #[error("signing keys must be whsec_ and base64 of 16 to 64 bytes, at least one")]
    Key,
    /// One of the three headers is missing or not text.
    #[error("header {0} is missing or unreadable")]
    Header(&'static str),
    /// More than five minutes old or ahead.
    #[error("the signature's time is more than five minutes off")]
    Time,
    /// No signature fits.
    #[error("no signature fits")]
    Mismatch,
    /// The body is not UTF-8, which the standard demands.
    #[error("the body is not UTF-8")]
    Body,
}

/// The keys of one gateway, the newest first. While keys are changed both are used.
pub struct SigningKeys {
    keys: Vec<Webhook>,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.keys.len())
    }
}

impl SigningKeys {
    /// Reads `whsec_…` keys.
    pub fn parse(secrets: &[SecretString]) -> Result<Self, SignatureError> {
        let keys = secrets
            .iter()
            .map(parse_key)
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            Err(SignatureError::Key)
        } else {
            Ok(Self { keys })
        }
    }

    /// The value of `webhook-signature`: one signature per key.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<String, SignatureError> {
        let signatures = self
            .keys
            .iter()
            .map(|key| {
                key.sign(id, timestamp, body)
                    .map_err(|_| SignatureError::Body)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(signatures.join(" "))
    }

    /// Checks what came in at `now` and returns its id, by which replays are recognised.
    pub fn verify<'a>(
        &self,
        headers: &'a HeaderMap,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<&'a str, SignatureError> {
        let id = text(headers, HEADER_WEBHOOK_ID)?;
        let given = text(headers, HEADER_WEBHOOK_SIGNATURE)?;
        let timestamp = text(headers, HEADER_WEBHOOK_TIMESTAMP)?;
        if timestamp.len() > 12 || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SignatureError::Header(HEADER_WEBHOOK_TIMESTAMP));
        }
        let timestamp: i64 = timestamp.parse().map_err(|_| SignatureError::Time)?;
        if (now.timestamp() - timestamp).abs() > TOLERANCE {
            return Err(SignatureError::Time);
        }
        let wanted = self.sign(id, timestamp, body)?;
        let mut fits = false;
        for given in given.split(' ').take(MAX_SIGNATURES) {
            for wanted in wanted.split(' ') {
                fits |= bool::from(given.as_bytes().ct_eq(wanted.as_bytes()));
            }
        }
        if fits {
            Ok(id)
        } else {
            Err(SignatureError::Mismatch)
        }
    }
}

fn parse_key(secret: &SecretString) -> Result<Webhook, SignatureError> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = secret.expose_secret().trim();
    let key = STANDARD
        .decode(text.strip_prefix("whsec_").unwrap_or(text))
        .map_err(|_| SignatureError::Key)?;
    if !KEY_BYTES.contains(&key.len()) {
        return Err(SignatureError::Key);
    }
    Webhook::from_bytes(key).map_err(|_| SignatureError::Key)
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, SignatureError> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
        .ok_or(SignatureError::Header(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const AT: i64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn keys(secrets: &[&str]) -> SigningKeys {
        let secrets: Vec<SecretString> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        SigningKeys::parse(&secrets).unwrap()
    }

    fn headers(id: &str, timestamp: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_WEBHOOK_ID, id.parse().unwrap());
        headers.insert(HEADER_WEBHOOK_TIMESTAMP, timestamp.parse().unwrap());
        headers.insert(HEADER_WEBHOOK_SIGNATURE, signature.parse().unwrap());
        headers
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn verdict(timestamp: &str, signature: &str, now: i64) -> Result<(), SignatureError> {
        keys(&[FIRST])
            .verify(&headers(ID, timestamp, signature), BODY, at(now))
            .map(drop)
    }

    #[test]
    fn published_vectors_are_reproduced() {
        assert_eq!(keys(&[FIRST]).sign(ID, AT, BODY).unwrap(), SIGNATURE);
        let svix = keys(&["whsec_plJ3nmyCDGBKInavdOK15jsl"]);
        let body = br#"{"event_type":"ping","data":{"success":true}}"#;
        assert_eq!(
            svix.sign("msg_loFOjxBNrRLzqYUf", 1_731_705_121, body)
                .unwrap(),
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
        );
    }

    #[test]
    fn while_keys_are_changed_both_sign() {
        let body = br#"{"type":"order.confirmed","timestamp":"2022-04-07T21:39:13Z","data":{"order_id":"ord_01"}}"#;
        assert_eq!(
            keys(&[FIRST, OLD]).sign("msg_01", AT, body).unwrap(),
            "v1,wKD0/4DCfzhCAs5Lew9/VEel1EvUd/hiZr/uiIISuOI= v1,P6RPISZ6JoCnkwY3eEkc2+/fo1GAQoKxkgutY6Jvc3M="
        );
    }

    #[test]
    fn f_05_the_time_may_be_five_minutes_off_and_no_more() {
        let stamp = AT.to_string();
        for off in [-300, -299, 0, 299, 300] {
            assert_eq!(verdict(&stamp, SIGNATURE, AT + off), Ok(()), "{off}");
        }
        for off in [-301, 301] {
            assert_eq!(
                verdict(&stamp, SIGNATURE, AT + off),
                Err(SignatureError::Time)
            );
        }
        for stamp in ["1e9", "-5", "", "99999999999999999999", "1649367553 "] {
            assert!(verdict(stamp, SIGNATURE, AT).is_err(), "{stamp}");
        }
    }

    #[test]
    fn f_05_only_a_whole_and_right_signature_fits() {
        let stamp = AT.to_string();
        let wrong = "v1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        for bad in [
            "v1,",
            &SIGNATURE[..8],
            &format!("{wrong} {wrong} {wrong}"),
            "v1a,x",
        ] {
            assert_eq!(
                verdict(&stamp, bad, AT),
                Err(SignatureError::Mismatch),
                "{bad}"
            );
        }
        assert_eq!(
            verdict(&stamp, &format!("v1a,x v2,y {wrong} {SIGNATURE}"), AT),
            Ok(())
        );
        let fifty = format!("{}{SIGNATURE}", format!("{wrong} ").repeat(49));
        assert_eq!(verdict(&stamp, &fifty, AT), Err(SignatureError::Mismatch));
    }

    #[test]
    fn f_05_every_header_is_needed() {
        for name in [
            HEADER_WEBHOOK_ID,
            HEADER_WEBHOOK_TIMESTAMP,
            HEADER_WEBHOOK_SIGNATURE,
        ] {
            let mut headers = headers(ID, &AT.to_string(), SIGNATURE);
            headers.remove(name);
            let verdict = keys(&[FIRST]).verify(&headers, BODY, at(AT));
            assert_eq!(verdict, Err(SignatureError::Header(name)));
        }
    }

    #[test]
    fn another_key_body_or_id_does_not_fit() {
        let headers = headers(ID, &AT.to_string(), SIGNATURE);
        assert!(keys(&[OLD]).verify(&headers, BODY, at(AT)).is_err());
        assert!(keys(&[FIRST]).verify(&headers, b"{}", at(AT)).is_err());
        assert!(keys(&[OLD, FIRST]).verify(&headers, BODY, at(AT)).is_ok());
    }

    #[test]
    fn weak_and_malformed_keys_are_refused() {
        for bad in ["", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ="] {
            assert!(
                SigningKeys::parse(&[SecretString::from(bad)]).is_err(),
                "{bad}"
            );
        }
        assert!(SigningKeys::parse(&[]).is_err());
    }
}
