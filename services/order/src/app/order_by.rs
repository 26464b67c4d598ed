//! In what sequence orders are listed (AIP-132).

use countersign_store::ListOrder;

use crate::error::ServiceError;

/// Reads `order_by`; each sequence is served by an index.
pub(crate) fn parse(text: &str) -> Result<ListOrder, ServiceError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [] | ["create_time", "desc"] => Ok(ListOrder::Newest),
        ["create_time"] | ["create_time", "asc"] => Ok(ListOrder::Oldest),
        ["priority", "desc"] => Ok(ListOrder::Priority),
        ["promised_delivery_time"] | ["promised_delivery_time", "asc"] => Ok(ListOrder::Promise),
        _ => Err(ServiceError::invalid(
            "order_by",
            "must be create_time desc, create_time, priority desc or promised_delivery_time",
        )),
    }
}
