//! Rules as data: which of them count, what they may say, and what happens when one of them is wrong.

use countersign_domain::{
    audit::{AuditDimension, AuditRule, Finding, RuleError, RuleSet, Severity, default_rules},
    hold::HoldReason,
    policy::OrderPolicy,
};
use proptest::prelude::*;

use crate::shop::{Case, policy};

fn rule(id: &str, expression: &str) -> AuditRule {
    AuditRule {
        id: id.into(),
        version: 1,
        dimension: AuditDimension::Accuracy,
        order_types: vec![],
        expression: expression.into(),
        severity: Severity::Reject,
        message: format!("{id} is broken"),
        field: String::new(),
        customer_message: String::new(),
        hold: None,
        options: vec![],
        enabled: true,
    }
}

fn problems_of(rule: &AuditRule) -> Vec<String> {
    let problems = rule.validate().err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

fn is_broken(expression: &str) -> bool {
    let findings = Case::clean("ECOMMERCE").findings_of(&[rule("r", expression)]);
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity == Severity::Reject),
        "{expression}: {findings:?}"
    );
    !findings.is_empty()
}

#[test]
fn only_the_newest_version_of_a_rule_counts_whatever_the_sequence() {
    let old = rule("r", "true");
    let new = AuditRule {
        version: 2,
        expression: "false".into(),
        ..old.clone()
    };
    let case = Case::clean("ECOMMERCE");
    assert_eq!(case.findings_of(&[old.clone(), new.clone()]), []);
    assert_eq!(case.findings_of(&[new, old.clone()]), []);

    let newest = AuditRule {
        version: 3,
        ..old.clone()
    };
    let findings = case.findings_of(&[newest, old]);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].rule_version, 3);
}

#[test]
fn a_rule_whose_newest_version_is_switched_off_is_off() {
    let old = rule("r", "true");
    let off = AuditRule {
        version: 2,
        enabled: false,
        ..old.clone()
    };
    assert_eq!(Case::clean("STORE").findings_of(&[old, off]), []);
}

#[test]
fn a_rule_that_is_off_need_not_compile() {
    let off = AuditRule {
        enabled: false,
        ..rule("r", "order.")
    };
    assert_eq!(Case::clean("STORE").findings_of(&[off]), []);
}

#[test]
fn a_rule_counts_for_its_types_and_where_the_policy_does_not_disable_it() {
    let mut for_stores = rule("r", "true");
    for_stores.order_types = vec!["STORE".into(), "KIOSK".into()];
    let rules = [for_stores];
    assert_eq!(Case::clean("ECOMMERCE").findings_of(&rules), []);
    let mut store = Case::clean("STORE");
    assert_eq!(store.findings_of(&rules).len(), 1);
    store.policy.disabled_rules = vec!["r".into()];
    assert_eq!(store.findings_of(&rules), []);
}

#[test]
fn a_new_type_of_order_needs_data_only() {
    let kiosk: OrderPolicy = serde_json::from_str(
        r#"{
            "order_type": "KIOSK", "version": 1, "display_name": "Kiosk", "auto_approve": true,
            "confirmation_mode": "TACIT", "confirmation_window_seconds": 600,
            "channel_plan": ["SMS"], "payment_methods": ["CASH_ON_DELIVERY"],
            "required_fields": ["annotations.kiosk"], "disabled_rules": ["total-matches"],
            "delivery_promise_seconds": 3600, "allocate_at_confirmation": true,
            "unknown_customers": true, "completion_window_seconds": 0
        }"#,
    )
    .unwrap();
    assert_eq!(kiosk.validate(), Ok(()));
    let own_rule: AuditRule = serde_json::from_str(
        r#"{
            "id": "kiosk-small", "version": 1, "dimension": "COMPLIANCE",
            "order_types": ["KIOSK"], "expression": "order.total_minor > 10000",
            "severity": "REJECT", "message": "{total} is too much for a kiosk.", "field": "total"
        }"#,
    )
    .unwrap();
    assert_eq!(own_rule.validate(), Ok(()));
    let mut rules = default_rules();
    rules.push(own_rule);

    let mut case = Case::clean("ECOMMERCE");
    case.order.order_type = "KIOSK".into();
    case.policy = kiosk;
    case.order.total.minor += 1;
    let broken: Vec<(String, Severity)> = case
        .findings_of(&rules)
        .into_iter()
        .map(|finding| (finding.rule, finding.severity))
        .collect();
    assert_eq!(
        broken,
        [
            ("required-fields".to_owned(), Severity::Review),
            ("payment-method-allowed".to_owned(), Severity::Review),
            ("kiosk-small".to_owned(), Severity::Reject),
        ]
    );
    // The same order as another type goes another way.
    case.policy = policy("ECOMMERCE");
    case.order.order_type = "ECOMMERCE".into();
    let broken: Vec<String> = case
        .findings_of(&rules)
        .into_iter()
        .map(|finding| finding.rule)
        .collect();
    assert_eq!(broken, ["total-matches"]);
}

