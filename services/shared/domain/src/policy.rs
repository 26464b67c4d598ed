//! Policies per order type, as data (R3, R4, R18).

mod defaults;
mod validate;

use serde::{Deserialize, Serialize};

use crate::{
    confirmation::ConfirmationMode,
    contact_hours::ContactHours,
    money::Money,
    order::{Channel, PaymentMethod},
    survey::SurveyRules,
};

pub use defaults::default_policies;
pub(crate) use validate::{ORDER_TYPE_FORM, is_order_type};

/// Which version of which policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Name of the type.
    pub order_type: String,
    /// 1, 2, 3 …
    pub version: u32,
}

impl std::fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.order_type, self.version)
    }
}

/// How orders of a type are treated. The four types that ship are in `policy/default_policies.json`; a company adds
/// its own without a schema change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a company's policy, each independent of the others"
)]
pub struct OrderPolicy {
    /// "ECOMMERCE", "STORE", "WHOLESALE", "CUSTOM" or the company's own.
    pub order_type: String,
    /// Grows by one with each change.
    pub version: u32,
    /// For people.
    pub display_name: String,
    /// Paths that must be filled: `lines.specification`, `contact.email`, `contact.phone`,
    /// `delivery.requested_window`, `lines.customization`.
    #[serde(default)]
    pub required_fields: Vec<String>,
    /// Rules that do not apply to this type.
    #[serde(default)]
    pub disabled_rules: Vec<String>,
    /// Orders above this total are reviewed; compared in its own currency, other currencies are not limited by it.
    #[serde(default)]
    pub auto_approve_total_max: Option<Money>,
    /// No order passes by itself when false.
    pub auto_approve: bool,
    /// What silence means.
    pub confirmation_mode: ConfirmationMode,
    /// How long the customer has.
    pub confirmation_window_seconds: u32,
    /// In the order to be tried.
    pub channel_plan: Vec<Channel>,
    /// Seconds to wait before the next channel, one for each but the last.
    #[serde(default)]
    pub channel_step_seconds: Vec<u32>,
    /// A member of staff must be named before the customer is asked (R6).
    #[serde(default)]
    pub handler_required: bool,
    /// May be merged with another.
    #[serde(default)]
    pub mergeable: bool,
    /// Accepted ways to pay.
    pub payment_methods: Vec<PaymentMethod>,
    /// Percent by which a unit price may differ from the price list.
    #[serde(default)]
    pub price_tolerance_percent: u32,
    /// Send "we have your order" besides the confirmation request.
    #[serde(default)]
    pub acknowledge: bool,
    /// Points that the type adds to the priority.
    #[serde(default)]
    pub priority_points: i32,
    /// What is promised from confirmation on where the customer asked for no time.
    pub delivery_promise_seconds: u32,
    /// Goods are promised to the order as soon as it is confirmed; else it waits for the pool run (T9).
    pub allocate_at_confirmation: bool,
    /// Accept orders from customers without a record.
    pub unknown_customers: bool,
    /// How long after delivery the order is complete.
    pub completion_window_seconds: u32,
    /// What after-sales offers for the type (R28).
    #[serde(default)]
    pub service_terms: Vec<String>,
    /// Days in which goods may be sent back without a reason.
    #[serde(default)]
    pub return_days: u32,
    /// When customers are asked how it was; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey: Option<SurveyRules>,
    /// Above this total a text message that only says yes does not confirm: anybody can write under a customer's number.
    /// The code, the link, a key pressed and staff confirm any order. In its own currency; other currencies are above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bare_text_total_max: Option<Money>,
    /// When the customer may be disturbed.
    #[serde(default)]
    pub contact_hours: ContactHours,
}

impl OrderPolicy {
    /// Whether a text message that only says yes is enough for an order of this total.
    pub fn bare_text_confirms(&self, total: Money) -> bool {
        self.bare_text_total_max
            .is_none_or(|max| max.currency == total.currency && total.minor <= max.minor)
    }

    /// Name and version, as stored with each order that was judged by it.
    pub fn identity(&self) -> PolicyVersion {
        PolicyVersion {
            order_type: self.order_type.clone(),
            version: self.version,
        }
    }
}
