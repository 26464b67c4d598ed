//! `PolicyService`: a policy per order type and the audit rules. Each change is a new version; nothing is overwritten.

use chrono::{DateTime, Utc};
use countersign_domain::{
    audit::{AuditRule, RuleSet},
    confirmation::ConfirmationMode,
    policy::OrderPolicy,
    problem::FieldProblem,
};
use countersign_proto::v1::{self, policy_service_server::PolicyService};
use tonic::{Request, Response, Status};

use super::reference::{Reference, Write, once};
use crate::{
    convert::{
        intake::amount,
        money,
        time::{self, seconds_from_proto, seconds_to_proto},
        word,
    },
    error::{ServiceError, Violations},
};

type Answer<T> = Result<Response<T>, Status>;

/// Names of the domain's fields whose names on the wire are others.
const WIRE_NAMES: [(&str, &str); 4] = [
    ("confirmation_window_seconds", "confirmation_window"),
    ("channel_step_seconds", "channel_steps"),
    ("delivery_promise_seconds", "delivery_promise"),
    ("completion_window_seconds", "completion_window"),
];

fn wire_name(text: &str) -> String {
    WIRE_NAMES
        .iter()
        .fold(text.to_owned(), |text, (domain, wire)| {
            text.replace(domain, wire)
        })
}

fn number(number: u32) -> i32 {
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

fn policy_to_proto(policy: &OrderPolicy, create_time: DateTime<Utc>) -> v1::OrderPolicy {
    v1::OrderPolicy {
        name: format!("orderPolicies/{}", policy.order_type),
        version: number(policy.version),
        display_name: policy.display_name.clone(),
        required_fields: policy.required_fields.clone(),
        disabled_rules: policy.disabled_rules.clone(),
        auto_approve_total_max: policy.auto_approve_total_max.map(money::to_proto),
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
    }
}

/// Checks a policy whole. `id_field` is where the caller named the order type.
fn read_policy(
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
    };
    join(
        policy.validate(),
        "order_policy",
        ("order_type", id_field),
        v,
    )?;
    Ok(policy)
}

fn rule_to_proto(rule: &AuditRule) -> v1::AuditRule {
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
fn read_rule(
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

/// The part of a name after its collection.
fn id_of<'n>(name: &'n str, collection: &str, field: &str) -> Result<&'n str, ServiceError> {
    name.strip_prefix(collection)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ServiceError::invalid(field, format!("must be {collection}/{{id}}")))
}

/// An update that names a version means the one in force.
fn same_version(given: i32, current: u32) -> Result<(), ServiceError> {
    if given != 0 && given != number(current) {
        return Err(ServiceError::etag_mismatch());
    }
    Ok(())
}

impl Reference {
    /// The newest version of each policy, by order type.
    async fn policies(&self) -> Result<Vec<(OrderPolicy, DateTime<Utc>)>, ServiceError> {
        let mut newest: Vec<(OrderPolicy, DateTime<Utc>)> = Vec::new();
        // Oldest first within a type, so the last one stands.
        for dated in self.store.list_dated_policies().await? {
            match newest.last_mut() {
                Some(last) if last.0.order_type == dated.0.order_type => *last = dated,
                _ => newest.push(dated),
            }
        }
        Ok(newest)
    }

    async fn find_policy(
        &self,
        order_type: &str,
    ) -> Result<Option<(OrderPolicy, DateTime<Utc>)>, ServiceError> {
        let all = self.policies().await?;
        Ok(all.into_iter().find(|it| it.0.order_type == order_type))
    }

    /// The newest version of each rule, by id.
    async fn rules(&self) -> Result<Vec<AuditRule>, ServiceError> {
        let mut newest: Vec<AuditRule> = Vec::new();
        for rule in self.store.list_rules().await? {
            match newest.last_mut() {
                Some(last) if last.id == rule.id => *last = rule,
                _ => newest.push(rule),
            }
        }
        Ok(newest)
    }

    async fn find_rule(&self, id: &str) -> Result<Option<AuditRule>, ServiceError> {
        let all = self.rules().await?;
        Ok(all.into_iter().find(|it| it.id == id))
    }

    /// Stores a version of a policy with its call; nothing when a rival was faster.
    async fn put_policy<M: crate::app::idempotency::Keyed>(
        &self,
        policy: &OrderPolicy,
        write: &Write<M>,
    ) -> Result<Option<v1::OrderPolicy>, ServiceError> {
        let now = self.store.now().await?;
        let answer = policy_to_proto(policy, now);
        let record = write.record(&answer, now);
        let stored = self
            .store
            .insert_policy_for_call(policy, Some(&record), now)
            .await?;
        Ok(stored.then_some(answer))
    }

