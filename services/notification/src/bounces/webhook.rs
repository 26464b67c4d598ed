//! Bounces, complaints and deliveries as Amazon SES tells them (RELIABILITY 4.6), for relays that tell them by HTTP.
//!
//! Signed by Standard Webhooks like a gateway's callbacks: SES itself does not sign so, hence a small function in front of
//! it does, or Amazon SNS brings them under a signature of its own (`sns_callback`). Only the envelope sender says which
//! letter is meant; addresses that are quoted are not looked at, because each letter has one recipient. Fields that we do
//! not know are allowed, and notifications come in any sequence.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use countersign_domain::{
    ids::DeliveryId,
    reply::{BounceKind, GatewayStatus, ReplyContent},
    secrets::LinkKey,
};
use countersign_runtime::clock::SharedClock;
use serde::Deserialize;

use super::{Told, fingerprint, given_up, read_status, report::token};
use crate::{
    channel::signature::SigningKeys,
    inbox::{Inbox, ReplyInput},
    metrics::Metrics,
};

/// The longest notification that is read.
pub(super) const MAX_BODY: usize = 256 * 1024;
/// Who brings it, in the inbox.
const SOURCE: &str = "MAIL_WEBHOOK";

/// Finds out which letter is meant, and leaves what is said of it in the inbox.
#[derive(Clone)]
pub(crate) struct Taker {
    pub(crate) inbox: Inbox,
    pub(crate) link_key: LinkKey,
    pub(crate) metrics: Metrics,
}

#[derive(Clone)]
struct WebhookState {
    keys: Arc<SigningKeys>,
    clock: SharedClock,
    taker: Taker,
}

/// `POST /callbacks/bounces`.
pub(crate) fn router(keys: SigningKeys, clock: SharedClock, taker: Taker) -> Router {
    let state = WebhookState {
        keys: Arc::new(keys),
        clock,
        taker,
    };
    Router::new()
        .route("/callbacks/bounces", post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notification {
    /// `eventType` where SES publishes events instead of notifications.
    #[serde(rename = "notificationType", alias = "eventType")]
    kind: String,
    mail: Mail,
    #[serde(default)]
    bounce: Bounce,
    #[serde(default)]
    complaint: Complaint,
}

#[derive(Deserialize)]
struct Mail {
    /// The envelope sender.
    #[serde(default)]
    source: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bounce {
    #[serde(rename = "bounceType")]
    kind: String,
    bounced_recipients: Vec<Bounced>,
    feedback_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Bounced {
    status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Complaint {
    feedback_id: Option<String>,
}

async fn receive(State(state): State<WebhookState>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Err(error) = state.keys.verify(&headers, &body, state.clock.now()) {
        tracing::warn!(error = %error, "a bounce notification was refused");
        return StatusCode::UNAUTHORIZED;
    }
    state.taker.take(SOURCE, &body, None).await
}

impl Taker {
    /// Takes a notification of SES. It is known again by SES' id of what happened, else by `event_id` or by its bytes.
    pub(super) async fn take(
        &self,
        source: &'static str,
        body: &[u8],
        event_id: Option<String>,
    ) -> StatusCode {
        let Ok(notification) = serde_json::from_slice::<Notification>(body) else {
            return StatusCode::BAD_REQUEST;
        };
        let said = said(&notification, &self.link_key);
        let Some((content, kind)) = said else {
            // Signed, but not about a letter of ours: there is nothing to come again for.
            self.metrics.bounce("IGNORED");
            return StatusCode::NO_CONTENT;
        };
        self.metrics.bounce(kind);
        let feedback_id = notification
            .bounce
            .feedback_id
            .as_ref()
            .or(notification.complaint.feedback_id.as_ref())
            .filter(|id| !id.is_empty() && id.len() <= 128);
        let source_event_id = feedback_id
            .cloned()
            .or(event_id)
            .unwrap_or_else(|| fingerprint(body));
        self.store(ReplyInput {
            source,
            source_event_id,
            order: None,
            content,
        })
        .await
    }

    pub(super) async fn store(&self, input: ReplyInput) -> StatusCode {
        match self.inbox.receive(input).await {
            Ok(_) => StatusCode::NO_CONTENT,
            Err(error) => {
                tracing::warn!(error = %error, "a bounce could not be stored; the sender is to come again");
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

/// What is said of a letter of ours, and the kind of it for the figures.
pub(super) fn said(
    notification: &Notification,
    key: &LinkKey,
) -> Option<(ReplyContent, &'static str)> {
    let (delivery, generation) = token(&notification.mail.source, key)?;
    content(notification, delivery, generation)
}

fn content(
    notification: &Notification,
    delivery: DeliveryId,
    generation: u32,
) -> Option<(ReplyContent, &'static str)> {
    let delivery = delivery.as_uuid();
    let told = match notification.kind.as_str() {
        "Bounce" => worst(&notification.bounce),
        "Complaint" => Told::new(BounceKind::Complaint, None),
        "Delivery" => {
            let content = ReplyContent::Status {
                delivery,
                generation,
                provider_id: String::new(),
                status: GatewayStatus::Delivered,
                code: None,
            };
            return Some((content, "DELIVERED"));
        }
        _ => return None,
    };
    let kind = told.bounce.as_str();
    let content = ReplyContent::Bounce {
        delivery,
        generation,
        bounce: told.bounce,
        code: told.code,
    };
    Some((content, kind))
}

/// The worst that is said of any recipient. Only `Permanent` is final: SES calls absence notes and full mailboxes
/// `Transient`, and what it does not understand `Undetermined`.
fn worst(bounce: &Bounce) -> Told {
    let codes = bounce
        .bounced_recipients
        .iter()
        .map(|it| it.status.as_deref().and_then(read_status));
    let told: Option<Told> = if bounce.kind == "Permanent" {
        codes.map(given_up).max()
    } else {
        codes.map(|code| Told::new(BounceKind::Delayed, code)).max()
    };
    told.unwrap_or_else(|| {
        let kind = if bounce.kind == "Permanent" {
            BounceKind::Failed
        } else {
            BounceKind::Delayed
        };
        Told::new(kind, None)
    })
}
