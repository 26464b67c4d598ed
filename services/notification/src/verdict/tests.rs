use countersign_domain::ids::AttemptId;
use uuid::Uuid;

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_435_200, 0).unwrap()
}

fn record(outcome: AttemptOutcome, error: &str) -> AttemptRecord {
    AttemptRecord {
        id: AttemptId::from_uuid(Uuid::from_u128(1)),
        number: 1,
        outcome,
        start_time: now() - TimeDelta::seconds(60),
        finish_time: Some(now()),
        error: error.to_owned(),
        gateway: String::new(),
    }
}

fn tried(channel: Channel, history: &[AttemptRecord]) -> Tried<'_> {
    Tried {
        channel,
        history,
        now: now(),
        jitter: 1.0,
        deadline: None,
    }
}

fn not_sent(code: ReasonCode, retry_after: Option<u64>) -> Outcome {
    Outcome::NotSent {
        reason: Reason::new(code, "x"),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

fn wait_of(judged: &Judged) -> i64 {
    match judged.verdict {
        Verdict::Again(time) => (time - now()).num_seconds(),
        Verdict::End(state) => panic!("ended as {state}"),
    }
}

#[test]
fn h_04_failures_follow_the_schedule_and_the_eighth_is_the_last() {
    let mut history = Vec::new();
    for seconds in [5, 30, 120, 600, 1_800, 3_600, 7_200] {
        let judged = judge(
            &not_sent(ReasonCode::Unreachable, None),
            &tried(Channel::Sms, &history),
        );
        assert_eq!(wait_of(&judged), seconds);
        assert_eq!(judged.outcome, AttemptOutcome::NotSent);
        history.push(record(judged.outcome, &judged.error));
    }
    let judged = judge(
        &not_sent(ReasonCode::Unreachable, None),
        &tried(Channel::Sms, &history),
    );
    assert_eq!(judged.verdict, Verdict::End(DeliveryState::Dead));
    assert_eq!(judged.next, NextStep::Now);
}

#[test]
fn d_12_what_a_template_was_refused_for_is_left_to_staff_who_can_mend_it() {
    let refused = Outcome::permanent(Reason::new(ReasonCode::TemplateRefused, "x"));
    let judged = judge(&refused, &tried(Channel::Sms, &[]));
    assert_eq!(judged.verdict, Verdict::End(DeliveryState::Dead));
    assert_eq!(judged.next, NextStep::Now);
    let refused = Outcome::permanent(Reason::new(ReasonCode::MessageRefused, "x"));
    let judged = judge(&refused, &tried(Channel::Sms, &[]));
    assert_eq!(judged.verdict, Verdict::End(DeliveryState::Failed));
}

#[test]
fn d_05_a_rate_limit_is_waited_out_exactly_and_uses_up_no_try() {
    let history = vec![record(AttemptOutcome::NotSent, "RATE_LIMITED: x"); 20];
    let judged = judge(
        &not_sent(ReasonCode::RateLimited, Some(7)),
        &tried(Channel::Sms, &history),
    );
    assert_eq!(wait_of(&judged), 7);
    let judged = judge(
        &not_sent(ReasonCode::Unreachable, None),
        &tried(Channel::Sms, &history),
    );
    assert_eq!(wait_of(&judged), 5);
    let judged = judge(
        &not_sent(ReasonCode::Deferred, Some(864_000)),
        &tried(Channel::Sms, &[]),
    );
    assert_eq!(wait_of(&judged), 3_600);
}

#[test]
fn e_07_a_greylisting_relay_is_tried_again_after_1_5_15_30_and_60_minutes() {
    let grey = not_sent(ReasonCode::Greylisted, None);
    let mut history = Vec::new();
    for seconds in [60, 300, 900, 1_800, 3_600, 3_600, 3_600] {
        let judged = judge(&grey, &tried(Channel::Email, &history));
        assert_eq!(wait_of(&judged), seconds);
        assert_eq!(judged.next, NextStep::AsPlanned);
        history.push(record(judged.outcome, &judged.error));
    }
    let judged = judge(&grey, &tried(Channel::Email, &history));
    assert_eq!(judged.verdict, Verdict::End(DeliveryState::Dead));
}

#[test]
fn e_08_a_full_mailbox_is_tried_three_times_and_makes_way_for_the_next_channel() {
    let full = not_sent(ReasonCode::MailboxFull, None);
    let mut history = Vec::new();
    for seconds in [5, 30] {
        let judged = judge(&full, &tried(Channel::Email, &history));
        assert_eq!(wait_of(&judged), seconds);
        assert_eq!(judged.next, NextStep::AsPlanned);
        history.push(record(judged.outcome, &judged.error));
    }
    let third = judge(&full, &tried(Channel::Email, &history));
    assert_eq!(third.verdict, Verdict::End(DeliveryState::Dead));
    assert_eq!(third.next, NextStep::Now);
    assert_eq!(third.opt_out, None, "the address is a good one");
}

#[test]
fn d_13_who_told_the_gateway_to_stop_is_not_written_to_again() {
    let outcome = Outcome::permanent(Reason::new(ReasonCode::OptedOut, "x"));
    let judged = judge(&outcome, &tried(Channel::Sms, &[]));
    assert_eq!(judged.opt_out, Some(OptOutReason::Gateway));
    assert_eq!(judged.verdict, Verdict::End(DeliveryState::Failed));
    assert_eq!(judged.next, NextStep::Now);
}

#[test]
fn a_bad_address_is_not_used_again_and_the_next_channel_is_due() {
    let outcome = Outcome::Permanent {
        reason: Reason::new(ReasonCode::BadRecipient, "x"),
        bad_recipient: true,
    };
    let judged = judge(&outcome, &tried(Channel::Email, &[]));
    assert_eq!(judged.verdict, Verdict::End(DeliveryState::Failed));
    assert_eq!(judged.next, NextStep::Now);
    assert_eq!(judged.opt_out, Some(OptOutReason::BadAddress));
}

#[test]
fn a_letter_in_doubt_is_sent_again_once() {
    let outcome = Outcome::InDoubt {
        reason: Reason::new(ReasonCode::Unconfirmed, "x"),
    };
    let first = judge(&outcome, &tried(Channel::Email, &[]));
    assert_eq!(wait_of(&first), 60);
    let history = [record(AttemptOutcome::InDoubt, "UNCONFIRMED: x")];
    assert_eq!(
        resolve(&Reconciled::NobodyToAsk, &tried(Channel::Email, &history)),
        Resolved::Resend
    );
    let second = judge(&outcome, &tried(Channel::Email, &history));
    assert_eq!(second.verdict, Verdict::End(DeliveryState::InDoubt));
}

#[test]
fn a_gateway_is_asked_twice_before_a_text_is_sent_again_and_a_call_never_is() {
    let mut history = [record(AttemptOutcome::InDoubt, "UNCONFIRMED: x")];
    let early = resolve(&Reconciled::NotFound, &tried(Channel::Sms, &history));
    assert!(matches!(early, Resolved::Write(judged) if wait_of(&judged) == 60));
    history[0].start_time = now() - TimeDelta::seconds(121);
    assert_eq!(
        resolve(&Reconciled::NotFound, &tried(Channel::Sms, &history)),
        Resolved::Resend
    );
    let call = resolve(&Reconciled::NotFound, &tried(Channel::Phone, &history));
    let Resolved::Write(call) = call else {
        panic!("dialled again");
    };
    assert_eq!(call.verdict, Verdict::End(DeliveryState::InDoubt));
    assert_eq!(call.next, NextStep::Now);
}

#[test]
fn our_own_mistakes_keep_the_message_and_its_tries() {
    let history = vec![record(AttemptOutcome::Config, "AUTH_REFUSED: x"); 30];
    let outcome = Outcome::Config {
        reason: Reason::new(ReasonCode::AuthRefused, "x"),
    };
    let judged = judge(&outcome, &tried(Channel::Sms, &history));
    assert_eq!(wait_of(&judged), 300);
    let next = judge(
        &not_sent(ReasonCode::Unreachable, None),
        &tried(Channel::Sms, &history),
    );
    assert_eq!(wait_of(&next), 5);
}

#[test]
fn a_try_that_would_come_after_the_deadline_makes_way_for_the_next_channel() {
    let soon = Tried {
        deadline: Some(now() + TimeDelta::seconds(5)),
        ..tried(Channel::Email, &[])
    };
    let judged = judge(&not_sent(ReasonCode::Unreachable, None), &soon);
    assert_eq!(judged.verdict, Verdict::End(DeliveryState::Dead));
    assert_eq!(judged.next, NextStep::Now);
    let later = Tried {
        deadline: Some(now() + TimeDelta::seconds(6)),
        ..soon
    };
    let judged = judge(&not_sent(ReasonCode::Unreachable, None), &later);
    assert_eq!(wait_of(&judged), 5);
}

#[test]
fn h_01_the_third_failure_of_our_own_program_is_the_last() {
    let once = record(AttemptOutcome::NotSent, "POISON: x");
    let two = [once.clone(), once];
    let judged = judge(
        &not_sent(ReasonCode::Poison, None),
        &tried(Channel::Email, &two[..1]),
    );
    assert_eq!(wait_of(&judged), 30);
    let judged = judge(
        &not_sent(ReasonCode::Poison, None),
        &tried(Channel::Email, &two),
    );
    assert_eq!(judged.verdict, Verdict::End(DeliveryState::Dead));
    assert_eq!(judged.error, "POISON: x");
}
