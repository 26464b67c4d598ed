//! What partners were told: to read, to tell again, to try out.

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::WebhookDeliveryId,
    webhook::{WebhookDeliveryState, test_payload},
};
use countersign_proto::v1;
use countersign_store::{
    Acted, REPLAY_MAX, ReplaySelection, TestEvent, WebhookDelivery, WebhookDeliveryKey,
};
use tonic::{Request, Status};

use super::endpoint_id;
use crate::grpc::{
    Notifications,
    checks::{Violations, Who, not_found, open, other_request, unavailable},
    convert::{number, time},
    deliveries::{page_size, read_token, token},
};

impl Notifications {
    pub(in crate::grpc) async fn list_webhook_deliveries(
        &self,
        request: Request<v1::ListWebhookDeliveriesRequest>,
    ) -> Result<v1::ListWebhookDeliveriesResponse, Status> {
        let request = request.into_inner();
        let endpoint = endpoint_id("parent", &request.parent)?;
        let mut violations = Violations::default();
        let states = violations.words("states", &request.states, WebhookDeliveryState::ALL);
        let after = read_token(&request.page_token, &mut violations).map(|(due_time, id)| {
            WebhookDeliveryKey {
                due_time,
                id: WebhookDeliveryId::from_uuid(id),
            }
        });
        let limit = page_size(request.page_size, &mut violations);
        violations.finish(Some(()))?;
        let found = self.store.find_webhook_endpoint(endpoint).await;
        if found.map_err(unavailable)?.is_none() {
            return Err(not_found(&request.parent));
        }
        let page = self
            .store
            .list_webhook_deliveries(endpoint, &states, after, limit)
            .await;
        let page = page.map_err(unavailable)?;
        let last = page.items.last().filter(|_| page.more);
        Ok(v1::ListWebhookDeliveriesResponse {
            next_page_token: last
                .map(|last| token(last.due_time, last.id.as_uuid()))
                .unwrap_or_default(),
            deliveries: page.items.iter().map(delivery).collect(),
        })
    }

    pub(in crate::grpc) async fn replay_webhook_deliveries(
        &self,
        request: Request<v1::ReplayWebhookDeliveriesRequest>,
    ) -> Result<v1::ReplayWebhookDeliveriesResponse, Status> {
        let (caller, request) = open(request)?;
        let endpoint = endpoint_id("parent", &request.parent)?;
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let selection = selection(&request, now, &mut violations);
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let asked = format!(
            "{:?} {:?} {:?}",
            request.deliveries, request.start_time, request.end_time
        );
        let content = [request.parent.as_str(), &asked];
        let method = "ReplayWebhookDeliveries";
        let call = self.act_call(&who, method, &caller, &content, now, &mut violations);
        let (selection, call) = violations.finish(selection.zip(call))?;
        let acted = self
            .store
            .replay_webhooks(endpoint, &selection, &call, now)
            .await;
        match acted.map_err(unavailable)? {
            Acted::Answered(replayed, _) => Ok(v1::ReplayWebhookDeliveriesResponse {
                replayed_count: number(replayed.count),
                more: replayed.more,
            }),
            Acted::NotFound => Err(not_found(&request.parent)),
            Acted::OtherRequest => Err(other_request()),
            Acted::Refused(never) => match never {},
        }
    }

    pub(in crate::grpc) async fn send_test_webhook(
        &self,
        request: Request<v1::SendTestWebhookRequest>,
    ) -> Result<v1::WebhookDelivery, Status> {
        let (caller, request) = open(request)?;
        let endpoint = endpoint_id("name", &request.name)?;
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let content = [request.name.as_str()];
        let method = "SendTestWebhook";
        let call = self.act_call(&who, method, &caller, &content, now, &mut violations);
        let call = violations.finish(call)?;
        let id = self.ids.make(now, WebhookDeliveryId::new_v7);
        let webhook_id = format!("test_{}", id.as_uuid().simple());
        let event = TestEvent {
            id,
            payload: test_payload(&webhook_id, endpoint, now),
            webhook_id,
        };
        let acted = self.store.test_webhook(endpoint, &event, &call, now).await;
        match acted.map_err(unavailable)? {
            Acted::Answered(told, _) => Ok(delivery(&told)),
            Acted::NotFound => Err(not_found(&request.name)),
            Acted::OtherRequest => Err(other_request()),
            Acted::Refused(never) => match never {},
        }
    }
}

/// Either names or a time.
fn selection(
    request: &v1::ReplayWebhookDeliveriesRequest,
    now: DateTime<Utc>,
    violations: &mut Violations,
) -> Option<ReplaySelection> {
    let start = violations.time("start_time", request.start_time.as_ref());
    let end = violations.time("end_time", request.end_time.as_ref());
    match (request.deliveries.is_empty(), start) {
        (true, Some(start)) => {
            let end = end.unwrap_or(now);
            if end <= start {
                violations.add("end_time", "must be after start_time");
            }
            Some(ReplaySelection::Failed { start, end })
        }
        (false, None) => {
            if request.deliveries.len() as u64 > REPLAY_MAX {
                violations.add("deliveries", format!("must be at most {REPLAY_MAX}"));
            }
            let ids = request.deliveries.iter().map(|name| {
                violations.take("deliveries", WebhookDeliveryId::from_resource_name(name))
            });
            ids.collect::<Option<Vec<_>>>().map(ReplaySelection::These)
        }
        _ => {
            violations.add(
                "deliveries",
                "must be names, or start_time must be given, not both",
            );
            None
        }
    }
}

fn delivery(delivery: &WebhookDelivery) -> v1::WebhookDelivery {
    v1::WebhookDelivery {
        name: delivery.id.resource_name(),
        endpoint: delivery.endpoint.resource_name(),
        webhook_id: delivery.webhook_id.clone(),
        event_type: delivery.event_type.clone(),
        order: delivery
            .order
            .map(|order| order.resource_name())
            .unwrap_or_default(),
        payload: delivery.payload.clone(),
        state: delivery.state.to_string(),
        try_count: number(delivery.tries),
        failure: delivery
            .failure
            .map(|failure| failure.to_string())
            .unwrap_or_default(),
        http_status: delivery.http_status.map_or(0, i32::from),
        create_time: Some(time(delivery.create_time)),
        due_time: Some(time(delivery.due_time)),
        finish_time: delivery.finish_time.map(time),
    }
}
