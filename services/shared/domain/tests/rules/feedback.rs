//! When a customer is asked how it was, and what comes of the answers.

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    decide::{
        Change, Context, Decision, FeedbackFacts, Refusal, SurveyFacts, TrackingFacts,
        record_feedback, resolve_feedback, survey, track,
    },
    event::{EventKind, MessageKind},
    feedback::{
        ANSWERS_MAX, Feedback, FeedbackAnswer, FeedbackSource, FeedbackTag, FollowUp, LineStars,
    },
    hold::{Hold, HoldReason},
    ids::{FeedbackId, HoldId, TrackingEventId},
    order::{Channel, Order, OrderState},
    policy::OrderPolicy,
    survey::{SurveyState, WithheldReason, survey_channel},
    timer::TimerKind,
    tracking::{TrackingDetails, TrackingEvent, TrackingStatus},
};
use uuid::Uuid;

use crate::shop::{Case, cny, noon, policy};

fn at(now: DateTime<Utc>) -> Context<'static> {
    Context {
        now,
        actor: "customer",
        request_id: "r-1",
        traceparent: None,
    }
}

fn change(decision: Decision) -> Change {
    match decision {
        Decision::Change(change) => *change,
        Decision::Already => panic!("nothing changed"),
    }
}

/// News that the goods arrived, as it is taken in at noon.
fn arrived(policy: &OrderPolicy, report_time: DateTime<Utc>) -> Change {
    let mut order = Case::clean("ECOMMERCE").order;
    order.state = OrderState::Allocated;
    let mut event = TrackingEvent {
        id: TrackingEventId::from_uuid(Uuid::nil()),
        source: "carrier".into(),
        source_event_id: "1".into(),
        status: TrackingStatus::Delivered,
        reason: String::new(),
        report_time,
        receive_time: noon(),
        details: TrackingDetails::default(),
        anomalies: Vec::new(),
    };
    let facts = TrackingFacts { known: &[], policy };
    change(track(&order, &mut event, &facts, &at(noon())).unwrap())
}

fn delivered() -> Order {
    arrived(&policy("ECOMMERCE"), noon()).order
}

