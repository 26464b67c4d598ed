use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use axum::{body::Body, http::Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_domain::{
    ids::DeliveryId,
    reply::{BounceKind, GatewayStatus, Reply},
    secrets::LinkKey,
};
use countersign_store::testing::TestDatabase;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::{ids::Ids, inbox::Inbox, metrics::Metrics};

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:bounces";
const CERTIFICATE: &str =
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";

/// A key and a certificate of its own, as Amazon has them.
struct Signer {
    key: RsaKeyPair,
    certificate: String,
}

impl Signer {
    fn new() -> Self {
        let pair =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        let pair = pair.unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["sns.test".to_owned()]).unwrap();
        Self {
            certificate: parameters.self_signed(&pair).unwrap().pem(),
            key: RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap(),
        }
    }

    fn sign(&self, mut message: Value) -> Value {
        message["SignatureVersion"] = json!("2");
        message["Signature"] = json!("");
        message["Timestamp"] = json!("2026-11-02T00:54:06.655Z");
        if message["SigningCertURL"].is_null() {
            message["SigningCertURL"] = json!(CERTIFICATE);
        }
        let read: Posted = serde_json::from_value(message.clone()).unwrap();
        let mut signature = vec![0; self.key.public_modulus_len()];
        let text = read.signed().unwrap();
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .unwrap();
        message["Signature"] = json!(STANDARD.encode(signature));
        message
    }
}

struct Desk {
    database: TestDatabase,
    router: Router,
    key: LinkKey,
    fetched: Arc<AtomicUsize>,
}

impl Desk {
    /// Where Amazon's pages are as given; none: it does not answer.
    fn new(database: TestDatabase, certificate: Option<String>) -> Self {
        let key = LinkKey::new(&[7; 32]).unwrap();
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = fetched.clone();
        let amazon = Amazon::with(move |url| {
            count.fetch_add(1, Ordering::SeqCst);
            assert_eq!(url.as_str(), CERTIFICATE);
            let page = certificate.clone().map(String::into_bytes);
            Box::pin(async move { page })
        });
        let taker = Taker {
            inbox: Inbox::new(database.store.clone(), Arc::new(Ids::seeded(1))),
            link_key: key.clone(),
            metrics: Metrics::new(),
        };
        Self {
            router: router(taker, &[TOPIC.to_owned()], amazon),
            database,
            key,
            fetched,
        }
    }

    async fn post(&self, body: impl Into<Body>) -> u16 {
        let request = Request::post("/callbacks/bounces/sns").body(body.into());
        let answer = self.router.clone().oneshot(request.unwrap()).await;
        answer.unwrap().status().as_u16()
    }

    async fn replies(&self) -> Vec<Reply> {
        let store = &self.database.store;
        let now = store.now().await.unwrap() + chrono::TimeDelta::minutes(1);
        let lease = chrono::TimeDelta::milliseconds(1);
        store.claim_replies(now, lease, 100).await.unwrap()
    }
}

fn letter() -> DeliveryId {
    DeliveryId::from_uuid(uuid::Uuid::from_u128(77))
}

fn notification(id: &str, message: &Value) -> Value {
    json!({
        "Type": "Notification", "MessageId": id, "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification", "Message": message.to_string(),
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    })
}

#[tokio::test]
async fn e_17_e_18_what_amazon_signs_is_stored_once_in_any_sequence() {
    for database in TestDatabase::all().await {
        let signer = Signer::new();
        let desk = Desk::new(database, Some(signer.certificate.clone()));
        let token = desk.key.bounce_token(letter(), 1);
        let mail = json!({"source": format!("bounce+{token}@hua.example"), "messageId": "x"});
        let delivered =
            json!({"notificationType": "Delivery", "mail": mail, "delivery": {"new": 1}});
        let bounced = json!({
            "notificationType": "Bounce", "mail": mail, "unknown": {"field": []},
            "bounce": {
                "bounceType": "Permanent", "bounceSubType": "General", "feedbackId": "fb-1",
                "bouncedRecipients": [
                    {"emailAddress": "a@example.com", "status": "5.2.2", "action": "failed"},
                    {"emailAddress": "b@example.com", "status": "5.1.1", "new": true},
                    {"emailAddress": "c@example.com"},
                ],
            },
        });
        let complained = json!({
            "notificationType": "Complaint", "mail": mail,
            "complaint": {"feedbackId": "fb-2", "complainedRecipients": [{"emailAddress": "a@example.com"}]},
        });
        let stranger =
            json!({"notificationType": "Bounce", "mail": {"source": "bounce+zzz@hua.example"}});
        let greeting = json!("Successfully validated SNS topic for Amazon SES event publishing.");
        // The later news first, and every message twice.
        for _ in 0..2 {
            for (id, message) in [
                ("m-3", &complained),
                ("m-2", &bounced),
                ("m-1", &delivered),
                ("m-4", &stranger),
                ("m-5", &greeting),
            ] {
                let body = signer.sign(notification(id, message)).to_string();
                assert_eq!(desk.post(body).await, 204, "{id}");
            }
        }
        // The same bounce in another message is the same bounce.
        let again = signer.sign(notification("m-6", &bounced)).to_string();
        assert_eq!(desk.post(again).await, 204);
        let found: Vec<ReplyContent> = desk
            .replies()
            .await
            .into_iter()
            .map(|it| it.content)
            .collect();
        let bounce = |bounce, code: Option<&str>| ReplyContent::Bounce {
            delivery: letter().as_uuid(),
            generation: 1,
            bounce,
            code: code.map(str::to_owned),
        };
        assert_eq!(found.len(), 3);
        assert!(found.contains(&bounce(BounceKind::BadAddress, Some("5.1.1"))));
        assert!(found.contains(&bounce(BounceKind::Complaint, None)));
        assert!(found.iter().any(|it| matches!(
            it,
            ReplyContent::Status {
                status: GatewayStatus::Delivered,
                ..
            }
        )));
        assert_eq!(
            desk.fetched.load(Ordering::SeqCst),
            1,
            "the certificate is kept"
        );
    }
}

