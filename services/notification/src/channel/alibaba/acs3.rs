//! ACS3-HMAC-SHA256, the signature of Alibaba Cloud's interfaces. Pure: date and nonce are among the headers given.

use std::{collections::BTreeMap, fmt::Write as _};

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "ACS3-HMAC-SHA256";
/// Bytes that SHA-256 works on at a time.
const BLOCK: usize = 64;
/// What RFC 3986 leaves as it is, beside letters and digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A request as it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Acs3Request<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// `/` for the interfaces of the RPC kind.
    pub path: &'a str,
    /// In the form of [`canonical_query`].
    pub query: &'a str,
    /// All that are to be signed. A name that stands twice has both values.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body, in hexadecimal digits.
    pub payload_hash: &'a str,
}

/// What signing gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acs3Signature {
    /// Of the canonical request.
    pub request_hash: String,
    /// Names, in the sequence in which they are signed.
    pub signed_headers: String,
    /// Hexadecimal digits.
    pub signature: String,
}

impl Acs3Signature {
    /// The value of the header `Authorization`.
    pub fn authorization(&self, access_key_id: &str) -> String {
        format!(
            "{ALGORITHM} Credential={access_key_id},SignedHeaders={},Signature={}",
            self.signed_headers, self.signature
        )
    }
}

/// Signs a request.
pub fn sign(request: &Acs3Request<'_>, secret: &SecretString) -> Acs3Signature {
    let headers = canonical_headers(request.headers);
    let signed_headers = headers.keys().cloned().collect::<Vec<_>>().join(";");
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
    for (name, values) in &headers {
        // Writing into a String cannot fail.
        let _ = writeln!(canonical, "{name}:{}", values.join(","));
    }
    let _ = write!(canonical, "\n{signed_headers}\n{}", request.payload_hash);
    let request_hash = hex(&Sha256::digest(&canonical));
    let text = format!("{ALGORITHM}\n{request_hash}");
    Acs3Signature {
        signature: hex(&hmac_sha256(
            secret.expose_secret().as_bytes(),
            text.as_bytes(),
        )),
        request_hash,
        signed_headers,
    }
}

/// Names in small letters, sorted, with their sorted values.
fn canonical_headers<'a>(headers: &[(&str, &'a str)]) -> BTreeMap<String, Vec<&'a str>> {
    let mut canonical: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers {
        let values = canonical.entry(name.to_ascii_lowercase()).or_default();
        values.push(value.trim());
        values.sort_unstable();
    }
    canonical
}

/// Sorted by name and encoded: the query as it is signed, and as it goes into the address.
pub fn canonical_query(parameters: &[(&str, &str)]) -> String {
    let sorted: BTreeMap<&str, &str> = parameters.iter().copied().collect();
    let pairs: Vec<String> = sorted
        .into_iter()
        .map(|(name, value)| {
            format!(
                "{}={}",
                utf8_percent_encode(name, ENCODED),
                utf8_percent_encode(value, ENCODED)
            )
        })
        .collect();
    pairs.join("&")
}

/// SHA-256 in hexadecimal digits.
pub fn payload_hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Small hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// HMAC-SHA256.
pub fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    // HMAC's own rule for keys of any length: too long is hashed, too short is filled with zeros.
    let hashed: [u8; 32];
    let key = if key.len() > BLOCK {
        hashed = Sha256::digest(key).into();
        hashed.as_slice()
    } else {
        key
    };
    let mut block = [0; BLOCK];
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    let mut mac = <Hmac<Sha256>>::new(&block.into());
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn headers<'a>(host: &'a str, action: &'a str, version: &'a str) -> [(&'a str, &'a str); 6] {
        [
            ("host", host),
            ("x-acs-action", action),
            ("x-acs-version", version),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-content-sha256", EMPTY),
        ]
    }

    #[test]
    fn the_published_vector_of_the_signature_page() {
        let query = canonical_query(&[
            ("RegionId", "cn-shanghai"),
            (
                "ImageId",
                "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
            ),
        ]);
        let headers = headers("ecs.cn-shanghai.aliyuncs.com", "RunInstances", "2014-05-26");
        let signed = sign(
            &Acs3Request {
                method: "POST",
                path: "/",
                query: &query,
                headers: &headers,
                payload_hash: &payload_hash(b""),
            },
            &"YourAccessKeySecret".into(),
        );
        assert_eq!(
            signed.request_hash,
            "7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259"
        );
        assert_eq!(
            signed.authorization("YourAccessKeyId"),
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;\
             x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,\
             Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
    }

    #[test]
    fn the_vector_of_the_published_kit_with_a_header_that_stands_twice() {
        let signed = sign(
            &Acs3Request {
                method: "",
                path: "/",
                query: &canonical_query(&[("test", "ok"), ("empty", "")]),
                headers: &[("x-acs-TEST", "https"), ("x-acs-test", "http")],
                payload_hash: "55e12e91650d2fec56ec74e1d3e4ddbfce2ef3a65890c2a19ecf88a307e76a23",
            },
            &"secret".into(),
        );
        assert_eq!(
            signed.authorization("acesskey"),
            "ACS3-HMAC-SHA256 Credential=acesskey,SignedHeaders=x-acs-test,\
             Signature=4ab59fffe3c5738ff8a2729f90cc04fe18b02a4b15b2102cbaf92f9ff3df2ea3"
        );
    }

    #[test]
    fn a_text_message_is_signed_as_computed_independently() {
        let query = canonical_query(&[
            ("PhoneNumbers", "13800138000"),
            ("SignName", "阿里云"),
            ("TemplateCode", "SMS_153055065"),
            ("TemplateParam", r#"{"code":"1111"}"#),
            ("OutId", "ntf_01HZX"),
        ]);
        assert_eq!(
            query,
            "OutId=ntf_01HZX&PhoneNumbers=13800138000&SignName=%E9%98%BF%E9%87%8C%E4%BA%91\
             &TemplateCode=SMS_153055065&TemplateParam=%7B%22code%22%3A%221111%22%7D"
        );
        let headers = headers("dysmsapi.aliyuncs.com", "SendSms", "2017-05-25");
        let signed = sign(
            &Acs3Request {
                method: "POST",
                path: "/",
                query: &query,
                headers: &headers,
                payload_hash: &payload_hash(b""),
            },
            &"YourAccessKeySecret".into(),
        );
        assert_eq!(
            (signed.request_hash.as_str(), signed.signature.as_str()),
            (
                "78cced8d01483f3b125de0becc3aec4f97c6f3a209f5e33766868c6f6b8d4733",
                "a8d8251ba4189846469367c0cb35e434fd36771f853b647da39f80d4948b3d2b"
            )
        );
    }

    #[test]
    fn what_is_not_plain_is_encoded_by_rfc_3986() {
        assert_eq!(
            canonical_query(&[("k", "a b*~-_.+/%é")]),
            "k=a%20b%2A~-_.%2B%2F%25%C3%A9"
        );
    }
}
