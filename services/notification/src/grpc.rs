//! `NotificationService`: what was sent to customers and how it fared.

use chrono::{DateTime, Utc};
use countersign_domain::ids::OrderId;
use countersign_proto::v1::{
    DeliveryAttempt, ListDeliveriesRequest, ListDeliveriesResponse, MessageDelivery,
    notification_service_server::NotificationService,
};
use countersign_store::{Claimed, Store};
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Notifications {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl NotificationService for Notifications {
    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<Response<ListDeliveriesResponse>, Status> {
        let parent = request.into_inner().parent;
        let order = OrderId::from_resource_name(&parent)
            .map_err(|error| Status::invalid_argument(format!("parent {error}")))?;
        let deliveries = self.store.list_deliveries(order).await.map_err(|error| {
            tracing::warn!(error = %error, "listing deliveries failed");
            Status::unavailable("the database does not answer")
        })?;
        Ok(Response::new(ListDeliveriesResponse {
            deliveries: deliveries.iter().map(told).collect(),
        }))
    }
}

fn told(listed: &Claimed) -> MessageDelivery {
    let delivery = &listed.delivery;
    MessageDelivery {
        name: delivery.id.resource_name(),
        order: delivery.order_id.resource_name(),
        kind: delivery.kind.to_string(),
        channel: delivery.channel.to_string(),
        recipient: delivery.recipient.masked(),
        state: delivery.state.to_string(),
        revision: number(delivery.revision),
        create_time: Some(time(delivery.create_time)),
        due_time: Some(time(delivery.due_time)),
        finish_time: delivery.finish_time.map(time),
        provider_id: delivery.provider_id.clone().unwrap_or_default(),
        last_error: delivery.last_error.clone(),
        attempts: listed
            .history
            .iter()
            .map(|attempt| DeliveryAttempt {
                number: number(attempt.number),
                outcome: attempt.outcome.to_string(),
                start_time: Some(time(attempt.start_time)),
                finish_time: attempt.finish_time.map(time),
                error: attempt.error.clone(),
            })
            .collect(),
    }
}

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn time(moment: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: moment.timestamp(),
        nanos: moment.timestamp_subsec_nanos().cast_signed(),
    }
}
