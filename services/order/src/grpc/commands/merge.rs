//! Orders that are put together.

use countersign_domain::decide::MERGED_ORDERS_MAX;
use countersign_proto::v1;
use tonic::Request;

use super::{Answer, words};
use crate::{
    app::{App, command::Call},
    convert::intake::short,
    error::{ServiceError, Violations},
    grpc::call::{caller_of, key_of},
};

impl App {
    pub(crate) async fn merge_orders(
        &self,
        request: Request<v1::MergeOrdersRequest>,
    ) -> Answer<v1::MergeOrdersResponse> {
        let caller = caller_of(&request)?;
        let inner = request.into_inner();
        let mut violations = Violations::new();
        let key = key_of(&caller, "MergeOrders", &inner, "", &mut violations);
        let reason = words(&inner.reason, "reason", &mut violations);
        if inner.reason.trim().is_empty() {
            violations.add("reason", "must say why, in at least one word");
        }
        let actor = short(&inner.actor, 0, 64, "actor", &mut violations);
        if !(2..=MERGED_ORDERS_MAX).contains(&inner.names.len()) {
            violations.add(
                "names",
                format!("must be 2 to {MERGED_ORDERS_MAX}; the first order survives"),
            );
        }
        let (reason, actor) = violations.finish(reason.zip(actor))?;
        let mut ids = Vec::with_capacity(inner.names.len());
        for (index, name) in inner.names.iter().enumerate() {
            let id = self
                .deciding
                .find_id(&caller, name)
                .await
                .map_err(|error| {
                    if matches!(error, ServiceError::Invalid(_)) {
                        ServiceError::invalid(
                            format!("names[{index}]"),
                            "must be orders/{id} or an order number such as 2611-0000123-4",
                        )
                    } else {
                        error
                    }
                })?;
            if ids.contains(&id) {
                let problem = "names an order that was named before";
                return Err(ServiceError::invalid(format!("names[{index}]"), problem).into());
            }
            ids.push(id);
        }
        let call = Call {
            request_id: inner.request_id,
            key,
            traceparent: countersign_runtime::telemetry::current_traceparent(),
            caller,
            etag: String::new(),
            life: None,
        };
        let actor = if actor.is_empty() {
            call.caller.name().to_owned()
        } else {
            actor
        };
        let answer = self.deciding.merge(&ids, &actor, &reason, &call).await?;
        Ok(answer.into_response())
    }
}