#[tokio::test]
async fn what_amazon_did_not_sign_is_refused_and_stored_nowhere() {
    let (signer, other) = (Signer::new(), Signer::new());
    let desk = Desk::new(
        TestDatabase::sqlite().await,
        Some(signer.certificate.clone()),
    );
    let token = desk.key.bounce_token(letter(), 1);
    let bounced = json!({
        "notificationType": "Bounce", "bounce": {"bounceType": "Permanent"},
        "mail": {"source": format!("bounce+{token}@hua.example")},
    });
    let honest = notification("m-1", &bounced);
    assert_eq!(desk.post(other.sign(honest.clone()).to_string()).await, 403);
    let mut changed = signer.sign(honest.clone());
    changed["Message"] = json!("{}");
    assert_eq!(desk.post(changed.to_string()).await, 403);
    let mut elsewhere = honest.clone();
    elsewhere["TopicArn"] = json!("arn:aws:sns:eu-west-1:999999999999:bounces");
    assert_eq!(desk.post(signer.sign(elsewhere).to_string()).await, 403);
    let mut own = honest.clone();
    own["SigningCertURL"] = json!("https://evil.example/SimpleNotificationService-01.pem");
    assert_eq!(desk.post(signer.sign(own).to_string()).await, 403);
    let mut long = honest;
    long["MessageId"] = json!("x".repeat(129));
    assert_eq!(desk.post(signer.sign(long).to_string()).await, 400);
    for body in ["", "{}", "[]", "null", "{\"Type\": 1}"] {
        assert_eq!(desk.post(body).await, 400, "{body}");
    }
    assert_eq!(desk.post(vec![b'x'; MAX_BODY + 1]).await, 413);
    assert_eq!(desk.replies().await, []);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_has_amazon_come_again() {
    let signer = Signer::new();
    let desk = Desk::new(TestDatabase::sqlite().await, None);
    let body = signer.sign(notification("m-1", &json!({}))).to_string();
    assert_eq!(desk.post(body.clone()).await, 503);
    assert_eq!(desk.post(body).await, 503);
    assert_eq!(desk.fetched.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_topic_that_asks_is_stored_first_and_told_by_the_inbox() {
    let signer = Signer::new();
    let desk = Desk::new(
        TestDatabase::sqlite().await,
        Some(signer.certificate.clone()),
    );
    let url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc";
    let asks = json!({
        "Type": "SubscriptionConfirmation", "MessageId": "m-1", "TopicArn": TOPIC, "Token": "abc",
        "Message": "You have chosen to subscribe to the topic.", "SubscribeURL": url,
    });
    for _ in 0..2 {
        assert_eq!(desk.post(signer.sign(asks.clone()).to_string()).await, 204);
    }
    let ends = json!({
        "Type": "UnsubscribeConfirmation", "MessageId": "m-2", "TopicArn": TOPIC, "Token": "abc",
        "Message": "You have chosen to deactivate the subscription.", "SubscribeURL": url,
    });
    assert_eq!(desk.post(signer.sign(ends).to_string()).await, 204);
    let stored: Vec<ReplyContent> = desk
        .replies()
        .await
        .into_iter()
        .map(|it| it.content)
        .collect();
    let wanted = ReplyContent::Subscription {
        topic: TOPIC.to_owned(),
        url: url.to_owned(),
    };
    assert_eq!(stored, [wanted]);
    // Nothing was asked of Amazon but its certificate.
    assert_eq!(desk.fetched.load(Ordering::SeqCst), 1);

    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = asked.clone();
    let answers = Amazon::with(move |url| {
        seen.lock().unwrap().push(url.to_string());
        Box::pin(async { Some(Vec::new()) })
    });
    assert_eq!(answers.confirm(TOPIC, url).await, Confirmed::Done);
    assert_eq!(*asked.lock().unwrap(), [url]);
    let silent = Amazon::with(|_| Box::pin(async { None }));
    assert_eq!(silent.confirm(TOPIC, url).await, Confirmed::NotNow);
    for elsewhere in [
        "https://evil.example/?Action=ConfirmSubscription",
        "http://sns.eu-west-1.amazonaws.com/",
    ] {
        assert_eq!(answers.confirm(TOPIC, elsewhere).await, Confirmed::Never);
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}
