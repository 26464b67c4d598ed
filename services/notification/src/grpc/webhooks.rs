//! Partners' endpoints: made, changed, removed, read.

mod deliveries;

use countersign_domain::{
    ids::WebhookEndpointId,
    text::{TextKind, checked_text},
    webhook::{WebhookEndpointState, event_types, signing_keys},
};
use countersign_proto::v1;
use countersign_store::{
    Acted, NewWebhookEndpoint, TooManyKeys, WebhookChange, WebhookEdit, WebhookEndpoint,
};
use tonic::{Request, Status};

use super::{
    Notifications,
    checks::{Violations, Who, invalid, not_found, open, other_request, refused, unavailable},
    convert::{number, time},
};

/// Types of events that one endpoint may name.
const EVENT_TYPES_MAX: usize = 64;

impl Notifications {
    pub(super) async fn create_webhook_endpoint(
        &self,
        request: Request<v1::CreateWebhookEndpointRequest>,
    ) -> Result<v1::CreateWebhookEndpointResponse, Status> {
        let (caller, request) = open(request)?;
        let given = request.endpoint.unwrap_or_default();
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let url = self.url(&given.url, &mut violations).await;
        let description = description(&given.description, &mut violations);
        let types = types(&given.event_types, &mut violations);
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let types_text = given.event_types.join(" ");
        let content = [given.url.as_str(), &given.description, &types_text];
        let method = "CreateWebhookEndpoint";
        let call = self.act_call(&who, method, &caller, &content, now, &mut violations);
        let parts = url.zip(description).zip(types).zip(call);
        let (((url, description), event_types), call) = violations.finish(parts)?;
        let new = NewWebhookEndpoint {
            id: self.ids.make(now, WebhookEndpointId::new_v7),
            url,
            description,
            event_types,
        };
        let acted = self.store.create_webhook_endpoint(&new, &call, now).await;
        match acted.map_err(unavailable)? {
            Acted::Answered(made, _) => Ok(v1::CreateWebhookEndpointResponse {
                secret: self.newest_secret(&made, now),
                endpoint: Some(endpoint(&made)),
            }),
            Acted::NotFound => Err(not_found("the endpoint that this call made")),
            Acted::OtherRequest => Err(other_request()),
            Acted::Refused(never) => match never {},
        }
    }

    pub(super) async fn get_webhook_endpoint(
        &self,
        request: Request<v1::GetWebhookEndpointRequest>,
    ) -> Result<v1::WebhookEndpoint, Status> {
        let name = &request.get_ref().name;
        let id = endpoint_id("name", name)?;
        let found = self.store.find_webhook_endpoint(id).await;
        let found = found.map_err(unavailable)?;
        found
            .map(|found| endpoint(&found))
            .ok_or_else(|| not_found(name))
    }

    pub(super) async fn list_webhook_endpoints(
        &self,
        _request: Request<v1::ListWebhookEndpointsRequest>,
    ) -> Result<v1::ListWebhookEndpointsResponse, Status> {
        let found = self.store.list_webhook_endpoints().await;
        Ok(v1::ListWebhookEndpointsResponse {
            endpoints: found.map_err(unavailable)?.iter().map(endpoint).collect(),
        })
    }

    pub(super) async fn update_webhook_endpoint(
        &self,
        request: Request<v1::UpdateWebhookEndpointRequest>,
    ) -> Result<v1::WebhookEndpoint, Status> {
        let (caller, request) = open(request)?;
        let given = request.endpoint.unwrap_or_default();
        let id = endpoint_id("endpoint.name", &given.name)?;
        let mut violations = Violations::default();
        let mut edit = WebhookEdit::default();
        let paths = request.update_mask.unwrap_or_default().paths;
        if paths.is_empty() {
            violations.add("update_mask", "must name what is to change");
        }
        for path in &paths {
            match path.as_str() {
                "url" => edit.url = self.url(&given.url, &mut violations).await,
                "description" => {
                    edit.description = description(&given.description, &mut violations);
                }
                "event_types" => edit.event_types = types(&given.event_types, &mut violations),
                "state" => {
                    let known = [
                        WebhookEndpointState::Enabled,
                        WebhookEndpointState::Disabled,
                    ];
                    edit.enabled = violations
                        .word("endpoint.state", &given.state, &known)
                        .map(|state| state == WebhookEndpointState::Enabled);
                }
                _ => violations.add(
                    "update_mask",
                    "must name url, description, event_types or state",
                ),
            }
        }
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let content = format!("{given:?} {paths:?}");
        let change = WebhookChange::Edit(edit);
        self.change(
            id,
            &given.name,
            &change,
            &who,
            &caller,
            &content,
            violations,
        )
        .await
    }

