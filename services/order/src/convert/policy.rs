//! Policies and audit rules on their way in and out.

use chrono::{DateTime, NaiveTime, Utc};
use countersign_domain::{
    audit::{AuditRule, RuleSet},
    confirmation::ConfirmationMode,
    contact_hours::{ContactHours, DailyWindow},
    policy::OrderPolicy,
    problem::FieldProblem,
    survey::SurveyRules,
};
use countersign_proto::v1;

use super::{
    intake::amount,
    money,
    time::{self, seconds_from_proto, seconds_to_proto},
    word,
};
use crate::error::{ServiceError, Violations};

/// Names of the domain's fields whose names on the wire are others.
const WIRE_NAMES: [(&str, &str); 7] = [
    ("confirmation_window_seconds", "confirmation_window"),
    ("channel_step_seconds", "channel_steps"),
    ("delivery_promise_seconds", "delivery_promise"),
    ("completion_window_seconds", "completion_window"),
    ("delay_seconds", "delay"),
    ("expire_seconds", "expire"),
    ("customer_pause_seconds", "customer_pause"),
];

/// Hours and minutes.
const TIME_OF_DAY: &str = "%H:%M";

fn wire_name(text: &str) -> String {
    WIRE_NAMES
        .iter()
        .fold(text.to_owned(), |text, (domain, wire)| {
            text.replace(domain, wire)
        })
}

pub(crate) fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A count that must not be negative; what is too great is told by the domain.
fn count(given: i32, field: &str, violations: &mut Violations) -> u32 {
    u32::try_from(given).unwrap_or_else(|_| {
        violations.add(field, "must not be negative");
        0
    })
}

/// Words of a list; wrong ones are noted and left out.
fn words<W, D>(given: &[i32], field: &str, violations: &mut Violations) -> Vec<D>
where
    W: word::WireWord,
    D: std::str::FromStr<Err = countersign_domain::UnknownCode>,
{
    given
        .iter()
        .enumerate()
        .filter_map(|(index, value)| {
            word::from_proto::<W, D>(*value, &format!("{field}[{index}]"), violations)
        })
        .collect()
}

/// A span that must be there; 0 where it is wrong, which is noted.
fn span(given: Option<&prost_types::Duration>, field: &str, violations: &mut Violations) -> u32 {
    match given {
        Some(span) => seconds_from_proto(span, (0, u32::MAX), field, violations),
        None => violations.require(field, None),
    }
    .unwrap_or(0)
}

/// What the domain finds wrong joins what is noted; a field that could not be read is not told a second time.
fn join(
    found: Result<(), Vec<FieldProblem>>,
    prefix: &str,
    id: (&str, &str),
    noted: Violations,
) -> Result<(), ServiceError> {
    let mut all = noted.into_vec();
    let before: Vec<String> = all.iter().map(|it| root(&it.field, prefix)).collect();
    for problem in found.err().into_iter().flatten() {
        let name = wire_name(&problem.field);
        let root = root(&name, prefix);
        // Steps are held against plan and window: where one of those could not be read, they may be right.
        let follows = root == "channel_steps"
            && before
                .iter()
                .any(|it| it == "channel_plan" || it == "confirmation_window");
        if follows || before.contains(&root) {
            continue;
        }
        let field = if root == id.0 {
            id.1.to_owned()
        } else {
            format!("{prefix}.{name}")
        };
        all.push(tonic_types::FieldViolation::new(
            field,
            wire_name(&problem.description),
        ));
    }
    if all.is_empty() {
        Ok(())
    } else {
        Err(ServiceError::Invalid(all))
    }
}

/// `channel_plan` of `order_policy.channel_plan[1]`.
fn root(field: &str, prefix: &str) -> String {
    let field = field
        .strip_prefix(prefix)
        .and_then(|field| field.strip_prefix('.'))
        .unwrap_or(field);
    field.split(['[', '.']).next().unwrap_or(field).to_owned()
}

