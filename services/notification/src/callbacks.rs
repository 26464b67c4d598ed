//! What gateways tell us. The signature is checked, what it says is stored, and 204 is answered; all else follows from
//! the inbox, because a gateway that waits too long gives up.

pub(crate) mod alibaba;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod fuzz;
pub(crate) mod twilio;

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use countersign_domain::{
    message::Recipient,
    reply::{GatewayStatus, ReplyContent},
};
use countersign_runtime::clock::SharedClock;

use crate::{
    channel::{
        callback::{CallbackError, CallbackEvent, DeliveryStatus, read_callback},
        signature::SigningKeys,
    },
    inbox::{Inbox, ReplyInput},
};

/// The longest callback that is read.
const MAX_BODY: usize = 64 * 1024;

#[derive(Clone)]
struct GatewayState {
    source: &'static str,
    keys: Arc<SigningKeys>,
    inbox: Inbox,
    clock: SharedClock,
}

/// The callbacks of one gateway under `/callbacks/{name}`. `source` names it in the inbox.
pub(crate) fn router(
    name: &str,
    source: &'static str,
    keys: SigningKeys,
    inbox: &Inbox,
    clock: SharedClock,
) -> Router {
    let state = GatewayState {
        source,
        keys: Arc::new(keys),
        inbox: inbox.clone(),
        clock,
    };
    Router::new()
        .route(&format!("/callbacks/{name}/status"), post(receive))
        .route(&format!("/callbacks/{name}/reply"), post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

async fn receive(State(state): State<GatewayState>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let callback = match read_callback(&state.keys, &headers, &body, state.clock.now()) {
        Ok(callback) => callback,
        Err(CallbackError::Signature(error)) => {
            tracing::warn!(source = state.source, error = %error, "a callback was refused");
            return StatusCode::UNAUTHORIZED;
        }
        Err(CallbackError::Malformed(_)) => return StatusCode::BAD_REQUEST,
    };
    let Some(content) = content(callback.event) else {
        // Signed, but not about a message of ours: there is nothing to come again for.
        return StatusCode::NO_CONTENT;
    };
    let source_event_id = callback.id;
    if source_event_id.chars().count() > 191 {
        return StatusCode::BAD_REQUEST;
    }
    let stored = state
        .inbox
        .receive(ReplyInput {
            source: state.source,
            source_event_id,
            order: None,
            content,
        })
        .await;
    match stored {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(error) => {
            tracing::warn!(error = %error, "a callback could not be stored; the gateway is to come again");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

fn content(event: CallbackEvent) -> Option<ReplyContent> {
    Some(match event {
        CallbackEvent::Status(event) => {
            let (delivery, generation) = event.message()?;
            ReplyContent::Status {
                delivery,
                generation,
                provider_id: event.id,
                status: gateway_status(event.status),
                code: event.code,
            }
        }
        CallbackEvent::SmsReceived(event) => ReplyContent::Text {
            from: Recipient::new(event.from),
            text: event.text,
            in_reply_to: event.in_reply_to,
        },
        CallbackEvent::KeyPressed(event) => {
            let (delivery, _) = crate::channel::gateway::parse_key(&event.idempotency_key)?;
            ReplyContent::Key {
                delivery,
                call_id: event.id,
                digit: event.digit,
            }
        }
    })
}

/// A carrier's status in the words of the inbox.
pub(crate) const fn gateway_status(status: DeliveryStatus) -> GatewayStatus {
    match status {
        DeliveryStatus::Queued | DeliveryStatus::Sent => GatewayStatus::Underway,
        DeliveryStatus::NoAnswer => GatewayStatus::NoAnswer,
        DeliveryStatus::Busy => GatewayStatus::Busy,
        DeliveryStatus::Machine => GatewayStatus::Machine,
        DeliveryStatus::Failed | DeliveryStatus::Expired => GatewayStatus::Failed,
        DeliveryStatus::Delivered => GatewayStatus::Delivered,
    }
}
