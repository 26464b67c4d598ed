//! Callers that bring tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_e2e::Replica;
use countersign_runtime::{
    client::connect,
    config::{Callers, Client},
};
use countersign_store::testing::TestDatabase;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    authority::{Folder, gate},
    call,
};

const LIST: &str = "/countersign.v1.OrderService/ListOrders";
const APPROVE: &str = "/countersign.v1.OrderService/ApproveOrder";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_the_issuer_opens_the_door_and_no_other() {
    let folder = Folder::new();
    let key = KeyPair::generate().unwrap();
    let point = key.der_bytes();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "one",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    });
    let mut callers = Callers::default();
    callers.jwt.issuer = Some("https://login.example".to_owned());
    callers.jwt.audience = Some("countersign".to_owned());
    callers.jwt.jwks_file = Some(folder.write("jwks.json", &json!({ "keys": [jwk] }).to_string()));
    let gate = gate(&callers).await;
    let database = TestDatabase::sqlite().await;
    let store = database.store.clone();
    let replica = Replica::start_behind(store, gate.clone()).await;
    let token = |claims: Value| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("one".to_owned());
        encode(
            &header,
            &claims,
            &EncodingKey::from_ec_der(&key.serialize_der()),
        )
        .unwrap()
    };
    let far = 4_000_000_000_i64;
    let claims = json!({
        "iss": "https://login.example", "aud": "countersign", "sub": "shop", "exp": far,
        "roles": ["ORDER_WRITER"],
    });
    let with = |key: &str, value: Value| {
        let mut claims = claims.clone();
        claims[key] = value;
        claims
    };
    let url = format!("http://{}", replica.address);
    let bringing = |token: Option<String>| {
        let (folder, url) = (&folder, &url);
        async move {
            let client = Client {
                token_file: token.map(|token| folder.write("token", &token)),
                ..Client::default()
            };
            connect(url, "whoever", &client).await.unwrap()
        }
    };

    let connection = bringing(Some(token(claims.clone()))).await;
    call(&connection, LIST).await.unwrap();
    let refused = call(&connection, APPROVE).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // The token says who it is, not the header that names the caller elsewhere.
    assert_eq!(gate.refusals().take()[0].caller, "shop");

    for (what, brought, reason) in [
        ("nothing", None, "TOKEN_MISSING"),
        (
            "expired",
            Some(token(with("exp", json!(1_600_000_000)))),
            "TOKEN_REFUSED",
        ),
        (
            "of somebody else",
            Some(token(with("iss", json!("https://evil.example")))),
            "TOKEN_REFUSED",
        ),
        (
            "for somebody else",
            Some(token(with("aud", json!("another")))),
            "TOKEN_REFUSED",
        ),
        (
            "not yet good",
            Some(token(with("nbf", json!(far - 10)))),
            "TOKEN_REFUSED",
        ),
        ("no token", Some("abc".to_owned()), "TOKEN_REFUSED"),
    ] {
        let connection = bringing(brought).await;
        let refused = call(&connection, LIST).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{what}");
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, reason, "{what}");
    }
    let noted = gate.refusals().take();
    assert_eq!(noted.iter().map(|it| it.count).sum::<i64>(), 6);
    assert!(noted.iter().all(|it| it.caller == "unauthenticated"));
}
