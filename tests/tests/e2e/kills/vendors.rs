//! Killed with texts on their way by Twilio and Alibaba Cloud, which recognise no message twice: a process that knows nothing of
//! the one before looks the message up at the carrier and attaches what it finds (RELIABILITY, C-05, C-06, D-21).

use std::time::{Duration, Instant};

use countersign_domain::message::{AttemptOutcome as Try, DeliveryState as State};
use countersign_domain::order::Channel;
use countersign_notification::testkit::{AlibabaStub, Answer, TwilioStub};
use countersign_store::{Claimed, testing::TestDatabase};

use super::stage::{LEASE, PATIENCE, Stage, Stop};

const KEY: &str = "LTAI-test";
const SECRET: &str = "s3cret-of-the-cloud";
/// Every message of a short plan: acknowledgement and question.
const TEXTS: usize = 2;

/// A stage whose texts go by a carrier of this set-up, with one order.
async fn stage_with(database: TestDatabase, carrier: String) -> Stage {
    let mut stage = Stage::on(database).await;
    stage.carrier = Some(carrier);
    stage.order(false, true).await;
    stage
}

async fn by_twilio(database: TestDatabase) -> (Stage, TwilioStub) {
    let stub = TwilioStub::start("Mon, 23 Nov 2026 00:00:00 +0000").await;
    let carrier = format!(
        "[sms]\ntransport = \"twilio\"\n[sms.twilio]\nbase_url = \"{}\"\naccount_sid = \"{}\"\n\
         auth_token = \"{}\"\nfrom = \"+14155552345\"\n",
        stub.base(),
        TwilioStub::ACCOUNT,
        TwilioStub::TOKEN
    );
    (stage_with(database, carrier).await, stub)
}

async fn by_alibaba(database: TestDatabase) -> (Stage, AlibabaStub) {
    let stub = AlibabaStub::start(KEY, SECRET).await;
    let text = "{ code = \"SMS_1\", variables = { no = \"order\" } }";
    let kinds =
        ["ACKNOWLEDGEMENT", "CONFIRMATION_REQUEST"].map(|kind| format!("{kind} = {text}\n"));
    let carrier = format!(
        "[sms]\ntransport = \"alibaba\"\n[sms.alibaba]\nbase_url = \"{}\"\naccess_key_id = \"{KEY}\"\n\
         access_key_secret = \"{SECRET}\"\nsign_name = \"华贸易\"\ncallback_secret = \"pushes-1234567890abc\"\n",
        stub.base()
    );
    let locales =
        ["en", "zh-CN"].map(|it| format!("[sms.alibaba.templates.{it}]\n{}", kinds.concat()));
    let carrier = carrier + &locales.concat();
    (stage_with(database, carrier).await, stub)
}

/// The message of this place in the order's sequence, by text.
async fn text(stage: &Stage, seq: u32) -> Claimed {
    let all = stage.deliveries().await;
    let found = all
        .into_iter()
        .find(|it| (it.delivery.channel, it.delivery.seq) == (Channel::Sms, seq));
    found.unwrap()
}

fn tries(message: &Claimed) -> Vec<Try> {
    message.history.iter().map(|it| it.outcome).collect()
}

