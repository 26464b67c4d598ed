use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use secrecy::SecretString;

use super::{again, doubtful, now, outgoing};
use crate::{
    channel::{
        CallScript, Content, Doubtful, Outcome, Outgoing, Particulars, ReasonCode, Reconciled,
        Sender, SmsContent,
        alibaba::{
            AlibabaAccount, AlibabaSms, AlibabaSmsConfig, AlibabaVoice, AlibabaVoiceConfig,
            call_out_id,
        },
        approved::{ApprovedText, ApprovedTexts},
        callback::DeliveryStatus,
        gateway::GatewayTimeouts,
    },
    ids::Ids,
    template::{Locale, MessageKind},
    testkit::{AlibabaStub, Answer},
};

const KEY: &str = "LTAI-test";
const SECRET: &str = "s3cret-of-the-cloud";

fn account(base: &str, secret: &str) -> AlibabaAccount {
    AlibabaAccount {
        base: base.to_owned(),
        access_key_id: KEY.to_owned(),
        access_key_secret: SecretString::from(secret),
        timeouts: GatewayTimeouts {
            connect: Duration::from_millis(400),
            total: Duration::from_millis(800),
        },
        ids: Arc::new(Ids::seeded(7)),
    }
}

pub(super) fn texts(code: &str) -> ApprovedTexts {
    let text = ApprovedText {
        code: code.to_owned(),
        gaps: vec![
            ("code".to_owned(), "code"),
            ("token".to_owned(), "link_token"),
            ("who".to_owned(), "customer_name"),
        ],
    };
    let key = (MessageKind::ConfirmationRequest, Locale::ZhCn);
    ApprovedTexts::new(HashMap::from([(key, text)]), 35)
}

pub(super) fn particulars(name: &str) -> Particulars {
    Particulars {
        kind: MessageKind::ConfirmationRequest,
        locale: Locale::ZhCn,
        values: BTreeMap::from([
            ("code", "482913".to_owned()),
            ("link_token", "4bsER_F4kbkHkfFXhWG4Cg".to_owned()),
            ("customer_name", name.to_owned()),
        ]),
    }
}

pub(super) fn sms_to(name: &str) -> Outgoing {
    let content = Content::Sms(SmsContent {
        text: "our own words".to_owned(),
        particulars: Some(particulars(name)),
    });
    outgoing("+8613800138000", content)
}

fn sms() -> Outgoing {
    sms_to("李伟")
}

fn call() -> Outgoing {
    let content = Content::Call(CallScript {
        language: "zh-CN".to_owned(),
        prompts: vec!["您好".to_owned()],
        keys: Vec::new(),
        particulars: Some(particulars("李伟")),
    });
    outgoing("+8613800138000", content)
}

fn sender_with(stub: &AlibabaStub, secret: &str) -> AlibabaSms {
    AlibabaSms::try_new(AlibabaSmsConfig {
        account: account(&stub.base(), secret),
        sign_name: "阿里云".to_owned(),
        texts: texts("SMS_153055065"),
    })
    .unwrap()
}

fn sender(stub: &AlibabaStub) -> AlibabaSms {
    sender_with(stub, SECRET)
}

fn voice(stub: &AlibabaStub) -> AlibabaVoice {
    AlibabaVoice::try_new(AlibabaVoiceConfig {
        account: account(&stub.base(), SECRET),
        show_number: Some("057100000000".to_owned()),
        play_times: 2,
        texts: texts("TTS_1"),
    })
    .unwrap()
}

async fn stub() -> AlibabaStub {
    AlibabaStub::start(KEY, SECRET).await
}

async fn outcome(answer: Answer) -> Outcome {
    let stub = stub().await;
    stub.always(answer);
    sender(&stub).send(&sms(), now()).await
}

fn status(status: u16, body: &str) -> Answer {
    Answer::Status(status, String::new(), body.to_owned())
}

fn class(outcome: &Outcome) -> (&'static str, Option<ReasonCode>) {
    (outcome.as_str(), outcome.reason().map(|reason| reason.code))
}

