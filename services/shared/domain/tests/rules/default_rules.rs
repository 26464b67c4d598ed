//! Each rule that ships: an order that breaks it, and one that only just does not.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use chrono::TimeDelta;
use countersign_domain::{
    audit::{Duplicate, Severity, default_rules},
    catalog::Product,
    decide::derive_state,
    hold::HoldReason,
    order::{OrderState, PaymentMethod, TimeWindow, TransactionType},
    phone::PhoneNumber,
};

use crate::shop::{self, Case, cny, noon};

type Change = fn(&mut Case);

/// Rule, type of order, what breaks the rule, and what comes near and does not.
const CASES: &[(&str, &str, Change, Change)] = &[
    (
        "required-fields",
        "ECOMMERCE",
        |case| {
            case.policy.required_fields = vec![
                "delivery.requested_window".into(),
                "contact.email".into(),
                "annotations.project".into(),
            ];
            case.order.terms.delivery.requested_window = None;
        },
        |case| {
            case.policy.required_fields =
                vec!["contact.email".into(), "annotations.project".into()];
            let annotations = &mut case.order.terms.annotations;
            annotations.insert("project".into(), "bridge".into());
        },
    ),
    (
        "required-line-fields",
        "CUSTOM",
        |case| {
            case.order.lines[1].specification = " ".into();
            case.order.lines[1].extras.customization.clear();
        },
        |case| case.order.lines[1].extras.accessories.clear(),
    ),
    (
        "address-deliverable",
        "ECOMMERCE",
        |case| {
            case.order.terms.delivery.address.postal_code = "31".into();
            case.order.terms.delivery.address.locality.clear();
        },
        |case| {
            // A city that is a province needs a district, no town.
            let address = &mut case.order.terms.delivery.address;
            address.locality.clear();
            address.administrative_area = "北京市".into();
            address.sublocality = "海淀区".into();
        },
    ),
    (
        "consignee-named",
        "ECOMMERCE",
        |case| case.order.terms.delivery.consignee.clear(),
        |case| case.order.terms.delivery.consignee = "前台".into(),
    ),
    (
        "contact-reachable",
        "ECOMMERCE",
        |case| {
            case.order.terms.contact.email = None;
            case.order.terms.contact.phone = None;
        },
        |case| {
            // The phone at the place of delivery will do.
            case.order.terms.contact.email = None;
            case.order.terms.delivery.phone = case.order.terms.contact.phone.take();
        },
    ),
    (
        "cash-on-delivery-phone",
        "ECOMMERCE",
        |case| {
            case.order.terms.payment_method = PaymentMethod::CashOnDelivery;
            case.order.terms.contact.phone = None;
        },
        |case| {
            case.order.terms.payment_method = PaymentMethod::CashOnDelivery;
            case.order.terms.contact.phone = None;
            case.order.terms.delivery.phone = PhoneNumber::from_e164("+8613800138001").ok();
        },
    ),
    (
        "payment-method-allowed",
        "WHOLESALE",
        |case| case.order.terms.payment_method = PaymentMethod::CashOnDelivery,
        |case| case.order.terms.payment_method = PaymentMethod::BankTransfer,
    ),
    (
        "total-matches",
        "ECOMMERCE",
        |case| case.order.total.minor += 1,
        |case| {
            case.order.terms.discount_minor += 1;
            case.order.total.minor -= 1;
        },
    ),
    (
        "price-as-listed",
        "ECOMMERCE",
        |case| case.lines[2].list_price = Some(cny(18_952)),
        |case| {
            // 19,900 is exactly 5 % above 18,952.38…: the next list price within tolerance.
            case.lines[2].list_price = Some(cny(18_953));
            case.lines[1].list_price = None;
        },
    ),
    (
        "price-given",
        "ECOMMERCE",
        |case| {
            case.order.total.minor -= 4 * case.order.lines[1].unit_price.minor;
            case.order.lines[1].unit_price.minor = 0;
            case.lines[1].list_price = None;
        },
        |case| {
            case.order.total.minor -= 4 * (case.order.lines[1].unit_price.minor - 1);
            case.order.lines[1].unit_price.minor = 1;
            case.lines[1].list_price = None;
        },
    ),
    (
        "delivery-window-feasible",
        "ECOMMERCE",
        |case| {
            case.order.terms.delivery.requested_window = Some(TimeWindow {
                start: noon() - TimeDelta::hours(2),
                end: noon(),
            });
        },
        |case| {
            case.order.terms.delivery.requested_window = Some(TimeWindow {
                start: noon() - TimeDelta::hours(2),
                end: noon() + TimeDelta::seconds(1),
            });
        },
    ),
    (
        "product-known",
        "ECOMMERCE",
        |case| case.lines[0].product = None,
        |case| case.lines[0].product = Some(shop::product("TEA")),
    ),
    (
        "product-on-sale",
        "ECOMMERCE",
        |case| case.lines[0].product = Some(changed("TEA", |tea| tea.profile.discontinued = true)),
        |case| case.lines[0].product = Some(changed("TEA", |tea| tea.version = 2)),
    ),
    (
        "stock-kept",
        "ECOMMERCE",
        |case| {
            case.order.lines[0].counters.reserved = 0;
            case.lines[0].stocked = false;
            case.lines[0].available = 0;
        },
        |case| {
            case.order.lines[0].counters.reserved = 0;
            case.lines[0].available = 2;
        },
    ),
    (
        "stock-enough",
        "ECOMMERCE",
        |case| {
            case.order.lines[1].counters.reserved = 0;
            case.lines[1].available = 3;
        },
        |case| {
            // The supplier ships it.
            case.order.terms.transaction_type = TransactionType::Indirect;
            case.order.lines[1].counters.reserved = 0;
            case.lines[1].available = 3;
        },
    ),
    (
        "quantity-usual",
        "ECOMMERCE",
        |case| order_many(case, 101),
        |case| order_many(case, 100),
    ),
    (
        "total-within-auto-approval",
        "WHOLESALE",
        |case| case.policy.auto_approve_total_max = Some(cny(case.order.total.minor - 1)),
        |case| case.policy.auto_approve_total_max = Some(case.order.total),
    ),
    (
        "credit-agreed",
        "WHOLESALE",
        |case| {
            case.order.terms.payment_method = PaymentMethod::OnAccount;
            case.customer.as_mut().unwrap().credit_limit = None;
        },
        |case| case.customer.as_mut().unwrap().credit_limit = None,
    ),
    (
        "credit-limit",
        "WHOLESALE",
        |case| owe(case, 1),
        |case| owe(case, 0),
    ),
    (
        "customer-known",
        "WHOLESALE",
        |case| case.customer = None,
        |case| {
            case.customer = None;
            case.policy.unknown_customers = true;
        },
    ),
    (
        "customer-not-blocked",
        "ECOMMERCE",
        |case| {
            let customer = case.customer.as_mut().unwrap();
            customer.blocked = true;
            customer.profile.block_reason = "unpaid since May".into();
        },
        |case| case.customer.as_mut().unwrap().profile.block_reason = "paid in June".into(),
    ),
    (
        "probable-duplicate",
        "ECOMMERCE",
        |case| {
            case.duplicate_of = Some(Duplicate {
                order: case.order.id,
                own: true,
            });
        },
        |case| case.duplicate_of = None,
    ),
];

