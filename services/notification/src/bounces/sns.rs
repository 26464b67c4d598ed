//! Messages of Amazon SNS: what they hold, and whether Amazon signed them (signature versions 1 and 2).

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Url;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;

/// A message as SNS posts it. Fields that we do not know are allowed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Posted {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) message_id: String,
    pub(super) topic_arn: String,
    pub(super) message: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    pub(super) signing_cert_url: String,
    subject: Option<String>,
    token: Option<String>,
    #[serde(rename = "SubscribeURL")]
    pub(super) subscribe_url: Option<String>,
}

/// Why a message is not taken for one of Amazon's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forged {
    #[error("the certificate is not kept where Amazon keeps those of the topic's region")]
    CertificateAddress,
    #[error("the certificate holds no key")]
    Certificate,
    #[error("the kind of message or of signature is not known")]
    Unknown,
    #[error("the signature is not right")]
    Signature,
}

impl Posted {
    /// What was signed: the fields of its kind, each as its name and its value in a line.
    pub(super) fn signed(&self) -> Result<String, Forged> {
        let mut fields = vec![("Message", &self.message), ("MessageId", &self.message_id)];
        let needed = |field| Option::ok_or(field, Forged::Unknown);
        match self.kind.as_str() {
            "Notification" => {
                fields.extend(self.subject.as_ref().map(|subject| ("Subject", subject)));
                fields.push(("Timestamp", &self.timestamp));
            }
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
                fields.push(("SubscribeURL", needed(self.subscribe_url.as_ref())?));
                fields.push(("Timestamp", &self.timestamp));
                fields.push(("Token", needed(self.token.as_ref())?));
            }
            _ => return Err(Forged::Unknown),
        }
        fields.extend([("TopicArn", &self.topic_arn), ("Type", &self.kind)]);
        let mut text = String::new();
        for (name, value) in fields {
            for part in [name, value.as_str()] {
                text.push_str(part);
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// Whether the key of a certificate signed it.
    pub(super) fn verify(&self, certificate: &[u8]) -> Result<(), Forged> {
        let signed = self.signed()?;
        let signature = STANDARD
            .decode(&self.signature)
            .map_err(|_| Forged::Signature)?;
        let certificate =
            CertificateDer::from_pem_slice(certificate).map_err(|_| Forged::Certificate)?;
        let certificate =
            webpki::EndEntityCert::try_from(&certificate).map_err(|_| Forged::Certificate)?;
        let key = certificate.subject_public_key_info();
        let algorithm = match self.signature_version.as_str() {
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Forged::Unknown),
        };
        UnparsedPublicKey::new(algorithm, key.as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Forged::Signature)
    }

    /// Where its certificate is, if that is where Amazon keeps it.
    pub(super) fn certificate_url(&self) -> Result<Url, Forged> {
        let url = amazon_url(&self.signing_cert_url, &self.topic_arn)
            .ok_or(Forged::CertificateAddress)?;
        let name = url
            .path()
            .strip_prefix("/SimpleNotificationService-")
            .and_then(|name| name.strip_suffix(".pem"))
            .filter(|name| (1..=64).contains(&name.len()))
            .filter(|name| name.bytes().all(|it| it.is_ascii_alphanumeric()));
        if name.is_none() || url.query().is_some() {
            return Err(Forged::CertificateAddress);
        }
        Ok(url)
    }
}

/// An address of SNS in the region of a topic.
pub(super) fn amazon_url(text: &str, topic: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= 2_048)?;
    let host = sns_host(topic)?;
    let plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && url.fragment().is_none();
    (plain && url.host_str() == Some(host.as_str())).then_some(url)
}