#[tokio::test]
async fn a_text_message_goes_out_signed_with_everything_in_the_query() {
    let stub = stub().await;
    let message = sms();
    let sent = sender(&stub).send(&message, now()).await;
    let taken = stub.accepted().pop().unwrap();
    assert_eq!(
        sent,
        Outcome::Sent {
            provider_id: taken.id.clone()
        }
    );
    assert_eq!(taken.out_id, message.attempt_id.to_string());
    assert_eq!(taken.parameter("PhoneNumbers"), "13800138000");
    assert_eq!(taken.parameter("SignName"), "阿里云");
    assert_eq!(taken.parameter("TemplateCode"), "SMS_153055065");
    assert_eq!(
        taken.parameter("TemplateParam"),
        r#"{"code":"482913","token":"4bsER_F4kbkHkfFXhWG4Cg","who":"李伟"}"#
    );
    let request = stub.seen().pop().unwrap();
    assert!(request.body.is_empty());
    assert_eq!(request.headers["x-acs-date"], "2026-11-18T11:06:40Z");
}

#[tokio::test]
async fn a_call_speaks_an_approved_text() {
    let stub = stub().await;
    let message = call();
    let sent = voice(&stub).send(&message, now()).await;
    let taken = stub.accepted().pop().unwrap();
    assert!(matches!(sent, Outcome::Sent { provider_id } if provider_id == taken.id));
    assert_eq!(taken.parameter("CalledNumber"), "13800138000");
    assert_eq!(taken.parameter("CalledShowNumber"), "057100000000");
    assert_eq!(taken.parameter("TtsCode"), "TTS_1");
    assert_eq!(taken.parameter("PlayTimes"), "2");
    assert_eq!(taken.out_id, call_out_id(message.attempt_id));
}

#[tokio::test]
async fn i_06_values_stay_one_compact_json_whatever_they_hold() {
    let stub = stub().await;
    let sender = sender(&stub);
    for name in [
        r#"Li "the tea" \ Wei"#,
        "李😀伟",
        "a&b=c d+e%20*~",
        "</Say>${jndi:}{{7*7}}",
    ] {
        let sent = sender.send(&sms_to(name), now()).await;
        assert_eq!(sent.as_str(), "SENT", "{sent:?}");
        let text = stub
            .accepted()
            .pop()
            .unwrap()
            .parameter("TemplateParam")
            .to_owned();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["who"], name);
        assert_eq!(read.to_string(), text);
    }
}