pub(crate) fn policy_to_proto(policy: &OrderPolicy, create_time: DateTime<Utc>) -> v1::OrderPolicy {
    v1::OrderPolicy {
        name: format!("orderPolicies/{}", policy.order_type),
        version: number(policy.version),
        display_name: policy.display_name.clone(),
        required_fields: policy.required_fields.clone(),
        disabled_rules: policy.disabled_rules.clone(),
        auto_approve_total_max: policy.auto_approve_total_max.map(money::to_proto),
        bare_text_total_max: policy.bare_text_total_max.map(money::to_proto),
        auto_approve: policy.auto_approve,
        confirmation_mode: word::to_proto::<v1::ConfirmationMode>(
            policy.confirmation_mode.as_str(),
        ),
        confirmation_window: Some(seconds_to_proto(policy.confirmation_window_seconds)),
        channel_plan: policy
            .channel_plan
            .iter()
            .map(|channel| word::to_proto::<v1::Channel>(channel.as_str()))
            .collect(),
        channel_steps: policy
            .channel_step_seconds
            .iter()
            .copied()
            .map(seconds_to_proto)
            .collect(),
        handler_required: policy.handler_required,
        mergeable: policy.mergeable,
        payment_methods: policy
            .payment_methods
            .iter()
            .map(|method| word::to_proto::<v1::PaymentMethod>(method.as_str()))
            .collect(),
        price_tolerance_percent: number(policy.price_tolerance_percent),
        acknowledge: policy.acknowledge,
        priority_points: policy.priority_points,
        delivery_promise: Some(seconds_to_proto(policy.delivery_promise_seconds)),
        unknown_customers: policy.unknown_customers,
        create_time: Some(time::to_proto(create_time)),
        allocate_at_confirmation: policy.allocate_at_confirmation,
        completion_window: Some(seconds_to_proto(policy.completion_window_seconds)),
        service_terms: policy.service_terms.clone(),
        return_days: number(policy.return_days),
        survey: policy.survey.as_ref().map(|rules| v1::SurveyRules {
            delay: Some(seconds_to_proto(rules.delay_seconds)),
            expire: Some(seconds_to_proto(rules.expire_seconds)),
            customer_pause: Some(seconds_to_proto(rules.customer_pause_seconds)),
            low_stars_max: number(rules.low_stars_max),
            total_min: rules.total_min.map(money::to_proto),
        }),
        contact_hours: Some(hours_to_proto(&policy.contact_hours)),
    }
}

fn survey_rules(given: &v1::SurveyRules, path: &str, violations: &mut Violations) -> SurveyRules {
    let at = |field: &str| format!("{path}.{field}");
    SurveyRules {
        delay_seconds: span(given.delay.as_ref(), &at("delay"), violations),
        expire_seconds: span(given.expire.as_ref(), &at("expire"), violations),
        customer_pause_seconds: span(
            given.customer_pause.as_ref(),
            &at("customer_pause"),
            violations,
        ),
        low_stars_max: count(given.low_stars_max, &at("low_stars_max"), violations),
        total_min: given
            .total_min
            .as_ref()
            .and_then(|min| amount(min, &at("total_min"), violations)),
    }
}

fn hours_to_proto(hours: &ContactHours) -> v1::ContactHours {
    let window = |window: DailyWindow| {
        Some(v1::DailyWindow {
            opens: window.opens.format(TIME_OF_DAY).to_string(),
            closes: window.closes.format(TIME_OF_DAY).to_string(),
        })
    };
    v1::ContactHours {
        email: window(hours.email),
        sms: window(hours.sms),
        phone: window(hours.phone),
        quiet_deadline: word::to_proto::<v1::QuietDeadline>(hours.quiet_deadline.as_str()),
    }
}

/// What is left out is as usual.
fn read_hours(
    given: Option<&v1::ContactHours>,
    field: &str,
    violations: &mut Violations,
) -> ContactHours {
    let usual = ContactHours::default();
    let Some(given) = given else {
        return usual;
    };
    let mut window = |given: Option<&v1::DailyWindow>, name: &str, usual: DailyWindow| {
        let Some(given) = given else {
            return usual;
        };
        let mut time = |text: &str, end: &str| {
            NaiveTime::parse_from_str(text, TIME_OF_DAY).unwrap_or_else(|_| {
                violations.add(
                    format!("{field}.{name}.{end}"),
                    "must be hours and minutes, such as 08:00",
                );
                NaiveTime::MIN
            })
        };
        DailyWindow {
            opens: time(&given.opens, "opens"),
            closes: time(&given.closes, "closes"),
        }
    };
    ContactHours {
        email: window(given.email.as_ref(), "email", usual.email),
        sms: window(given.sms.as_ref(), "sms", usual.sms),
        phone: window(given.phone.as_ref(), "phone", usual.phone),
        quiet_deadline: word::optional_from_proto::<v1::QuietDeadline, _>(
            given.quiet_deadline,
            &format!("{field}.quiet_deadline"),
            violations,
        )
        .unwrap_or(usual.quiet_deadline),
    }
}

