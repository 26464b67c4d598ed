//! Priority: how soon an order is to be worked on, and why (R54).

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{order::Order, policy::OrderPolicy};

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
    /// `customer_tier`, `urgency`, `order_type`, `age`.
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

/// Points of each customer tier (R54: the customer's importance).
const TIER_POINTS: [(&str, i32); 4] = [("A", 300), ("B", 200), ("C", 100), ("D", 0)];
/// Points of a customer without a tier: as tier C.
const NO_TIER_POINTS: i32 = 100;
/// Hours left to the promised time and the points that they give, between which we interpolate (R54: urgency).
const URGENCY_POINTS: [(i64, i64); 5] = [(0, 450), (4, 400), (24, 300), (72, 150), (168, 0)];
/// The most points that an order type may give.
pub(crate) const TYPE_POINTS_MAX: i32 = 150;
/// The most points for waiting, one for each hour: no order waits for ever behind more important ones.
const AGE_POINTS_MAX: i64 = 100;

/// Computes the score of an order: tier of the customer, urgency, type and age, each between 0 and its greatest share,
/// which add up to [`SCORE_MAX`]. A score that a person has given counts instead until it expires.
pub fn compute(order: &Order, policy: &OrderPolicy, now: DateTime<Utc>) -> Priority {
    let components = vec![
        tier(order.terms.customer_tier.as_deref()),
        urgency(order, policy, now),
        order_type(policy),
        age(order, now),
    ];
    let sum: i32 = components.iter().map(|component| component.points).sum();
    let overridden = order
        .priority
        .overridden
        .clone()
        .filter(|overridden| now < overridden.expire_time);
    Priority {
        score: overridden
            .as_ref()
            .map_or(sum, |overridden| overridden.score)
            .clamp(0, SCORE_MAX),
        components,
        overridden,
    }
}

fn component(name: &str, points: i32, explanation: String) -> PriorityComponent {
    PriorityComponent {
        name: name.to_owned(),
        points,
        explanation,
    }
}

fn tier(tier: Option<&str>) -> PriorityComponent {
    let known = TIER_POINTS
        .iter()
        .find(|(name, _)| Some(*name) == tier)
        .map(|(_, points)| *points);
    let explanation = match (tier, known) {
        (Some(tier), Some(_)) => format!("customer of tier {tier}"),
        _ => "customer without a tier, as tier C".to_owned(),
    };
    component(
        "customer_tier",
        known.unwrap_or(NO_TIER_POINTS),
        explanation,
    )
}

/// When the goods are to be there, and who says so: what was promised before what was asked for before what the
/// policy promises.
fn due(order: &Order, policy: &OrderPolicy) -> (DateTime<Utc>, &'static str) {
    if let Some(promised) = order.promised_delivery_time {
        return (promised, "promised");
    }
    if let Some(window) = order.terms.delivery.requested_window {
        return (window.end, "requested");
    }
    let usual = TimeDelta::seconds(i64::from(policy.delivery_promise_seconds));
    (
        order
            .create_time
            .checked_add_signed(usual)
            .unwrap_or(order.create_time),
        "usual",
    )
}

fn urgency(order: &Order, policy: &OrderPolicy, now: DateTime<Utc>) -> PriorityComponent {
    let (due, whose) = due(order, policy);
    let slack = due.signed_duration_since(now);
    let explanation = if slack < TimeDelta::zero() {
        format!("{} h past the {whose} time", -slack.num_hours())
    } else {
        format!("{} h to the {whose} time", slack.num_hours())
    };
    component("urgency", urgency_points(slack), explanation)
}

/// Less slack never gives fewer points.
fn urgency_points(slack: TimeDelta) -> i32 {
    let minutes = slack.num_minutes();
    let points = URGENCY_POINTS
        .iter()
        .zip(URGENCY_POINTS.iter().skip(1))
        .find(|(_, (hours, _))| minutes < hours * 60)
        .map_or(0, |((from, high), (to, low))| {
            let into = (minutes - from * 60).max(0);
            high - (high - low) * into / ((to - from) * 60)
        });
    i32::try_from(points).unwrap_or(0)
}

fn order_type(policy: &OrderPolicy) -> PriorityComponent {
    component(
        "order_type",
        policy.priority_points.clamp(0, TYPE_POINTS_MAX),
        format!("order of type {}", policy.order_type),
    )
}

fn age(order: &Order, now: DateTime<Utc>) -> PriorityComponent {
    let hours = now
        .signed_duration_since(order.create_time)
        .num_hours()
        .max(0);
    component(
        "age",
        i32::try_from(hours.min(AGE_POINTS_MAX)).unwrap_or(0),
        format!("waiting for {hours} h"),
    )
}
