use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta};
use countersign_proto::v1::Role;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::clock::ManualClock;

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "countersign";
const NOW: i64 = 1_700_000_000;

/// A key pair of an issuer, with its public half as it is published.
struct Pair {
    kid: &'static str,
    key: KeyPair,
}

impl Pair {
    fn new(kid: &'static str) -> Self {
        Self {
            kid,
            key: KeyPair::generate().unwrap(),
        }
    }

    fn jwk(&self) -> Value {
        let point = self.key.der_bytes();
        assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point");
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        })
    }

    fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        let key = EncodingKey::from_ec_der(&self.key.serialize_der());
        encode(&header, claims, &key).unwrap()
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": NOW + 600,
        "roles": ["ORDER_WRITER", "something-else"],
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn config(file: &Path) -> CallersJwt {
    CallersJwt {
        issuer: Some(ISSUER.to_owned()),
        audience: Some(AUDIENCE.to_owned()),
        jwks_file: Some(file.to_owned()),
        ..CallersJwt::default()
    }
}

async fn tokens(jwt: &CallersJwt) -> (Tokens, ManualClock) {
    let clock = ManualClock::new(DateTime::from_timestamp(NOW, 0).unwrap());
    let tokens = Tokens::of(jwt, Arc::new(clock.clone())).await.unwrap();
    (tokens.unwrap(), clock)
}

fn published(folder: &tempfile::TempDir, pairs: &[&Pair]) -> std::path::PathBuf {
    let file = folder.path().join("jwks.json");
    let keys: Vec<_> = pairs.iter().map(|pair| pair.jwk()).collect();
    std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
    file
}

async fn prove(tokens: &Tokens, token: &str) -> Result<(Arc<str>, Roles), Unproven> {
    tokens.prove(format!("Bearer {token}").as_bytes()).await
}

fn refused(outcome: Result<(Arc<str>, Roles), Unproven>) -> &'static str {
    match outcome {
        Err(Unproven::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_names_the_caller_and_its_roles() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new("one");
    let mut jwt = config(&published(&folder, &[&pair]));
    let (tokens_by_default, _) = tokens(&jwt).await;
    let (name, roles) = prove(&tokens_by_default, &pair.token(&claims()))
        .await
        .unwrap();
    assert_eq!((&*name, roles), ("shop", Roles::of([Role::OrderWriter])));
    // Words instead of a list, several audiences, no roles at all.
    let several = with("aud", json!(["other", AUDIENCE]));
    assert!(
        prove(&tokens_by_default, &pair.token(&several))
            .await
            .is_ok()
    );
    let words = with("roles", json!("AGENT REPORTER UNSPECIFIED"));
    let (_, roles) = prove(&tokens_by_default, &pair.token(&words))
        .await
        .unwrap();
    assert_eq!(roles, Roles::of([Role::Agent, Role::Reporter]));
    let (_, roles) = prove(&tokens_by_default, &pair.token(&with("roles", Value::Null)))
        .await
        .unwrap();
    assert_eq!(roles, Roles::NONE);

    jwt.roles_claim = "realm_access.roles".to_owned();
    jwt.subject_claim = "azp".to_owned();
    let (elsewhere, _) = tokens(&jwt).await;
    let mut claims = with("realm_access", json!({ "roles": ["ADMIN"] }));
    claims["azp"] = json!("desk");
    let (name, roles) = prove(&elsewhere, &pair.token(&claims)).await.unwrap();
    assert_eq!((&*name, roles), ("desk", Roles::of([Role::Admin])));
}

#[tokio::test]
async fn a_token_that_is_not_for_us_or_not_now_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (pair, stranger) = (Pair::new("one"), Pair::new("one"));
    let (tokens, clock) = tokens(&config(&published(&folder, &[&pair]))).await;
    let foreign = "the token is not of this issuer, for this service and signed with its key";
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    for (token, why) in [
        (
            pair.token(&with("iss", json!("https://evil.example"))),
            foreign,
        ),
        (pair.token(&with("aud", json!("another-service"))), foreign),
        (stranger.token(&claims()), foreign),
        (pair.token(&endless), foreign),
        (
            pair.token(&with("exp", json!(NOW - 31))),
            "the token has expired",
        ),
        (
            pair.token(&with("nbf", json!(NOW + 31))),
            "the token is not good yet (nbf)",
        ),
        (
            pair.token(&with("sub", json!("a b"))),
            "the token names no caller of 1 to 64 characters of A–Z a–z 0–9 . _ : @ -",
        ),
    ] {
        assert_eq!(refused(prove(&tokens, &token).await), why);
    }
    // The clocks may be a little apart, not more.
    let late = pair.token(&with("exp", json!(NOW - 29)));
    assert!(prove(&tokens, &late).await.is_ok());
    let early = pair.token(&with("nbf", json!(NOW + 29)));
    assert!(prove(&tokens, &early).await.is_ok());
    let good = pair.token(&claims());
    clock.advance(TimeDelta::seconds(631));
    assert_eq!(
        refused(prove(&tokens, &good).await),
        "the token has expired"
    );
    for header in ["", "Bearer", "Basic abcdefg", "Bearer ", "Bearer a.b.c"] {
        refused(tokens.prove(header.as_bytes()).await);
    }
    let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
    refused(tokens.prove(long.as_bytes()).await);
}

