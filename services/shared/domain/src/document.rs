//! Documents of the formal order: delivery note (R26) and service pack (R28). Snapshots, never changed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ids::OrderId,
    money::Money,
    number::OrderNumber,
    order::{Delivery, Order, PaymentMethod},
    policy::OrderPolicy,
};

/// What is to be delivered, as it stood when the order was confirmed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryNote {
    /// Whose.
    pub order_id: OrderId,
    /// The formal number.
    pub order_number: OrderNumber,
    /// Revision that it shows; with the order it names the note.
    pub revision: u32,
    /// Where, to whom and how.
    pub delivery: Delivery,
    /// What was promised.
    pub promised_delivery_time: Option<DateTime<Utc>>,
    /// How the customer pays.
    pub payment_method: PaymentMethod,
    /// Order total.
    pub total: Money,
    /// What the driver collects, minor units of the total's currency.
    pub collect_minor: i64,
    /// The goods.
    pub lines: Vec<DeliveryNoteLine>,
    /// When it was made.
    pub create_time: DateTime<Utc>,
}

/// One line of goods on a delivery note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryNoteLine {
    /// Line of the order.
    pub line_number: u32,
    /// Article number.
    pub sku: String,
    /// Name of the goods.
    pub goods_name: String,
    /// Size, colour, model.
    pub specification: String,
    /// Units.
    pub quantity: i64,
    /// Name of the unit.
    pub unit: String,
    /// Parts that must come with the goods.
    pub accessories: Vec<String>,
    /// Wishes for the warehouse.
    pub processing_instructions: String,
    /// Where the goods lie.
    pub warehouse: Option<String>,
}

impl DeliveryNote {
    /// Takes the picture of a confirmed order.
    pub(crate) fn of(order: &Order, order_number: OrderNumber, now: DateTime<Utc>) -> Self {
        let collect = matches!(order.terms.payment_method, PaymentMethod::CashOnDelivery);
        Self {
            order_id: order.id,
            order_number,
            revision: order.revision,
            delivery: order.terms.delivery.clone(),
            promised_delivery_time: order.promised_delivery_time,
            payment_method: order.terms.payment_method,
            total: order.total,
            collect_minor: if collect { order.total.minor } else { 0 },
            lines: order
                .lines
                .iter()
                .filter(|line| line.counters.wanted() > 0)
                .map(|line| DeliveryNoteLine {
                    line_number: line.line_number,
                    sku: line.sku.clone(),
                    goods_name: line.goods_name.clone(),
                    specification: line.specification.clone(),
                    quantity: line.counters.wanted(),
                    unit: line.unit.clone(),
                    accessories: line.extras.accessories.clone(),
                    processing_instructions: line.extras.processing_instructions.clone(),
                    warehouse: line.warehouse.clone(),
                })
                .collect(),
            create_time: now,
        }
    }
}

/// What after-sales needs to answer fast, made in advance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePack {
    /// Whose.
    pub order_id: OrderId,
    /// The formal number.
    pub order_number: OrderNumber,
    /// Terms that hold for the order type.
    pub terms: Vec<String>,
    /// Per line with a warranty.
    pub warranties: Vec<Warranty>,
    /// Days in which goods may be sent back without a reason, from delivery on.
    pub return_days: u32,
    /// Last instant of that time, counted from the promised delivery.
    pub return_end_time: Option<DateTime<Utc>>,
    /// When it was made.
    pub create_time: DateTime<Utc>,
}

/// Warranty of a line's goods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warranty {
    /// Line of the order.
    pub line_number: u32,
    /// Article number.
    pub sku: String,
    /// From delivery on.
    pub months: u32,
}

impl ServicePack {
    /// Puts together what the policy and the products say. `warranty_months` answers by SKU; 0 is none.
    pub(crate) fn of(
        order: &Order,
        order_number: OrderNumber,
        policy: &OrderPolicy,
        warranty_months: impl Fn(&str) -> u32,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            order_id: order.id,
            order_number,
            terms: policy.service_terms.clone(),
            warranties: order
                .lines
                .iter()
                .filter_map(|line| {
                    let months = warranty_months(&line.sku);
                    (months > 0).then(|| Warranty {
                        line_number: line.line_number,
                        sku: line.sku.clone(),
                        months,
                    })
                })
                .collect(),
            return_days: policy.return_days,
            return_end_time: order
                .promised_delivery_time
                .map(|promised| promised + chrono::Duration::days(i64::from(policy.return_days))),
            create_time: now,
        }
    }
}

crate::hidden::hidden!(DeliveryNote, ServicePack);
