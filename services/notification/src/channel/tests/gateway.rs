use flate2::{Compression, write::GzEncoder};
use futures::FutureExt as _;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{again, doubtful, now, outgoing};
use crate::{
    channel::{
        CallKey, CallScript, Content, KeyMeaning, Outcome, Outgoing, ReasonCode, Reconciled,
        RetryRule, Sender, SmsContent,
        callback::{CallbackError, CallbackEvent, DeliveryStatus, read_callback},
        exchange::trusting_client,
        gateway::{GatewayConfig, GatewaySender, GatewayTimeouts},
        signature::SigningKeys,
    },
    testkit::{Answer, GatewayStub, TestTls},
};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn keys() -> SigningKeys {
    SigningKeys::parse(&[SECRET.into()]).unwrap()
}

fn config(base: &str) -> GatewayConfig {
    GatewayConfig {
        base: base.to_owned(),
        keys: keys(),
        status_callback: "https://cs.example/callbacks/status".to_owned(),
        reply_callback: "https://cs.example/callbacks/reply".to_owned(),
        timeouts: GatewayTimeouts {
            connect: Duration::from_millis(400),
            total: Duration::from_millis(800),
        },
    }
}

fn sender(stub: &GatewayStub) -> GatewaySender {
    GatewaySender::try_new(config(&stub.base())).unwrap()
}

fn sms() -> Outgoing {
    let text = "Open https://o.example/k3 or reply 482913.".to_owned();
    outgoing(
        "+8613800138000",
        Content::Sms(SmsContent {
            text,
            particulars: None,
        }),
    )
}

async fn outcome(answer: Answer) -> Outcome {
    let stub = GatewayStub::start(SECRET).await;
    stub.always(answer);
    sender(&stub).send(&sms(), now()).await
}

fn status(status: u16, body: &str) -> Answer {
    Answer::Status(status, String::new(), body.to_owned())
}

fn assert_not_sent(outcome: &Outcome, code: ReasonCode) {
    assert!(
        matches!(outcome, Outcome::NotSent { reason, .. } if reason.code == code),
        "{outcome:?}"
    );
}

fn assert_in_doubt(outcome: &Outcome, code: ReasonCode) {
    assert!(
        matches!(outcome, Outcome::InDoubt { reason } if reason.code == code),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_text_message_goes_out_signed_by_the_contract() {
    let stub = GatewayStub::start(SECRET).await;
    let message = sms();
    let outcome = sender(&stub).send(&message, now()).await;
    assert_eq!(
        outcome,
        Outcome::Sent {
            provider_id: stub.accepted()[0].id.clone()
        }
    );
    let request = stub.seen().pop().unwrap();
    let key = format!("{}-1", message.message_id);
    assert!(request.signed);
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/messages")
    );
    assert_eq!(request.headers["idempotency-key"], key.as_str());
    assert_eq!(request.headers["webhook-id"], key.as_str());
    assert_eq!(request.headers["webhook-timestamp"], "1795000000");
    assert_eq!(
        request.headers["traceparent"],
        message.traceparent.as_deref().unwrap()
    );
    assert_eq!(
        stub.accepted().pop().unwrap().request,
        json!({
            "type": "sms.send",
            "idempotency_key": key,
            "attempt_id": message.attempt_id,
            "to": "+8613800138000",
            "text": "Open https://o.example/k3 or reply 482913.",
            "status_callback": format!("https://cs.example/callbacks/status?attempt={}", message.attempt_id),
            "reply_callback": "https://cs.example/callbacks/reply",
            "expires_at": "2026-11-18T15:06:40Z",
        })
    );
}

#[tokio::test]
async fn a_call_goes_out_with_prompts_and_keys() {
    let stub = GatewayStub::start(SECRET).await;
    let script = CallScript {
        language: "zh-CN".to_owned(),
        prompts: vec!["您好".to_owned(), "确认请按1".to_owned()],
        keys: vec![CallKey {
            digit: "1".to_owned(),
            means: KeyMeaning::Confirm,
        }],
        particulars: None,
    };
    let message = outgoing("+8613800138000", Content::Call(script));
    assert!(matches!(
        sender(&stub).send(&message, now()).await,
        Outcome::Sent { .. }
    ));
    let request = stub.accepted().pop().unwrap().request;
    assert_eq!(request["type"], "call.place");
    assert_eq!(
        request["call"],
        json!({"language": "zh-CN", "prompts": ["您好", "确认请按1"], "keys": [{"digit": "1", "means": "confirm"}]})
    );
    assert_eq!(request.get("text"), None);
}

#[tokio::test]
async fn a_second_attempt_is_the_same_message_to_the_gateway() {
    let stub = GatewayStub::start(SECRET).await;
    let sender = sender(&stub);
    let message = sms();
    let first = sender.send(&message, now()).await;
    assert_eq!(sender.send(&again(&message), now()).await, first);
    assert_eq!((stub.seen().len(), stub.accepted().len()), (2, 1));
    let next_generation = Outgoing {
        generation: 2,
        ..message
    };
    assert_ne!(sender.send(&next_generation, now()).await, first);
}

#[tokio::test]
async fn d_01_no_gateway_at_the_address_is_not_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for base in [
        format!("http://{closed}/v1"),
        "https://gateway.invalid/v1".to_owned(),
    ] {
        let sender = GatewaySender::try_new(config(&base)).unwrap();
        assert_not_sent(&sender.send(&sms(), now()).await, ReasonCode::Unreachable);
    }
}