#[tokio::test]
async fn i_06_a_web_address_or_a_long_value_is_refused_before_sending() {
    let stub = stub().await;
    for name in ["see https://evil.example/x", &"长".repeat(36)] {
        let refused = sender(&stub).send(&sms_to(name), now()).await;
        assert_eq!(
            class(&refused),
            ("PERMANENT", Some(ReasonCode::MessageInvalid))
        );
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn d_02_no_answer_to_a_written_request_is_in_doubt_until_asked() {
    let stub = stub().await;
    let sender = sender(&stub);
    for (answer, taken) in [
        (Answer::Stall, false),
        (Answer::Drop, false),
        (Answer::AcceptAndDrop, true),
        (Answer::ResetInBody, true),
    ] {
        stub.once(answer);
        let message = sms();
        let sent = sender.send(&message, now()).await;
        assert_eq!(sent.as_str(), "IN_DOUBT", "{sent:?}");
        match sender.reconcile(&doubtful(&message), now()).await {
            Reconciled::Accepted {
                provider_id,
                status,
                by_our_key,
            } => {
                assert!(taken);
                assert_eq!(status, DeliveryStatus::Sent);
                assert_eq!(provider_id, message.attempt_id.to_string());
                assert!(by_our_key);
            }
            Reconciled::NotFound => assert!(!taken),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stub.accepted().len(), 2);
}

#[tokio::test]
async fn c_06_a_message_is_found_among_many_and_the_best_news_of_its_tries_counts() {
    let stub = stub().await;
    let sender = sender(&stub);
    let message = sms();
    sender.send(&message, now()).await;
    // A busy number: the message stands on the second page.
    for _ in 0..50 {
        sender.send(&sms(), now()).await;
    }
    let second = again(&message);
    sender.send(&second, now()).await;
    stub.set_status(&message.attempt_id.to_string(), 2);
    stub.set_status(&second.attempt_id.to_string(), 3);
    let only_second = sender.reconcile(&doubtful(&second), now()).await;
    assert_eq!(
        only_second,
        Reconciled::Accepted {
            provider_id: second.attempt_id.to_string(),
            status: DeliveryStatus::Delivered,
            by_our_key: true
        }
    );
    let mut asked = doubtful(&message);
    let found = sender.reconcile(&asked, now()).await;
    assert!(
        matches!(
            found,
            Reconciled::Accepted {
                status: DeliveryStatus::Failed,
                ..
            }
        ),
        "{found:?}"
    );
    asked.attempts.clear();
    assert_eq!(sender.reconcile(&asked, now()).await, Reconciled::NotFound);
}

#[tokio::test]
async fn l_05_after_a_restore_a_text_is_not_told_from_others_to_the_same_number() {
    let stub = stub().await;
    let sender = sender(&stub);
    let lost = |message: &Outgoing, days: i64| Doubtful {
        attempts: Vec::new(),
        unrecorded_since: Some(now() - TimeDelta::days(days)),
        ..doubtful(message)
    };
    let message = sms();
    let found = sender.reconcile(&lost(&message, 2), now()).await;
    assert_eq!(found, Reconciled::NotFound, "there are none at all");
    sender.send(&message, now()).await;
    let found = sender.reconcile(&lost(&message, 2), now()).await;
    assert_eq!(found, Reconciled::NobodyToAsk);
    // Older than what the cloud keeps.
    let asked = stub.seen().len();
    let found = sender.reconcile(&lost(&message, 31), now()).await;
    assert_eq!(found, Reconciled::NobodyToAsk);
    assert_eq!(stub.seen().len(), asked);
}

#[tokio::test]
async fn c_06_a_try_before_midnight_is_found_on_the_day_in_china_that_has_it() {
    let stub = stub().await;
    let sender = sender(&stub);
    let message = Outgoing {
        deadline: None,
        ..sms()
    };
    let late: chrono::DateTime<chrono::Utc> = "2026-11-18T16:00:10Z".parse().unwrap();
    assert_eq!(sender.send(&message, late).await.as_str(), "SENT");
    let mut asked = doubtful(&message);
    for attempt in &mut asked.attempts {
        attempt.start_time = late - TimeDelta::seconds(20);
    }
    let found = sender.reconcile(&asked, late + TimeDelta::minutes(2)).await;
    assert!(matches!(found, Reconciled::Accepted { .. }), "{found:?}");
}

#[tokio::test]
async fn d_02_a_question_without_a_clear_answer_stays_open() {
    let stub = stub().await;
    let sender = sender(&stub);
    let message = sms();
    for answer in [
        Answer::Stall,
        status(500, ""),
        status(200, "<html>"),
        status(200, r#"{"Code":"isp.SYSTEM_ERROR","Message":"x"}"#),
        status(200, r#"{"Code":"OK"}"#),
        // The list is said to have two and shows none: seen in the wild.
        status(
            200,
            r#"{"Code":"OK","TotalCount":2,"SmsSendDetailDTOs":{"SmsSendDetailDTO":[]}}"#,
        ),
        status(400, r#"{"Code":"Throttling.User","Message":"x"}"#),
    ] {
        stub.once(answer.clone());
        let found = sender.reconcile(&doubtful(&message), now()).await;
        assert!(
            matches!(found, Reconciled::Unknown { .. }),
            "{answer:?}: {found:?}"
        );
    }
}

#[tokio::test]
async fn d_02_a_call_in_doubt_is_never_placed_again() {
    let stub = stub().await;
    stub.once(Answer::AcceptAndDrop);
    let message = call();
    let sent = voice(&stub).send(&message, now()).await;
    assert_eq!(sent.as_str(), "IN_DOUBT");
    let found = voice(&stub).reconcile(&doubtful(&message), now()).await;
    assert_eq!(found, Reconciled::NobodyToAsk);
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn d_04_a_failure_of_the_cloud_is_in_doubt() {
    for code in [500, 502, 503, 504] {
        let failed = outcome(status(code, "<html>bad gateway</html>")).await;
        assert_eq!(
            class(&failed),
            ("IN_DOUBT", Some(ReasonCode::GatewayFailed))
        );
        let failed = outcome(status(code, r#"{"Code":"ServiceUnavailable"}"#)).await;
        assert_eq!(
            class(&failed),
            ("IN_DOUBT", Some(ReasonCode::GatewayFailed))
        );
    }
}

#[tokio::test]
async fn d_07_throttling_is_not_sent_and_waits_the_milliseconds_asked_for() {
    let throttled = |header: &str| {
        let headers = format!("x-acs-retry-after: {header}\r\n");
        Answer::Status(429, headers, r#"{"Code":"Throttling.User"}"#.to_owned())
    };
    for (header, wanted) in [
        ("2000", Some(Duration::from_secs(2))),
        ("0", None),
        ("", None),
        ("-1", None),
        ("soon", None),
    ] {
        match outcome(throttled(header)).await {
            Outcome::NotSent {
                reason,
                retry_after,
            } => {
                assert_eq!(reason.code, ReasonCode::RateLimited);
                assert_eq!(retry_after, wanted, "{header}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn d_08_a_slow_answer_is_cut_off() {
    for answer in [
        Answer::DripHead(Duration::from_millis(30)),
        Answer::DripBody(Duration::from_millis(30)),
    ] {
        let begun = Instant::now();
        assert_eq!(outcome(answer).await.as_str(), "IN_DOUBT");
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn d_09_an_answer_without_end_is_read_to_its_limit() {
    assert_eq!(outcome(Answer::HugeBody(200)).await.as_str(), "IN_DOUBT");
    assert_eq!(
        class(&outcome(Answer::HugeBody(403)).await),
        ("CONFIG", Some(ReasonCode::AuthRefused))
    );
}

#[tokio::test]
async fn d_10_an_unreadable_yes_is_in_doubt() {
    let deep = format!(r#"{{"Code":"OK","BizId":"1","x":{}"#, "[".repeat(10_000));
    for body in [
        "",
        "<html>+8613800138000</html>",
        "[]",
        r#"{"Code":"OK","BizId":"#,
        r#"{"Code":7,"BizId":"1"}"#,
        r#"{"Code":"OK","Code":"OK","BizId":"1"}"#,
        "\u{feff}{\"Code\":\"OK\",\"BizId\":\"1\"}",
        r#"{"Code":"call +86 138","BizId":"1"}"#,
        &deep,
    ] {
        let unreadable = outcome(status(200, body)).await;
        assert_eq!(
            class(&unreadable),
            ("IN_DOUBT", Some(ReasonCode::UnreadableAnswer)),
            "{body}"
        );
        assert!(!format!("{unreadable:?}").contains("13800138000"));
    }
}

#[tokio::test]
async fn d_11_a_yes_without_an_id_is_in_doubt() {
    for body in [
        r#"{"Code":"OK","Message":"OK"}"#,
        r#"{"Code":"OK","BizId":""}"#,
        r#"{"Code":"OK","BizId":null}"#,
    ] {
        assert_eq!(
            class(&outcome(status(200, body)).await),
            ("IN_DOUBT", Some(ReasonCode::UnreadableAnswer)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn d_12_the_code_tells_the_class() {
    use ReasonCode::{
        AddressUnsupported, AuthRefused, BadRecipient, GatewayFailed, MessageRefused, RateLimited,
        SenderRefused, TemplateRefused,
    };
    let stub = stub().await;
    let sender = sender(&stub);
    for (code, class_name, reason) in [
        ("isv.MOBILE_NUMBER_ILLEGAL", "PERMANENT", BadRecipient),
        ("isv.BUSINESS_LIMIT_CONTROL", "PERMANENT", RateLimited),
        ("isv.DAY_LIMIT_CONTROL", "PERMANENT", RateLimited),
        (
            "isv.DOMESTIC_NUMBER_NOT_SUPPORTED",
            "PERMANENT",
            AddressUnsupported,
        ),
        ("isv.SMS_CONTENT_ILLEGAL", "PERMANENT", MessageRefused),
        ("isv.PARAM_NOT_SUPPORT_URL", "PERMANENT", MessageRefused),
        ("isv.SOMETHING_NEW", "PERMANENT", MessageRefused),
        ("isv.AMOUNT_NOT_ENOUGH", "CONFIG", AuthRefused),
        ("isv.OUT_OF_SERVICE", "CONFIG", AuthRefused),
        ("isv.ACCOUNT_ABNORMAL", "CONFIG", AuthRefused),
        ("isv.PRODUCT_UN_SUBSCRIPT", "CONFIG", AuthRefused),
        ("isp.RAM_PERMISSION_DENY", "CONFIG", AuthRefused),
        ("isv.SMS_TEMPLATE_ILLEGAL", "PERMANENT", TemplateRefused),
        ("isv.SMS_SIGNATURE_ILLEGAL", "CONFIG", SenderRefused),
        (
            "isv.TEMPLATE_MISSING_PARAMETERS",
            "PERMANENT",
            TemplateRefused,
        ),
        ("isp.SYSTEM_ERROR", "IN_DOUBT", GatewayFailed),
    ] {
        stub.refuse_once(code);
        let refused = sender.send(&sms(), now()).await;
        assert_eq!(class(&refused), (class_name, Some(reason)), "{code}");
        let bad = matches!(
            refused,
            Outcome::Permanent {
                bad_recipient: true,
                ..
            }
        );
        assert_eq!(bad, code == "isv.MOBILE_NUMBER_ILLEGAL");
    }
    assert!(stub.accepted().is_empty());
}

#[tokio::test]
async fn d_15_a_wrong_key_is_our_fault_for_every_message_alike() {
    let stub = stub().await;
    let refused = sender_with(&stub, "another").send(&sms(), now()).await;
    assert_eq!(class(&refused), ("CONFIG", Some(ReasonCode::AuthRefused)));
    assert!(!format!("{refused:?}").contains("another"));
    for code in [401, 403] {
        assert_eq!(outcome(status(code, "")).await.as_str(), "CONFIG");
    }
}

#[tokio::test]
async fn d_16_a_redirect_is_not_followed() {
    let answer = Answer::Status(
        302,
        "location: http://127.0.0.1:1/\r\n".to_owned(),
        String::new(),
    );
    assert_eq!(
        class(&outcome(answer).await),
        ("NOT_SENT", Some(ReasonCode::Redirected))
    );
}

#[tokio::test]
async fn g_03_a_wrong_clock_is_our_fault_for_every_message_alike() {
    for code in ["InvalidTimeStamp.Expired", "IllegalTimestamp"] {
        let body = format!(r#"{{"Code":"{code}","Message":"x"}}"#);
        assert_eq!(
            class(&outcome(status(400, &body)).await),
            ("CONFIG", Some(ReasonCode::AuthRefused))
        );
    }
}

#[tokio::test]
async fn numbers_that_are_none_and_messages_that_are_late_are_not_sent() {
    let stub = stub().await;
    let sender = sender(&stub);
    let wrong = Outgoing {
        to: "13800138000".into(),
        ..sms()
    };
    assert_eq!(
        class(&sender.send(&wrong, now()).await),
        ("PERMANENT", Some(ReasonCode::BadRecipient))
    );
    let late = Outgoing {
        deadline: Some(now()),
        ..sms()
    };
    assert_eq!(
        class(&sender.send(&late, now()).await),
        ("NOT_SENT", Some(ReasonCode::DeadlinePassed))
    );
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn secrets_are_not_printed() {
    let stub = stub().await;
    let text = format!("{:?} {:?}", sender(&stub), voice(&stub));
    assert!(!text.contains(SECRET) && !text.contains(KEY), "{text}");
}
