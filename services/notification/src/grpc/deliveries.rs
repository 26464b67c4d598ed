//! Messages and dead letters, to read.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::{DeliveryId, OrderId},
    message::DeliveryState,
    order::Channel,
};
use countersign_proto::v1;
use countersign_store::{DeadLetterKey, DeadLetterQuery};
use tonic::{Request, Status};
use uuid::Uuid;

use super::{
    Notifications,
    checks::{Violations, invalid, not_found, unavailable},
    convert::{act, dead_letter, listed},
};

/// How those stand that staff look at.
const DEAD_LETTERS: &[DeliveryState] = &[
    DeliveryState::Dead,
    DeliveryState::InDoubt,
    DeliveryState::Failed,
];
const SIZE_DEFAULT: u64 = 50;
const SIZE_MAX: u64 = 500;

impl Notifications {
    pub(super) async fn list_deliveries(
        &self,
        request: Request<v1::ListDeliveriesRequest>,
    ) -> Result<v1::ListDeliveriesResponse, Status> {
        let order = OrderId::from_resource_name(&request.get_ref().parent)
            .map_err(|error| invalid("parent", error))?;
        let found = self.store.list_deliveries(order).await;
        Ok(v1::ListDeliveriesResponse {
            deliveries: found.map_err(unavailable)?.iter().map(listed).collect(),
        })
    }

    pub(super) async fn get_delivery(
        &self,
        request: Request<v1::GetDeliveryRequest>,
    ) -> Result<v1::MessageDelivery, Status> {
        let name = &request.get_ref().name;
        let id = delivery_id(name)?;
        let found = self.store.find_delivery_with_attempts(id).await;
        let found = found.map_err(unavailable)?.ok_or_else(|| not_found(name))?;
        let acts = self.store.list_delivery_acts(id).await;
        Ok(v1::MessageDelivery {
            acts: acts.map_err(unavailable)?.iter().map(act).collect(),
            ..dead_letter(&found)
        })
    }

    pub(super) async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<v1::ListDeadLettersResponse, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let query = DeadLetterQuery {
            states: violations.words("states", &request.states, DEAD_LETTERS),
            channels: violations.words("channels", &request.channels, Channel::ALL),
            error_code: None,
            start_time: None,
            end_time: None,
            after: read_token(&request.page_token, &mut violations).map(key_of),
            limit: page_size(request.page_size, &mut violations),
        };
        let query = violations.finish(Some(query))?;
        let page = self.store.list_dead_letters(&query).await;
        let page = page.map_err(unavailable)?;
        let last = page.items.last().filter(|_| page.more);
        Ok(v1::ListDeadLettersResponse {
            next_page_token: last
                .map(|last| token(last.key().due_time, last.key().id.as_uuid()))
                .unwrap_or_default(),
            deliveries: page.items.iter().map(dead_letter).collect(),
        })
    }
}

pub(super) fn delivery_id(name: &str) -> Result<DeliveryId, Status> {
    DeliveryId::from_resource_name(name).map_err(|error| invalid("name", error))
}

/// How many a page holds.
pub(super) fn page_size(given: i32, violations: &mut Violations) -> u64 {
    match u64::try_from(given) {
        Ok(0) => SIZE_DEFAULT,
        Ok(size) => size.min(SIZE_MAX),
        Err(_) => {
            violations.add("page_size", "must not be negative");
            0
        }
    }
}

/// A token that goes on after a place in time, so it is good for any states and channels.
pub(super) fn token(due_time: DateTime<Utc>, id: Uuid) -> String {
    let mut bytes = due_time.timestamp_micros().to_be_bytes().to_vec();
    bytes.extend(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn read_token(
    token: &str,
    violations: &mut Violations,
) -> Option<(DateTime<Utc>, Uuid)> {
    if token.is_empty() {
        return None;
    }
    let key = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let (micros, id) = bytes.split_first_chunk::<8>()?;
        let due_time = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
        Some((due_time, Uuid::from_slice(id).ok()?))
    });
    if key.is_none() {
        violations.add(
            "page_token",
            "must be the next_page_token of the call before",
        );
    }
    key
}

/// A place in a list of messages.
pub(super) fn key_of((due_time, id): (DateTime<Utc>, Uuid)) -> DeadLetterKey {
    DeadLetterKey {
        due_time,
        id: DeliveryId::from_uuid(id),
    }
}
