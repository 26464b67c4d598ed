//! X-Twilio-Signature (RELIABILITY 4.2): proof that a call to us comes from the account that shares the token with us.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret as _, SecretString};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// The header that holds the signature.
pub const HEADER: &str = "x-twilio-signature";
/// The query parameter that holds the digest of a body that is not a form.
const BODY_DIGEST: &str = "bodySHA256";

/// Signs and verifies with an account's token.
#[derive(Clone)]
pub struct TwilioSignature {
    token: SecretString,
    previous: Option<SecretString>,
}

impl fmt::Debug for TwilioSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TwilioSignature")
    }
}

impl TwilioSignature {
    /// With the account's primary token, also where requests are made with an API key.
    pub const fn new(token: SecretString) -> Self {
        Self {
            token,
            previous: None,
        }
    }

    /// Takes what is signed with the token before, too, while Twilio changes to the new one.
    #[must_use]
    pub fn with_previous(self, previous: Option<SecretString>) -> Self {
        Self { previous, ..self }
    }

    /// The signature of a form that is posted to `url`.
    pub fn sign_form<K: AsRef<str>, V: AsRef<str>>(&self, url: &str, fields: &[(K, V)]) -> String {
        self.sign(without_fragment(url), &signed_fields(fields))
    }

    /// The signature of a call to `url` whose body is no form; its digest is a parameter of the URL.
    pub fn sign_url(&self, url: &str) -> String {
        self.sign(without_fragment(url), "")
    }

    /// Whether `given` is the signature of this form, posted to `url` as it was given to Twilio.
    pub fn verify_form<K: AsRef<str>, V: AsRef<str>>(
        &self,
        url: &str,
        fields: &[(K, V)],
        given: &str,
    ) -> bool {
        self.verify(url, &signed_fields(fields), given).into()
    }

    /// Whether `given` is the signature of this body, which is no form.
    pub fn verify_body(&self, url: &str, body: &[u8], given: &str) -> bool {
        let digest = Sha256::digest(body);
        let mut hex = String::with_capacity(64);
        for byte in digest {
            for nibble in [byte >> 4, byte & 15] {
                hex.extend(char::from_digit(nibble.into(), 16));
            }
        }
        let query = without_fragment(url)
            .split_once('?')
            .map_or("", |(_, query)| query);
        let told = form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == BODY_DIGEST)
            .map(|(_, value)| value.to_ascii_lowercase())
            .unwrap_or_default();
        let same = told.as_bytes().ct_eq(hex.as_bytes());
        (self.verify(url, "", given) & same).into()
    }

    /// Twilio signs the URL with or without a port, whatever we gave it; all are tried, in constant time.
    fn verify(&self, url: &str, fields: &str, given: &str) -> Choice {
        let url = without_fragment(url);
        let mut fits = Choice::from(0);
        for url in [url.to_owned(), with_port(url), without_port(url)] {
            for token in [Some(&self.token), self.previous.as_ref()]
                .into_iter()
                .flatten()
            {
                fits |= signed(token, &url, fields)
                    .as_bytes()
                    .ct_eq(given.trim().as_bytes());
            }
        }
        fits
    }

    fn sign(&self, url: &str, fields: &str) -> String {
        signed(&self.token, url, fields)
    }
}

fn signed(token: &SecretString, url: &str, fields: &str) -> String {
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(token.expose_secret().as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(url.as_bytes());
    mac.update(fields.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Keys in the order of their bytes, each with its distinct values in theirs. The official libraries differ here; this is
/// what Twilio's own servers do.
fn signed_fields<K: AsRef<str>, V: AsRef<str>>(fields: &[(K, V)]) -> String {
    let mut sorted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (key, value) in fields {
        sorted
            .entry(key.as_ref())
            .or_default()
            .insert(value.as_ref());
    }
    let mut text = String::new();
    for (key, values) in sorted {
        for value in values {
            text.push_str(key);
            text.push_str(value);
        }
    }
    text
}

fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(url, _)| url)
}

/// Scheme, host with port, and the rest; the text of the URL is not changed in any other way.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some((scheme, &rest[..end], &rest[end..]))
}