#[test]
fn an_expression_over_line_is_held_against_each_line() {
    let mut over_lines = rule("r", "line.quantity > 1");
    over_lines.message =
        "line {line_number} of {line_count}: {quantity} × {line.sku} for {customer.code} at {order.total}".into();
    over_lines.customer_message = "{goods_name}".into();
    over_lines.field = "lines[].quantity".into();
    over_lines.hold = Some(HoldReason::Other);
    over_lines.options = vec!["AMEND".into()];
    let findings = Case::clean("ECOMMERCE").findings_of(&[over_lines]);
    let finding = |message: &str, field: &str, value: &str, goods: &str| Finding {
        rule: "r".into(),
        rule_version: 1,
        dimension: AuditDimension::Accuracy,
        severity: Severity::Reject,
        message: message.into(),
        field: field.into(),
        value: value.into(),
        options: vec!["AMEND".into()],
        customer_message: goods.into(),
        hold: Some(HoldReason::Other),
        waived: false,
        foreign_order: None,
    };
    assert_eq!(
        findings,
        [
            finding(
                "line 1 of 3: 2 × TEA for C-1 at 344.00 CNY",
                "lines[0].quantity",
                "2",
                "goods TEA"
            ),
            finding(
                "line 2 of 3: 4 × CUP for C-1 at 344.00 CNY",
                "lines[1].quantity",
                "4",
                "goods CUP"
            ),
        ]
    );
}

#[test]
fn the_language_has_what_rules_need() {
    for expression in [
        "size(lines) == 3",
        "lines.size() == 3 && lines[0].sku == 'TEA' && lines[2].line_number == 3",
        "lines.exists(l, l.sku == 'POT')",
        "lines.all(l, l.stocked && l.quantity >= 1)",
        "lines.filter(l, l.quantity > 1).size() == 2",
        "lines.map(l, l.quantity)[1] == 4",
        "lines.exists(a, lines.exists(b, a.line_number < b.line_number))",
        "order.total_minor == order.lines_total_minor + order.freight_minor - order.discount_minor",
        "order.payment_method in policy.payment_methods",
        "order.payment_method in ['PREPAID', 'CARD']",
        "order.customer_tier == 'B' && customer.tier.startsWith('B')",
        "order.requested_end > now && order.requested_start < now + duration('72h')",
        "order.promised_delivery_time == null && order.duplicate_of == null",
        "!('project' in order.annotations) && !has(order.annotations.project)",
        "has(order.total_minor) && type(order.total_minor) == int",
        "now.getFullYear() == 2026",
        "stock.all_stocked && stock.all_available && stock.lines_short == 0",
        "order['total_minor'] == 34400",
        "(order.total_minor > 5 ? order.currency : 'none') == 'CNY'",
        "customer != null && policy.version == 1 && order.country == 'CN'",
        "order.line_count * 2 == 6 && order.line_count % 2 == 1",
        "line.sku == 'TEA' && line.price_deviation_percent < 0.5 && lines.size() == 3",
        "line.list_price_minor == line.unit_price_minor && line.usual_quantity_max == 100",
        "order.client_reference.matches('^W-[0-9]+$')",
    ] {
        assert!(is_broken(expression), "{expression}");
        assert!(
            !is_broken(&format!("!({expression}) && !({expression})"))
                || expression.contains("line."),
            "{expression}"
        );
    }
}