fn changed(sku: &str, change: fn(&mut Product)) -> Arc<Product> {
    let mut product = Product::clone(&shop::product(sku));
    change(&mut product);
    Arc::new(product)
}

fn order_many(case: &mut Case, quantity: i64) {
    let line = &mut case.order.lines[1];
    case.order.total.minor += (quantity - line.counters.ordered) * line.unit_price.minor;
    line.counters.ordered = quantity;
    line.counters.reserved = quantity;
}

/// Puts the order on account and the customer `beyond` the limit with it.
fn owe(case: &mut Case, beyond: i64) {
    case.order.terms.payment_method = PaymentMethod::OnAccount;
    let customer = case.customer.as_mut().unwrap();
    customer.credit_exposure_minor = 100_000 - case.order.total.minor + beyond;
}

#[test]
fn a_clean_order_of_each_type_breaks_no_rule() {
    for order_type in ["ECOMMERCE", "STORE", "WHOLESALE", "CUSTOM"] {
        assert_eq!(Case::clean(order_type).findings(), [], "{order_type}");
    }
}

#[test]
fn each_rule_is_broken_by_what_it_is_about_and_no_other_rule_is() {
    for (rule, order_type, break_it, _) in CASES {
        let mut case = Case::clean(order_type);
        break_it(&mut case);
        assert_eq!(case.broken(), [*rule], "{rule}");
    }
}

#[test]
fn each_rule_lets_pass_what_only_comes_near() {
    for (rule, order_type, _, come_near) in CASES {
        let mut case = Case::clean(order_type);
        come_near(&mut case);
        assert_eq!(case.findings(), [], "{rule}");
    }
}

#[test]
fn there_is_a_case_for_each_rule() {
    let cases: BTreeSet<&str> = CASES.iter().map(|(rule, ..)| *rule).collect();
    let rules = default_rules();
    let rules: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(cases, rules);
}

