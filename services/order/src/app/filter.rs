//! Filters of lists (AIP-160).

use countersign_store::OrderFilter;

use crate::error::ServiceError;

/// Reads a filter; none for all orders.
pub(crate) fn parse(text: &str) -> Result<Option<OrderFilter>, ServiceError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    Err(ServiceError::invalid("filter", "must be empty"))
}
