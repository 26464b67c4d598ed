use std::time::Duration;

use serde_json::json;

use super::{
    alibaba::{sms_to, texts},
    doubtful, now,
};
use crate::{
    channel::{
        Outcome, ReasonCode, Reconciled, Sender,
        gateway::GatewayTimeouts,
        tencent::{TencentSms, TencentSmsConfig},
    },
    testkit::{Answer, TencentStub},
};

const KEY: &str = "AKID-test";
const SECRET: &str = "s3cret-of-the-cloud";

fn sender_with(stub: &TencentStub, secret: &str) -> TencentSms {
    TencentSms::try_new(TencentSmsConfig {
        base: stub.base(),
        secret_id: KEY.to_owned(),
        secret_key: secret.into(),
        region: "ap-guangzhou".to_owned(),
        sdk_app_id: "1400006666".to_owned(),
        sign_name: "腾讯云".to_owned(),
        texts: texts("1110"),
        timeouts: GatewayTimeouts {
            connect: Duration::from_millis(400),
            total: Duration::from_millis(800),
        },
    })
    .unwrap()
}

fn class(outcome: &Outcome) -> (&'static str, Option<ReasonCode>) {
    (outcome.as_str(), outcome.reason().map(|reason| reason.code))
}

#[tokio::test]
async fn a_text_message_goes_out_signed_with_numbered_values() {
    let stub = TencentStub::start(KEY, SECRET).await;
    let message = sms_to("李伟");
    let sent = sender_with(&stub, SECRET).send(&message, now()).await;
    let taken = stub.accepted().pop().unwrap();
    assert_eq!(
        sent,
        Outcome::Sent {
            provider_id: taken.id
        }
    );
    assert_eq!(
        taken.request,
        json!({
            "PhoneNumberSet": ["+8613800138000"], "SmsSdkAppId": "1400006666", "SignName": "腾讯云",
            "TemplateId": "1110", "TemplateParamSet": ["482913", "4bsER_F4kbkHkfFXhWG4Cg", "李伟"],
            "SessionContext": message.attempt_id.to_string(),
        })
    );
    let request = stub.seen().pop().unwrap();
    assert!(request.signed);
    assert_eq!(request.headers["x-tc-timestamp"], "1795000000");
    assert_eq!(request.headers["x-tc-region"], "ap-guangzhou");
}

#[tokio::test]
async fn d_02_in_doubt_nobody_can_be_asked() {
    let stub = TencentStub::start(KEY, SECRET).await;
    let sender = sender_with(&stub, SECRET);
    for answer in [Answer::Stall, Answer::Drop, Answer::AcceptAndDrop] {
        stub.once(answer);
        let message = sms_to("李伟");
        let sent = sender.send(&message, now()).await;
        assert_eq!(class(&sent), ("IN_DOUBT", Some(ReasonCode::Unconfirmed)));
        let found = sender.reconcile(&doubtful(&message), now()).await;
        assert_eq!(found, Reconciled::NobodyToAsk);
    }
    assert_eq!(stub.accepted().len(), 1);
}

#[tokio::test]
async fn d_10_an_unreadable_answer_is_in_doubt() {
    let stub = TencentStub::start(KEY, SECRET).await;
    let sender = sender_with(&stub, SECRET);
    let other = r#"{"Response":{"SendStatusSet":[{"Code":"Ok","SerialNo":"1","SessionContext":"another"}]}}"#;
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"Response":{}}"#,
        r#"{"Response":{"SendStatusSet":[]}}"#,
        other,
    ] {
        stub.once(Answer::Status(200, String::new(), body.to_owned()));
        let sent = sender.send(&sms_to("李伟"), now()).await;
        assert_eq!(
            class(&sent),
            ("IN_DOUBT", Some(ReasonCode::UnreadableAnswer)),
            "{body}"
        );
    }
    stub.once(Answer::Status(502, String::new(), String::new()));
    let sent = sender.send(&sms_to("李伟"), now()).await;
    assert_eq!(class(&sent), ("IN_DOUBT", Some(ReasonCode::GatewayFailed)));
}

#[tokio::test]
async fn d_12_the_code_tells_the_class() {
    use ReasonCode::{
        AddressUnsupported, AuthRefused, BadRecipient, GatewayFailed, MessageRefused,
        Misconfigured, OptedOut, RateLimited, SenderRefused, TemplateRefused,
    };
    let stub = TencentStub::start(KEY, SECRET).await;
    let sender = sender_with(&stub, SECRET);
    for (code, class_name, reason) in [
        (
            "InvalidParameterValue.IncorrectPhoneNumber",
            "PERMANENT",
            BadRecipient,
        ),
        (
            "FailedOperation.PhoneNumberInBlacklist",
            "PERMANENT",
            OptedOut,
        ),
        (
            "LimitExceeded.PhoneNumberDailyLimit",
            "PERMANENT",
            RateLimited,
        ),
        (
            "LimitExceeded.PhoneNumberThirtySecondLimit",
            "NOT_SENT",
            RateLimited,
        ),
        ("RequestLimitExceeded", "NOT_SENT", RateLimited),
        (
            "FailedOperation.ContainSensitiveWord",
            "PERMANENT",
            MessageRefused,
        ),
        (
            "InvalidParameterValue.ContentLengthLimit",
            "PERMANENT",
            MessageRefused,
        ),
        (
            "UnsupportedOperation.UnsupportedRegion",
            "PERMANENT",
            AddressUnsupported,
        ),
        (
            "FailedOperation.TemplateIncorrectOrUnapproved",
            "PERMANENT",
            TemplateRefused,
        ),
        (
            "FailedOperation.SignatureIncorrectOrUnapproved",
            "CONFIG",
            SenderRefused,
        ),
        (
            "FailedOperation.InsufficientBalanceInSmsPackage",
            "CONFIG",
            AuthRefused,
        ),
        (
            "UnauthorizedOperation.RequestIpNotInWhitelist",
            "CONFIG",
            AuthRefused,
        ),
        ("NoSuchVersion", "CONFIG", Misconfigured),
        ("InternalError.Timeout", "IN_DOUBT", GatewayFailed),
        ("SomethingNew", "IN_DOUBT", GatewayFailed),
    ] {
        let message = sms_to("李伟");
        stub.fail_once(code);
        let whole = sender.send(&message, now()).await;
        assert_eq!(class(&whole), (class_name, Some(reason)), "{code}");
        let one = json!({"Response": {"SendStatusSet": [
            {"Code": code, "SerialNo": "", "SessionContext": message.attempt_id.to_string()}
        ]}});
        stub.once(Answer::Status(200, String::new(), one.to_string()));
        assert_eq!(sender.send(&message, now()).await, whole, "{code}");
    }
    assert!(stub.accepted().is_empty());
}

#[tokio::test]
async fn g_03_a_wrong_clock_or_key_is_our_fault_for_every_message_alike() {
    let stub = TencentStub::start(KEY, SECRET).await;
    stub.fail_once("AuthFailure.SignatureExpire");
    for secret in [SECRET, "another"] {
        let refused = sender_with(&stub, secret)
            .send(&sms_to("李伟"), now())
            .await;
        assert_eq!(class(&refused), ("CONFIG", Some(ReasonCode::AuthRefused)));
    }
    assert!(stub.accepted().is_empty());
}