/// The host of SNS in the region of a topic, `arn:aws:sns:{region}:{account}:{name}`.
pub(super) fn sns_host(topic: &str) -> Option<String> {
    let parts: Vec<&str> = topic.split(':').collect();
    let [arn, partition, sns, region, account, name] = parts.as_slice() else {
        return None;
    };
    let word = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=32).contains(&text.len()) && text.bytes().all(fits)
    };
    let ending = match *partition {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        _ => return None,
    };
    let is_topic = *arn == "arn"
        && *sns == "sns"
        && word(region)
        && account.bytes().all(|it| it.is_ascii_digit())
        && !account.is_empty()
        && !name.is_empty();
    is_topic.then(|| format!("sns.{region}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:bounces";

    fn fixture(version: &str, signature: &str) -> Posted {
        serde_json::from_value(serde_json::json!({
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Subject": "Amazon SES Email Event Notification",
            "Message": "{\"notificationType\":\"Bounce\"}",
            "Timestamp": "2026-11-02T00:54:06.655Z",
            "SignatureVersion": version,
            "Signature": signature.trim(),
            "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
            "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
            "MessageAttributes": {"unknown": true},
        }))
        .unwrap()
    }

    /// Made with openssl by a key that was thrown away, for the text that [`fixture`] makes.
    const CERTIFICATE: &[u8] = include_bytes!("sns_fixture/certificate.pem");
    const VERSION_1: &str = include_str!("sns_fixture/version-1.txt");
    const VERSION_2: &str = include_str!("sns_fixture/version-2.txt");

    #[test]
    fn both_versions_of_signatures_are_verified_and_any_change_is_noticed() {
        for (version, other, signature) in [("1", "2", VERSION_1), ("2", "1", VERSION_2)] {
            let message = fixture(version, signature);
            assert_eq!(message.verify(CERTIFICATE), Ok(()), "version {version}");
            assert_eq!(
                fixture(other, signature).verify(CERTIFICATE),
                Err(Forged::Signature)
            );
            assert_eq!(
                fixture("3", signature).verify(CERTIFICATE),
                Err(Forged::Unknown)
            );
            assert_eq!(
                fixture(version, "AAAA").verify(CERTIFICATE),
                Err(Forged::Signature)
            );
            assert_eq!(
                fixture(version, "?").verify(CERTIFICATE),
                Err(Forged::Signature)
            );
            assert_eq!(message.verify(b"no certificate"), Err(Forged::Certificate));
            let changes: [fn(&mut Posted); 6] = [
                |it| it.message.push(' '),
                |it| it.message_id.push('0'),
                |it| it.topic_arn.push('0'),
                |it| it.timestamp.push('0'),
                |it| it.subject = None,
                |it| it.kind = "SubscriptionConfirmation".to_owned(),
            ];
            for change in changes {
                let mut forged = message.clone();
                change(&mut forged);
                assert!(forged.verify(CERTIFICATE).is_err(), "{forged:?}");
            }
        }
    }

    #[test]
    fn certificates_and_confirmations_come_from_amazon_alone() {
        let address = |url: &str| {
            let mut message = fixture("2", VERSION_2);
            url.clone_into(&mut message.signing_cert_url);
            message.certificate_url().is_ok()
        };
        assert!(address(
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
        ));
        for url in [
            "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-01.pem",
            "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-01.pem",
            "https://a:b@sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem?x=1",
            "https://sns.eu-west-1.amazonaws.com/bucket/SimpleNotificationService-01.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-../x.pem",
            "https://s3.eu-west-1.amazonaws.com/SimpleNotificationService-01.pem",
            "https://169.254.169.254/SimpleNotificationService-01.pem",
            "file:///SimpleNotificationService-01.pem",
            "",
        ] {
            assert!(!address(url), "{url}");
        }
        assert_eq!(
            sns_host("arn:aws-cn:sns:cn-north-1:123456789012:bounces").as_deref(),
            Some("sns.cn-north-1.amazonaws.com.cn")
        );
        for topic in [
            "",
            "arn:aws:sqs:eu-west-1:1:q",
            "arn:aws:sns:eu-west-1.evil.example/:1:t",
            "arn:evil:sns:eu-west-1:1:t",
            "arn:aws:sns:eu-west-1:1",
            "arn:aws:sns:eu-west-1:1:t:x",
        ] {
            assert_eq!(sns_host(topic), None, "{topic}");
        }
    }

    proptest::proptest! {
        #[test]
        fn i_11_whatever_is_posted_is_read_or_refused(
            body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
            text in "\\PC{0,60}",
        ) {
            if let Ok(message) = serde_json::from_slice::<Posted>(&body) {
                proptest::prop_assert!(message.verify(CERTIFICATE).is_err());
            }
            proptest::prop_assert!(amazon_url(&text, TOPIC).is_none());
            let mut message = fixture("1", VERSION_1);
            message.message = text.clone();
            message.signature = text;
            proptest::prop_assert!(message.verify(CERTIFICATE).is_err());
        }
    }
}
