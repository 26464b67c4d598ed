//! The score of an order: what it is made of, and that it never falls when an order becomes more important.

use chrono::{TimeDelta, Utc};
use countersign_domain::{
    order::TimeWindow,
    priority::{Priority, PriorityOverride, SCORE_MAX, compute},
};
use proptest::prelude::*;

use crate::shop::{Case, noon, policy};

fn priority_of(case: &Case) -> Priority {
    compute(&case.order, &case.policy, case.now)
}

fn points(priority: &Priority, name: &str) -> i32 {
    let component = priority
        .components
        .iter()
        .find(|component| component.name == name);
    component.unwrap().points
}

#[test]
fn the_score_is_the_sum_of_explained_components() {
    let mut case = Case::clean("WHOLESALE");
    case.now = noon() + TimeDelta::hours(5);
    let priority = priority_of(&case);
    let told: Vec<String> = priority
        .components
        .iter()
        .map(|part| format!("{} {} {}", part.name, part.points, part.explanation))
        .collect();
    assert_eq!(
        told,
        [
            "customer_tier 200 customer of tier B",
            "urgency 229 47 h to the requested time",
            "order_type 100 order of type WHOLESALE",
            "age 5 waiting for 5 h",
        ]
    );
    assert_eq!(priority.score, 534);
}

#[test]
fn the_promised_time_counts_before_the_requested_one_before_the_usual_one() {
    let mut case = Case::clean("STORE");
    assert!(
        priority_of(&case).components[1]
            .explanation
            .contains("52 h to the requested")
    );
    case.order.promised_delivery_time = Some(noon() + TimeDelta::hours(3));
    assert!(
        priority_of(&case).components[1]
            .explanation
            .contains("3 h to the promised")
    );
    case.order.promised_delivery_time = Some(noon() - TimeDelta::hours(3));
    assert!(
        priority_of(&case).components[1]
            .explanation
            .contains("3 h past the promised")
    );
    case.order.promised_delivery_time = None;
    case.order.terms.delivery.requested_window = None;
    assert!(
        priority_of(&case).components[1]
            .explanation
            .contains("24 h to the usual")
    );
}

#[test]
fn the_most_and_the_least_important_order_are_at_the_ends_of_the_scale() {
    let mut case = Case::clean("WHOLESALE");
    case.order.terms.customer_tier = Some("A".into());
    case.order.promised_delivery_time = Some(noon());
    case.policy.priority_points = i32::MAX;
    case.now = noon() + TimeDelta::days(30);
    assert_eq!(priority_of(&case).score, SCORE_MAX);

    case.order.terms.customer_tier = Some("D".into());
    case.order.promised_delivery_time = Some(noon() + TimeDelta::days(30));
    case.policy.priority_points = i32::MIN;
    case.now = noon();
    assert_eq!(priority_of(&case).score, 0);
}

#[test]
fn a_score_given_by_a_person_counts_until_it_expires() {
    let mut case = Case::clean("ECOMMERCE");
    let computed = priority_of(&case).score;
    let expire_time = noon() + TimeDelta::hours(1);
    case.order.priority.overridden = Some(PriorityOverride {
        score: 999,
        reason: "promised by the manager".into(),
        expire_time,
        actor: "li.na".into(),
    });
    let priority = priority_of(&case);
    assert_eq!(priority.score, 999);
    assert_eq!(priority.overridden, case.order.priority.overridden);
    assert_eq!(
        priority
            .components
            .iter()
            .map(|part| part.points)
            .sum::<i32>(),
        computed
    );

    case.now = expire_time;
    let priority = priority_of(&case);
    assert_eq!(priority.overridden, None);
    assert!(priority.score < 999);
}

prop_compose! {
    fn any_case()(
        tier in prop::option::of("[ABCDX]"),
        promised in prop::option::of(-400_i64..400),
        requested in prop::option::of(-400_i64..400),
        minutes in 0_i64..60,
        age in -5_i64..1000,
        order_type in prop::sample::select(vec!["ECOMMERCE", "STORE", "WHOLESALE", "CUSTOM"]),
    ) -> Case {
        let mut case = Case::clean(order_type);
        let hence = |hours: i64| noon() + TimeDelta::hours(hours) + TimeDelta::minutes(minutes);
        case.order.terms.customer_tier = tier;
        case.order.promised_delivery_time = promised.map(hence);
        case.order.terms.delivery.requested_window = requested.map(|hours| TimeWindow {
            start: hence(hours - 2),
            end: hence(hours),
        });
        case.order.create_time = noon() - TimeDelta::hours(age);
        case
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of tier {:?}, promised {:?}, requested {:?}, created {:?}",
            self.order.order_type,
            self.order.terms.customer_tier,
            self.order.promised_delivery_time,
            self.order.terms.delivery.requested_window,
            self.order.create_time
        )
    }
}

proptest! {
    #[test]
    fn the_score_is_within_its_bounds_and_each_component_is_never_negative(case in any_case()) {
        let priority = priority_of(&case);
        prop_assert!((0..=SCORE_MAX).contains(&priority.score));
        prop_assert_eq!(priority.components.len(), 4);
        prop_assert!(priority.components.iter().all(|part| part.points >= 0));
    }

    #[test]
    fn a_higher_tier_never_lowers_the_score(mut case in any_case()) {
        let scores = ["D", "C", "B", "A"].map(|tier| {
            case.order.terms.customer_tier = Some(tier.into());
            priority_of(&case).score
        });
        prop_assert!(scores.is_sorted(), "{:?}", scores);
    }

    #[test]
    fn less_slack_never_lowers_the_score(
        mut case in any_case(),
        hours in -500_i64..500,
        sooner in 0_i64..500_000,
    ) {
        let later = noon() + TimeDelta::hours(hours);
        case.order.promised_delivery_time = Some(later);
        let before = priority_of(&case);
        case.order.promised_delivery_time = Some(later - TimeDelta::seconds(sooner));
        let after = priority_of(&case);
        prop_assert!(after.score >= before.score);
        prop_assert!(points(&after, "urgency") >= points(&before, "urgency"));
    }

    #[test]
    fn waiting_never_lowers_the_score(mut case in any_case(), longer in 0_i64..2_000_000) {
        let before = priority_of(&case).score;
        case.now += TimeDelta::seconds(longer);
        prop_assert!(priority_of(&case).score >= before);
    }

    #[test]
    fn times_at_the_ends_of_the_calendar_do_not_panic(case in any_case()) {
        for now in [chrono::DateTime::<Utc>::MIN_UTC, chrono::DateTime::<Utc>::MAX_UTC] {
            let priority = compute(&case.order, &policy("STORE"), now);
            prop_assert!((0..=SCORE_MAX).contains(&priority.score));
        }
    }
}
