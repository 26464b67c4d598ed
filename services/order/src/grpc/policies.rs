//! `PolicyService`: a policy per order type and the audit rules. Each change is a new version; nothing is overwritten.

use chrono::{DateTime, Utc};
use countersign_domain::{audit::AuditRule, policy::OrderPolicy};
use countersign_proto::v1::{self, policy_service_server::PolicyService};
use tonic::{Request, Response, Status};

use super::reference::{Reference, Write, once};
use crate::{
    convert::policy::{number, policy_to_proto, read_policy, read_rule, rule_to_proto},
    error::ServiceError,
};

type Answer<T> = Result<Response<T>, Status>;

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