#[test]
fn every_rule_that_ships_is_valid() {
    for rule in default_rules() {
        assert_eq!(rule.validate(), Ok(()), "{}", rule.id);
        assert_ne!(rule.options, [] as [String; 0], "{}", rule.id);
    }
}

/// What staff and customers read. No personal data is in it.
#[test]
fn findings_say_what_stood_there() {
    let mut told = String::new();
    for (_, order_type, break_it, _) in CASES {
        let mut case = Case::clean(order_type);
        break_it(&mut case);
        for finding in case.findings() {
            writeln!(
                told,
                "{} {} {}\n  {} = {:?}\n  staff: {}",
                finding.rule,
                finding.dimension,
                finding.severity,
                finding.field,
                finding.value,
                finding.message
            )
            .unwrap();
            if !finding.customer_message.is_empty() {
                writeln!(told, "  customer: {}", finding.customer_message).unwrap();
            }
            if let Some(hold) = finding.hold {
                writeln!(told, "  hold: {hold}").unwrap();
            }
            writeln!(told, "  options: {}", finding.options.join(", ")).unwrap();
        }
    }
    for personal in ["王芳", "wang.fang", "13800138", "文一西路", "杭州"] {
        assert!(!told.contains(personal), "{personal}");
    }
    insta::assert_snapshot!(told);
}

#[test]
fn credit_counts_for_orders_on_account_only() {
    let mut case = Case::clean("WHOLESALE");
    owe(&mut case, 1);
    let findings = case.findings();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].hold, Some(HoldReason::Credit));
    assert_eq!(findings[0].severity, Severity::Review);

    case.order.terms.payment_method = PaymentMethod::Prepaid;
    assert_eq!(case.findings(), []);
}

#[test]
fn an_order_that_was_taken_in_is_not_counted_against_the_credit_limit_twice() {
    let mut case = Case::clean("WHOLESALE");
    case.order.terms.payment_method = PaymentMethod::OnAccount;
    case.order.state = OrderState::UnderAudit;
    let customer = case.customer.as_mut().unwrap();
    customer.credit_limit = Some(case.order.total);
    customer.credit_exposure_minor = case.order.total.minor;
    assert_eq!(case.findings(), []);

    case.customer.as_mut().unwrap().credit_exposure_minor += 1;
    assert_eq!(case.broken(), ["credit-limit"]);
}

#[test]
fn a_limit_in_another_currency_is_for_a_person_to_judge() {
    let mut case = Case::clean("WHOLESALE");
    case.order.terms.payment_method = PaymentMethod::OnAccount;
    let euros = countersign_domain::money::Currency::parse("EUR").unwrap();
    case.customer.as_mut().unwrap().credit_limit =
        Some(countersign_domain::money::Money::new(i64::MAX, euros));
    assert_eq!(case.broken(), ["credit-limit"]);
}

#[test]
fn a_shortage_is_found_on_each_line_that_has_one() {
    let mut case = Case::clean("ECOMMERCE");
    for index in [0, 2] {
        case.order.lines[index].counters.reserved = 0;
        case.lines[index].available = 0;
    }
    let findings = case.findings();
    let fields: Vec<&str> = findings
        .iter()
        .map(|finding| finding.field.as_str())
        .collect();
    assert_eq!(fields, ["lines[0].quantity", "lines[2].quantity"]);
    assert_eq!(
        derive_state(&case.order.lines),
        OrderState::PartiallyAllocated
    );
}

#[test]
fn units_that_were_called_off_no_longer_count() {
    let mut case = Case::clean("ECOMMERCE");
    let line = &mut case.order.lines[1];
    line.counters.cancelled = 3;
    line.counters.reserved = 1;
    case.order.total.minor -= 3 * line.unit_price.minor;
    case.lines[1].available = 1;
    assert_eq!(case.findings(), []);
}

#[test]
fn sums_beyond_all_bounds_are_found_and_do_not_panic() {
    let mut case = Case::clean("ECOMMERCE");
    case.order.lines[0].unit_price.minor = i64::MAX;
    case.lines[0].list_price = None;
    assert_eq!(case.broken(), ["total-matches"]);
    case.lines[0].list_price = Some(cny(0));
    assert_eq!(case.broken(), ["total-matches", "price-as-listed"]);
    case.lines[0].list_price = Some(cny(i64::MIN));
    assert_eq!(case.broken(), ["total-matches", "price-as-listed"]);
    case.order.terms.freight_minor = i64::MIN;
    case.order.total.minor = i64::MAX;
    case.order.terms.payment_method = PaymentMethod::OnAccount;
    case.customer.as_mut().unwrap().credit_exposure_minor = i64::MAX;
    assert_eq!(
        case.broken(),
        ["total-matches", "price-as-listed", "credit-limit"]
    );
}