#[tokio::test]
async fn the_token_does_not_choose_how_it_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new("one");
    let (tokens, _) = tokens(&config(&published(&folder, &[&pair]))).await;
    // No signature at all.
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "NONE", ""] {
        let header = part(&json!({ "alg": algorithm, "kid": "one" }));
        let unsigned = format!("{header}.{}.", part(&claims()));
        refused(prove(&tokens, &unsigned).await);
    }
    // The public key taken for a shared secret, in each form that it is published in.
    let public = pair.key.der_bytes().to_vec();
    let pem = pair.key.public_key_pem();
    let jwk = pair.jwk().to_string();
    for secret in [&public[..], pem.as_bytes(), jwk.as_bytes()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("one".to_owned());
        let token = encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap();
        refused(prove(&tokens, &token).await);
    }
    // Without the name of its key there is nothing to look for.
    let nameless = encode(
        &Header::new(Algorithm::ES256),
        &claims(),
        &EncodingKey::from_ec_der(&pair.key.serialize_der()),
    );
    assert_eq!(
        refused(prove(&tokens, &nameless.unwrap()).await),
        "the token does not name its key (kid)"
    );
}

#[tokio::test]
async fn shared_secrets_and_signatures_that_do_not_count_are_no_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let secret = json!({ "kty": "oct", "kid": "one", "k": "c2VjcmV0", "alg": "HS256" });
    std::fs::write(&file, json!({ "keys": [secret] }).to_string()).unwrap();
    let clock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH));
    let error = Tokens::of(&config(&file), clock.clone()).await.unwrap_err();
    assert!(format!("{error:#}").contains("no key in it"), "{error:#}");
    let pair = Pair::new("one");
    let mut jwt = config(&published(&folder, &[&pair]));
    jwt.algorithms = vec!["RS256".to_owned()];
    assert!(Tokens::of(&jwt, clock).await.is_err());
}

/// An issuer's address: answers with what is published, counts how often it is asked, and can be down.
struct Issuer {
    url: String,
    file: std::path::PathBuf,
    asked: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Issuer {
    async fn new(pairs: &[&Pair]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = published(&folder, pairs);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (asked, down) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counting, broken, serving) = (asked.clone(), down.clone(), file.clone());
        Lifecycle::new(Duration::from_secs(1)).spawn("issuer", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4_096];
                if stream.read(&mut request).await.is_err() {
                    continue;
                }
                counting.fetch_add(1, Ordering::SeqCst);
                if broken.load(Ordering::SeqCst) {
                    continue;
                }
                let body = std::fs::read_to_string(&serving).unwrap();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        Self {
            url,
            file,
            asked,
            down,
            _folder: folder,
        }
    }

    fn config(&self) -> CallersJwt {
        CallersJwt {
            jwks_file: None,
            jwks_url: Some(self.url.clone()),
            ..config(&self.file)
        }
    }

    fn publish(&self, pairs: &[&Pair]) {
        let keys: Vec<_> = pairs.iter().map(|pair| pair.jwk()).collect();
        std::fs::write(&self.file, json!({ "keys": keys }).to_string()).unwrap();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn an_unknown_key_has_the_keys_read_anew_once_a_minute() {
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    let issuer = Issuer::new(&[&old]).await;
    let (tokens, _) = tokens(&issuer.config()).await;
    assert_eq!(issuer.asked(), 1);
    assert!(prove(&tokens, &old.token(&claims())).await.is_ok());
    assert_eq!(issuer.asked(), 1, "a known key needs no look");
    // The issuer makes a new key: its first token is good at once, and so is the old key.
    issuer.publish(&[&old, &new]);
    assert!(prove(&tokens, &new.token(&claims())).await.is_ok());
    assert!(prove(&tokens, &old.token(&claims())).await.is_ok());
    assert_eq!(issuer.asked(), 2);
    // Somebody makes up keys.
    let token = Pair::new("made-up").token(&claims());
    let attempts = (0..100).map(|_| prove(&tokens, &token));
    for outcome in futures::future::join_all(attempts).await {
        assert_eq!(refused(outcome), "the token's key is not the issuer's");
    }
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn keys_stay_good_while_the_issuer_is_down() {
    let pair = Pair::new("one");
    let issuer = Issuer::new(&[&pair]).await;
    let (tokens, _) = tokens(&issuer.config()).await;
    issuer.down.store(true, Ordering::SeqCst);
    assert!(prove(&tokens, &pair.token(&claims())).await.is_ok());
    refused(prove(&tokens, &Pair::new("two").token(&claims())).await);
    assert_eq!(issuer.asked(), 2);
    assert!(prove(&tokens, &pair.token(&claims())).await.is_ok());
}

#[tokio::test]
async fn without_any_keys_callers_are_asked_to_come_again() {
    let pair = Pair::new("one");
    let issuer = Issuer::new(&[&pair]).await;
    issuer.down.store(true, Ordering::SeqCst);
    let (tokens, _) = tokens(&issuer.config()).await;
    let outcome = prove(&tokens, &pair.token(&claims())).await;
    assert_eq!(outcome.unwrap_err(), Unproven::NotNow);
}
