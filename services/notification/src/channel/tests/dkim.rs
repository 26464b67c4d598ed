//! E-20: what we sign, mail-auth verifies, with the public key where the DNS would have it.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, LazyLock, Mutex},
    time::Instant,
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mail_auth::{
    AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt,
    common::{parse::TxtRecordParser as _, verify::DomainKey},
    hickory_resolver::config::{ResolverConfig, ResolverOpts},
};
use secrecy::SecretString;

use super::{
    again,
    mail::{assert_sent, assert_wire, letter, letter_with, plain, send},
};
use crate::{
    channel::{Content, Outgoing, dkim::DkimConfig, email::EmailSender},
    testkit::{Act, MailSink, ReceivedMail, Stage},
};

struct TestKey {
    pem: String,
    record: String,
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

static RSA: LazyLock<TestKey> = LazyLock::new(|| {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    TestKey {
        pem: pem(private.as_ref()),
        record: format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public.as_ref())),
    }
});

static ED25519: LazyLock<TestKey> = LazyLock::new(ed25519);

fn ed25519() -> TestKey {
    let private = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(private.as_ref()).unwrap();
    let public = key.public_key().as_ref();
    TestKey {
        pem: pem(private.as_ref()),
        record: format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(public)),
    }
}

fn signing(sink: &MailSink, key: &TestKey) -> EmailSender {
    signing_as(sink, "k1", key)
}

fn signing_as(sink: &MailSink, selector: &str, key: &TestKey) -> EmailSender {
    let mut config = plain(sink);
    config.reply_to = Some("service@hua.example".to_owned());
    config.dkim = Some(DkimConfig {
        domain: "hua.example".to_owned(),
        selector: selector.to_owned(),
        private_key: SecretString::from(key.pem.as_str()),
    });
    EmailSender::try_new(config).unwrap()
}

/// The one record that the DNS would have; nothing is ever asked.
struct Dns<V>(Mutex<HashMap<Box<str>, V>>);

impl<V: Clone> ResolverCache<Box<str>, V> for Dns<V> {
    fn get<Q>(&self, name: &Q) -> Option<V>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn remove<Q>(&self, name: &Q) -> Option<V>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.lock().unwrap().remove(name)
    }

    fn insert(&self, name: Box<str>, value: V, _: Instant) {
        self.0.lock().unwrap().insert(name, value);
    }
}

async fn verdict(message: &[u8], key: &TestKey) -> Vec<DkimResult> {
    verdict_by(message, &[("k1", key)]).await
}

/// What somebody says who finds these keys under their selectors.
async fn verdict_by(message: &[u8], published: &[(&str, &TestKey)]) -> Vec<DkimResult> {
    let authenticator =
        MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).unwrap();
    let dns = Dns(Mutex::new(HashMap::new()));
    for (selector, key) in published {
        let record = Arc::new(DomainKey::parse(key.record.as_bytes()).unwrap());
        let name = format!("{selector}._domainkey.hua.example");
        for name in [format!("{name}."), name] {
            dns.insert(name.into(), Txt::DomainKey(record.clone()), Instant::now());
        }
    }
    let parsed = AuthenticatedMessage::parse(message).unwrap();
    let parameters = Parameters::new(&parsed).with_txt_cache(&dns);
    authenticator
        .verify_dkim(parameters)
        .await
        .iter()
        .map(|output| output.result().clone())
        .collect()
}

fn varied() -> Vec<Outgoing> {
    let mut plain = letter();
    if let Content::Email(mail) = &mut plain.content {
        "Your order CS-1".clone_into(&mut mail.subject);
    }
    let mut folded = letter();
    if let Content::Email(mail) = &mut folded.content {
        mail.subject =
            "请确认您的订单 ".repeat(20) + &"and a long tail in Latin letters ".repeat(8);
        mail.unsubscribe = Some(format!("https://o.example/u/{}", "abcdefgh".repeat(20)));
    }
    let mut spaced = letter();
    if let Content::Email(mail) = &mut spaced.content {
        "two  blanks   and a\ttab  ".clone_into(&mut mail.subject);
    }
    vec![
        plain,
        letter(),
        folded,
        spaced,
        letter_with(""),
        letter_with(" \n\n  \n.\n\t\n\n"),
        letter_with(&"长长的信 ".repeat(5_000)),
    ]
}

