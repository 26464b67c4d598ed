//! Twilio and the worker: out by its API, back by its callbacks. Names begin with the scenario of RELIABILITY section 2.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use countersign_domain::{message::DeliveryState, order::Channel};
use countersign_runtime::config::{Config, Gateway, GatewayTransport, Twilio};
use secrecy::SecretString;

use super::{PHONE, Stage, eventually};
use crate::testkit::{Answer, Figures, TwilioAccepted, TwilioStub};
use DeliveryState::{Delivered, Failed, Ready, Sent, Suppressed};

pub(super) const CUSTOMER: &str = "+8613912345678";

pub(super) fn account(stub: &TwilioStub) -> Gateway {
    Gateway {
        transport: GatewayTransport::Twilio,
        twilio: Twilio {
            base_url: stub.base(),
            account_sid: Some(TwilioStub::ACCOUNT.to_owned()),
            auth_token: Some(SecretString::from(TwilioStub::TOKEN)),
            from: Some("+14155552345".to_owned()),
            ..Twilio::default()
        },
        ..Gateway::default()
    }
}

pub(super) async fn stub() -> TwilioStub {
    TwilioStub::start("Mon, 23 Nov 2026 00:00:00 +0000").await
}

/// An order whose customer has a telephone, told by text message; the second text asks for the confirmation.
async fn by_text(stub: &TwilioStub) -> (Stage, countersign_domain::ids::OrderId) {
    let mut stage = Stage::new(|config: &mut Config| config.sms = account(stub)).await;
    let order = stage.shop.order(None, PHONE).await;
    (stage, order.id)
}

pub(super) async fn taken(stub: &TwilioStub, count: usize) -> Vec<TwilioAccepted> {
    eventually(async || {
        let all = stub.accepted();
        (all.len() >= count)
            .then_some(all)
            .ok_or_else(|| format!("{} of {count}", stub.accepted().len()))
    })
    .await
}