    /// Stores a version of a rule with its call; nothing when a rival was faster.
    async fn put_rule<M: crate::app::idempotency::Keyed>(
        &self,
        rule: &AuditRule,
        write: &Write<M>,
    ) -> Result<Option<v1::AuditRule>, ServiceError> {
        let now = self.store.now().await?;
        let answer = rule_to_proto(rule);
        let record = write.record(&answer, now);
        let stored = self
            .store
            .insert_rule_for_call(rule, Some(&record), now)
            .await?;
        Ok(stored.then_some(answer))
    }
}

#[tonic::async_trait]
impl PolicyService for Reference {
    async fn get_order_policy(
        &self,
        request: Request<v1::GetOrderPolicyRequest>,
    ) -> Answer<v1::OrderPolicy> {
        let name = &request.get_ref().name;
        let order_type = id_of(name, "orderPolicies", "name")?;
        let (policy, since) = self
            .find_policy(order_type)
            .await?
            .ok_or_else(|| ServiceError::not_found(name))?;
        Ok(Response::new(policy_to_proto(&policy, since)))
    }

    async fn list_order_policies(
        &self,
        _request: Request<v1::ListOrderPoliciesRequest>,
    ) -> Answer<v1::ListOrderPoliciesResponse> {
        let all = self.policies().await?;
        Ok(Response::new(v1::ListOrderPoliciesResponse {
            order_policies: all
                .iter()
                .map(|(policy, since)| policy_to_proto(policy, *since))
                .collect(),
        }))
    }

    async fn create_order_policy(
        &self,
        request: Request<v1::CreateOrderPolicyRequest>,
    ) -> Answer<v1::OrderPolicy> {
        let write = Write::of(request, "CreateOrderPolicy")?;
        let given = write.inner.order_policy.clone().unwrap_or_default();
        let order_type = &write.inner.order_policy_id;
        let policy = read_policy(&given, order_type, "order_policy_id", 1)?;
        let done = once(&self.store, &write.key, || async {
            if self.find_policy(order_type).await?.is_some() {
                return Err(ServiceError::AlreadyExists {
                    name: format!("orderPolicies/{order_type}"),
                });
            }
            self.put_policy(&policy, &write).await
        })
        .await?;
        Ok(done)
    }

    async fn update_order_policy(
        &self,
        request: Request<v1::UpdateOrderPolicyRequest>,
    ) -> Answer<v1::OrderPolicy> {
        const FIELD: &str = "order_policy.name";
        let write = Write::of(request, "UpdateOrderPolicy")?;
        let given = write.inner.order_policy.clone().unwrap_or_default();
        let order_type = id_of(&given.name, "orderPolicies", FIELD)?;
        let done = once(&self.store, &write.key, || async {
            let (old, _) = self
                .find_policy(order_type)
                .await?
                .ok_or_else(|| ServiceError::not_found(&given.name))?;
            same_version(given.version, old.version)?;
            let policy = read_policy(&given, order_type, FIELD, old.version + 1)?;
            self.put_policy(&policy, &write).await
        })
        .await?;
        Ok(done)
    }

    async fn list_audit_rules(
        &self,
        _request: Request<v1::ListAuditRulesRequest>,
    ) -> Answer<v1::ListAuditRulesResponse> {
        let all = self.rules().await?;
        Ok(Response::new(v1::ListAuditRulesResponse {
            audit_rules: all.iter().map(rule_to_proto).collect(),
        }))
    }

    async fn create_audit_rule(
        &self,
        request: Request<v1::CreateAuditRuleRequest>,
    ) -> Answer<v1::AuditRule> {
        let write = Write::of(request, "CreateAuditRule")?;
        let given = write.inner.audit_rule.clone().unwrap_or_default();
        let id = &write.inner.audit_rule_id;
        let rule = read_rule(&given, id, "audit_rule_id", 1)?;
        let done = once(&self.store, &write.key, || async {
            if self.find_rule(id).await?.is_some() {
                return Err(ServiceError::AlreadyExists {
                    name: format!("auditRules/{id}"),
                });
            }
            self.put_rule(&rule, &write).await
        })
        .await?;
        Ok(done)
    }

    async fn update_audit_rule(
        &self,
        request: Request<v1::UpdateAuditRuleRequest>,
    ) -> Answer<v1::AuditRule> {
        const FIELD: &str = "audit_rule.name";
        let write = Write::of(request, "UpdateAuditRule")?;
        let given = write.inner.audit_rule.clone().unwrap_or_default();
        let id = id_of(&given.name, "auditRules", FIELD)?;
        let done = once(&self.store, &write.key, || async {
            let old = self
                .find_rule(id)
                .await?
                .ok_or_else(|| ServiceError::not_found(&given.name))?;
            same_version(given.version, old.version)?;
            let rule = read_rule(&given, id, FIELD, old.version + 1)?;
            self.put_rule(&rule, &write).await
        })
        .await?;
        Ok(done)
    }
}