#[test]
fn a_rule_that_fails_on_an_order_is_a_finding_and_never_passed_over() {
    for expression in [
        "order.list",
        "order.total_minor",
        "order.promised_delivery_time < now",
        "order.total_minor / 0 > 1",
        "order.total_minor > 'much'",
        "lines[7].quantity > 1",
        "order.annotations.project == 'bridge'",
        "order.total_minor + 9223372036854775807 > 1",
        "order.total + 1 == 2",
        "lines",
        "order",
        "now",
        "order['nothing'] == 1",
        "duration('nonsense') > duration('1h')",
        "now + duration('9000000000000s') > now",
        "order.client_reference.matches('(')",
    ] {
        let mut failing = rule("r", expression);
        failing.hold = Some(HoldReason::Other);
        failing.customer_message = "bad news".into();
        let Ok(rules) = RuleSet::compile(&[failing]) else {
            // Found out earlier still.
            continue;
        };
        let case = Case::clean("ECOMMERCE");
        let findings = rules.evaluate(&case.input());
        assert_eq!(findings.len(), 1, "{expression}");
        let finding = &findings[0];
        assert_eq!(finding.severity, Severity::Review, "{expression}");
        assert!(
            finding.message.starts_with("rule r could not be applied: "),
            "{finding:?}"
        );
        assert!(finding.message.chars().count() <= 200);
        // Staff look at it before anything is done or said.
        assert_eq!(finding.hold, None);
        assert_eq!(finding.customer_message, "");
    }
}

#[test]
fn a_rule_that_fails_on_lines_is_told_once_and_still_held_against_the_others() {
    let mut case = Case::clean("ECOMMERCE");
    case.lines[0].list_price = None;
    case.lines[1].list_price = None;
    let mut prices = rule("r", "line.list_price_minor > 100");
    prices.field = "lines[].unit_price".into();
    let findings = case.findings_of(&[prices]);
    let told: Vec<(Severity, &str)> = findings
        .iter()
        .map(|finding| (finding.severity, finding.field.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Severity::Review, "lines[0].unit_price"),
            (Severity::Reject, "lines[2].unit_price"),
        ]
    );
}

#[test]
fn facts_about_lines_that_nobody_gave_are_not_invented() {
    let mut case = Case::clean("ECOMMERCE");
    case.lines.truncate(2);
    assert_eq!(case.broken(), ["product-known", "stock-kept"]);
}

#[test]
fn what_cannot_be_used_is_told_when_the_rule_is_written() {
    for (expression, told) in [
        ("", "must not be empty"),
        ("order.total_minor >", "cannot be read"),
        ("ordr.total_minor > 1", "names \"ordr\""),
        ("order.totl > 1", "names order.totl"),
        ("line.colour == 'red'", "names line.colour"),
        ("lines.first == 1", "names lines.first"),
        ("lines.exists(line, line.short)", "choose another"),
        ("lines.exists(l, x.short)", "names \"x\""),
        ("l.short || lines.exists(l, l.short)", "names \"l\""),
        ("Order{total: 1} == 1", "there are none"),
        (
            "unknown_function(order.total_minor)",
            "calls unknown_function",
        ),
        ("order.total.nonsense()", "calls nonsense"),
    ] {
        let bad = rule("r", expression);
        let problems = problems_of(&bad);
        assert!(
            problems.len() == 1
                && problems[0].starts_with("expression ")
                && problems[0].contains(told),
            "{expression}: {problems:?}"
        );
        let errors: Vec<RuleError> = RuleSet::compile(&[bad]).unwrap_err();
        assert_eq!(errors[0].rule, "r");
        assert!(errors[0].problem.contains(told), "{}", errors[0]);
    }
    let long = rule("r", &format!("true{}", " || true".repeat(300)));
    assert_eq!(
        problems_of(&long),
        ["expression must have at most 2000 characters"]
    );
}

