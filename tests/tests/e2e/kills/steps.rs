//! RELIABILITY 2.C, one step after the other. With an address for letters an order has two of them, acknowledgement and
//! request; with a telephone two texts; later both get a call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use countersign_domain::{
    message::{AttemptOutcome as Try, DeliveryState as State},
    order::Channel,
};
use countersign_notification::testkit::{Act, Answer, Stage as Point};
use countersign_runtime::config::Notification;
use countersign_store::Claimed;
use rustix::process::Signal;
use tokio::sync::Notify;

use super::{
    history::{History, ledger},
    stage::{LEASE, PATIENCE, Stage, Stop},
};

/// How one message of a channel fared: its state, its tries, and how often it was accepted.
async fn fate(stage: &Stage, channel: Channel, seq: u32) -> (State, Vec<Try>, usize) {
    let all = stage.deliveries().await;
    let it = all
        .iter()
        .find(|it| (it.delivery.channel, it.delivery.seq) == (channel, seq))
        .unwrap();
    let id = it.delivery.id.to_string();
    let accepted = ledger(&stage.gateways, channel);
    let tries = it.history.iter().map(|attempt| attempt.outcome).collect();
    let count = accepted.iter().filter(|known| **known == id).count();
    (it.delivery.state, tries, count)
}

/// Brings everything to its end; all invariants hold.
async fn finish(stage: &mut Stage) {
    stage.finish().await;
    let mut history = History::default();
    history.judge(stage).await;
    assert!(history.problems.is_empty(), "{:#?}", history.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn c_01_killed_after_the_claim_nothing_was_begun() {
    for (mail, channel) in [(true, Channel::Email), (false, Channel::Sms)] {
        let mut stage = Stage::with_order(mail, !mail).await;
        stage.killed_at("claimed", 1).await;
        let begun = fate(&stage, channel, 1).await;
        assert_eq!(begun, (State::Leased, vec![], 0));
        finish(&mut stage).await;
        let end = fate(&stage, channel, 1).await;
        assert_eq!(end, (State::Sent, vec![Try::Sent], 1));
    }
}

/// Between two searches for what workers left behind.
const SWEEP: Duration = Duration::from_secs(5);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn c_01_what_a_killed_worker_had_claimed_is_another_ones_within_35_seconds() {
    let mut stage = Stage::with_order(false, true).await;
    let mut first = stage.worker(Some(("claimed", 1)));
    assert_eq!(stage.watch(&mut first).await, Stop::Killed);
    let killed = stage.database.store.now().await.unwrap();
    let lease_end = stage.lease_end().await.unwrap();
    let lease = (lease_end - killed).to_std().unwrap();
    // The next one has looked for the dead when it started; the one's lease has not ended then.
    stage.order(true, false).await;
    let mut next = stage.worker(None);
    let mails = &stage.gateways.mail;
    until(&stage, "accepted", || mails.mails().len() == 2).await;
    let claimed = fate(&stage, Channel::Sms, 1).await;
    assert_eq!(claimed, (State::Leased, vec![], 0));
    let left = lease_end - stage.database.store.now().await.unwrap();
    stage.pass(left, Some(&mut next)).await;
    let ended = Instant::now();
    while stage.lease_end().await == Some(lease_end) {
        assert!(ended.elapsed() < PATIENCE, "{}", stage.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lay = ended.elapsed();
    assert!(lay < SWEEP + SLACK, "it lay for {lay:?}");
    let most = Duration::from_secs(35) + SLACK;
    assert!(lease + lay < most, "{lease:?} and {lay:?}");
    assert_eq!(stage.watch(&mut next).await, Stop::Done);
    let end = fate(&stage, Channel::Sms, 1).await;
    assert_eq!(end, (State::Sent, vec![Try::Sent], 1));
}

#[test]
fn c_01_a_lease_is_thirty_seconds_unless_the_configuration_says_otherwise() {
    assert_eq!(Notification::default().lease_seconds, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn c_02_killed_before_a_byte_was_written_it_is_in_doubt_and_sent_once() {
    for (mail, step) in [
        (true, "begun"),
        (true, "connected"),
        (false, "begun"),
        (false, "request_begun"),
    ] {
        let channel = if mail { Channel::Email } else { Channel::Sms };
        let mut stage = Stage::with_order(mail, !mail).await;
        stage.killed_at(step, 1).await;
        let begun = fate(&stage, channel, 1).await;
        assert_eq!(begun, (State::Leased, vec![Try::Sending], 0), "{step}");
        assert_eq!(stage.gateways.texts.torn(), 0, "{step}: not a byte");
        finish(&mut stage).await;
        let end = fate(&stage, channel, 1).await;
        let tries = vec![Try::InDoubt, Try::Sent];
        assert_eq!(end, (State::Sent, tries, 1), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c_03_killed_half_way_through_the_bytes_it_is_sent_once() {
    let mut stage = Stage::with_order(true, false).await;
    stage.killed_at("body_part", 1).await;
    finish(&mut stage).await;
    let tries = vec![Try::InDoubt, Try::Sent];
    assert_eq!(
        fate(&stage, Channel::Email, 1).await,
        (State::Sent, tries, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn c_03_killed_half_way_through_a_request_a_text_is_asked_for_and_sent_once() {
    let mut stage = Stage::with_order(false, true).await;
    stage.killed_at("request_part", 1).await;
    let begun = fate(&stage, Channel::Sms, 1).await;
    assert_eq!(begun, (State::Leased, vec![Try::Sending], 0));
    assert_eq!(stage.gateways.texts.torn(), 1, "a part of it has come");
    finish(&mut stage).await;
    let tries = vec![Try::InDoubt, Try::Sent];
    let end = fate(&stage, Channel::Sms, 1).await;
    assert_eq!(end, (State::Sent, tries, 1));
    let seen = stage.gateways.texts.seen();
    let first_whole = seen.iter().map(|it| it.method.as_str()).next();
    assert_eq!(first_whole, Some("GET"), "asked before it is sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn c_03_c_07_a_call_whose_request_was_cut_in_two_is_left_to_staff() {
    let mut stage = Stage::with_order(false, true).await;
    // The two texts go before.
    stage.killed_at("request_part", 3).await;
    assert_eq!(stage.gateways.calls.torn(), 1);
    finish(&mut stage).await;
    let end = fate(&stage, Channel::Phone, 2).await;
    assert_eq!(end, (State::InDoubt, vec![Try::InDoubt], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn c_04_a_letter_that_was_accepted_and_not_known_to_be_goes_once_more_as_the_same() {
    for step in ["accepted", "body_written", "answered"] {
        let mut stage = Stage::with_order(true, false).await;
        if step == "accepted" {
            stage.gateways.mail.once(Point::Dot, Act::AcceptAndStall);
            stage.killed_waiting().await;
        } else {
            stage.killed_at(step, 1).await;
        }
        finish(&mut stage).await;
        let (end, tries, accepted) = fate(&stage, Channel::Email, 1).await;
        assert_eq!((end, tries), (State::Sent, vec![Try::InDoubt, Try::Sent]));
        // After all bytes are written the relay may have read them, or not.
        assert!(accepted == 2 || (step == "body_written" && accepted == 1));
        let mails = stage.gateways.mail.mails();
        if accepted == 2 {
            assert_eq!(mails[0].wire, mails[1].wire, "{step}");
        }
        assert_eq!(mails.len(), accepted + 1, "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c_05_c_06_c_08_a_text_that_was_accepted_is_asked_for_and_not_sent_again() {
    for step in ["accepted", "answered"] {
        let mut stage = Stage::with_order(false, true).await;
        if step == "accepted" {
            stage.gateways.texts.once(Answer::AcceptAndStall);
            stage.killed_waiting().await;
        } else {
            stage.killed_at(step, 1).await;
        }
        finish(&mut stage).await;
        let end = fate(&stage, Channel::Sms, 1).await;
        assert_eq!(end, (State::Sent, vec![Try::Sent], 1), "{step}");
        let seen = stage.gateways.texts.seen();
        let posts = seen.iter().filter(|it| it.method == "POST").count();
        assert_eq!((posts, seen.len()), (2, 3), "{step}: asked once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c_07_c_08_a_call_that_was_accepted_is_asked_for_and_not_placed_again() {
    for step in ["accepted", "answered"] {
        let mut stage = Stage::with_order(false, true).await;
        if step == "accepted" {
            stage.gateways.calls.once(Answer::AcceptAndStall);
            stage.killed_waiting().await;
        } else {
            // The two texts are answered before.
            stage.killed_at(step, 3).await;
        }
        finish(&mut stage).await;
        let end = fate(&stage, Channel::Phone, 2).await;
        assert_eq!(end, (State::Sent, vec![Try::Sent], 1), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c_03_c_07_a_call_that_nobody_knows_is_left_to_staff() {
    let mut stage = Stage::with_order(false, true).await;
    stage.gateways.calls.once(Answer::Stall);
    stage.killed_waiting().await;
    finish(&mut stage).await;
    let end = fate(&stage, Channel::Phone, 2).await;
    assert_eq!(end, (State::InDoubt, vec![Try::InDoubt], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn c_09_killed_after_the_result_the_next_channel_follows_once() {
    let mut stage = Stage::with_order(true, true).await;
    stage
        .gateways
        .mail
        .once(Point::Rcpt, Act::Reply("250 ok\r\n".to_owned()));
    let refused = Act::Reply("550 5.1.1 no such user\r\n".to_owned());
    stage.gateways.mail.once(Point::Rcpt, refused);
    // The result of the acknowledgement, then that of the request.
    stage.killed_at("recorded", 2).await;
    let failed = (State::Failed, vec![Try::Permanent], 0);
    assert_eq!(fate(&stage, Channel::Email, 2).await, failed);
    assert_eq!(stage.gateways.texts.accepted().len(), 0);
    stage.finish().await;
    assert_eq!(fate(&stage, Channel::Email, 2).await, failed);
    for channel in [Channel::Sms, Channel::Phone] {
        let end = fate(&stage, channel, 2).await;
        assert_eq!(end, (State::Sent, vec![Try::Sent], 1), "{channel}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c_10_a_drain_ends_what_is_under_way_and_a_kill_within_it_adds_nothing() {
    let mut stage = Stage::with_order(false, true).await;
    let wait = Duration::from_millis(400);
    stage.gateways.texts.once(Answer::Delay(wait));
    let worker = stage.worker(None);
    until_seen(&stage, 1).await;
    assert!(worker.ended().await, "{}", stage.log());
    let end = fate(&stage, Channel::Sms, 1).await;
    assert_eq!(end, (State::Sent, vec![Try::Sent], 1));

    stage.gateways.texts.once(Answer::AcceptAndStall);
    let mut worker = stage.worker(None);
    assert_eq!(stage.watch(&mut worker).await, Stop::Stalled);
    worker.signal(Signal::TERM);
    tokio::time::sleep(wait).await;
    worker.kill().await;
    stage.pass(LEASE, None).await;
    finish(&mut stage).await;
    let end = fate(&stage, Channel::Sms, 2).await;
    assert_eq!(end, (State::Sent, vec![Try::Sent], 1));
}

async fn until_seen(stage: &Stage, requests: usize) {
    let texts = &stage.gateways.texts;
    until(stage, "seen", || texts.seen().len() >= requests).await;
}

async fn until(stage: &Stage, what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no request was {what}\n{}", stage.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn c_13_a_zombie_changes_nothing_after_another_has_taken_over() {
    let mut stage = Stage::with_order(false, true).await;
    // It is answered while the zombie is stopped; the zombie reads the answer when it wakes up.
    let stopped = Arc::new(Notify::new());
    stage
        .gateways
        .texts
        .once(Answer::WaitFor(Arc::clone(&stopped)));
    let mut zombie = stage.worker(None);
    until_seen(&stage, 1).await;
    stage.freeze(&zombie).await;
    stopped.notify_one();
    until(&stage, "accepted", || {
        stage.gateways.texts.accepted().len() == 1
    })
    .await;
    stage.pass(LEASE, None).await;
    finish(&mut stage).await;
    let before = stage.deliveries().await;
    let accepted = stage.gateways.texts.accepted().len();

    let refusal = "after the lease was lost";
    assert!(!stage.log().contains(refusal), "{}", stage.log());
    zombie.signal(Signal::CONT);
    until(&stage, "refused", || stage.log().contains(refusal)).await;
    assert!(!zombie.is_dead(), "{}", stage.log());
    assert_eq!(stage.deliveries().await, before);
    assert_eq!(stage.gateways.texts.accepted().len(), accepted);
    zombie.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h_02_a_message_that_kills_three_workers_is_given_up_and_the_others_go_once() {
    let mut stage = Stage::with_order(true, false).await;
    stage.order(false, true).await;
    // Steps of letters only, and only one letter may go: the texts go meanwhile, while the relay is slow to greet. Slow enough
    // for a busy machine: a text that had only begun would be in doubt as well.
    let slow = Act::Delay(Duration::from_secs(8));
    stage.gateways.mail.always(Point::Connect, slow);
    for (step, tries) in [
        ("connected", vec![Try::Sending]),
        ("connected", vec![Try::InDoubt, Try::Sending]),
        ("asked", vec![Try::InDoubt, Try::InDoubt]),
    ] {
        stage.killed_at(step, 1).await;
        // What it dies of is on record before, and the others have gone.
        let begun = fate(&stage, Channel::Email, 1).await;
        assert_eq!(begun, (State::Leased, tries, 0), "{step}");
        for seq in [1, 2] {
            let other = fate(&stage, Channel::Sms, seq).await;
            assert_eq!(other, (State::Sent, vec![Try::Sent], 1), "{step}");
        }
    }
    finish(&mut stage).await;
    let dead = fate(&stage, Channel::Email, 1).await;
    let tries = vec![Try::InDoubt, Try::InDoubt];
    assert_eq!(dead, (State::Dead, tries, 0));
    let all = stage.deliveries().await;
    let poison = |it: &&Claimed| it.delivery.last_error.starts_with("POISON: ");
    assert_eq!(all.iter().filter(poison).count(), 1, "{all:#?}");
    for (channel, seq) in [
        (Channel::Email, 2),
        (Channel::Sms, 1),
        (Channel::Sms, 2),
        (Channel::Phone, 2),
    ] {
        let other = fate(&stage, channel, seq).await;
        assert_eq!(other, (State::Sent, vec![Try::Sent], 1), "{channel} {seq}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_dispatching_every_message_goes_once() {
    for step in ["planning", "dispatched"] {
        let mut stage = Stage::with_order(true, true).await;
        stage.killed_at(step, 1).await;
        let made = stage.deliveries().await.len();
        assert_eq!(made, if step == "planning" { 0 } else { 4 }, "{step}");
        finish(&mut stage).await;
        assert_eq!(stage.gateways.mail.mails().len(), 2, "{step}");
        assert_eq!(stage.gateways.texts.accepted().len(), 1, "{step}");
        assert_eq!(stage.gateways.calls.accepted().len(), 1, "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_clearing_up_a_doubt_a_text_goes_once() {
    for step in ["recovered", "asked", "begun_again"] {
        let mut stage = Stage::with_order(false, true).await;
        stage.killed_at("begun", 1).await;
        stage.killed_at(step, 1).await;
        finish(&mut stage).await;
        let (end, _, accepted) = fate(&stage, Channel::Sms, 1).await;
        if step == "begun_again" {
            // Twice in doubt, twice unknown to the gateway: staff decide.
            assert_eq!((end, accepted), (State::InDoubt, 0));
        } else {
            assert_eq!((end, accepted), (State::Sent, 1), "{step}");
        }
    }
}
