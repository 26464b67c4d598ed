//! The examples of GATEWAY.md are what we send and what we read.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::{doubtful, now, outgoing};
use crate::{
    channel::{
        CallKey, CallScript, Content, KeyMeaning, Outgoing, Sender, SmsContent,
        callback::{CallbackEvent, DeliveryStatus, read_callback},
        gateway::{GatewayConfig, GatewaySender, GatewayTimeouts},
        signature::SigningKeys,
    },
    testkit::{GatewayStub, SeenRequest},
};

const CONTRACT: &str = include_str!("../../../GATEWAY.md");
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

struct Example {
    line: String,
    headers: HeaderMap,
    body: String,
}

/// Every signed request on the page.
fn examples() -> Vec<Example> {
    let blocks = CONTRACT
        .split("```http\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    blocks
        .filter(|block| block.contains("webhook-signature"))
        .map(|block| {
            let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
            let mut lines = head.lines();
            let line = lines.next().unwrap().to_owned();
            let headers = lines
                .map(|line| {
                    let (name, value) = line.split_once(": ").unwrap();
                    let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                    (name, HeaderValue::from_str(value).unwrap())
                })
                .collect();
            Example {
                line,
                headers,
                body: body.trim_end().to_owned(),
            }
        })
        .collect()
}

fn keys() -> SigningKeys {
    SigningKeys::parse(&[SECRET.into()]).unwrap()
}

fn sender(stub: &GatewayStub) -> GatewaySender {
    GatewaySender::try_new(GatewayConfig {
        base: stub.base(),
        keys: keys(),
        status_callback: "https://cs.example/callbacks/status".to_owned(),
        reply_callback: "https://cs.example/callbacks/reply".to_owned(),
        timeouts: GatewayTimeouts::default(),
    })
    .unwrap()
}

fn numbered(number: u128, content: Content) -> Outgoing {
    Outgoing {
        message_id: Uuid::from_u128(0x0198_c0de_1111_7000_8000_0000_0000_0000 + number),
        attempt_id: Uuid::from_u128(0x0198_c0de_2222_7000_8000_0000_0000_0000 + number),
        ..outgoing("+8613800138000", content)
    }
}

fn assert_as_written(example: &Example, request: &SeenRequest) {
    assert_eq!(
        example.line,
        format!("{} {} HTTP/1.1", request.method, request.path)
    );
    assert_eq!(example.body, String::from_utf8_lossy(&request.body));
    for (name, value) in &example.headers {
        if name != "host" {
            assert_eq!(request.headers.get(name), Some(value), "{name}");
        }
    }
}

#[test]
fn every_signature_on_the_page_fits() {
    let examples = examples();
    assert_eq!(examples.len(), 6);
    for example in examples {
        keys()
            .verify(&example.headers, example.body.as_bytes(), now())
            .unwrap();
    }
}

#[tokio::test]
async fn the_requests_on_the_page_are_what_we_send() {
    let stub = GatewayStub::start(SECRET).await;
    let sender = sender(&stub);
    let text = "Hua Trading: please confirm order CS-2026-000123. Open https://o.example/k3v9x2m7q4w8 or reply 482913.";
    let sms = numbered(
        1,
        Content::Sms(SmsContent {
            text: text.to_owned(),
            particulars: None,
        }),
    );
    let key = |digit: &str, means| CallKey {
        digit: digit.to_owned(),
        means,
    };
    let call = CallScript {
        language: "zh-CN".to_owned(),
        prompts: [
            "您好，这里是华贸易。",
            "您的订单已审核完毕，请您确认。",
            "确认订单请按1，有异议请按2。重听请按9。",
        ]
        .map(str::to_owned)
        .to_vec(),
        keys: vec![
            key("1", KeyMeaning::Confirm),
            key("2", KeyMeaning::Object),
            key("9", KeyMeaning::Repeat),
        ],
        particulars: None,
    };
    sender.send(&sms, now()).await;
    sender.send(&numbered(2, Content::Call(call)), now()).await;
    sender.reconcile(&doubtful(&sms), now()).await;
    let seen = stub.seen();
    let examples = examples();
    for (example, request) in examples.iter().zip(&seen) {
        assert_as_written(example, request);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn the_callbacks_on_the_page_are_what_we_read() {
    let examples = examples();
    let read = |example: &Example| {
        read_callback(&keys(), &example.headers, example.body.as_bytes(), now()).unwrap()
    };
    let status = read(&examples[3]);
    assert_eq!(status.id, "cb_000101");
    assert!(matches!(status.event, CallbackEvent::Status(event)
        if event.status == DeliveryStatus::Failed && event.code.as_deref() == Some("unreachable")));
    assert!(
        matches!(read(&examples[4]).event, CallbackEvent::SmsReceived(reply)
        if reply.text == "482913" && reply.in_reply_to.as_deref() == Some("gw_000001"))
    );
    assert!(matches!(read(&examples[5]).event, CallbackEvent::KeyPressed(key) if key.digit == "1"));
}
