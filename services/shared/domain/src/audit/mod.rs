//! Audit: rules as versioned data, and what they find on an order (R15, R18, R55).

mod defaults;
mod engine;
mod expression;
mod fact;
mod facts;
mod field_value;
pub(crate) mod required;
mod template;
mod validate;
mod values;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    catalog::Product, code::codes, customer::Customer, ids::OrderId, money::Money, order::Order,
    policy::OrderPolicy,
};

pub use defaults::default_rules;
pub use engine::{RuleError, RuleSet};

codes! {
    /// What a rule looks after (R55).
    pub enum AuditDimension {
        /// What was given is right.
        Accuracy = "ACCURACY",
        /// All that is needed was given.
        Completeness = "COMPLETENESS",
        /// The company may accept it.
        Compliance = "COMPLIANCE",
    }
}

codes! {
    /// What a finding means for the order.
    pub enum Severity {
        /// Noted only.
        Info = "INFO",
        /// A member of staff must look.
        Review = "REVIEW",
        /// The order is refused.
        Reject = "REJECT",
    }
}

/// What a rule found on an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Id of the rule.
    pub rule: String,
    /// Its version then.
    pub rule_version: u32,
    /// What it looks after.
    pub dimension: AuditDimension,
    /// What it means.
    pub severity: Severity,
    /// What staff read.
    pub message: String,
    /// Path of the field: `lines[2].quantity`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What stood there, cut after 200 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What may be done about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// What the customer is told at once; empty when nothing (R17).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub customer_message: String,
    /// Hold that the finding lays on the order (T3: CREDIT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<crate::hold::HoldReason>,
    /// Accepted by a member of staff.
    #[serde(default)]
    pub waived: bool,
    /// An order that another caller brought in and that it is about: for staff, not for this order's caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_order: Option<OrderId>,
}

/// A rule that every order of its types is held against. Rules are data: see `audit/default_rules.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRule {
    /// "stock-enough".
    pub id: String,
    /// Grows by one with each change.
    pub version: u32,
    /// What it looks after.
    pub dimension: AuditDimension,
    /// All types when empty.
    #[serde(default)]
    pub order_types: Vec<String>,
    /// CEL over `order`, `customer`, `lines`, `stock`, `policy`, `now`; true means that the rule is broken. An expression over
    /// `line` is evaluated for each line.
    pub expression: String,
    /// What it means when broken.
    pub severity: Severity,
    /// What staff read.
    pub message: String,
    /// Path named in the finding; `[]` stands for the line: `lines[].quantity`.
    #[serde(default)]
    pub field: String,
    /// What the customer is told at once; nothing when empty.
    #[serde(default)]
    pub customer_message: String,
    /// Hold that it lays.
    #[serde(default)]
    pub hold: Option<crate::hold::HoldReason>,
    /// What staff may do about it, shown with the finding.
    #[serde(default)]
    pub options: Vec<String>,
    /// Switched off when false.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

/// An order that another one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Which.
    pub order: OrderId,
    /// Brought in by the same caller. Nobody is told of the orders of others, be it by a finding.
    pub own: bool,
}

impl Duplicate {
    /// As messages name it.
    fn shown(self) -> String {
        if self.own {
            self.order.resource_name()
        } else {
            "an order that another caller brought in".to_owned()
        }
    }
}

/// What an order is held against.
#[derive(Clone, Copy, Debug)]
pub struct AuditInput<'a> {
    /// The order, its lines already reserved as far as the stock sufficed.
    pub order: &'a Order,
    /// The customer's record, if there is one.
    pub customer: Option<&'a Customer>,
    /// Of the order's type.
    pub policy: &'a OrderPolicy,
    /// What is known about each line's goods; as many as the order has lines.
    pub lines: &'a [LineFacts],
    /// An order of the last day with the same customer, goods and total under another reference.
    pub duplicate_of: Option<Duplicate>,
    /// Time of the database.
    pub now: DateTime<Utc>,
}

/// What is known about a line's goods.
#[derive(Clone, Debug, Default)]
pub struct LineFacts {
    /// The product's record, if there is one.
    pub product: Option<Arc<Product>>,
    /// What the price list says for this customer and quantity.
    pub list_price: Option<Money>,
    /// Whether any warehouse stocks it at all (R13).
    pub stocked: bool,
    /// What could be promised to this line (R13).
    pub available: i64,
}
