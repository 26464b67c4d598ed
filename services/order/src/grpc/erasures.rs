//! Erasing a customer: the part of `CustomerService` that takes data away.

use std::time::Duration;

use countersign_domain::{
    ids::{DeliveryId, ErasureId, OrderId},
    text::{TextKind, checked_text},
};
use countersign_proto::v1;
use countersign_store::{Erasure, ErasureBegun, NewErasure, Obstacles};
use tonic::Request;

use super::{
    call::{caller_of, key_of},
    customers::code_of,
    reference::Reference,
};
use crate::{
    app::make::Ids,
    convert::time,
    error::{ServiceError, Violations},
};

/// How long a call goes on with what it began; the rest is done in the background.
const TURN: Duration = Duration::from_secs(3);
/// A call has ten seconds; what is under way at the end of its turn gets a little more.
const TURN_MAX: Duration = Duration::from_secs(6);

impl Reference {
    pub(crate) async fn erase(
        &self,
        request: Request<v1::EraseCustomerRequest>,
    ) -> Result<v1::Erasure, ServiceError> {
        let caller = caller_of(&request)?;
        let inner = request.into_inner();
        let mut v = Violations::new();
        let key = key_of(&caller, "EraseCustomer", &inner, "", &mut v);
        let reason = v.take(
            "reason",
            checked_text(&inner.reason, 1, 500, TextKind::MultiLine),
        );
        let actor = v.take(
            "actor",
            checked_text(&inner.actor, 0, 64, TextKind::SingleLine),
        );
        v.check()?;
        let (Some(key), Some(reason), Some(actor)) = (key, reason, actor) else {
            return Err(ServiceError::internal("a call without its fields"));
        };
        let code = code_of(&inner.name)?;
        let store = &self.eraser.store;
        let now = store.now().await?;
        // The key may have been changed since an earlier call.
        let mut hashes = self
            .eraser
            .link_key
            .each()
            .map(|key| key.customer_hash(code));
        let Some(customer_hash) = hashes.next() else {
            return Err(ServiceError::internal("a link key without a key"));
        };
        let new = NewErasure {
            id: Ids::at(now).erasure(),
            request_hash: key.key_hash,
            customer: code.to_owned(),
            customer_hash,
            other_hashes: hashes.collect(),
            actor: if actor.is_empty() {
                caller.name().to_owned()
            } else {
                actor
            },
            reason,
        };
        match store.begin_erasure(&new, inner.validate_only, now).await? {
            ErasureBegun::Begun(begun) => {
                // A step that takes longer than that is cut off, and done by whoever goes on in the background.
                let going_on = tokio::time::timeout(TURN_MAX, self.eraser.go_on(begun.id, TURN));
                let now = match going_on.await {
                    Ok(now) => now?,
                    Err(_) => store.find_erasure(begun.id).await?,
                };
                Ok(self.told(&now.unwrap_or(*begun)))
            }
            ErasureBegun::Possible => Ok(v1::Erasure::default()),
            ErasureBegun::NotFound => Err(ServiceError::not_found(inner.name)),
            ErasureBegun::Refused(obstacles) => Err(refusal(&obstacles)),
            ErasureBegun::OtherRequest => Err(ServiceError::FailedPrecondition {
                reason: "IDEMPOTENCY_KEY_REUSED",
                message: "request_id was used for another customer; take a new one".to_owned(),
            }),
        }
    }

    pub(crate) async fn erasure(&self, name: &str) -> Result<v1::Erasure, ServiceError> {
        let id = ErasureId::from_resource_name(name)
            .map_err(|error| ServiceError::invalid("name", error.to_string()))?;
        let found = self.eraser.store.find_erasure(id).await?;
        found
            .map(|found| self.told(&found))
            .ok_or_else(|| ServiceError::not_found(name))
    }

    /// What is found by looking once more.
    pub(crate) async fn verify(&self, name: &str) -> Result<v1::Erasure, ServiceError> {
        let code = code_of(name)?;
        let store = &self.eraser.store;
        // The key may have been changed since.
        let mut last = None;
        for key in self.eraser.link_key.each() {
            let found = store.find_last_erasure(&key.customer_hash(code)).await?;
            last = last.into_iter().chain(found).max_by_key(|it| it.id);
        }
        let Some(mut found) = last else {
            return Err(ServiceError::FailedPrecondition {
                reason: "NOT_ERASED",
                message: "no erasure of this customer is on record".to_owned(),
            });
        };
        found.report = store.verify_erasure(&found, code).await?;
        Ok(self.told(&found))
    }

    /// With what the company does beside the program: it says for how long backups are kept.
    fn told(&self, erasure: &Erasure) -> v1::Erasure {
        let expire_time = erasure.finish_time.zip(self.backups_kept);
        v1::Erasure {
            backups_expire_time: expire_time.map(|(done, kept)| time::to_proto(done + kept)),
            ..to_proto(erasure)
        }
    }
}

fn refusal(obstacles: &Obstacles) -> ServiceError {
    if let Some((first, state)) = obstacles.orders.first() {
        let names: Vec<String> = obstacles
            .orders
            .iter()
            .map(|(order, _)| order.resource_name())
            .collect();
        return ServiceError::FailedPrecondition {
            reason: "ORDERS_OPEN",
            message: format!(
                "orders of the customer are open; {} is {}. End them first: {}",
                first.resource_name(),
                state.as_str(),
                names.join(", ")
            ),
        };
    }
    let messages = obstacles.messages.iter().map(DeliveryId::resource_name);
    let unsent = obstacles.unsent.iter().map(OrderId::resource_name);
    let names: Vec<String> = messages.chain(unsent).collect();
    ServiceError::FailedPrecondition {
        reason: "MESSAGES_UNDER_WAY",
        message: format!(
            "messages to the customer are under way; wait for them: {}",
            names.join(", ")
        ),
    }
}

fn to_proto(erasure: &Erasure) -> v1::Erasure {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    v1::Erasure {
        name: erasure.id.resource_name(),
        state: erasure.state.as_str().to_owned(),
        actor: erasure.actor.clone(),
        reason: erasure.reason.clone(),
        create_time: Some(time::to_proto(erasure.create_time)),
        finish_time: erasure.finish_time.map(time::to_proto),
        order_count: count(erasure.report.orders),
        tables: erasure
            .report
            .tables
            .iter()
            .map(|table| v1::ErasureTable {
                table: table.table.clone(),
                looked_at_count: count(table.looked_at),
                left_count: count(table.left),
            })
            .collect(),
        backups_expire_time: None,
    }
}