fn port_of(authority: &str) -> Option<usize> {
    let host = authority.rfind(['@', ']']).map_or(0, |at| at + 1);
    let colon = host + authority.get(host..)?.rfind(':')?;
    let port = authority.get(colon + 1..)?;
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(colon)
}

fn with_port(url: &str) -> String {
    match parts(url) {
        Some((scheme, authority, rest)) if port_of(authority).is_none() => {
            let port = if scheme == "http" { 80 } else { 443 };
            format!("{scheme}://{authority}:{port}{rest}")
        }
        _ => url.to_owned(),
    }
}

fn without_port(url: &str) -> String {
    if let Some((scheme, authority, rest)) = parts(url)
        && let Some(colon) = port_of(authority)
    {
        return format!("{scheme}://{}{rest}", &authority[..colon]);
    }
    url.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const URL_WITH_PORT: &str = "https://mycompany.com:443/myapp.php?foo=1&bar=2";
    const CALL: &[(&str, &str)] = &[
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
    ];

    /// URL, form and signature.
    type Vector<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

    fn token() -> TwilioSignature {
        TwilioSignature::new(SecretString::from("12345"))
    }

    fn sid(prefix: &str, letter: &str) -> String {
        format!("{prefix}{}", letter.repeat(32))
    }

    #[test]
    fn f_02_f_04_the_vectors_of_the_official_libraries_are_reproduced() {
        let with_reason = [
            CALL,
            &[("Reason", "Participant"), ("ReasonConferenceEnded", "test")],
        ]
        .concat();
        let older: Vec<(&str, &str)> = CALL
            .iter()
            .map(|&(key, value)| match key {
                "Caller" | "From" => (key, "+12349013030"),
                _ => (key, value),
            })
            .collect();
        let repeated = [
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ];
        let vectors: [Vector<'_>; 6] = [
            (URL, CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            (URL_WITH_PORT, CALL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
            (URL, &with_reason, "vOEb5UThFn24KEfnOFLQY2AE5FY="),
            (URL, &repeated, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
            (
                URL,
                &[("property", "value"), ("boolean", "true")],
                "NBdBDr/T/lgjI+tlgpXjKZQZs/k=",
            ),
            (URL, &older, "0/KCTR6DLpKmkAf8muzZqo1nDgQ="),
        ];
        for (url, fields, signature) in vectors {
            assert_eq!(token().sign_form(url, fields), signature, "{fields:?}");
            assert!(token().verify_form(url, fields, signature));
            let mut backwards = fields.to_vec();
            backwards.reverse();
            assert!(token().verify_form(url, &backwards, signature));
            assert!(!token().verify_form(&format!("{url}&x=1"), fields, signature));
        }
        assert!(
            !token().verify_form(URL, &with_reason, "95+Bu0JVPi0r/SsESZCVf0dWAjw="),
            "the signature over wrongly sorted keys must be refused"
        );
    }

    #[test]
    fn f_04_chinese_emoji_and_our_own_callbacks_are_reproduced() {
        let (account, sms, reply) = (sid("AC", "a"), sid("SM", "a"), sid("SM", "b"));
        let status = [
            ("AccountSid", account.as_str()),
            ("ApiVersion", "2010-04-01"),
            ("From", "+14155552345"),
            ("MessageSid", &sms),
            ("MessageStatus", "delivered"),
            ("SmsSid", &sms),
            ("SmsStatus", "delivered"),
            ("To", "+8613800138000"),
        ];
        let url = "https://notify.example.com/cb/twilio/sms?o=ord_01";
        let signature = "1xN1qKdW670a/nBm18+Yncr+LBs=";
        assert_eq!(token().sign_form(url, &status), signature);
        let url = "https://notify.example.com/cb/twilio/in";
        let words = [
            ("AccountSid", account.as_str()),
            ("Body", "好的,确认 👍"),
            ("From", "+8613800138000"),
            ("MessageSid", &reply),
            ("NumMedia", "0"),
            ("NumSegments", "1"),
            ("To", "+14155552345"),
        ];
        let signature = "JyuMuvFGSlE+owEk1tXKK8mnY5A=";
        assert_eq!(token().sign_form(url, &words), signature);
        // As it comes over the wire: `+` is a blank, and what is empty is signed too.
        let wire = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(words)
            .append_pair("OptOutType", "")
            .finish();
        assert!(wire.contains("+%F0%9F%91%8D") && wire.contains("OptOutType="));
        let read: Vec<(String, String)> = form_urlencoded::parse(wire.as_bytes())
            .into_owned()
            .collect();
        let signature = token().sign_form(url, &[&words[..], &[("OptOutType", "")]].concat());
        assert!(token().verify_form(url, &read, &signature));
        assert!(!token().verify_form(url, &words, &signature));
    }

    #[test]
    fn f_04_a_body_that_is_no_form_is_signed_by_its_digest() {
        let digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
        let url = format!("{URL}&bodySHA256={digest}");
        let body = br#"{"property": "value", "boolean": true}"#;
        let signature = "a9nBmqA0ju/hNViExpshrM61xv4=";
        assert_eq!(token().sign_url(&url), signature);
        assert!(token().verify_body(&url, body, signature));
        assert!(!token().verify_body(&url, b"{}", signature));
        assert!(!token().verify_body(URL, body, &token().sign_url(URL)));
    }

    #[test]
    fn f_03_a_port_more_or_less_makes_no_difference() {
        let bare = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        let with_port = "kvajT1Ptam85bY51eRf/AJRuM3w=";
        for url in [URL, URL_WITH_PORT, &format!("{URL}#rc=2&rp=ct,rt,5xx")] {
            assert!(token().verify_form(url, CALL, bare), "{url}");
            assert!(token().verify_form(url, CALL, with_port), "{url}");
        }
        for other in [
            "http://mycompany.com/myapp.php?foo=1&bar=2",
            "https://mycompany.com:8443/myapp.php?foo=1",
            "https://mycompany.com.evil/myapp.php?foo=1&bar=2",
        ] {
            assert!(!token().verify_form(other, CALL, bare), "{other}");
        }
        assert_eq!(super::without_port("http://[::1]:80/x"), "http://[::1]/x");
        assert_eq!(super::with_port("http://[::1]/x"), "http://[::1]:80/x");
    }

    #[test]
    fn f_02_another_token_or_a_part_of_the_signature_does_not_fit() {
        let other = TwilioSignature::new(SecretString::from("12346"));
        let right = token().sign_form(URL, CALL);
        assert!(!other.verify_form(URL, CALL, &right));
        for wrong in ["", "=", &right[..8], &format!("{right}="), "é"] {
            assert!(!token().verify_form(URL, CALL, wrong), "{wrong}");
        }
    }

    #[test]
    fn j_11_while_the_token_is_changed_callbacks_of_both_are_taken() {
        let old = TwilioSignature::new(SecretString::from("old"));
        let new = TwilioSignature::new(SecretString::from("new"));
        let both = new.clone().with_previous(Some(SecretString::from("old")));
        let url = "https://example.com/callbacks/twilio";
        let fields = [("MessageSid", "SM1")];
        for signer in [&old, &new] {
            let given = signer.sign_form(url, &fields);
            assert!(both.verify_form(url, &fields, &given));
        }
        let given = old.sign_form(url, &fields);
        assert!(!new.verify_form(url, &fields, &given), "the change is over");
        assert_eq!(both.sign_form(url, &fields), new.sign_form(url, &fields));
    }
}