fn decide(order: &Order, change: impl FnOnce(&mut SurveyFacts<'_>)) -> Decision {
    decide_by(&policy("ECOMMERCE"), order, change)
}

fn decide_by(
    policy: &OrderPolicy,
    order: &Order,
    change: impl FnOnce(&mut SurveyFacts<'_>),
) -> Decision {
    let mut facts = SurveyFacts {
        policy,
        decided: false,
        answered: false,
        opted_out: false,
        last_ask_time: None,
    };
    change(&mut facts);
    survey(order, &facts, &at(noon() + TimeDelta::days(1)))
}

fn why_not(order: &Order, facts: impl FnOnce(&mut SurveyFacts<'_>)) -> Option<WithheldReason> {
    let change = change(decide(order, facts));
    let survey = change.survey.unwrap();
    let withheld = survey.state == SurveyState::Withheld;
    assert_eq!(change.messages.is_empty(), withheld);
    assert_eq!(survey.reason.is_some(), withheld);
    assert_eq!(
        change.event.kind,
        if withheld {
            EventKind::SurveyWithheld
        } else {
            EventKind::SurveySent
        }
    );
    assert!(!change.event.kind.is_public());
    survey.reason
}

#[test]
fn the_customer_is_asked_a_day_after_the_goods_arrived() {
    let change = arrived(&policy("ECOMMERCE"), noon() - TimeDelta::hours(3));
    let timer = change
        .timers_set
        .iter()
        .find(|timer| timer.kind == TimerKind::Survey)
        .unwrap();
    assert_eq!(timer.due_time, noon() + TimeDelta::hours(21));
    assert_eq!(
        change.order.progress.feedback_until,
        Some(noon() - TimeDelta::hours(3) + TimeDelta::days(30))
    );
    let asked = self::change(decide(&change.order, |_| {}));
    assert_eq!(asked.messages.len(), 1);
    assert_eq!(asked.messages[0].kind, MessageKind::Survey);
    assert_eq!(asked.event.details.decided_by, "ECOMMERCE@1");
    let survey = asked.survey.unwrap();
    assert_eq!(survey.state, SurveyState::Asked);
    assert_eq!(
        Some(survey.expire_time),
        change.order.progress.feedback_until
    );
}

#[test]
fn a_type_without_survey_rules_and_a_delivery_long_ago_ask_nobody() {
    let asks = |change: &Change| {
        let mut timers = change.timers_set.iter();
        timers.any(|timer| timer.kind == TimerKind::Survey)
    };
    let without = OrderPolicy {
        survey: None,
        ..policy("ECOMMERCE")
    };
    let change = arrived(&without, noon());
    assert!(!asks(&change) && change.order.progress.feedback_until.is_none());
    assert_eq!(
        decide_by(&without, &change.order, |_| {}),
        Decision::Already
    );
    assert!(!asks(&arrived(
        &policy("ECOMMERCE"),
        noon() - TimeDelta::days(31)
    )));
}

#[test]
fn the_customer_is_left_alone_for_each_of_the_reasons() {
    use WithheldReason as W;
    let order = delivered();
    assert_eq!(why_not(&order, |_| {}), None);
    assert_eq!(
        why_not(&order, |facts| facts.answered = true),
        Some(W::Answered)
    );
    assert_eq!(
        why_not(&order, |facts| facts.opted_out = true),
        Some(W::OptedOut)
    );
    let days_ago = |days| {
        move |facts: &mut SurveyFacts<'_>| {
            facts.last_ask_time = Some(noon() + TimeDelta::days(1) - TimeDelta::days(days));
        }
    };
    assert_eq!(why_not(&order, days_ago(29)), Some(W::RecentlyAsked));
    assert_eq!(why_not(&order, days_ago(30)), None);
    let with = |change: fn(&mut Order)| {
        let mut order = delivered();
        change(&mut order);
        why_not(&order, |_| {})
    };
    assert_eq!(
        with(|order| order.state = OrderState::Dispatched),
        Some(W::NotDelivered)
    );
    assert_eq!(with(|order| order.state = OrderState::Completed), None);
    assert_eq!(
        with(|order| for line in &mut order.lines {
            line.counters.returned = line.counters.delivered;
        }),
        Some(W::Returned)
    );
    assert_eq!(with(|order| order.lines[0].counters.returned = 1), None);
    assert_eq!(
        with(|order| order.progress.holds.push(Hold {
            id: HoldId::from_uuid(Uuid::nil()),
            reason: HoldReason::AwaitingReturnItems,
            note: String::new(),
            owner: String::new(),
            review_time: None,
            create_time: noon(),
            created_by: String::new(),
        })),
        Some(W::Unsettled)
    );
    assert_eq!(
        with(|order| order.progress.feedback_until = Some(noon() + TimeDelta::days(1))),
        Some(W::TooLate)
    );
    assert_eq!(
        with(|order| order.total = cny(1_999)),
        Some(W::BelowMinimum)
    );
    assert_eq!(with(|order| order.total = cny(2_000)), None);
    assert_eq!(
        with(|order| {
            order.terms.contact.email = None;
            order.terms.contact.phone = None;
            order.terms.delivery.phone = None;
        }),
        Some(W::Unreachable)
    );
    assert_eq!(
        decide(&order, |facts| facts.decided = true),
        Decision::Already
    );
}

#[test]
fn nobody_is_rung_up_for_a_survey() {
    let mut order = delivered();
    for (preferred, by) in [
        (None, Channel::Email),
        (Some(Channel::Phone), Channel::Email),
        (Some(Channel::Sms), Channel::Sms),
    ] {
        order.terms.contact.preferred_channel = preferred;
        assert_eq!(survey_channel(&order), Some(by));
    }
    order.terms.contact.preferred_channel = Some(Channel::Phone);
    order.terms.contact.email = None;
    assert_eq!(survey_channel(&order), Some(Channel::Sms));
}

fn page(stars: u32, words: &str) -> FeedbackAnswer {
    FeedbackAnswer {
        words: words.into(),
        ..FeedbackAnswer::of_stars(stars, FeedbackSource::Page)
    }
}

fn record(
    order: &Order,
    known: Option<&Feedback>,
    answer: &FeedbackAnswer,
    received: DateTime<Utc>,
) -> Result<Decision, Refusal> {
    let facts = FeedbackFacts {
        known,
        new_id: FeedbackId::from_uuid(Uuid::from_u128(7)),
        low_stars_max: 2,
        given_by: "customer",
        receive_time: received,
    };
    record_feedback(order, answer, &facts, &at(received))
}

fn recorded(order: &Order, known: Option<&Feedback>, answer: &FeedbackAnswer) -> Change {
    let received = known.map_or_else(noon, |known| known.answer_time + TimeDelta::minutes(1));
    change(record(order, known, answer, received).unwrap())
}

#[test]
fn feedback_is_tied_to_the_goods_and_their_warehouses() {
    let order = delivered();
    let answer = FeedbackAnswer {
        tags: vec![FeedbackTag::Late],
        lines: vec![LineStars {
            line_number: 2,
            stars: 3,
        }],
        ..page(5, "谢谢")
    };
    let change = recorded(&order, None, &answer);
    let feedback = change.feedback.as_ref().unwrap();
    let lines: Vec<_> = feedback
        .lines
        .iter()
        .map(|line| {
            (
                line.sku.as_str(),
                line.warehouse.as_deref(),
                line.stars,
                line.own,
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("TEA", Some("HZ"), 5, false),
            ("CUP", Some("HZ"), 3, true),
            ("POT", Some("HZ"), 5, false)
        ]
    );
    assert_eq!(feedback.follow_up, FollowUp::None);
    assert_eq!(feedback.answer, answer);
    // The history tells what was said but the words.
    let told = format!("{:?}", change.event);
    assert!(told.contains("feedback.stars") && told.contains("LATE"));
    assert!(!told.contains("谢谢") && !format!("{answer:?}").contains("谢谢"));
}

#[test]
fn a_later_answer_takes_the_place_of_the_one_before() {
    let order = delivered();
    let first = recorded(
        &order,
        None,
        &FeedbackAnswer {
            tags: vec![FeedbackTag::Damaged],
            ..page(2, "broken lid")
        },
    )
    .feedback
    .unwrap();
    assert_eq!(first.follow_up, FollowUp::Open);
    let by_sms = FeedbackAnswer::of_stars(4, FeedbackSource::Sms);
    let second = recorded(&order, Some(&first), &by_sms).feedback.unwrap();
    assert_eq!((second.id, second.answers), (first.id, 2));
    assert_eq!(second.answer.stars, 4);
    assert_eq!(second.answer.words, "broken lid");
    assert_eq!(second.answer.tags, [FeedbackTag::Damaged]);
    assert_eq!(second.follow_up, FollowUp::None);
    // Words that are left out stay; tags that are no longer ticked go.
    let third = recorded(&order, Some(&second), &page(1, ""))
        .feedback
        .unwrap();
    assert_eq!(third.answer.words, "broken lid");
    assert_eq!(third.answer.tags, [] as [FeedbackTag; 0]);
    assert_eq!(third.follow_up, FollowUp::Open);
    assert_eq!(third.create_time, first.create_time);
    // The same again changes nothing, nor does an answer that was overtaken.
    let again = record(
        &order,
        Some(&third),
        &page(1, ""),
        noon() + TimeDelta::days(1),
    );
    assert_eq!(again, Ok(Decision::Already));
    let overtaken = record(&order, Some(&third), &page(5, ""), noon());
    assert_eq!(overtaken, Ok(Decision::Already));
    let many = Feedback {
        answers: ANSWERS_MAX,
        ..third
    };
    let more = record(
        &order,
        Some(&many),
        &page(5, ""),
        noon() + TimeDelta::days(1),
    );
    assert_eq!(more, Ok(Decision::Already));
}

#[test]
fn low_stars_for_one_line_are_followed_up_and_resolved_once() {
    let order = delivered();
    let answer = FeedbackAnswer {
        lines: vec![LineStars {
            line_number: 1,
            stars: 2,
        }],
        ..page(5, "")
    };
    let change = recorded(&order, None, &answer);
    assert_eq!(change.event.details.reason, "low score");
    let feedback = change.feedback.unwrap();
    assert_eq!(feedback.follow_up, FollowUp::Open);
    let empty = resolve_feedback(&order, &feedback, " ", "li.na", &at(noon()));
    assert!(matches!(empty, Err(Refusal::Invalid { field, .. }) if field == "resolution"));
    let resolved = resolve_feedback(&order, &feedback, "rang, sent a lid", "li.na", &at(noon()));
    let resolved = self::change(resolved.unwrap());
    assert_eq!(resolved.event.kind, EventKind::FeedbackResolved);
    let resolved = resolved.feedback.unwrap();
    assert_eq!(resolved.follow_up, FollowUp::Resolved);
    assert_eq!(resolved.resolution.as_ref().unwrap().resolved_by, "li.na");
    let again = resolve_feedback(&order, &resolved, "again", "li.na", &at(noon()));
    assert_eq!(again, Ok(Decision::Already));
    // Content now; unhappy again.
    let content = recorded(&order, Some(&resolved), &page(5, ""))
        .feedback
        .unwrap();
    assert_eq!(content.follow_up, FollowUp::Resolved);
    let unhappy = recorded(&order, Some(&content), &page(1, ""))
        .feedback
        .unwrap();
    assert_eq!(unhappy.follow_up, FollowUp::Open);
    let happy = recorded(&order, None, &page(3, "")).feedback.unwrap();
    assert!(matches!(
        resolve_feedback(&order, &happy, "x", "li.na", &at(noon())),
        Err(Refusal::Precondition(_))
    ));
}

#[test]
fn feedback_needs_goods_that_arrived_and_comes_in_time() {
    let order = delivered();
    let refused = |order: &Order, answer: &FeedbackAnswer, received| {
        matches!(
            record(order, None, answer, received),
            Err(Refusal::Precondition(_))
        )
    };
    let end = noon() + TimeDelta::days(30);
    let last = end - TimeDelta::microseconds(1);
    assert!(!refused(&order, &page(5, ""), last));
    assert!(refused(&order, &page(5, ""), end));
    let staff = FeedbackAnswer::of_stars(5, FeedbackSource::Staff);
    assert!(!refused(&order, &staff, end));
    let mut underway = order;
    underway.state = OrderState::Dispatched;
    assert!(refused(&underway, &page(5, ""), noon()));
    assert!(refused(&underway, &staff, noon()));
}

#[test]
fn what_cannot_be_is_refused_by_field() {
    let order = delivered();
    let line = |line_number, stars| LineStars { line_number, stars };
    let with_lines = |lines| FeedbackAnswer {
        lines,
        ..page(3, "")
    };
    for (field, answer) in [
        ("stars", page(0, "")),
        ("stars", page(6, "")),
        ("words", page(3, &"字".repeat(1_001))),
        ("words", page(3, "a\u{0}b")),
        (
            "tags[1]",
            FeedbackAnswer {
                tags: vec![FeedbackTag::Late, FeedbackTag::Late],
                ..page(3, "")
            },
        ),
        ("lines[0].stars", with_lines(vec![line(1, 9)])),
        ("lines[0].line_number", with_lines(vec![line(4, 1)])),
        (
            "lines[1].line_number",
            with_lines(vec![line(1, 1), line(1, 2)]),
        ),
    ] {
        match record(&order, None, &answer, noon()) {
            Err(Refusal::Invalid { field: named, .. }) => {
                assert_eq!(named, format!("feedback.{field}"));
            }
            other => panic!("{field}: {other:?}"),
        }
    }
}
