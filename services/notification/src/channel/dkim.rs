//! Signs letters (DKIM: RFC 6376 and, for Ed25519, RFC 8463), relaxed in header and body.
//!
//! lettre and mail-auth both sign with the time of the machine, and lettre only with a crypto library that is not the one
//! we have. A letter that is sent again must be the same byte for byte, so the signature's time is the letter's own, and
//! the few rules of the relaxed form are written down here. A test has mail-auth verify what comes out.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa,
    signature::{Ed25519KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};

/// Headers that are signed when the letter has them.
const SIGNED: [&str; 11] = [
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "reply-to",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "auto-submitted",
    "feedback-id",
];
/// Characters of a folded line of base64.
const FOLD: usize = 70;

/// How letters are signed.
#[derive(Clone, Debug)]
pub struct DkimConfig {
    /// The domain that vouches for the letter: the writer's, or one above it.
    pub domain: String,
    /// Which of the domain's keys: `{selector}._domainkey.{domain}` publishes the public half.
    pub selector: String,
    /// RSA of 2048 bits or more, or Ed25519, as PEM.
    pub private_key: SecretString,
}

/// Why letters cannot be signed with this set-up. Never repeats the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DkimError {
    /// The key is not PEM of a kind that DKIM knows.
    #[error(
        "the DKIM key must be a PEM file with an RSA key of at least 2048 bits or an Ed25519 key"
    )]
    Key,
    /// Domain or selector is no name.
    #[error("the DKIM {0} must be a name such as example.com")]
    Name(&'static str),
}

/// Signs letters of one domain.
pub(crate) struct DkimSigner {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(Box<rsa::KeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl DkimSigner {
    pub(crate) fn try_new(config: &DkimConfig) -> Result<Self, DkimError> {
        let name = |what, text: &str| {
            let fits = !text.is_empty()
                && text.len() <= 253
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            fits.then(|| text.to_owned()).ok_or(DkimError::Name(what))
        };
        Ok(Self {
            domain: name("domain", &config.domain)?,
            selector: name("selector", &config.selector)?,
            key: parse_key(config.private_key.expose_secret())?,
        })
    }

    /// The signature's header line, ready to stand before `message` (finished, without stuffed dots). The same message and
    /// time give the same line. None when the crypto library fails, which no correct key makes it do.
    pub(crate) fn sign(&self, message: &[u8], time: i64) -> Option<Vec<u8>> {
        let (head, body) = split(message);
        let fields = fields(head);
        let mut names = Vec::new();
        let mut signed = Vec::new();
        for name in SIGNED {
            let field = fields
                .iter()
                .rfind(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
            if let Some(field) = field {
                names.push(name);
                signed.extend_from_slice(&relaxed_field(field.name, field.value));
                signed.extend_from_slice(b"\r\n");
            }
        }
        let algorithm = match self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        };
        let hash = STANDARD.encode(digest(&SHA256, &relaxed_body(body)));
        let mut value = format!(
            " v=1; a={algorithm}; c=relaxed/relaxed;\r\n d={}; s={}; t={};\r\n h={};\r\n bh={hash};\r\n b=",
            self.domain,
            self.selector,
            time.max(0),
            folded_names(&names),
        );
        signed.extend_from_slice(&relaxed_field(b"DKIM-Signature", value.as_bytes()));
        for (at, piece) in STANDARD
            .encode(self.key.sign(&signed)?)
            .as_bytes()
            .chunks(FOLD)
            .enumerate()
        {
            if at > 0 {
                value.push_str("\r\n ");
            }
            value.extend(piece.iter().map(|byte| char::from(*byte)));
        }
        Some(format!("DKIM-Signature:{value}\r\n").into_bytes())
    }
}

impl Key {
    fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    text,
                    &mut signature,
                )
                .ok()?;
                Some(signature)
            }
            // RFC 8463 signs the hash, not the text.
            Self::Ed25519(key) => {
                let hash = digest(&SHA256, text);
                Some(key.sign(hash.as_ref()).as_ref().to_vec())
            }
        }
    }
}