/// A worker that is killed while the carrier, which has taken the first text, keeps it waiting; its lease ends.
async fn killed_before_the_answer(stage: &mut Stage, taken: impl Fn() -> usize) {
    let worker = stage.worker(None);
    let began = Instant::now();
    while taken() == 0 {
        assert!(began.elapsed() < PATIENCE, "{}", stage.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    worker.kill().await;
    stage.leases_end_in_time().await;
    stage.pass(LEASE, None).await;
    let first = text(stage, 1).await;
    assert_eq!(first.delivery.state, State::Leased);
    assert_eq!(tries(&first), [Try::Sending]);
    assert_eq!(first.delivery.provider_id, None);
}

/// A fresh process has brought both texts to their end by one try each; answers the first.
async fn attached(stage: &mut Stage) -> Claimed {
    stage.finish().await;
    for seq in [1, 2] {
        let message = text(stage, seq).await;
        assert_eq!(message.delivery.state, State::Sent, "{}", stage.log());
        assert_eq!(tries(&message), [Try::Sent]);
    }
    text(stage, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn c_05_c_08_a_text_that_twilio_has_is_found_in_its_list_by_a_fresh_process() {
    for step in ["accepted", "answered"] {
        for database in TestDatabase::all().await {
            let (mut stage, stub) = by_twilio(database).await;
            if step == "accepted" {
                stub.once(Answer::AcceptAndStall);
                killed_before_the_answer(&mut stage, || stub.accepted().len()).await;
            } else {
                stage.killed_at("answered", 1).await;
            }
            let begun = text(&stage, 1).await.history[0].start_time;
            stub.set_date(&begun.to_rfc2822());
            let before = stub.seen().len();
            let first = attached(&mut stage).await;

            let ledger = stub.accepted();
            assert_eq!(ledger.len(), TEXTS, "{step}: each once");
            let key = format!("{}-1", first.delivery.id);
            assert_eq!(ledger[0].key(), key);
            assert_eq!(ledger[0].attempt(), first.history[0].id.to_string());
            assert_eq!(first.delivery.provider_id.as_ref(), Some(&ledger[0].sid));
            let asked = &stub.seen()[before];
            assert_eq!(asked.method, "GET", "{step}: asked first");
            assert!(asked.path.contains("/Messages.json?To="), "{}", asked.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c_06_c_08_a_text_that_alibaba_has_is_found_by_query_send_details_by_a_fresh_process() {
    for step in ["accepted", "answered"] {
        for database in TestDatabase::all().await {
            let (mut stage, stub) = by_alibaba(database).await;
            if step == "accepted" {
                stub.once(Answer::AcceptAndStall);
                killed_before_the_answer(&mut stage, || stub.accepted().len()).await;
            } else {
                stage.killed_at("answered", 1).await;
            }
            let before = stub.seen().len();
            let first = attached(&mut stage).await;

            let ledger = stub.accepted();
            assert_eq!(ledger.len(), TEXTS, "{step}: each once");
            assert_eq!(ledger[0].out_id, first.history[0].id.to_string());
            assert!(first.delivery.provider_id.is_some(), "{step}");
            let asked = &stub.seen()[before];
            let action = asked.headers["x-acs-action"].to_str().unwrap();
            assert_eq!(action, "QuerySendDetails", "{step}: asked first");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c_05_a_text_that_twilio_never_got_is_sent_once() {
    let (mut stage, stub) = by_twilio(TestDatabase::sqlite().await).await;
    stage.killed_at("request_part", 1).await;
    assert_eq!(stub.accepted().len(), 0);
    stage.finish().await;
    let first = text(&stage, 1).await;
    assert_eq!(first.delivery.state, State::Sent, "{}", stage.log());
    assert_eq!(tries(&first), [Try::InDoubt, Try::Sent]);
    assert_eq!(stub.accepted().len(), TEXTS, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn d_21_an_id_that_another_process_was_given_is_not_taken_for_a_second_message() {
    for database in TestDatabase::all().await {
        let (mut stage, stub) = by_twilio(database).await;
        stage.killed_at("recorded", 1).await;
        let first = text(&stage, 1).await.delivery;
        let sid = stub.accepted()[0].sid.clone();
        assert_eq!(first.provider_id.as_ref(), Some(&sid));

        // The process that follows has never seen the id that it is given.
        let again = format!(r#"{{"sid":"{sid}"}}"#);
        stub.once(Answer::AcceptWith(again.into_bytes()));
        let mut worker = stage.worker(None);
        let began = Instant::now();
        let doubtful = loop {
            let second = text(&stage, 2).await;
            if second.delivery.state == State::Ready && tries(&second) == [Try::InDoubt] {
                break second;
            }
            assert!(began.elapsed() < PATIENCE, "{second:?}\n{}", stage.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(doubtful.history[0].error.starts_with("ID_TAKEN: "));
        assert_eq!(doubtful.delivery.provider_id, None);
        let told = stage.log();
        assert!(told.contains("one id to two messages"), "{told}");

        // It is looked for, and what it finds is its own and not the other's, though both were sent at one time.
        stub.set_date(&doubtful.history[0].start_time.to_rfc2822());
        assert_eq!(stage.watch(&mut worker).await, Stop::Done);
        assert!(worker.ended().await, "{}", stage.log());
        let second = text(&stage, 2).await;
        let ledger = stub.accepted();
        assert_eq!(ledger.len(), TEXTS, "each once");
        assert_eq!(second.delivery.state, State::Sent);
        assert_eq!(second.delivery.provider_id.as_ref(), Some(&ledger[1].sid));
        assert_eq!(text(&stage, 1).await.delivery, first);
    }
}
