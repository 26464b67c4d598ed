use chrono::TimeZone as _;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::{
    event::{EventDetails, FieldChange},
    ids::OrderId,
    order::OrderState,
};

fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 24, 12, 0, 0).unwrap()
}

fn event(kind: EventKind) -> OrderEvent {
    OrderEvent {
        order_id: OrderId::from_uuid(Uuid::from_u128(7)),
        version: 3,
        kind,
        revision: 2,
        from_state: OrderState::AwaitingConfirmation,
        to_state: OrderState::Confirmed,
        actor: "Canaria Yellowbird".to_owned(),
        create_time: noon(),
        details: EventDetails {
            reason: "my canary wants it".to_owned(),
            request_id: "canary-1".to_owned(),
            ..EventDetails::default()
        },
    }
}

fn held(reason: HoldReason) -> OrderEvent {
    let mut event = event(EventKind::Held);
    event.details.changes = vec![FieldChange {
        field: "holds".to_owned(),
        before: String::new(),
        after: reason.to_string(),
    }];
    event
}

const fn failed(failure: WebhookFailure, retry_after: Option<TimeDelta>) -> WebhookOutcome {
    WebhookOutcome::Failed {
        failure,
        retry_after,
    }
}

#[test]
fn the_body_tells_the_order_its_stage_and_nothing_personal() {
    let text = payload(&event(EventKind::Confirmed), "order.confirmed", Some("N-1"));
    let body: Value = serde_json::from_str(&text).unwrap();
    let id = "evt_00000000000000000000000000000007_3";
    assert_eq!(
        body,
        json!({
            "id": id,
            "type": "order.confirmed",
            "timestamp": "2026-11-24T12:00:00Z",
            "data": {
                "order": "orders/00000000-0000-0000-0000-000000000007",
                "order_number": "N-1",
                "stage": "CONFIRMED",
                "previous_stage": "AWAITING_CONFIRMATION",
                "revision": 2,
                "version": 3,
            },
        })
    );
    assert!(!text.to_lowercase().contains("canar"), "{text}");
    assert!(!id.contains('.'));
}

#[test]
fn m_04_a_customer_whom_nobody_reaches_is_an_event_of_its_own() {
    let unreachable = held(HoldReason::CustomerUnreachable);
    let wanted = |words: &[&str]| words.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    assert_eq!(event_type(&unreachable, &[]), Some("order.unreachable"));
    assert_eq!(
        event_type(&unreachable, &wanted(&["order.unreachable"])),
        Some("order.unreachable")
    );
    assert_eq!(
        event_type(&unreachable, &wanted(&["order.held"])),
        Some("order.held")
    );
    assert_eq!(
        event_type(&unreachable, &wanted(&["order.confirmed"])),
        None
    );
    let other = held(HoldReason::Credit);
    assert_eq!(event_type(&other, &[]), Some("order.held"));
    assert_eq!(event_type(&other, &wanted(&["order.unreachable"])), None);
    assert!(event_types().any(|it| it == UNREACHABLE));
}

#[test]
fn it_is_tried_ten_times_over_three_days_and_then_given_up() {
    let refused = failed(WebhookFailure::Refused, None);
    let mut whole = TimeDelta::zero();
    for tries in 1..=9 {
        match next(refused, tries, 1.0) {
            WebhookNext::Again(wait) => whole += wait,
            other => panic!("{tries}: {other:?}"),
        }
    }
    assert_eq!(whole, TimeDelta::seconds(75 * 3_600 + 35 * 60 + 5));
    assert_eq!(next(refused, 10, 1.0), WebhookNext::Failed);
    assert_eq!(
        next(refused, 2, 0.8),
        WebhookNext::Again(TimeDelta::minutes(4))
    );
    assert_eq!(
        next(WebhookOutcome::Delivered, 10, 1.0),
        WebhookNext::Delivered
    );
}

#[test]
fn statuses_mean_what_the_specification_says() {
    use WebhookFailure::{Gone, Redirected, Refused, Throttled};
    for status in [200, 201, 204, 299] {
        let outcome = WebhookOutcome::of_status(status, None);
        assert_eq!(outcome, WebhookOutcome::Delivered, "{status}");
    }
    for (status, failure) in [
        (301, Redirected),
        (307, Redirected),
        (400, Refused),
        (404, Refused),
        (410, Gone),
        (429, Throttled),
        (500, Refused),
        (502, Throttled),
        (503, Refused),
        (504, Throttled),
    ] {
        let outcome = WebhookOutcome::of_status(status, None);
        assert_eq!(outcome, failed(failure, None), "{status}");
    }
    let gone = WebhookOutcome::of_status(410, None);
    assert_eq!(next(gone, 1, 1.0), WebhookNext::Failed);
}

#[test]
fn who_is_throttled_is_left_alone_for_a_minute_or_as_long_as_he_asks() {
    let minute = TimeDelta::seconds(60);
    let hour = TimeDelta::hours(1);
    let throttled = failed(WebhookFailure::Throttled, None);
    assert_eq!(next(throttled, 1, 1.0), WebhookNext::Again(minute));
    assert_eq!(pause(throttled, 1), minute);
    for failure in [WebhookFailure::Throttled, WebhookFailure::Refused] {
        let asked = failed(failure, Some(hour));
        assert_eq!(next(asked, 1, 1.0), WebhookNext::Again(hour));
        assert_eq!(pause(asked, 1), hour);
    }
    let refused = failed(WebhookFailure::Refused, None);
    let pauses: Vec<i64> = (1..=8)
        .map(|failures| pause(refused, failures).num_seconds())
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(pause(refused, u32::MAX), minute);
}

#[test]
fn an_old_key_signs_for_a_day_beside_the_new_one() {
    let first = vec![WebhookKey::FIRST];
    let keys = rotate(&first, noon()).unwrap();
    let numbers = |keys: &[WebhookKey], at| {
        signing_keys(keys, at)
            .iter()
            .map(|key| key.number)
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&keys, noon()), [2, 1]);
    let almost = noon() + KEY_OVERLAP - TimeDelta::seconds(1);
    assert_eq!(numbers(&keys, almost), [2, 1]);
    assert_eq!(numbers(&keys, noon() + KEY_OVERLAP), [2]);
    // A second rotation gives the first key no more time.
    let keys = rotate(&keys, almost).unwrap();
    assert_eq!(numbers(&keys, almost), [3, 2, 1]);
    assert_eq!(numbers(&keys, noon() + KEY_OVERLAP), [3, 2]);
    let mut keys = first;
    for _ in 1..KEYS_MAX {
        keys = rotate(&keys, noon()).unwrap();
    }
    assert_eq!(rotate(&keys, noon()), None);
    assert!(rotate(&keys, noon() + KEY_OVERLAP).is_some());
}
