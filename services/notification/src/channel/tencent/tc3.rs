//! TC3-HMAC-SHA256, the signature of Tencent Cloud's interfaces. Pure: the time is an argument.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};

use crate::channel::alibaba::acs3::{hex, hmac_sha256, payload_hash};

const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// A POST to `/` without a query, as it is signed.
#[derive(Clone, Copy)]
pub struct Tc3Request<'a> {
    /// Such as `sms`.
    pub service: &'a str,
    /// Names in small letters, sorted, with their values as they are sent.
    pub headers: &'a [(&'a str, &'a str)],
    /// As it is sent.
    pub body: &'a [u8],
    /// Of the header `X-TC-Timestamp`.
    pub time: DateTime<Utc>,
}

/// What signing gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tc3Signature {
    /// Of the canonical request.
    pub request_hash: String,
    signed_headers: String,
    scope: String,
    /// Hexadecimal digits.
    pub signature: String,
}

impl Tc3Signature {
    /// The value of the header `Authorization`.
    pub fn authorization(&self, secret_id: &str) -> String {
        format!(
            "{ALGORITHM} Credential={secret_id}/{}, SignedHeaders={}, Signature={}",
            self.scope, self.signed_headers, self.signature
        )
    }
}

/// Signs a request.
pub fn sign(request: &Tc3Request<'_>, secret: &SecretString) -> Tc3Signature {
    let mut headers = String::new();
    let mut names = Vec::with_capacity(request.headers.len());
    for (name, value) in request.headers {
        // Writing into a String cannot fail.
        let _ = writeln!(headers, "{name}:{}", value.trim().to_lowercase());
        names.push(*name);
    }
    let signed_headers = names.join(";");
    let canonical = format!(
        "POST\n/\n\n{headers}\n{signed_headers}\n{}",
        payload_hash(request.body)
    );
    let request_hash = payload_hash(canonical.as_bytes());
    let date = request.time.format("%Y-%m-%d").to_string();
    let scope = format!("{date}/{}/tc3_request", request.service);
    let text = format!(
        "{ALGORITHM}\n{}\n{scope}\n{request_hash}",
        request.time.timestamp()
    );
    let key = format!("TC3{}", secret.expose_secret());
    let key = hmac_sha256(key.as_bytes(), date.as_bytes());
    let key = hmac_sha256(&key, request.service.as_bytes());
    let key = hmac_sha256(&key, b"tc3_request");
    Tc3Signature {
        signature: hex(&hmac_sha256(&key, text.as_bytes())),
        request_hash,
        signed_headers,
        scope,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector() {
        let body = br#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
        assert_eq!(
            payload_hash(body),
            "35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064"
        );
        let signed = sign(
            &Tc3Request {
                service: "cvm",
                headers: &[
                    ("content-type", "application/json; charset=utf-8"),
                    ("host", "cvm.tencentcloudapi.com"),
                ],
                body,
                time: DateTime::from_timestamp(1_551_113_065, 0).unwrap(),
            },
            &"Gu5t9xGARNpq86cd98joQYCN3EXAMPLE".into(),
        );
        assert_eq!(
            signed.request_hash,
            "5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"
        );
        assert_eq!(
            signed.authorization("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE"),
            "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, \
             SignedHeaders=content-type;host, \
             Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
        );
    }
}