    pub(super) async fn delete_webhook_endpoint(
        &self,
        request: Request<v1::DeleteWebhookEndpointRequest>,
    ) -> Result<v1::DeleteWebhookEndpointResponse, Status> {
        let (caller, request) = open(request)?;
        let id = endpoint_id("name", &request.name)?;
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let (change, checks) = (WebhookChange::Delete, Violations::default());
        self.change(id, &request.name, &change, &who, &caller, "", checks)
            .await
            .map(|_| v1::DeleteWebhookEndpointResponse {})
    }

    pub(super) async fn rotate_webhook_secret(
        &self,
        request: Request<v1::RotateWebhookSecretRequest>,
    ) -> Result<v1::RotateWebhookSecretResponse, Status> {
        let (caller, request) = open(request)?;
        let id = endpoint_id("name", &request.name)?;
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let (change, checks) = (WebhookChange::Rotate, Violations::default());
        let endpoint = self
            .change(id, &request.name, &change, &who, &caller, "", checks)
            .await?;
        let now = self.store.now().await.map_err(unavailable)?;
        let found = self.store.find_webhook_endpoint(id).await;
        let found = found
            .map_err(unavailable)?
            .ok_or_else(|| not_found(&request.name))?;
        Ok(v1::RotateWebhookSecretResponse {
            endpoint: Some(endpoint),
            secret: self.newest_secret(&found, now),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "what three methods share")]
    async fn change(
        &self,
        id: WebhookEndpointId,
        name: &str,
        change: &WebhookChange,
        who: &Who<'_>,
        caller: &str,
        content: &str,
        mut violations: Violations,
    ) -> Result<v1::WebhookEndpoint, Status> {
        let method = match change {
            WebhookChange::Edit(_) => "UpdateWebhookEndpoint",
            WebhookChange::Rotate => "RotateWebhookSecret",
            WebhookChange::Delete => "DeleteWebhookEndpoint",
        };
        let now = self.store.now().await.map_err(unavailable)?;
        let call = self.act_call(who, method, caller, &[name, content], now, &mut violations);
        let call = violations.finish(call)?;
        let acted = self
            .store
            .change_webhook_endpoint(id, change, &call, now)
            .await;
        match acted.map_err(unavailable)? {
            Acted::Answered(changed, _) => Ok(endpoint(&changed)),
            Acted::NotFound => Err(not_found(name)),
            Acted::OtherRequest => Err(other_request()),
            Acted::Refused(TooManyKeys) => Err(refused(
                "TOO_MANY_KEYS",
                "five secrets sign already; each ends 24 hours after its successor was made",
            )),
        }
    }

    async fn url(&self, given: &str, violations: &mut Violations) -> Option<String> {
        let checked = self.guard.check(given).await;
        violations
            .take("endpoint.url", checked)
            .map(|()| given.to_owned())
    }

    fn newest_secret(
        &self,
        endpoint: &WebhookEndpoint,
        now: chrono::DateTime<chrono::Utc>,
    ) -> String {
        let newest = signing_keys(&endpoint.keys, now)
            .first()
            .map_or(1, |key| key.number);
        self.link_key.webhook_secret(endpoint.id, newest)
    }
}

pub(super) fn endpoint_id(field: &str, name: &str) -> Result<WebhookEndpointId, Status> {
    WebhookEndpointId::from_resource_name(name).map_err(|error| invalid(field, error))
}

fn description(given: &str, violations: &mut Violations) -> Option<String> {
    violations.take(
        "endpoint.description",
        checked_text(given.trim(), 0, 250, TextKind::SingleLine),
    )
}

fn types(given: &[String], violations: &mut Violations) -> Option<Vec<String>> {
    if given.len() > EVENT_TYPES_MAX {
        violations.add("endpoint.event_types", "must be at most 64");
        return None;
    }
    let known = |word: &str| event_types().any(|it| it == word);
    if given.iter().any(|word| !known(word)) {
        let all: Vec<&str> = event_types().collect();
        violations.add(
            "endpoint.event_types",
            format!("must be of {}", all.join(", ")),
        );
        return None;
    }
    let mut types = given.to_vec();
    types.sort_unstable();
    types.dedup();
    Some(types)
}

fn endpoint(endpoint: &WebhookEndpoint) -> v1::WebhookEndpoint {
    let health = endpoint.health;
    v1::WebhookEndpoint {
        name: endpoint.id.resource_name(),
        url: endpoint.url.clone(),
        description: endpoint.description.clone(),
        event_types: endpoint.event_types.clone(),
        state: endpoint.state.to_string(),
        disabled_reason: endpoint
            .disabled_reason
            .map(|reason| reason.to_string())
            .unwrap_or_default(),
        failure_count: number(health.failures),
        failing_since_time: health.failing_since.map(time),
        last_try_time: health.last_try_time.map(time),
        paused_until_time: health.paused_until.map(time),
        create_time: Some(time(endpoint.create_time)),
        update_time: Some(time(endpoint.update_time)),
    }
}
