//! Holds: reasons why an order must not move on, each released by itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{code::codes, ids::HoldId};

codes! {
    /// Why an order is held.
    pub enum HoldReason {
        /// Money is expected first.
        AwaitingPayment = "AWAITING_PAYMENT",
        /// Goods are expected back first.
        AwaitingReturnItems = "AWAITING_RETURN_ITEMS",
        /// It may be fraud.
        HighRiskOfFraud = "HIGH_RISK_OF_FRAUD",
        /// The address is not right.
        IncorrectAddress = "INCORRECT_ADDRESS",
        /// There are no goods.
        InventoryOutOfStock = "INVENTORY_OUT_OF_STOCK",
        /// Nobody knows when it can be delivered.
        UnknownDeliveryDate = "UNKNOWN_DELIVERY_DATE",
        /// The credit limit would be passed (T3).
        Credit = "CREDIT",
        /// No channel leads to the customer: a member of staff must find out how to ask.
        CustomerUnreachable = "CUSTOMER_UNREACHABLE",
        /// See the note.
        Other = "OTHER",
    }
}

/// One reason why an order must not move on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Names it when it is released.
    pub id: HoldId,
    /// Why.
    pub reason: HoldReason,
    /// More words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Who looks after it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// When to look again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_time: Option<DateTime<Utc>>,
    /// When it was laid.
    pub create_time: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}