#[tokio::test]
async fn d_01_a_handshake_that_stalls_is_cut_off_and_not_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}/v1", listener.local_addr().unwrap());
    let sender = GatewaySender::try_new(config(&base)).unwrap();
    // The limit of the whole exchange would have made it "in doubt".
    assert_not_sent(&sender.send(&sms(), now()).await, ReasonCode::Unreachable);
}

#[tokio::test]
async fn d_02_no_answer_to_a_written_request_is_in_doubt_until_asked() {
    let stub = GatewayStub::start(SECRET).await;
    let sender = sender(&stub);
    for (answer, taken) in [
        (Answer::Stall, false),
        (Answer::Drop, false),
        (Answer::AcceptAndDrop, true),
    ] {
        stub.once(answer);
        let message = sms();
        assert_in_doubt(&sender.send(&message, now()).await, ReasonCode::Unconfirmed);
        let found = sender.reconcile(&doubtful(&message), now()).await;
        match found {
            Reconciled::Accepted { status, .. } => {
                assert!(taken);
                assert_eq!(status, DeliveryStatus::Sent);
            }
            Reconciled::NotFound => assert!(!taken),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stub.accepted().len(), 1);
}

#[tokio::test]
async fn d_02_a_question_without_a_clear_answer_stays_open() {
    let stub = GatewayStub::start(SECRET).await;
    let sender = sender(&stub);
    for answer in [
        Answer::Stall,
        status(500, ""),
        status(404, "<html>no such page</html>"),
        status(200, r#"{"id":"x"}"#),
        status(200, r#"{"id":"x","status":"nonsense"}"#),
    ] {
        stub.once(answer);
        let found = sender.reconcile(&doubtful(&sms()), now()).await;
        assert!(matches!(found, Reconciled::Unknown { .. }), "{found:?}");
    }
}

#[tokio::test]
async fn d_19_a_connection_that_is_closed_under_a_request_does_not_send_it_again_by_itself() {
    let stub = GatewayStub::start(SECRET).await;
    let sender = sender(&stub);
    let first = sender.send(&sms(), now()).await;
    assert!(matches!(first, Outcome::Sent { .. }), "{first:?}");
    // The same connection, which the gateway closes when it has read the second request.
    stub.once(Answer::Drop);
    assert_in_doubt(&sender.send(&sms(), now()).await, ReasonCode::Unconfirmed);
    assert_eq!(stub.seen().len(), 2);
    let third = sender.send(&sms(), now()).await;
    assert!(matches!(third, Outcome::Sent { .. }), "{third:?}");
    assert_eq!(stub.seen().len(), 3);
}

#[tokio::test]
async fn d_03_a_reset_inside_the_answer_is_in_doubt() {
    assert_in_doubt(
        &outcome(Answer::ResetInBody).await,
        ReasonCode::UnreadableAnswer,
    );
}

#[tokio::test]
async fn d_04_server_errors_are_in_doubt() {
    for code in [500, 502, 503, 504] {
        assert_in_doubt(&outcome(status(code, "")).await, ReasonCode::GatewayFailed);
        let clear = r#"{"code":"rate_limited"}"#;
        assert_in_doubt(
            &outcome(status(code, clear)).await,
            ReasonCode::GatewayFailed,
        );
    }
}

async fn retry_after(value: &str) -> Option<Duration> {
    let header = format!("retry-after: {value}\r\n");
    match outcome(Answer::Status(429, header, String::new())).await {
        Outcome::NotSent {
            reason,
            retry_after,
        } => {
            assert_eq!(reason.code, ReasonCode::RateLimited);
            assert_eq!(reason.code.retry_rule(), RetryRule::Free);
            retry_after
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn d_05_429_is_not_sent_and_its_wait_is_kept() {
    assert_eq!(retry_after("7").await, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn d_06_strange_waits_are_ignored_or_cut() {
    let in_90_seconds = (now() + chrono::TimeDelta::seconds(90))
        .to_rfc2822()
        .replace("+0000", "GMT");
    assert_eq!(
        retry_after(&in_90_seconds).await,
        Some(Duration::from_secs(90))
    );
    assert_eq!(
        retry_after("315360000").await,
        Some(Duration::from_hours(1))
    );
    assert_eq!(
        retry_after("99999999999999999999999").await,
        Some(Duration::from_hours(1))
    );
    for ignored in ["-5", "abc", "1.5", "Wed, 21 Oct 2015 07:28:00 GMT"] {
        assert_eq!(retry_after(ignored).await, None, "{ignored}");
    }
}

#[tokio::test]
async fn d_08_an_answer_that_drips_is_cut_off_and_in_doubt() {
    for answer in [
        Answer::DripHead(Duration::from_millis(50)),
        Answer::DripBody(Duration::from_millis(50)),
    ] {
        // Uncut, it would take minutes.
        let stub = GatewayStub::start(SECRET).await;
        stub.always(answer);
        let sender = sender(&stub);
        let start = Instant::now();
        let outcome = sender.send(&sms(), now()).await;
        assert!(matches!(outcome, Outcome::InDoubt { .. }), "{outcome:?}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn d_01_d_08_the_usual_limits_are_five_seconds_to_connect_and_fifteen_in_all() {
    let limits = GatewayTimeouts::default();
    let seconds = [limits.connect, limits.total].map(|limit| limit.as_secs());
    assert_eq!(seconds, [5, 15]);
}

#[tokio::test]
async fn d_09_of_an_endless_answer_no_more_is_taken_than_is_read() {
    let stub = GatewayStub::start(SECRET).await;
    stub.always(Answer::HugeBody(202));
    let outcome = sender(&stub).send(&sms(), now()).await;
    assert_in_doubt(&outcome, ReasonCode::UnreadableAnswer);
    let poured = stub.poured();
    assert!((1..2 * 1_024 * 1_024).contains(&poured), "{poured}");
}

#[tokio::test]
async fn d_09_a_packed_answer_is_not_asked_for_and_not_unpacked() {
    // Ten million blanks.
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..10_000 {
        packed.write_all(&[b' '; 1_000]).unwrap();
    }
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 64 * 1_024);
    for (status, class) in [(202, "IN_DOUBT"), (400, "PERMANENT"), (429, "NOT_SENT")] {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            packed.len()
        );
        let stub = GatewayStub::start(SECRET).await;
        stub.always(Answer::Raw([head.as_bytes(), &packed].concat()));
        let outcome = sender(&stub).send(&sms(), now()).await;
        assert_eq!(outcome.as_str(), class, "{status}: {outcome:?}");
        assert!(!stub.seen()[0].headers.contains_key("accept-encoding"));
    }
}

#[tokio::test]
async fn d_09_an_endless_answer_is_read_up_to_64_kib() {
    assert_in_doubt(
        &outcome(Answer::HugeBody(202)).await,
        ReasonCode::UnreadableAnswer,
    );
    assert!(matches!(
        outcome(Answer::HugeBody(400)).await,
        Outcome::Permanent { .. }
    ));
    assert_not_sent(
        &outcome(Answer::HugeBody(429)).await,
        ReasonCode::RateLimited,
    );
}

#[tokio::test]
async fn d_10_an_acceptance_that_cannot_be_read_is_in_doubt() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        "",
        "<html><body>Welcome +8613800138000</body></html>",
        r#"{"id": "ab"#,
        r#"{"id": 7}"#,
        r#"{"id": null}"#,
        r#"{"id": "a", "id": "b"}"#,
        "\u{FEFF}{\"id\": \"a\"}",
        "[]",
        deep.as_str(),
        &format!(r#"{{"id": "a", "more": {deep}}}"#),
    ] {
        let outcome = outcome(Answer::AcceptWith(body.as_bytes().to_vec())).await;
        assert_in_doubt(&outcome, ReasonCode::UnreadableAnswer);
        let text = outcome.reason().unwrap().to_string();
        assert!(
            text.len() <= 160 && !text.contains("138") && !text.contains("Welcome"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn d_11_an_acceptance_without_a_usable_id_is_in_doubt() {
    for body in [
        r"{}".to_owned(),
        r#"{"id":""}"#.to_owned(),
        r#"{"id":"a b"}"#.to_owned(),
        format!(r#"{{"id":"{}"}}"#, "a".repeat(129)),
    ] {
        let outcome = outcome(Answer::AcceptWith(body.into_bytes())).await;
        assert_in_doubt(&outcome, ReasonCode::UnreadableAnswer);
    }
}

#[tokio::test]
async fn d_13_to_d_15_the_error_table_decides() {
    let cases = [
        (
            400,
            "invalid_recipient",
            ReasonCode::BadRecipient,
            "PERMANENT",
        ),
        (403, "account_suspended", ReasonCode::AuthRefused, "CONFIG"),
        (401, "", ReasonCode::AuthRefused, "CONFIG"),
        (403, "", ReasonCode::AuthRefused, "CONFIG"),
        (
            400,
            "insufficient_balance",
            ReasonCode::AuthRefused,
            "CONFIG",
        ),
        (
            400,
            "sender_not_approved",
            ReasonCode::SenderRefused,
            "CONFIG",
        ),
        (
            400,
            "template_not_approved",
            ReasonCode::SenderRefused,
            "CONFIG",
        ),
        (404, "", ReasonCode::Misconfigured, "CONFIG"),
        (400, "opted_out", ReasonCode::OptedOut, "PERMANENT"),
        (
            400,
            "unsupported_destination",
            ReasonCode::AddressUnsupported,
            "PERMANENT",
        ),
        (
            400,
            "content_refused",
            ReasonCode::MessageRefused,
            "PERMANENT",
        ),
        (
            409,
            "idempotency_key_reused",
            ReasonCode::MessageRefused,
            "PERMANENT",
        ),
        (
            400,
            "something_new",
            ReasonCode::MessageRefused,
            "PERMANENT",
        ),
        (400, "temporarily_refused", ReasonCode::Deferred, "NOT_SENT"),
        (400, "rate_limited", ReasonCode::RateLimited, "NOT_SENT"),
        (408, "", ReasonCode::Unconfirmed, "IN_DOUBT"),
    ];
    for (http, code, reason, class) in cases {
        let body = if code.is_empty() {
            String::new()
        } else {
            json!({"code": code, "message": "+8613800138000 is bad"}).to_string()
        };
        let outcome = outcome(status(http, &body)).await;
        assert_eq!(outcome.as_str(), class, "{http} {code}");
        assert_eq!(outcome.reason().unwrap().code, reason, "{http} {code}");
        assert!(!outcome.reason().unwrap().text.contains("138"));
        let bad = matches!(
            outcome,
            Outcome::Permanent {
                bad_recipient: true,
                ..
            }
        );
        assert_eq!(bad, reason == ReasonCode::BadRecipient);
    }
}

#[tokio::test]
async fn d_16_redirects_are_not_followed_and_nothing_is_carried_there() {
    let elsewhere = GatewayStub::start(SECRET).await;
    for code in [301, 302, 307, 308] {
        let location = format!("location: {}/messages\r\n", elsewhere.base());
        let outcome = outcome(Answer::Status(code, location, String::new())).await;
        assert_not_sent(&outcome, ReasonCode::Redirected);
    }
    assert!(elsewhere.seen().is_empty());
}

/// Sends to a server that ends every handshake by itself, trusting `certificate` and nothing else.
async fn sent_to<F: Future<Output = bool> + Send>(
    certificate: &CertificateDer<'static>,
    serve: impl FnOnce(TcpStream) -> F,
) -> (Outcome, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}/v1", listener.local_addr().unwrap());
    let config = config(&base);
    let client = trusting_client(&config.timeouts, certificate).unwrap();
    let sender = GatewaySender::try_new(config).unwrap().with_client(client);
    let message = sms();
    let server = async { serve(listener.accept().await.unwrap().0).await };
    let (outcome, took) = tokio::join!(sender.send(&message, now()), server);
    // Nor in the clear afterwards.
    assert!(listener.accept().now_or_never().is_none());
    (outcome, took)
}

/// Takes a message over, if it gets so far.
async fn accept_by_tls(config: Arc<rustls::ServerConfig>, tcp: TcpStream) -> bool {
    let Ok(mut tls) = TlsAcceptor::from(config).accept(tcp).await else {
        return false;
    };
    let mut request = [0; 4_096];
    if !matches!(tls.read(&mut request).await, Ok(1..)) {
        return false;
    }
    let answer = b"HTTP/1.1 202 X\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{\"id\":\"a\"}";
    tls.write_all(answer).await.unwrap();
    tls.flush().await.unwrap();
    true
}

#[tokio::test]
async fn d_17_a_certificate_that_is_untrusted_expired_or_anothers_is_not_sent_to() {
    let here = ["127.0.0.1"];
    let (good, stranger) = (TestTls::new(&here), TestTls::new(&here));
    let (expired, another) = (TestTls::expired(&here), TestTls::new(&["gateway.example"]));
    let (outcome, served) = sent_to(&good.certificate, |tcp| {
        accept_by_tls(good.server.clone(), tcp)
    })
    .await;
    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
    assert!(served);
    for (server, trusted) in [
        (&stranger, &good),
        (&expired, &expired),
        (&another, &another),
    ] {
        let (outcome, served) = sent_to(&trusted.certificate, |tcp| {
            accept_by_tls(server.server.clone(), tcp)
        })
        .await;
        assert_not_sent(&outcome, ReasonCode::TlsFailed);
        assert!(!served);
    }
}

#[tokio::test]
async fn d_17_a_certificate_that_changes_while_we_run_is_not_sent_to() {
    let (good, other) = (TestTls::new(&["127.0.0.1"]), TestTls::new(&["127.0.0.1"]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(&format!("https://{}/v1", listener.local_addr().unwrap()));
    let client = trusting_client(&config.timeouts, &good.certificate).unwrap();
    let sender = GatewaySender::try_new(config).unwrap().with_client(client);
    let mut outcomes = Vec::new();
    for tls in [&good, &other, &good] {
        let message = sms();
        let server = async {
            let (tcp, _) = listener.accept().await.unwrap();
            accept_by_tls(tls.server.clone(), tcp).await
        };
        let (outcome, _) = tokio::join!(sender.send(&message, now()), server);
        outcomes.push(outcome);
    }
    assert!(matches!(outcomes[0], Outcome::Sent { .. }), "{outcomes:?}");
    assert_not_sent(&outcomes[1], ReasonCode::TlsFailed);
    assert!(matches!(outcomes[2], Outcome::Sent { .. }), "{outcomes:?}");
}

#[tokio::test]
async fn d_17_a_gateway_that_speaks_tls_1_0_alone_is_not_sent_to() {
    let tls = TestTls::new(&["127.0.0.1"]);
    let (outcome, hung_up) = sent_to(&tls.certificate, async |mut tcp: TcpStream| {
        let mut hello = [0; 4_096];
        assert!(tcp.read(&mut hello).await.unwrap() > 0);
        // ServerHello of version 1.0: 32 random bytes, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
        let mut answer = vec![0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
        answer.extend([7; 32]);
        answer.extend([0, 0, 0x2f, 0]);
        tcp.write_all(&answer).await.unwrap();
        // An alert, and the end.
        let mut rest = Vec::new();
        tcp.read_to_end(&mut rest).await.ok();
        rest.first() == Some(&0x15)
    })
    .await;
    assert_not_sent(&outcome, ReasonCode::TlsFailed);
    assert!(hung_up);
}

#[tokio::test]
async fn d_17_the_usual_client_trusts_no_certificate_of_a_strangers_own_making() {
    let tls = TestTls::new(&["127.0.0.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}/v1", listener.local_addr().unwrap());
    let sender = GatewaySender::try_new(config(&base)).unwrap();
    let message = sms();
    let server = async { accept_by_tls(tls.server, listener.accept().await.unwrap().0).await };
    let (outcome, took) = tokio::join!(sender.send(&message, now()), server);
    assert_not_sent(&outcome, ReasonCode::TlsFailed);
    assert!(!took);
}

#[tokio::test]
async fn d_18_what_is_not_http_is_in_doubt_and_its_connection_is_not_used_again() {
    let stub = GatewayStub::start(SECRET).await;
    let sender = sender(&stub);
    let two_lengths =
        "HTTP/1.1 202 ok\r\ncontent-length: 10\r\ncontent-length: 11\r\n\r\n{\"id\":\"a\"} ";
    for bytes in [
        b"hello\r\n\r\n".to_vec(),
        b"HTTP/1.1 2x2 ok\r\n\r\n".to_vec(),
        b"\x16\x03\x01".to_vec(),
        b"HTTP/1.1 202 ok\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".to_vec(),
        two_lengths.into(),
        b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000),
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(100_000),
    ] {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        for answer in [Answer::RawAndStay(bytes.clone()), Answer::Raw(bytes)] {
            stub.once(answer);
            let outcome = sender.send(&sms(), now()).await;
            assert!(
                matches!(outcome, Outcome::InDoubt { .. }),
                "{what}: {outcome:?}"
            );
            let broken = stub.seen().pop().unwrap().connection;
            let next = sender.send(&sms(), now()).await;
            assert!(matches!(next, Outcome::Sent { .. }), "{what}: {next:?}");
            assert_ne!(stub.seen().pop().unwrap().connection, broken, "{what}");
        }
    }
}

#[tokio::test]
async fn a_wrong_signature_is_our_set_up() {
    let stub = GatewayStub::start("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").await;
    let outcome = sender(&stub).send(&sms(), now()).await;
    assert!(matches!(outcome, Outcome::Config { .. }), "{outcome:?}");
    assert!(stub.accepted().is_empty());
}

#[tokio::test]
async fn i_10_only_a_whole_number_is_sent() {
    let stub = GatewayStub::start(SECRET).await;
    for to in [
        "13800138000",
        "+0123456789",
        "+1 900 555",
        "１３８",
        "+12345",
        "+1234567890123456",
        "",
    ] {
        let message = outgoing(to, sms().content);
        let outcome = sender(&stub).send(&message, now()).await;
        assert!(
            matches!(
                outcome,
                Outcome::Permanent {
                    bad_recipient: true,
                    ..
                }
            ),
            "{to}"
        );
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn a_message_that_is_late_is_not_even_tried() {
    let stub = GatewayStub::start(SECRET).await;
    let message = Outgoing {
        deadline: Some(now()),
        ..sms()
    };
    let outcome = sender(&stub).send(&message, now()).await;
    assert_not_sent(&outcome, ReasonCode::DeadlinePassed);
    assert!(stub.seen().is_empty());
}

#[test]
fn a_gateway_in_the_clear_is_refused_except_on_this_machine() {
    for base in [
        "http://gateway.example/v1",
        "ftp://x/",
        "https://u:p@gateway.example/",
        "x",
    ] {
        assert!(GatewaySender::try_new(config(base)).is_err(), "{base}");
    }
    for base in [
        "https://gateway.example/v1",
        "http://localhost:8080",
        "http://[::1]:1/",
    ] {
        assert!(GatewaySender::try_new(config(base)).is_ok(), "{base}");
    }
}

#[tokio::test]
async fn callbacks_are_read_when_their_signature_fits() {
    let stub = GatewayStub::start(SECRET).await;
    let id = super::next_id();
    let event = json!({"type": "message.status", "data": {
        "id": "gw_1", "idempotency_key": format!("{id}-3"), "status": "delivered",
        "at": "2026-11-18T11:06:40Z", "segments": 2}});
    let (headers, body) = stub.signed_callback("cb_1", now().timestamp(), &event);
    let callback = read_callback(&keys(), &headers, &body, now()).unwrap();
    assert_eq!(callback.id, "cb_1");
    match callback.event {
        CallbackEvent::Status(status) => {
            assert_eq!(status.message(), Some((id, 3)));
            assert_eq!(status.status, DeliveryStatus::Delivered);
        }
        other => panic!("{other:?}"),
    }
    let late = now() + chrono::TimeDelta::seconds(301);
    let refused = read_callback(&keys(), &headers, &body, late);
    assert!(matches!(refused, Err(CallbackError::Signature(_))));
    let (headers, body) = stub.signed_callback("cb_2", now().timestamp(), &json!({"type": "x"}));
    let refused = read_callback(&keys(), &headers, &body, now());
    assert!(matches!(refused, Err(CallbackError::Malformed(_))));
}