#[test]
fn deep_expressions_are_refused_and_not_crashed_on() {
    for expression in [
        format!("{}true{}", "(".repeat(900), ")".repeat(900)),
        format!("{}true", "!".repeat(1900)),
        format!("{}1{} == 1", "[".repeat(900), "]".repeat(900)),
        format!("true{}", " && true".repeat(240)),
        format!("1{} > 0", " + 1".repeat(450)),
        format!("1 < 2{}", " ? 1 < 2 : 2 < 1".repeat(100)),
    ] {
        let deep = rule("r", &expression);
        if deep.validate().is_ok() {
            Case::clean("ECOMMERCE").findings_of(&[deep]);
        }
    }
}

#[test]
fn all_that_is_wrong_with_a_rule_is_told_by_field() {
    let wrong = AuditRule {
        id: "Stock enough".into(),
        version: 0,
        order_types: vec!["store".into(), "STORE".into(), "STORE".into()],
        message: "{sku} is short".into(),
        field: "lines[].quantity".into(),
        customer_message: "{nothing}".into(),
        options: vec![String::new()],
        ..rule("r", "order.total_minor > 1")
    };
    insta::assert_snapshot!(problems_of(&wrong).join("\n"));
}

#[test]
fn every_rule_that_cannot_be_used_is_named() {
    let mut twice = rule("twice", "true");
    let rules = [
        rule("one", "ordr"),
        twice.clone(),
        {
            twice.expression = "false".into();
            twice
        },
        rule("two", "lnes"),
        rule("fine", "true"),
    ];
    let errors = RuleSet::compile(&rules).unwrap_err();
    let mut named: Vec<&str> = errors.iter().map(|error| error.rule.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["one", "twice", "two"]);
}

#[test]
fn values_are_cut_and_personal_ones_never_shown() {
    let mut case = Case::clean("ECOMMERCE");
    case.order.lines[0].goods_name = "长".repeat(500);
    case.order
        .terms
        .annotations
        .insert("vip".into(), "王芳 13800138000".into());
    let at = |field: &str| {
        let mut any = rule("r", "true");
        any.field = field.into();
        any
    };
    let value = |field: &str| case.findings_of(&[at(field)])[0].value.clone();
    for field in [
        "contact",
        "contact.email",
        "contact.phone",
        "contact.display_name",
        "delivery",
        "delivery.address",
        "delivery.address.locality",
        "delivery.consignee",
        "annotations.vip",
    ] {
        assert_eq!(value(field), "(given)", "{field}");
    }
    for field in ["delivery.phone", "delivery.wishes", "annotations.none"] {
        assert_eq!(value(field), "(missing)", "{field}");
    }
    assert_eq!(value("annotations"), "1 entries");
    assert_eq!(value("handler"), "li.na");
    assert_eq!(value("no.such.field"), "");

    let mut on_lines = rule("r", "line.line_number == 1");
    on_lines.field = "lines[].goods_name".into();
    let findings = case.findings_of(&[on_lines]);
    assert_eq!(findings[0].value.chars().count(), 200);
}

#[test]
fn a_set_of_rules_is_shared_between_threads() {
    fn shared<T: Send + Sync + std::fmt::Debug + Default>() {}
    shared::<RuleSet>();
}

proptest! {
    /// Whatever people type: an answer, never a panic.
    #[test]
    fn no_text_makes_a_rule_panic(
        expression in r#"[a-z.()\[\]{}'"0-9 +*/<>=!&|?:,\\-]{0,60}"#,
        message in ".{0,40}",
    ) {
        let any = AuditRule { message, ..rule("r", &expression) };
        if any.validate().is_ok() {
            Case::clean("ECOMMERCE").findings_of(&[any]);
        }
    }

    #[test]
    fn pieces_of_the_language_in_any_sequence_do_not_panic(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "order", ".total_minor", "line", ".sku", "lines", ".exists(l, ", "l.quantity", ")", "(", " && ",
            " || ", "!", " == ", " < ", " + ", " / ", "0", "1", "'x'", "[", "]", "now", " - ", "duration('1h')",
            "size(", ".size()", "customer", ".tier", "null", " ? ", " : ", ".map(l, ", " in ", "has(", "1.5", "2u",
        ]), 0..12),
    ) {
        let any = rule("r", &pieces.concat());
        if RuleSet::compile(std::slice::from_ref(&any)).is_ok() {
            Case::clean("ECOMMERCE").findings_of(&[any]);
        }
    }
}
