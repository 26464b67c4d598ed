//! Letters that come back, as functions of bytes; see [`countersign_domain::fuzz`].

use countersign_domain::secrets::LinkKey;

use super::{
    report::read_report,
    sns::{Posted, amazon_url},
    webhook::{Notification, said},
};

/// Tokens in the inputs that are kept were made with it.
fn key() -> Option<LinkKey> {
    LinkKey::new(&[7; 32]).ok()
}

/// A letter from the folder that bounces come back to.
pub(crate) fn bounce_mail(bytes: &[u8]) {
    let told = key().and_then(|key| read_report(bytes, &key));
    if let Some((_, _, told)) = told {
        assert!(told.code.is_none_or(|code| code.len() <= 9));
    }
}

/// A notification of SES, or the same brought by SNS.
pub(crate) fn bounce_callback(bytes: &[u8]) {
    if let (Ok(notification), Some(key)) = (serde_json::from_slice::<Notification>(bytes), key())
        && let Some((content, _)) = said(&notification, &key)
    {
        assert!(serde_json::to_string(&content).is_ok(), "can be stored");
    }
    let Ok(posted) = serde_json::from_slice::<Posted>(bytes) else {
        return;
    };
    posted.certificate_url().ok();
    if let Some(url) = &posted.subscribe_url
        && let Some(url) = amazon_url(url, &posted.topic_arn)
    {
        let host = url.host_str().unwrap_or_default();
        assert!(host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"));
    }
    let is_signed = posted.verify(include_bytes!("sns_fixture/certificate.pem"));
    assert!(is_signed.is_err(), "nobody but Amazon signs");
    // Whatever certificate is at the address.
    posted.verify(posted.message.as_bytes()).ok();
}
