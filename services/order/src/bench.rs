//! What the benchmark's yardstick needs to write the same rows as the service does.

use countersign_domain::{decide::NewOrder, order::Order};
use countersign_proto::v1;

use crate::{
    convert::{self, intake::Sender},
    error::Violations,
};

/// An order as the service would take it from this request.
pub fn new_order(request: &v1::CreateOrderRequest) -> anyhow::Result<NewOrder> {
    let mut violations = Violations::new();
    let sender = Sender {
        caller: "anonymous",
        default_region: None,
    };
    let order = request.order.clone().unwrap_or_default();
    let new = convert::intake::new_order(&order, "order", &sender, &mut violations);
    Ok(violations.finish(new)?)
}

/// The answer as it is remembered.
pub fn answer_bytes(order: &Order) -> Vec<u8> {
    convert::order::to_memory(&mut convert::order::to_proto(order))
}