async fn received(sink: &MailSink, sender: &EmailSender, message: &Outgoing) -> ReceivedMail {
    assert_sent(&send(sender, message).await);
    sink.mails().pop().unwrap()
}

#[tokio::test]
async fn e_20_every_letter_is_verified_by_somebody_else() {
    for key in [&*RSA, &*ED25519] {
        let sink = MailSink::start();
        let sender = signing(&sink, key);
        for message in varied() {
            let mail = received(&sink, &sender, &message).await;
            assert_wire(&mail);
            assert_eq!(verdict(&mail.message(), key).await, [DkimResult::Pass]);
            let signature = mail.header("dkim-signature").unwrap();
            for name in [
                "from",
                "to",
                "subject",
                "date",
                "message-id",
                "mime-version",
                "auto-submitted",
                "feedback-id",
                "reply-to",
            ] {
                assert!(signature.contains(name), "{name}: {signature}");
            }
            assert_eq!(
                mail.header("list-unsubscribe").is_some(),
                signature.contains("list-unsubscribe:"),
            );
            assert!(signature.contains("c=relaxed/relaxed"), "{signature}");
            assert!(
                signature.contains(&format!("t={};", message.created_at.timestamp())),
                "{signature}"
            );
        }
    }
}

#[tokio::test]
async fn e_20_the_verifier_notices_every_change() {
    let sink = MailSink::start();
    let sender = signing(&sink, &RSA);
    let mut message = letter();
    if let Content::Email(mail) = &mut message.content {
        "Your order CS-1".clone_into(&mut mail.subject);
        mail.unsubscribe = Some("https://o.example/u/abc".to_owned());
    }
    let mail = received(&sink, &sender, &message).await;
    let text = String::from_utf8(mail.message()).unwrap();
    for (from, to) in [
        ("Your order CS-1", "Your order CS-2"),
        ("/u/abc", "/u/abd"),
        ("List-Unsubscribe=One-Click", "List-Unsubscribe=Two-Clicks"),
        ("auto-generated", "no"),
        ("\r\n\r\n", "\r\n\r\nx"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert_ne!(
            verdict(changed.as_bytes(), &RSA).await,
            [DkimResult::Pass],
            "{from}"
        );
    }
    // What the relaxed form allows on the way.
    let refolded = text.replacen("Subject: Your order", "SUBJECT:   Your\r\n\torder", 1);
    assert_ne!(refolded, text);
    assert_eq!(verdict(refolded.as_bytes(), &RSA).await, [DkimResult::Pass]);
}

#[tokio::test]
async fn e_04_a_signed_letter_is_the_same_letter_when_it_is_sent_again() {
    for key in [&*RSA, &*ED25519] {
        let sink = MailSink::start();
        let sender = signing(&sink, key);
        let message = letter();
        sink.once(Stage::Dot, Act::AcceptAndDrop);
        send(&sender, &message).await;
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        assert_sent(&send(&sender, &again(&message)).await);
        let mails = sink.mails();
        assert_eq!(mails[0].wire, mails[1].wire);
    }
}

#[tokio::test]
async fn j_11_ten_changes_of_the_dkim_key_leave_no_letter_unverified() {
    let sink = MailSink::start();
    let keys: Vec<(String, TestKey)> = (0..=10).map(|n| (format!("k{n}"), ed25519())).collect();
    for pair in keys.windows(2) {
        // Both are published while one takes over from the other; letters that are on their way were signed with either.
        let published: Vec<(&str, &TestKey)> = pair
            .iter()
            .map(|(name, key)| (name.as_str(), key))
            .collect();
        for (selector, key) in &published {
            let sender = signing_as(&sink, selector, key);
            for message in [letter(), letter_with("one more")] {
                let mail = received(&sink, &sender, &message).await;
                let read = verdict_by(&mail.message(), &published).await;
                assert_eq!(read, [DkimResult::Pass], "{selector}");
            }
        }
        // A selector that was taken out too early would be missed.
        let sender = signing_as(&sink, published[0].0, published[0].1);
        let mail = received(&sink, &sender, &letter()).await;
        let early = verdict_by(&mail.message(), &published[1..]).await;
        assert_ne!(early, [DkimResult::Pass]);
    }
}
