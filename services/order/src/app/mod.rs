//! Use cases: load what a decision needs, let the domain decide, have the store write it.

pub(crate) mod alive;
pub(crate) mod command;
pub(crate) mod erasures;
pub(crate) mod feedback_summary;
pub(crate) mod filter;
pub(crate) mod idempotency;
pub(crate) mod intake;
pub(crate) mod make;
pub(crate) mod merge;
pub(crate) mod numbers;
pub(crate) mod order_by;
pub(crate) mod page;
pub(crate) mod references;
pub(crate) mod timers;
pub(crate) mod watch;

use std::sync::Arc;

use countersign_domain::{ids::OrderId, number::OrderNumber, order::Order, secrets::LinkKey};
use countersign_runtime::callers::Caller;
use countersign_store::{IntakeRow, Store};

use crate::{app::watch::Watch, error::ServiceError};

/// What decisions are made with.
#[derive(Debug)]
pub(crate) struct Deciding {
    pub(crate) store: Store,
    pub(crate) references: references::References,
    pub(crate) link_key: LinkKey,
    pub(crate) numbers: numbers::Numbers,
    pub(crate) watch: Watch,
}

impl Deciding {
    /// Something was committed: those who watch want to know.
    pub(crate) fn committed(&self, _rows: &[IntakeRow]) {
        self.watch.nudge();
    }

    /// An order by `orders/{id}` or by its formal number, as far as the caller may know of it. Who sees only its own orders
    /// is told the same, in the same time, of an order that is somebody else's and of one that does not exist.
    pub(crate) async fn find_id(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<OrderId, ServiceError> {
        let Some(owner) = caller.sees_only() else {
            return self.find_any_id(name).await;
        };
        let id = match self.find_any_id(name).await {
            Ok(id) => Some(id),
            Err(ServiceError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        // Asked for a number that nobody has, too: the answer must not come sooner.
        let asked = id.unwrap_or(OrderId::from_uuid(uuid::Uuid::nil()));
        if self.store.is_order_of(asked, owner).await?
            && let Some(id) = id
        {
            return Ok(id);
        }
        caller.note_refusal(tonic::Code::NotFound);
        Err(ServiceError::not_found(name))
    }

    async fn find_any_id(&self, name: &str) -> Result<OrderId, ServiceError> {
        if let Ok(id) = OrderId::in_name(name) {
            return Ok(id);
        }
        let number = OrderNumber::parse(name.trim_start_matches("orders/")).map_err(|_| {
            ServiceError::invalid(
                "name",
                "must be orders/{id} or an order number such as 2611-0000123-4",
            )
        })?;
        self.store
            .find_order_by_number(&number)
            .await?
            .ok_or_else(|| ServiceError::not_found(format!("orders/{number}")))
    }

    /// An order that is there.
    pub(crate) async fn get(&self, id: OrderId) -> Result<Order, ServiceError> {
        self.store
            .find_order(id)
            .await?
            .ok_or_else(|| ServiceError::not_found(id.resource_name()))
    }
}

/// The service behind the gRPC surface.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) deciding: Arc<Deciding>,
    pub(crate) intake: intake::Intake,
    pub(crate) default_region: Option<countersign_domain::place::CountryCode>,
}
