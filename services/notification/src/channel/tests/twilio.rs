use std::time::{Duration, Instant};

use chrono::TimeDelta;
use secrecy::SecretString;

use super::{again, doubtful, now, outgoing};
use crate::{
    channel::{
        CallKey, CallScript, Channel, Content, DeliveryStatus, Doubtful, KeyMeaning, Outcome,
        Outgoing, ReasonCode, Reconciled, RetryRule, Sender, SmsContent,
        gateway::GatewayTimeouts,
        twilio::{TwilioConfig, TwilioFrom, TwilioSender},
    },
    template::segments,
    testkit::{Answer, TwilioStub},
};

const NUMBER: &str = "+14155552345";
const CUSTOMER: &str = "+8613800138000";

fn config(base: &str, channel: Channel) -> TwilioConfig {
    TwilioConfig {
        channel,
        base: base.to_owned(),
        account_sid: TwilioStub::ACCOUNT.to_owned(),
        user: TwilioStub::ACCOUNT.to_owned(),
        password: SecretString::from(TwilioStub::TOKEN),
        from: TwilioFrom::Number(NUMBER.to_owned()),
        callbacks: "https://cs.example/callbacks/twilio".to_owned(),
        timeouts: GatewayTimeouts {
            connect: Duration::from_millis(400),
            total: Duration::from_millis(800),
        },
    }
}

async fn stub() -> TwilioStub {
    TwilioStub::start(&now().to_rfc2822()).await
}

fn texts(stub: &TwilioStub) -> TwilioSender {
    TwilioSender::try_new(config(&stub.base(), Channel::Sms)).unwrap()
}

fn calls(stub: &TwilioStub) -> TwilioSender {
    TwilioSender::try_new(config(&stub.base(), Channel::Phone)).unwrap()
}

fn sms() -> Outgoing {
    let text = "请确认订单 🍵 A+B=1&2 https://o.example/k3".to_owned();
    outgoing(CUSTOMER, said(&text))
}

fn said(text: &str) -> Content {
    Content::Sms(SmsContent {
        text: text.to_owned(),
        particulars: None,
    })
}

fn call() -> Outgoing {
    let key = |digit: &str, means| CallKey {
        digit: digit.to_owned(),
        means,
    };
    let script = CallScript {
        language: "zh-CN".to_owned(),
        prompts: vec!["您好".to_owned(), "确认请按1，有异议请按2".to_owned()],
        keys: vec![key("1", KeyMeaning::Confirm), key("2", KeyMeaning::Object)],
        particulars: None,
    };
    outgoing(CUSTOMER, Content::Call(script))
}

async fn outcome(answer: Answer) -> Outcome {
    let stub = stub().await;
    stub.always(answer);
    texts(&stub).send(&sms(), now()).await
}

fn status(status: u16, body: &str) -> Answer {
    Answer::Status(status, String::new(), body.to_owned())
}

