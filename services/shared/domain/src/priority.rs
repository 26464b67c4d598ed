//! Priority: how soon an order is to be worked on, and why (R54).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The greatest score.
pub const SCORE_MAX: i32 = 1000;

/// How soon the order is to be worked on, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Priority {
    /// 0 to 1000; queues serve the greater first.
    pub score: i32,
    /// The summands.
    #[serde(default)]
    pub components: Vec<PriorityComponent>,
    /// Set by a person for a time.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<PriorityOverride>,
}

/// One summand of the score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorityComponent {
    /// "customer_tier", "urgency", "order_type", "age".
    pub name: String,
    /// Its share.
    pub points: i32,
    /// In words.
    pub explanation: String,
}

/// A score given by a person for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorityOverride {
    /// 0 to 1000.
    pub score: i32,
    /// Why.
    pub reason: String,
    /// From then on the computed score counts again.
    pub expire_time: DateTime<Utc>,
    /// Who.
    pub actor: String,
}

/// Computes the score of an order.
pub fn compute(
    _order: &crate::order::Order,
    policy: &crate::policy::OrderPolicy,
    _now: DateTime<Utc>,
) -> Priority {
    Priority {
        score: policy.priority_points.clamp(0, SCORE_MAX),
        components: Vec::new(),
        overridden: None,
    }
}
