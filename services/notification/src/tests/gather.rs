//! What customers do in calls instead of pressing 1 or 2 (RELIABILITY, F-11), over HTTP with Twilio's signature.

use std::time::Duration;

use super::{
    eventually,
    twilio::{by_call, stub},
};
use crate::testkit::{TwilioAccepted, TwilioStub};

/// Where the last answer sends what comes next.
fn action(answer: &str) -> String {
    let (_, rest) = answer.split_once("action=\"").unwrap();
    rest.split('"').next().unwrap().replace("&amp;", "&")
}

/// Tells what came of a `Gather`, with these fields besides those that Twilio always tells.
async fn tell(
    stub: &TwilioStub,
    call: &TwilioAccepted,
    url: &str,
    more: &[(&str, &str)],
) -> (u16, String) {
    let mut fields = vec![
        ("AccountSid", TwilioStub::ACCOUNT),
        ("CallSid", call.sid.as_str()),
        ("CallStatus", "in-progress"),
    ];
    fields.extend(more);
    stub.post(url, &fields).await
}

#[tokio::test]
async fn f_11_what_is_no_key_of_ours_is_asked_again_twice_and_never_an_answer() {
    let stub = stub().await;
    let (stage, _, call) = by_call(&stub).await;
    let spoken: &[(&str, &str)] = &[("SpeechResult", "yes"), ("Confidence", "0.99")];
    let spoken_digit: &[(&str, &str)] = &[("SpeechResult", "1"), ("Confidence", "0.99")];
    // What Twilio tells when the time is over, with the field and without.
    let silent: &[(&str, &str)] = &[("Digits", "")];
    let timeout: &[(&str, &str)] = &[("msg", "Gather End")];
    for strange in [
        spoken,
        spoken_digit,
        silent,
        timeout,
        &[("Digits", "99")],
        &[("Digits", "11")],
        &[("Digits", "12")],
        &[("Digits", " 1")],
        &[("Digits", "1#")],
        &[("Digits", "\u{ff11}")],
        &[("Digits", "*")],
        &[("Digits", "3")],
    ] {
        let mut url = call.action();
        for (turn, misses) in [(2, 1), (3, 2)] {
            let (status, asked) = tell(&stub, &call, &url, strange).await;
            assert_eq!(status, 200);
            let next = format!("turn={turn}&amp;misses={misses}");
            assert!(asked.contains(&next), "{strange:?}: {asked}");
            assert!(asked.contains("<Gather"), "{strange:?}");
            url = action(&asked);
        }
        let (status, last) = tell(&stub, &call, &url, strange).await;
        assert_eq!(status, 200);
        let over = last.contains("<Hangup/>") && !last.contains("<Gather");
        assert!(over, "{strange:?}: {last}");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(stage.orders.told().is_empty());
    let kept = "SELECT COUNT(*) AS n FROM replies WHERE kind NOT IN ('STATUS')";
    assert_eq!(stage.database.number(kept).await, 0);
}

#[tokio::test]
async fn f_11_a_second_post_of_one_call_changes_nothing_whatever_it_says_and_wherever() {
    let stub = stub().await;
    let (stage, _, call) = by_call(&stub).await;
    let first = call.action();
    let (_, asked) = tell(&stub, &call, &first, &[("Digits", "")]).await;
    let second = action(&asked);
    let (status, answer) = tell(&stub, &call, &second, &[("Digits", "2")]).await;
    assert_eq!(status, 200);
    assert!(answer.contains("<Hangup/>"), "{answer}");
    // The same turn again, another key, an earlier turn: it is one call, and it has been answered.
    for (url, digits) in [(&second, "2"), (&second, "1"), (&first, "1"), (&first, "2")] {
        let (status, _) = tell(&stub, &call, url, &[("Digits", digits)]).await;
        assert_eq!(status, 200);
    }
    let told = eventually(async || stage.orders.told().pop().ok_or(String::new())).await;
    assert_eq!(told.method, "RecordCallResult");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.orders.told().len(), 1, "one effect");
    let digits = "SELECT COUNT(*) AS n FROM replies WHERE kind = 'CALL'";
    assert_eq!(stage.database.number(digits).await, 1);
}