fn assert_in_doubt(outcome: &Outcome, code: ReasonCode) {
    assert!(
        matches!(outcome, Outcome::InDoubt { reason } if reason.code == code),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_text_message_is_posted_as_twilio_documents_it() {
    let stub = stub().await;
    let message = sms();
    let outcome = texts(&stub).send(&message, now()).await;
    let taken = stub.accepted().pop().unwrap();
    assert_eq!(
        outcome,
        Outcome::Sent {
            provider_id: taken.sid.clone()
        }
    );
    let request = stub.seen().pop().unwrap();
    assert!(request.signed, "HTTP Basic");
    assert_eq!(
        request.path,
        format!("/2010-04-01/Accounts/{}/Messages.json", TwilioStub::ACCOUNT)
    );
    assert_eq!(
        request.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    let attempt = message.attempt_id;
    let key = format!("{}-1", message.message_id);
    let expected = [
        ("To", CUSTOMER.to_owned()),
        ("From", NUMBER.to_owned()),
        ("Body", "请确认订单 🍵 A+B=1&2 https://o.example/k3".to_owned()),
        (
            "StatusCallback",
            format!(
                "https://cs.example/callbacks/twilio/sms/status?attempt={attempt}&key={key}#rc=2&rp=ct,rt,5xx"
            ),
        ),
        ("ValidityPeriod", "14400".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    assert_eq!(taken.fields, expected);
    assert_eq!((taken.attempt(), taken.key()), (attempt.to_string(), key));
}

#[tokio::test]
async fn a_text_message_is_kept_by_twilio_until_our_deadline_and_not_longer() {
    let stub = stub().await;
    for (left, period) in [
        (TimeDelta::milliseconds(300), "1"),
        (TimeDelta::seconds(95), "95"),
        (TimeDelta::days(2), "36000"),
    ] {
        let message = Outgoing {
            deadline: Some(now() + left),
            ..sms()
        };
        texts(&stub).send(&message, now()).await;
        assert_eq!(
            stub.accepted().pop().unwrap().field("ValidityPeriod"),
            period
        );
    }
    let late = Outgoing {
        deadline: Some(now()),
        ..sms()
    };
    let outcome = texts(&stub).send(&late, now()).await;
    assert!(
        matches!(&outcome, Outcome::NotSent { reason, .. } if reason.code == ReasonCode::DeadlinePassed)
    );
    assert_eq!(stub.accepted().len(), 3);
}

#[tokio::test]
async fn a_messaging_service_stands_in_for_the_number() {
    let stub = stub().await;
    let service = format!("MG{}", "7".repeat(32));
    let sender = TwilioSender::try_new(TwilioConfig {
        from: TwilioFrom::MessagingService(service.clone()),
        ..config(&stub.base(), Channel::Sms)
    })
    .unwrap();
    let message = sms();
    sender.send(&message, now()).await;
    let taken = stub.accepted().pop().unwrap();
    assert_eq!(taken.field("MessagingServiceSid"), service);
    assert_eq!(taken.field("From"), "");
    let found = sender.reconcile(&doubtful(&message), now()).await;
    assert!(matches!(found, Reconciled::Accepted { .. }), "{found:?}");
}

#[tokio::test]
async fn a_call_is_posted_with_its_words_and_asks_to_be_told_of_every_step() {
    let stub = stub().await;
    let message = call();
    let outcome = calls(&stub).send(&message, now()).await;
    let taken = stub.accepted().pop().unwrap();
    assert_eq!(
        outcome,
        Outcome::Sent {
            provider_id: taken.sid.clone()
        }
    );
    assert!(taken.sid.starts_with("CA"));
    let events: Vec<&str> = taken
        .fields
        .iter()
        .filter(|(name, _)| name == "StatusCallbackEvent")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(events, ["initiated", "ringing", "answered", "completed"]);
    for (name, value) in [
        ("To", CUSTOMER),
        ("From", NUMBER),
        ("StatusCallbackMethod", "POST"),
        ("Timeout", "60"),
        ("TimeLimit", "600"),
        ("MachineDetection", "Enable"),
    ] {
        assert_eq!(taken.field(name), value, "{name}");
    }
    assert_eq!(
        taken.action(),
        format!(
            "https://cs.example/callbacks/twilio/voice/gather?attempt={}&key={}-1&turn=1&misses=0#rc=2&rp=ct,rt,5xx",
            message.attempt_id, message.message_id
        )
    );
    assert_eq!(taken.key(), format!("{}-1", message.message_id));
    assert!(
        taken
            .field("Twiml")
            .contains("<Say language=\"zh-CN\">您好</Say>")
    );
}

#[tokio::test]
async fn a_call_that_says_too_much_is_refused_before_it_is_placed() {
    let stub = stub().await;
    let Content::Call(mut script) = call().content else {
        panic!()
    };
    script.prompts.push("<".repeat(1_000));
    let message = outgoing(CUSTOMER, Content::Call(script));
    let outcome = calls(&stub).send(&message, now()).await;
    assert!(
        matches!(&outcome, Outcome::Permanent { reason, .. } if reason.code == ReasonCode::MessageInvalid)
    );
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn i_07_texts_at_the_boundaries_go_out_whole_and_are_counted_by_us() {
    let stub = stub().await;
    for (text, count) in [
        ("a".repeat(160), "1"),
        ("a".repeat(161), "2"),
        ("是".repeat(70), "1"),
        ("是".repeat(71), "2"),
        (format!("{}😀", "是".repeat(69)), "2"),
    ] {
        let message = outgoing(CUSTOMER, said(&text));
        texts(&stub).send(&message, now()).await;
        assert_eq!(segments(&text).count.to_string(), count);
        assert_eq!(stub.accepted().pop().unwrap().field("Body"), text);
    }
}

#[tokio::test]
async fn d_01_no_connection_is_not_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let base = format!("http://{closed}");
    let sender = TwilioSender::try_new(config(&base, Channel::Sms)).unwrap();
    let outcome = sender.send(&sms(), now()).await;
    assert!(
        matches!(&outcome, Outcome::NotSent { reason, .. } if reason.code == ReasonCode::Unreachable),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn d_02_c_05_no_answer_is_in_doubt_and_the_list_tells() {
    let stub = stub().await;
    let sender = texts(&stub);
    for (answer, taken) in [
        (Answer::Stall, false),
        (Answer::Drop, false),
        (Answer::AcceptAndDrop, true),
    ] {
        stub.once(answer);
        let message = sms();
        assert_in_doubt(&sender.send(&message, now()).await, ReasonCode::Unconfirmed);
        let found = sender.reconcile(&doubtful(&message), now()).await;
        if taken {
            assert_eq!(
                found,
                Reconciled::Accepted {
                    provider_id: stub.accepted()[0].sid.clone(),
                    status: DeliveryStatus::Queued,
                    by_our_key: false
                }
            );
        } else {
            assert_eq!(found, Reconciled::NotFound);
        }
    }
    assert_eq!(stub.accepted().len(), 1);
    let query = stub.seen().pop().unwrap().path;
    assert!(
        query.ends_with("/Messages.json?To=%2B8613800138000&DateSent%3E=2026-11-18&PageSize=20"),
        "{query}"
    );
}

#[tokio::test]
async fn c_05_only_the_same_number_sender_words_and_time_are_it() {
    let stub = stub().await;
    let sender = texts(&stub);
    let message = sms();
    stub.once(Answer::AcceptAndDrop);
    sender.send(&message, now()).await;
    let other_words = outgoing(CUSTOMER, said("another"));
    let other_number = Outgoing {
        to: SecretString::from("+8613800138001"),
        ..message.clone()
    };
    for other in [other_words, other_number] {
        let found = sender.reconcile(&doubtful(&other), now()).await;
        assert_eq!(found, Reconciled::NotFound);
    }
    let other_sender = TwilioSender::try_new(TwilioConfig {
        from: TwilioFrom::Number("+14155550000".to_owned()),
        ..config(&stub.base(), Channel::Sms)
    })
    .unwrap();
    let found = other_sender.reconcile(&doubtful(&message), now()).await;
    assert_eq!(found, Reconciled::NotFound);
    for (seconds, is_it) in [(-61, false), (-59, true), (79, true), (81, false)] {
        stub.set_date(&(now() + TimeDelta::seconds(seconds)).to_rfc2822());
        let found = sender.reconcile(&doubtful(&message), now()).await;
        assert_eq!(
            matches!(found, Reconciled::Accepted { .. }),
            is_it,
            "{seconds}"
        );
    }
}

#[tokio::test]
async fn l_05_after_a_restore_a_text_is_found_whose_try_is_not_on_record_and_a_call_is_not_guessed()
{
    let stub = stub().await;
    let lost = |message: &Outgoing, hours: i64| Doubtful {
        attempts: Vec::new(),
        unrecorded_since: Some(now() - TimeDelta::hours(hours)),
        ..doubtful(message)
    };
    let (text, call) = (sms(), call());
    for (sender, message) in [(texts(&stub), &text), (calls(&stub), &call)] {
        let found = sender.reconcile(&lost(message, 2), now()).await;
        assert_eq!(found, Reconciled::NotFound);
        assert!(matches!(
            sender.send(message, now()).await,
            Outcome::Sent { .. }
        ));
    }
    // The sender that asks has no memory of it.
    let found = texts(&stub).reconcile(&lost(&text, 2), now()).await;
    assert!(matches!(found, Reconciled::Accepted { .. }), "{found:?}");
    let other_words = outgoing(CUSTOMER, said("another"));
    let found = texts(&stub).reconcile(&lost(&other_words, 2), now()).await;
    assert_eq!(found, Reconciled::NotFound);
    let wordless = Doubtful {
        content: None,
        ..lost(&text, 2)
    };
    let found = texts(&stub).reconcile(&wordless, now()).await;
    assert_eq!(found, Reconciled::NobodyToAsk);
    let found = calls(&stub).reconcile(&lost(&call, 2), now()).await;
    assert_eq!(found, Reconciled::NobodyToAsk);
    // What was made before its order was there is another message's.
    let found = calls(&stub).reconcile(&lost(&call, -2), now()).await;
    assert_eq!(found, Reconciled::NotFound);
}

#[tokio::test]
async fn c_05_it_is_found_behind_many_others() {
    let stub = stub().await;
    let sender = texts(&stub);
    let message = sms();
    stub.once(Answer::AcceptAndDrop);
    sender.send(&message, now()).await;
    for number in 0..45 {
        let text = format!("news {number}");
        let other = outgoing(CUSTOMER, said(&text));
        sender.send(&other, now()).await;
    }
    let found = sender.reconcile(&doubtful(&message), now()).await;
    assert!(matches!(found, Reconciled::Accepted { .. }), "{found:?}");
}

#[tokio::test]
async fn c_07_a_call_in_doubt_is_found_by_number_and_time_and_not_guessed() {
    let stub = stub().await;
    let sender = calls(&stub);
    let message = call();
    stub.once(Answer::AcceptAndDrop);
    assert_in_doubt(&sender.send(&message, now()).await, ReasonCode::Unconfirmed);
    let found = sender.reconcile(&doubtful(&message), now()).await;
    assert!(matches!(found, Reconciled::Accepted { .. }), "{found:?}");
    let query = stub.seen().pop().unwrap().path;
    assert!(query.contains("/Calls.json?To=%2B8613800138000&StartTime%3E=2026-11-18"));
    // Another order's call to the same customer, known to be that order's, is none of ours.
    let second = call();
    sender.send(&second, now()).await;
    let found = sender.reconcile(&doubtful(&message), now()).await;
    assert!(matches!(found, Reconciled::Accepted { .. }), "{found:?}");
    // After a restart nobody knows which is which.
    let restarted = calls(&stub);
    let found = restarted.reconcile(&doubtful(&message), now()).await;
    assert!(matches!(found, Reconciled::Unknown { .. }), "{found:?}");
    assert_eq!(stub.accepted().len(), 2, "nobody was rung twice");
}

#[tokio::test]
async fn d_02_a_question_without_a_clear_answer_stays_open() {
    let stub = stub().await;
    let sender = texts(&stub);
    for answer in [
        Answer::Stall,
        status(500, ""),
        status(404, ""),
        status(200, "{}"),
        status(200, r#"{"messages":[{"sid":7}]}"#),
        status(
            200,
            r#"{"messages":[],"next_page_uri":"https://evil.example/"}"#,
        ),
        status(200, r#"{"messages":[],"next_page_uri":"//evil.example/"}"#),
        Answer::HugeBody(200),
    ] {
        stub.once(answer.clone());
        let found = sender.reconcile(&doubtful(&sms()), now()).await;
        assert!(
            matches!(found, Reconciled::Unknown { .. }),
            "{answer:?} {found:?}"
        );
    }
    let wordless = Doubtful {
        content: None,
        ..doubtful(&sms())
    };
    assert_eq!(
        sender.reconcile(&wordless, now()).await,
        Reconciled::NotFound
    );
}

#[tokio::test]
async fn d_03_d_04_resets_and_server_errors_are_in_doubt() {
    assert_in_doubt(
        &outcome(Answer::ResetInBody).await,
        ReasonCode::UnreadableAnswer,
    );
    for code in [500, 502, 503, 504] {
        assert_in_doubt(
            &outcome(TwilioStub::problem(code, 20429)).await,
            ReasonCode::GatewayFailed,
        );
    }
}

#[tokio::test]
async fn d_05_d_06_429_is_not_sent_and_its_wait_is_kept() {
    for (header, wait) in [
        ("retry-after: 7\r\n", Some(7)),
        ("retry-after: 315360000\r\n", Some(3_600)),
        ("retry-after: -1\r\n", None),
        ("retry-after: abc\r\n", None),
        ("", None),
    ] {
        let answer = Answer::Status(429, header.to_owned(), r#"{"code":20429}"#.to_owned());
        match outcome(answer).await {
            Outcome::NotSent {
                reason,
                retry_after,
            } => {
                assert_eq!(reason.code, ReasonCode::RateLimited);
                assert_eq!(reason.code.retry_rule(), RetryRule::Free);
                assert_eq!(retry_after, wait.map(Duration::from_secs));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn d_08_a_slow_answer_is_cut_off_and_in_doubt() {
    for answer in [
        Answer::DripHead(Duration::from_millis(50)),
        Answer::DripBody(Duration::from_millis(50)),
    ] {
        let begun = Instant::now();
        let outcome = outcome(answer).await;
        assert!(matches!(outcome, Outcome::InDoubt { .. }), "{outcome:?}");
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn d_09_an_endless_body_is_not_read_on() {
    assert_in_doubt(
        &outcome(Answer::HugeBody(201)).await,
        ReasonCode::UnreadableAnswer,
    );
    let refused = outcome(Answer::HugeBody(400)).await;
    assert!(matches!(refused, Outcome::Permanent { .. }), "{refused:?}");
}

#[tokio::test]
async fn d_10_d_11_d_25_what_is_no_acceptance_of_this_message_is_in_doubt() {
    let sid = format!("SM{}", "a".repeat(32));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let call_sid = format!(r#"{{"sid":"CA{}"}}"#, "a".repeat(32));
    for body in [
        String::new(),
        "<html>Log in</html>".to_owned(),
        r#"{"sid":"#.to_owned(),
        r#"{"status":"queued"}"#.to_owned(),
        r#"{"sid":null}"#.to_owned(),
        r#"{"sid":7}"#.to_owned(),
        r#"{"sid":"SM1"}"#.to_owned(),
        format!(r#"{{"sid":"{sid}","sid":"{sid}"}}"#),
        format!("\u{feff}{{\"sid\":\"{sid}\"}}"),
        format!(r#"{{"sid":"{sid}","x":{deep}}}"#),
        format!(r#"{{"sid":"{sid}","to":"+8613900139000"}}"#),
        format!(r#"{{"sid":"{sid}","account_sid":"AC{}"}}"#, "f".repeat(32)),
        call_sid,
    ] {
        let outcome = outcome(status(201, &body)).await;
        assert_in_doubt(&outcome, ReasonCode::UnreadableAnswer);
        let shown = format!("{outcome:?}");
        assert!(shown.len() < 1_024 && !shown.contains("Log in"), "{shown}");
    }
    let good = outcome(status(201, &format!(r#"{{"sid":"{sid}","new":1}}"#))).await;
    assert_eq!(good, Outcome::Sent { provider_id: sid });
}

#[tokio::test]
async fn d_13_d_14_d_15_codes_tell_whose_fault_it_is() {
    let case = async |http, code| match outcome(TwilioStub::problem(http, code)).await {
        Outcome::Permanent {
            reason,
            bad_recipient,
        } => ("PERMANENT", reason.code, bad_recipient),
        Outcome::Config { reason } => ("CONFIG", reason.code, false),
        Outcome::NotSent { reason, .. } => ("NOT_SENT", reason.code, false),
        other => panic!("{code}: {other:?}"),
    };
    assert_eq!(
        case(400, 21610).await,
        ("PERMANENT", ReasonCode::OptedOut, false)
    );
    for code in [21211, 21614, 21635] {
        let expected = ("PERMANENT", ReasonCode::BadRecipient, true);
        assert_eq!(case(400, code).await, expected, "{code}");
    }
    for code in [21214, 21216, 21408, 21612] {
        let expected = ("PERMANENT", ReasonCode::AddressUnsupported, false);
        assert_eq!(case(400, code).await, expected, "{code}");
    }
    for (http, code) in [(401, 20003), (403, 20003), (401, 0), (403, 70051)] {
        let expected = ("CONFIG", ReasonCode::AuthRefused, false);
        assert_eq!(case(http, code).await, expected, "{code}");
    }
    for code in [21212, 21606, 21608, 21703] {
        let expected = ("CONFIG", ReasonCode::SenderRefused, false);
        assert_eq!(case(400, code).await, expected, "{code}");
    }
    assert_eq!(
        case(404, 20404).await,
        ("CONFIG", ReasonCode::Misconfigured, false)
    );
    assert_eq!(
        case(400, 20429).await,
        ("NOT_SENT", ReasonCode::RateLimited, false)
    );
    assert_eq!(
        case(400, 99_999).await,
        ("PERMANENT", ReasonCode::MessageRefused, false)
    );
}

#[tokio::test]
async fn d_15_a_wrong_password_is_our_set_up() {
    let stub = stub().await;
    let sender = TwilioSender::try_new(TwilioConfig {
        password: SecretString::from("wrong"),
        ..config(&stub.base(), Channel::Sms)
    })
    .unwrap();
    let outcome = sender.send(&sms(), now()).await;
    assert!(matches!(outcome, Outcome::Config { .. }), "{outcome:?}");
    assert!(stub.accepted().is_empty());
}

#[tokio::test]
async fn d_16_nothing_is_carried_to_another_host() {
    let elsewhere = stub().await;
    for code in [301, 302, 307, 308] {
        let header = format!("location: {}/x\r\n", elsewhere.base());
        let outcome = outcome(Answer::Status(code, header, String::new())).await;
        assert!(
            matches!(&outcome, Outcome::NotSent { reason, .. } if reason.code == ReasonCode::Redirected)
        );
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn d_21_one_id_for_two_messages_is_in_doubt_for_the_second() {
    let stub = stub().await;
    let sender = texts(&stub);
    let sid = format!("SM{}", "b".repeat(32));
    stub.always(status(201, &format!(r#"{{"sid":"{sid}"}}"#)));
    let first = sms();
    assert!(matches!(
        sender.send(&first, now()).await,
        Outcome::Sent { .. }
    ));
    assert!(matches!(
        sender.send(&again(&first), now()).await,
        Outcome::Sent { .. }
    ));
    assert_in_doubt(&sender.send(&sms(), now()).await, ReasonCode::IdTaken);
}

#[tokio::test]
async fn nobody_is_written_to_who_has_no_number() {
    let stub = stub().await;
    for to in ["", "13800138000", "+86 138", "a@example.com"] {
        let message = Outgoing {
            to: SecretString::from(to),
            ..sms()
        };
        let outcome = texts(&stub).send(&message, now()).await;
        assert!(matches!(
            outcome,
            Outcome::Permanent {
                bad_recipient: true,
                ..
            }
        ));
    }
    assert!(
        texts(&stub).send(&call(), now()).await
            != Outcome::Sent {
                provider_id: String::new()
            }
    );
    assert!(stub.seen().is_empty());
    for base in ["http://api.twilio.com", "https://user@api.twilio.com", "x"] {
        assert!(TwilioSender::try_new(config(base, Channel::Sms)).is_err());
    }
}