/// Checks a policy whole. `id_field` is where the caller named the order type.
pub(crate) fn read_policy(
    given: &v1::OrderPolicy,
    order_type: &str,
    id_field: &str,
    version: u32,
) -> Result<OrderPolicy, ServiceError> {
    let mut v = Violations::new();
    let at = |field: &str| format!("order_policy.{field}");
    let policy = OrderPolicy {
        order_type: order_type.to_owned(),
        version,
        display_name: given.display_name.clone(),
        required_fields: given.required_fields.clone(),
        disabled_rules: given.disabled_rules.clone(),
        auto_approve_total_max: given
            .auto_approve_total_max
            .as_ref()
            .and_then(|max| amount(max, &at("auto_approve_total_max"), &mut v)),
        bare_text_total_max: given
            .bare_text_total_max
            .as_ref()
            .and_then(|max| amount(max, &at("bare_text_total_max"), &mut v)),
        auto_approve: given.auto_approve,
        confirmation_mode: word::from_proto::<v1::ConfirmationMode, _>(
            given.confirmation_mode,
            &at("confirmation_mode"),
            &mut v,
        )
        .unwrap_or(ConfirmationMode::Explicit),
        confirmation_window_seconds: span(
            given.confirmation_window.as_ref(),
            &at("confirmation_window"),
            &mut v,
        ),
        channel_plan: words::<v1::Channel, _>(&given.channel_plan, &at("channel_plan"), &mut v),
        channel_step_seconds: given
            .channel_steps
            .iter()
            .enumerate()
            .map(|(index, step)| span(Some(step), &at(&format!("channel_steps[{index}]")), &mut v))
            .collect(),
        handler_required: given.handler_required,
        mergeable: given.mergeable,
        payment_methods: words::<v1::PaymentMethod, _>(
            &given.payment_methods,
            &at("payment_methods"),
            &mut v,
        ),
        price_tolerance_percent: count(
            given.price_tolerance_percent,
            &at("price_tolerance_percent"),
            &mut v,
        ),
        acknowledge: given.acknowledge,
        priority_points: given.priority_points,
        delivery_promise_seconds: span(
            given.delivery_promise.as_ref(),
            &at("delivery_promise"),
            &mut v,
        ),
        allocate_at_confirmation: given.allocate_at_confirmation,
        unknown_customers: given.unknown_customers,
        completion_window_seconds: span(
            given.completion_window.as_ref(),
            &at("completion_window"),
            &mut v,
        ),
        service_terms: given.service_terms.clone(),
        return_days: count(given.return_days, &at("return_days"), &mut v),
        survey: given
            .survey
            .as_ref()
            .map(|rules| survey_rules(rules, &at("survey"), &mut v)),
        contact_hours: read_hours(given.contact_hours.as_ref(), &at("contact_hours"), &mut v),
    };
    join(
        policy.validate(),
        "order_policy",
        ("order_type", id_field),
        v,
    )?;
    Ok(policy)
}

pub(crate) fn rule_to_proto(rule: &AuditRule) -> v1::AuditRule {
    v1::AuditRule {
        name: format!("auditRules/{}", rule.id),
        version: number(rule.version),
        dimension: word::to_proto::<v1::AuditDimension>(rule.dimension.as_str()),
        order_types: rule.order_types.clone(),
        expression: rule.expression.clone(),
        severity: word::to_proto::<v1::FindingSeverity>(rule.severity.as_str()),
        message: rule.message.clone(),
        field: rule.field.clone(),
        customer_message: rule.customer_message.clone(),
        enabled: rule.enabled,
        hold: rule
            .hold
            .map_or(0, |hold| word::to_proto::<v1::HoldReason>(hold.as_str())),
        options: rule.options.clone(),
    }
}

/// Checks a rule whole and compiles it. `id_field` is where the caller named it.
pub(crate) fn read_rule(
    given: &v1::AuditRule,
    id: &str,
    id_field: &str,
    version: u32,
) -> Result<AuditRule, ServiceError> {
    let mut v = Violations::new();
    let at = |field: &str| format!("audit_rule.{field}");
    let dimension =
        word::from_proto::<v1::AuditDimension, _>(given.dimension, &at("dimension"), &mut v);
    let severity =
        word::from_proto::<v1::FindingSeverity, _>(given.severity, &at("severity"), &mut v);
    let rule = AuditRule {
        id: id.to_owned(),
        version,
        dimension: dimension.unwrap_or(countersign_domain::audit::AuditDimension::Accuracy),
        order_types: given.order_types.clone(),
        expression: given.expression.clone(),
        severity: severity.unwrap_or(countersign_domain::audit::Severity::Review),
        message: given.message.clone(),
        field: given.field.clone(),
        customer_message: given.customer_message.clone(),
        hold: word::optional_from_proto::<v1::HoldReason, _>(given.hold, &at("hold"), &mut v),
        options: given.options.clone(),
        enabled: given.enabled,
    };
    join(rule.validate(), "audit_rule", ("id", id_field), v)?;
    // As it is compiled for use: every order would fail on a stored rule that is not.
    let in_use = AuditRule {
        enabled: true,
        ..rule.clone()
    };
    RuleSet::compile(&[in_use]).map_err(|errors| {
        let told: Vec<String> = errors.into_iter().map(|error| error.problem).collect();
        ServiceError::invalid(at("expression"), told.join("; "))
    })?;
    Ok(rule)
}