#[tokio::test]
async fn f_01_f_06_status_in_any_order_and_a_hundred_times_is_one_effect() {
    let stub = stub().await;
    let (stage, order) = by_text(&stub).await;
    let asked = taken(&stub, 2).await.pop().unwrap();
    for _ in 0..100 {
        assert_eq!(stub.tell_status(&asked, "delivered", &[]).await, 204);
    }
    let wanted = [
        (1, Channel::Sms, Sent),
        (2, Channel::Sms, Delivered),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order, &wanted).await;
    for word in ["sent", "queued", "undelivered"] {
        let begun = Instant::now();
        assert_eq!(
            stub.tell_status(&asked, word, &[("ErrorCode", "30008")])
                .await,
            204
        );
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    eventually(async || {
        let open = "SELECT COUNT(*) AS n FROM replies WHERE state = 'PENDING'";
        let open = stage.database.number(open).await;
        (open == 0).then_some(()).ok_or_else(|| open.to_string())
    })
    .await;
    // Delivered, sent, queued, undelivered: the last of them contradicts the first, and that is on record.
    for (result, wanted) in [("OK", 1), ("OLD_NEWS", 2), ("CONFLICT: it had arrived", 1)] {
        let sql = format!("SELECT COUNT(*) AS n FROM replies WHERE result = '{result}'");
        assert_eq!(stage.database.number(&sql).await, wanted, "{result}");
    }
    assert_eq!(stage.states(order).await, wanted);
    let sid = asked.sid.clone();
    let found = stage.store().find_delivery_by_provider_id(&sid).await;
    assert_eq!(found.unwrap().unwrap().state, Delivered);
}

#[tokio::test]
async fn f_02_f_03_what_is_signed_otherwise_is_refused_without_an_echo() {
    let stub = stub().await;
    let (stage, order) = by_text(&stub).await;
    let asked = taken(&stub, 2).await.pop().unwrap();
    let url = asked.field("StatusCallback").to_owned();
    let fields = [
        ("AccountSid", TwilioStub::ACCOUNT),
        ("MessageSid", asked.sid.as_str()),
        ("MessageStatus", "delivered"),
    ];
    let other_url = url.replace("sms/status", "sms/reply");
    let other_fields = [fields[0], fields[1], ("MessageStatus", "failed")];
    let other_account = "AC00000000000000000000000000000000";
    let stranger = [("AccountSid", other_account), fields[1], fields[2]];
    for (sent, signature) in [
        (&fields, stub.signature(&other_url, &fields)),
        (&fields, stub.signature(&url, &other_fields)),
        (&fields, String::new()),
        (&stranger, stub.signature(&url, &stranger)),
    ] {
        let answer = stub.post_signed(&url, sent, &signature).await;
        assert_eq!(answer, (403, String::new()));
    }
    let stored = "SELECT COUNT(*) AS n FROM replies";
    assert_eq!(stage.database.number(stored).await, 0);
    let bare = url.split('#').next().unwrap();
    let with_port = stub.signature(bare, &fields);
    let without = bare.replacen(&format!(":{}", stage.http.port()), "", 1);
    let without = stub.signature(&without, &fields);
    for signature in [with_port, without] {
        assert_eq!(stub.post_signed(&url, &fields, &signature).await.0, 204);
    }
    let wanted = [
        (1, Channel::Sms, Sent),
        (2, Channel::Sms, Delivered),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order, &wanted).await;
}

#[tokio::test]
async fn d_20_a_status_that_overtakes_the_answer_to_our_post_is_joined_by_its_address() {
    let stub = stub().await;
    stub.once(Answer::Delay(Duration::from_millis(900)));
    let (stage, order) = by_text(&stub).await;
    // The address is in the request that is still waiting for its answer.
    let request = eventually(async || stub.seen().first().cloned().ok_or_default()).await;
    let waiting = TwilioAccepted {
        sid: format!("SM{:032x}", 1),
        fields: form_urlencoded::parse(&request.body).into_owned().collect(),
        status: "sent".to_owned(),
    };
    assert_eq!(stub.tell_status(&waiting, "delivered", &[]).await, 204);
    let wanted = [
        (1, Channel::Sms, Delivered),
        (2, Channel::Sms, Sent),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order, &wanted).await;
    assert_eq!(stub.accepted().len(), 2);
}

/// `Option::ok_or` with nothing to say.
trait OkOrDefault<T> {
    fn ok_or_default(self) -> Result<T, String>;
}

impl<T> OkOrDefault<T> for Option<T> {
    fn ok_or_default(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

#[tokio::test]
async fn f_07_a_status_of_an_unknown_id_waits_a_day_for_its_message_and_is_then_dropped_and_counted()
 {
    const EARLY: &str = "SM99999999999999999999999999999999";
    const STRANGE: &str = "SM66666666666666666666666666666666";
    let figures = Figures::start();
    let stub = stub().await;
    let (stage, order) = by_text(&stub).await;
    let sent = [
        (1, Channel::Sms, Sent),
        (2, Channel::Sms, Sent),
        (2, Channel::Phone, Ready),
    ];
    stage.until_states(order, &sent).await;
    let url = format!("http://{}/callbacks/twilio/sms/status", stage.http);
    for sid in [EARLY, STRANGE] {
        let fields = [
            ("AccountSid", TwilioStub::ACCOUNT),
            ("MessageSid", sid),
            ("MessageStatus", "delivered"),
        ];
        assert_eq!(stub.post(&url, &fields).await.0, 204);
    }
    let replies = async |wanted: &str, count: i64| {
        let sql = format!("SELECT COUNT(*) AS n FROM replies WHERE {wanted}");
        eventually(async || {
            let found = stage.database.number(&sql).await;
            (found == count)
                .then_some(())
                .ok_or_else(|| format!("{found} with {wanted}"))
        })
        .await;
    };
    replies("state = 'PENDING' AND result = 'UNKNOWN_MESSAGE'", 2).await;
    stage.until_states(order, &sent).await;

    // Our own record of the message comes after all.
    stage
        .database
        .execute(&format!(
            "UPDATE deliveries SET provider_id = '{EARLY}' WHERE seq = 2 AND channel = 'SMS'"
        ))
        .await;
    stage.store().shift_clock(TimeDelta::minutes(1));
    let arrived = [sent[0], (2, Channel::Sms, Delivered), sent[2]];
    stage.until_states(order, &arrived).await;
    replies("state = 'APPLIED' AND result = 'OK'", 1).await;

    let looked_at = async || {
        let sql = "SELECT attempts AS n FROM replies WHERE state <> 'APPLIED'";
        stage.database.number(sql).await
    };
    let before = looked_at().await;
    stage.store().shift_clock(TimeDelta::minutes(23 * 60 + 50));
    eventually(async || (looked_at().await > before).then_some(()).ok_or_default()).await;
    replies("state = 'PENDING' AND result = 'UNKNOWN_MESSAGE'", 1).await;
    assert_eq!(figures.of("unknown_messages_total"), 0);
    stage.store().shift_clock(TimeDelta::minutes(70));
    replies("state = 'REFUSED' AND result = 'UNKNOWN_MESSAGE'", 1).await;
    assert_eq!(figures.of("unknown_messages_total"), 1);
}

#[tokio::test]
async fn d_13_a_number_that_twilio_may_not_write_to_is_opted_out_and_the_next_channel_goes() {
    let stub = stub().await;
    stub.always(TwilioStub::problem(400, 21610));
    let (stage, order) = by_text(&stub).await;
    let wanted = [
        (1, Channel::Sms, Failed),
        (2, Channel::Sms, Suppressed),
        (2, Channel::Phone, Sent),
    ];
    stage.until_states(order, &wanted).await;
    let hash = countersign_store::testing::recipient_hash(CUSTOMER);
    let store = stage.store();
    assert!(store.is_opted_out(&hash, Channel::Sms).await.unwrap());
    assert!(!store.is_opted_out(&hash, Channel::Phone).await.unwrap());
    let by_gateway = "SELECT COUNT(*) AS n FROM opt_outs WHERE reason = 'GATEWAY'";
    assert_eq!(stage.database.number(by_gateway).await, 1);
    assert_eq!(stub.seen().len(), 1, "not tried again");
}

#[tokio::test]
async fn f_12_a_text_of_the_customer_confirms_and_is_answered_with_nothing() {
    let stub = stub().await;
    let (stage, _) = by_text(&stub).await;
    taken(&stub, 2).await;
    let url = format!("http://{}/callbacks/twilio/sms/reply", stage.http);
    let fields = [
        ("AccountSid", TwilioStub::ACCOUNT),
        ("MessageSid", "SM88888888888888888888888888888888"),
        ("From", CUSTOMER),
        ("To", "+14155552345"),
        ("Body", "好的。"),
        ("NumMedia", "0"),
    ];
    for _ in 0..3 {
        let (status, body) = stub.post(&url, &fields).await;
        assert_eq!(status, 200);
        assert!(body.ends_with("<Response/>"), "{body}");
    }
    let call = eventually(async || stage.orders.told().pop().ok_or_default()).await;
    assert_eq!(call.method, "AcceptConfirmation");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stage.orders.told().len(), 1);
}

/// The call that asks for the confirmation, after the text that asked for it failed.
pub(super) async fn by_call(
    stub: &TwilioStub,
) -> (Stage, countersign_domain::ids::OrderId, TwilioAccepted) {
    let mut stage = Stage::new(|config: &mut Config| {
        config.sms = account(stub);
        config.phone = account(stub);
    })
    .await;
    let order = stage.shop.order(None, PHONE).await;
    let asked = taken(stub, 2).await.pop().unwrap();
    stub.tell_status(&asked, "undelivered", &[("ErrorCode", "30003")])
        .await;
    let call = taken(stub, 3).await.pop().unwrap();
    assert!(call.sid.starts_with("CA"));
    (stage, order.id, call)
}

#[tokio::test]
async fn f_11_a_key_is_one_effect_and_no_key_is_asked_for_twice_more() {
    let stub = stub().await;
    let (stage, _, call) = by_call(&stub).await;
    // Nothing, then a key that means nothing: asked again each time, and then goodbye.
    let (status, second) = stub.press(&call, None, "").await;
    assert_eq!(status, 200);
    assert!(second.contains("turn=2&amp;misses=1"), "{second}");
    let (_, third) = stub.press(&call, Some(&second), "99").await;
    assert!(third.contains("turn=3&amp;misses=2"), "{third}");
    let (_, last) = stub.press(&call, Some(&third), "7").await;
    assert!(
        last.contains("<Hangup/>") && !last.contains("<Gather"),
        "{last}"
    );
    assert!(stage.orders.told().is_empty());
    // Heard again: no miss.
    let (_, again) = stub.press(&call, None, "9").await;
    assert!(again.contains("turn=2&amp;misses=0"), "{again}");
    for _ in 0..3 {
        let begun = Instant::now();
        let (status, answer) = stub.press(&call, Some(&again), "1").await;
        assert_eq!(status, 200);
        assert!(
            answer.contains("<Hangup/>") && !answer.contains("Dial"),
            "{answer}"
        );
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    let told = eventually(async || stage.orders.told().pop().ok_or_default()).await;
    assert_eq!(told.method, "RecordCallResult");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stage.orders.told().len(), 1, "one effect");
}

#[tokio::test]
async fn f_11_the_wish_for_a_person_reaches_staff() {
    let stub = stub().await;
    let (stage, _, call) = by_call(&stub).await;
    let (status, answer) = stub.press(&call, None, "0").await;
    assert_eq!(status, 200);
    assert!(answer.contains("<Hangup/>"), "{answer}");
    let told = eventually(async || stage.orders.told().pop().ok_or_default()).await;
    assert_eq!(told.method, "CreateOrderContact");
}

#[tokio::test]
async fn m_05_who_answers_by_the_link_while_the_telephone_rings_is_not_asked_again() {
    let stub = stub().await;
    let (mut stage, order, call) = by_call(&stub).await;
    let (_, asked) = stub.press(&call, None, "").await;
    assert!(asked.contains("<Gather"), "{asked}");
    stage.shop.accept(order).await;
    for digit in ["1", "2", "9", ""] {
        let (status, answer) = stub.press(&call, Some(&asked), digit).await;
        assert_eq!(status, 200);
        assert!(
            answer.contains("<Hangup/>") && !answer.contains("<Gather"),
            "{digit}: {answer}"
        );
        assert!(answer.contains("已经答复") || answer.contains("answered already"));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(stage.orders.told().is_empty(), "one outcome, the link's");
    stub.press(&call, Some(&asked), "0").await;
    let told = eventually(async || stage.orders.told().pop().ok_or_default()).await;
    assert_eq!(told.method, "CreateOrderContact");
}

#[tokio::test]
async fn f_14_a_yes_by_text_that_does_not_count_reaches_staff() {
    let stub = stub().await;
    let (stage, _) = by_text(&stub).await;
    taken(&stub, 2).await;
    stage.orders.refuse(&[tonic::Code::FailedPrecondition]);
    let url = format!("http://{}/callbacks/twilio/sms/reply", stage.http);
    let fields = [
        ("AccountSid", TwilioStub::ACCOUNT),
        ("MessageSid", "SM77777777777777777777777777777777"),
        ("From", CUSTOMER),
        ("To", "+14155552345"),
        ("Body", "YES"),
        ("NumMedia", "0"),
    ];
    assert_eq!(stub.post(&url, &fields).await.0, 200);
    let told = eventually(async || {
        let told = stage.orders.told();
        (told.len() == 2).then_some(told).ok_or_default()
    })
    .await;
    let methods: Vec<&str> = told.iter().map(|it| it.method).collect();
    assert_eq!(methods, ["AcceptConfirmation", "CreateOrderContact"]);
}

#[tokio::test]
async fn f_10_a_machine_confirms_nothing_and_the_steps_may_come_in_any_order() {
    let stub = stub().await;
    let (stage, order, call) = by_call(&stub).await;
    let machine = ("AnsweredBy", "machine_start");
    let url = call.action();
    let fields = [
        ("AccountSid", TwilioStub::ACCOUNT),
        ("CallSid", call.sid.as_str()),
        ("Digits", "1"),
        machine,
    ];
    let (status, answer) = stub.post(&url, &fields).await;
    assert_eq!(status, 200);
    assert!(answer.contains("<Hangup/>"), "{answer}");
    for (number, word) in [("3", "completed"), ("0", "initiated"), ("2", "in-progress")] {
        let more = [("SequenceNumber", number), machine];
        assert_eq!(stub.tell_status(&call, word, &more).await, 204);
    }
    let wanted = [
        (1, Channel::Sms, Sent),
        (2, Channel::Sms, Failed),
        (2, Channel::Phone, Failed),
    ];
    stage.until_states(order, &wanted).await;
    // Staff may be told besides that no channel is left; a key would have been a second result of the call.
    let results = || {
        let told = stage.orders.told();
        told.iter()
            .filter(|it| it.method == "RecordCallResult")
            .count()
    };
    eventually(async || (results() > 0).then_some(()).ok_or_default()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(results(), 1, "the machine, and no yes");
}
