//! The policies that ship, and what is told of a policy that cannot be used.

use countersign_domain::{
    confirmation::ConfirmationMode,
    money::{Currency, Money},
    order::{Channel, PaymentMethod},
    policy::{OrderPolicy, default_policies},
    survey::SurveyRules,
};

use crate::shop::policy;

#[test]
fn every_policy_that_ships_is_valid() {
    let policies = default_policies();
    let types: Vec<&str> = policies
        .iter()
        .map(|policy| policy.order_type.as_str())
        .collect();
    assert_eq!(types, ["ECOMMERCE", "STORE", "WHOLESALE", "CUSTOM"]);
    for policy in &policies {
        assert_eq!(policy.validate(), Ok(()), "{}", policy.order_type);
    }
}

#[test]
fn the_types_that_ship_are_treated_differently() {
    let [shop, store, wholesale, custom] =
        ["ECOMMERCE", "STORE", "WHOLESALE", "CUSTOM"].map(policy);
    assert_eq!(shop.confirmation_mode, ConfirmationMode::Tacit);
    assert_eq!(shop.confirmation_window_seconds, 24 * 3600);
    assert_eq!(shop.channel_plan, [Channel::Email, Channel::Sms]);
    assert_eq!(shop.payment_methods.len(), PaymentMethod::ALL.len());
    assert!(shop.unknown_customers && shop.auto_approve);

    assert_eq!(store.confirmation_mode, ConfirmationMode::Tacit);
    assert_eq!(store.confirmation_window_seconds, 2 * 3600);
    assert_eq!(store.channel_plan, [Channel::Sms, Channel::Email]);
    assert_eq!(store.completion_window_seconds, 0);

    assert_eq!(wholesale.confirmation_mode, ConfirmationMode::Explicit);
    assert_eq!(wholesale.confirmation_window_seconds, 48 * 3600);
    assert_eq!(wholesale.channel_plan, [Channel::Email, Channel::Phone]);
    assert!(!wholesale.allocate_at_confirmation && wholesale.mergeable);
    assert!(wholesale.auto_approve_total_max.is_some());
    assert_eq!(wholesale.required_fields, [] as [&str; 0]);

    assert_eq!(custom.confirmation_mode, ConfirmationMode::Explicit);
    assert_eq!(custom.confirmation_window_seconds, 72 * 3600);
    assert_eq!(custom.channel_plan[0], Channel::Phone);
    assert!(custom.handler_required && !custom.auto_approve);
    assert_eq!(
        custom.required_fields,
        ["lines.customization", "lines.specification"]
    );
}

#[test]
fn all_that_is_wrong_with_a_policy_is_told_by_field() {
    let wrong = OrderPolicy {
        order_type: "store".into(),
        version: 0,
        display_name: " ".into(),
        required_fields: vec![
            "lines.colour".into(),
            "contact.email".into(),
            "contact.email".into(),
        ],
        disabled_rules: vec![String::new()],
        auto_approve_total_max: Some(Money::new(-1, Currency::parse("CNY").unwrap())),
        confirmation_window_seconds: 0,
        channel_plan: vec![Channel::Sms, Channel::Sms],
        channel_step_seconds: vec![],
        payment_methods: vec![],
        price_tolerance_percent: 1001,
        priority_points: -1,
        delivery_promise_seconds: 0,
        completion_window_seconds: u32::MAX,
        service_terms: vec!["two\nlines".into()],
        return_days: u32::MAX,
        survey: Some(SurveyRules {
            delay_seconds: u32::MAX,
            expire_seconds: u32::MAX,
            customer_pause_seconds: u32::MAX,
            low_stars_max: 5,
            total_min: Some(Money::new(-1, Currency::parse("CNY").unwrap())),
        }),
        ..policy("STORE")
    };
    let problems: Vec<String> = wrong
        .validate()
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn steps_that_outlast_the_window_are_refused() {
    let mut policy = policy("STORE");
    policy.channel_step_seconds = vec![policy.confirmation_window_seconds];
    let problems = policy.validate().unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "channel_step_seconds");
    policy.channel_step_seconds = vec![policy.confirmation_window_seconds - 1];
    assert_eq!(policy.validate(), Ok(()));
    policy.channel_step_seconds = vec![0];
    assert_eq!(policy.validate().unwrap_err().len(), 1);
}

#[test]
fn a_channel_that_is_the_only_one_waits_for_no_other() {
    let mut policy = policy("STORE");
    policy.channel_plan = vec![Channel::Phone];
    policy.channel_step_seconds = vec![];
    assert_eq!(policy.validate(), Ok(()));
    policy.channel_plan = vec![];
    assert_eq!(policy.validate().unwrap_err()[0].field, "channel_plan");
}
