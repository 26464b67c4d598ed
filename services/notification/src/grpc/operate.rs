//! What staff do about messages that were given up.

use countersign_domain::{
    ids::DeliveryId,
    message::DeliveryState,
    operator::{ALONE_MAX, BULK_MAX},
    order::Channel,
};
use countersign_proto::v1;
use countersign_store::{Acted, DeadLetterQuery, FreshIds, Resolution};
use tonic::{Request, Status};

use super::{
    Notifications,
    checks::{Violations, Who, not_found, open, other_request, refused, unavailable},
    convert::{number, time, told},
    deliveries::{delivery_id, key_of, read_token, token},
};

impl Notifications {
    pub(super) async fn requeue_delivery(
        &self,
        request: Request<v1::RequeueDeliveryRequest>,
    ) -> Result<v1::RequeueDeliveryResponse, Status> {
        let (caller, request) = open(request)?;
        let id = delivery_id(&request.name)?;
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let call = self.act_call(
            &who,
            "RequeueDelivery",
            &caller,
            &[&request.name],
            now,
            &mut violations,
        );
        let call = violations.finish(call)?;
        let new = self.ids.make(now, DeliveryId::new_v7);
        let acted = self.store.requeue_delivery(id, new, &call, now).await;
        match acted.map_err(unavailable)? {
            Acted::Answered(delivery, outcome) => Ok(v1::RequeueDeliveryResponse {
                delivery: Some(told(&delivery)),
                outcome: outcome.to_string(),
            }),
            Acted::NotFound => Err(not_found(&request.name)),
            Acted::Refused(refusal) => Err(refused(refusal.as_str(), refusal.words())),
            Acted::OtherRequest => Err(other_request()),
        }
    }

    pub(super) async fn requeue_deliveries(
        &self,
        request: Request<v1::RequeueDeliveriesRequest>,
    ) -> Result<v1::RequeueDeliveriesResponse, Status> {
        let (caller, request) = open(request)?;
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let channel = violations.word("channel", &request.channel, Channel::ALL);
        let states = if request.states.is_empty() {
            vec![DeliveryState::Dead]
        } else {
            let known = [DeliveryState::Dead, DeliveryState::Failed];
            violations.words("states", &request.states, &known)
        };
        let code = request.error_code.as_str();
        if code.len() > 64
            || !code
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'_')
        {
            violations.add("error_code", "must be a code such as ATTEMPTS_USED");
        }
        let limit = u32::try_from(request.limit).unwrap_or(0);
        if !(1..=BULK_MAX).contains(&limit) {
            violations.add("limit", format!("must be 1 to {BULK_MAX}"));
        }
        let (actor, approver) = (request.actor.trim(), request.approver.trim());
        if limit > ALONE_MAX && (approver.is_empty() || approver == actor) {
            violations.add(
                "approver",
                format!("must be a second person when limit is above {ALONE_MAX}"),
            );
        }
        let query = DeadLetterQuery {
            states,
            channels: channel.into_iter().collect(),
            error_code: Some(code.to_owned()).filter(|code| !code.is_empty()),
            start_time: violations.time("start_time", request.start_time.as_ref()),
            end_time: violations.time("end_time", request.end_time.as_ref()),
            after: read_token(&request.page_token, &mut violations).map(key_of),
            limit: u64::from(limit),
        };
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: &request.approver,
        };
        let asked = format!("{query:?}");
        let call = self.act_call(
            &who,
            "RequeueDeliveries",
            &caller,
            &[&asked],
            now,
            &mut violations,
        );
        let (channel, call) = violations.finish(channel.zip(call))?;
        let fresh: Vec<FreshIds> = (0..limit)
            .map(|_| FreshIds {
                delivery: self.ids.make(now, DeliveryId::new_v7),
                act: self.ids.make(now, DeliveryId::new_v7).as_uuid(),
            })
            .collect();
        let acted = self
            .store
            .requeue_deliveries(channel, &query, &fresh, &call, now)
            .await;
        match acted.map_err(unavailable)? {
            Acted::Answered(done, _) => Ok(v1::RequeueDeliveriesResponse {
                requeued_count: number(done.requeued),
                next_page_token: done
                    .next_key()
                    .map(|next| token(next.due_time, next.id.as_uuid()))
                    .unwrap_or_default(),
                last_due_time: done.last_due_time.map(time),
                refused_counts: done
                    .refused
                    .into_iter()
                    .map(|(reason, count)| (reason, number(count)))
                    .collect(),
            }),
            Acted::NotFound => Err(not_found("deliveries")),
            Acted::Refused(refusal) => Err(refused(refusal.as_str(), refusal.words())),
            Acted::OtherRequest => Err(other_request()),
        }
    }

    pub(super) async fn resolve_delivery(
        &self,
        request: Request<v1::ResolveDeliveryRequest>,
    ) -> Result<v1::ResolveDeliveryResponse, Status> {
        let (caller, request) = open(request)?;
        let id = delivery_id(&request.name)?;
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let resolution = match request.resolution.as_str() {
            "SENT" => Some(Resolution::Sent),
            "NOT_SENT" => Some(Resolution::NotSent),
            _ => {
                violations.add("resolution", "must be SENT or NOT_SENT");
                None
            }
        };
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let call = self.act_call(
            &who,
            "ResolveDelivery",
            &caller,
            &[&request.name, &request.resolution],
            now,
            &mut violations,
        );
        let (resolution, call) = violations.finish(resolution.zip(call))?;
        let acted = self
            .store
            .resolve_delivery(id, resolution, &call, now)
            .await;
        match acted.map_err(unavailable)? {
            Acted::Answered(delivery, outcome) => Ok(v1::ResolveDeliveryResponse {
                delivery: Some(told(&delivery)),
                outcome: outcome.to_string(),
            }),
            Acted::NotFound => Err(not_found(&request.name)),
            Acted::Refused(state) => Err(refused(
                "NOT_IN_DOUBT",
                &format!("the message is {state}, so there is nothing to resolve"),
            )),
            Acted::OtherRequest => Err(other_request()),
        }
    }
}