fn parse_key(pem: &str) -> Result<Key, DkimError> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| DkimError::Key)?;
    let rsa = match &der {
        PrivateKeyDer::Pkcs1(key) => rsa::KeyPair::from_der(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => {
            let der = key.secret_pkcs8_der();
            if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                return Ok(Key::Ed25519(key));
            }
            rsa::KeyPair::from_pkcs8(der)
        }
        _ => return Err(DkimError::Key),
    };
    rsa.map(|key| Key::Rsa(Box::new(key)))
        .map_err(|_| DkimError::Key)
}

struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

/// Head with the last line's end, and body.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let end = message
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .map_or(message.len(), |at| at + 2);
    let (head, rest) = message.split_at(end);
    (head, rest.strip_prefix(b"\r\n").unwrap_or(rest))
}

/// Header fields with their folded lines.
fn fields(head: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    let mut start = 0;
    let mut end = 0;
    let lines: Vec<&[u8]> = head.split_inclusive(|byte| *byte == b'\n').collect();
    for (at, line) in lines.iter().enumerate() {
        end += line.len();
        let goes_on = lines
            .get(at + 1)
            .is_some_and(|next| matches!(next.first(), Some(b' ' | b'\t')));
        if goes_on {
            continue;
        }
        let whole = head.get(start..end).unwrap_or_default();
        if let Some(colon) = whole.iter().position(|byte| *byte == b':') {
            let (name, value) = whole.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            fields.push(Field { name, value });
        }
        start = end;
    }
    fields
}

/// Name in small letters, lines unfolded, runs of white space as one blank, none at both ends (RFC 6376 section 3.4.2).
fn relaxed_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = name.trim_ascii().to_ascii_lowercase();
    out.push(b':');
    let words = value
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        .filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
    out
}

/// Runs of white space as one blank, none at line ends, no empty lines at the end (RFC 6376 section 3.4.4).
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut filled = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut blank = false;
        for byte in line {
            if matches!(byte, b' ' | b'\t') {
                blank = true;
                continue;
            }
            if blank {
                out.push(b' ');
                blank = false;
            }
            out.push(*byte);
        }
        let empty = out.len() == filled || out.ends_with(b"\n");
        out.extend_from_slice(b"\r\n");
        if !empty {
            filled = out.len();
        }
    }
    out.truncate(filled);
    out
}

/// The names between colons, broken before the line gets too long.
fn folded_names(names: &[&str]) -> String {
    let mut out = String::new();
    let mut line = 0;
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(':');
        }
        if line + name.len() > FOLD {
            out.push_str("\r\n ");
            line = 0;
        }
        out.push_str(name);
        line += name.len() + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_body_take_the_relaxed_form_of_the_standard() {
        // The example of RFC 6376 section 3.4.5.
        let message = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n";
        let (head, body) = split(message);
        let fields: Vec<Vec<u8>> = fields(head)
            .iter()
            .map(|field| relaxed_field(field.name, field.value))
            .collect();
        assert_eq!(fields, [b"a:X".to_vec(), b"b:Y Z".to_vec()]);
        assert_eq!(relaxed_body(body), b" C\r\nD E\r\n");
    }

    #[test]
    fn an_empty_body_stays_empty_and_a_cut_last_line_is_ended() {
        assert_eq!(relaxed_body(b""), b"");
        assert_eq!(relaxed_body(b"\r\n \r\n\r\n"), b"");
        assert_eq!(relaxed_body(b"a"), b"a\r\n");
        assert_eq!(relaxed_body(b"a\r\n\r\nb\r\n\r\n"), b"a\r\n\r\nb\r\n");
        assert_eq!(relaxed_body(b"  a"), b" a\r\n");
    }

    #[test]
    fn keys_and_names_that_cannot_sign_are_refused_without_being_repeated() {
        let config = |key: &str, domain: &str| DkimConfig {
            domain: domain.to_owned(),
            selector: "s1".to_owned(),
            private_key: SecretString::from(key),
        };
        for key in [
            "",
            "canary",
            "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
        ] {
            let error = DkimSigner::try_new(&config(key, "a.example")).err();
            assert_eq!(error, Some(DkimError::Key));
        }
        let error = DkimSigner::try_new(&config("", "a.example; x=1")).err();
        assert_eq!(error, Some(DkimError::Name("domain")));
    }
}
