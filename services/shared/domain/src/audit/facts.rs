//! What expressions and message texts may name, computed from the order when it is asked for and not before.
//!
//! No phone number, e-mail address, name or address of a person is among the facts: findings are for everybody.

use std::borrow::Cow;

use super::{AuditInput, Duplicate, LineFacts, fact::Fact};
use crate::{
    line::OrderLine,
    money::Money,
    order::{Order, OrderState, PaymentMethod, TransactionType},
    policy::OrderPolicy,
};

/// Makes the list of names and the look-up from one table.
macro_rules! facts {
    ($names:ident, fn $look_up:ident($subject:ident: $subject_type:ty): $($name:literal => $value:expr,)+) => {
        pub(super) const $names: &[&str] = &[$($name,)+];

        fn $look_up<'a>($subject: $subject_type, name: &str) -> Option<Fact<'a>> {
            Some(match name {
                $($name => Fact::from($value),)+
                _ => return None,
            })
        }
    };
}

facts! { ORDER_FACTS, fn order_fact(input: &'a AuditInput<'a>):
    "order_type" => input.order.order_type.as_str(),
    "transaction_type" => input.order.terms.transaction_type.as_str(),
    "source_channel" => input.order.source_channel.as_str(),
    "caller" => input.order.caller.as_str(),
    "client_reference" => input.order.client_reference.as_str(),
    "customer" => input.order.customer.as_str(),
    "customer_tier" => input.order.terms.customer_tier.as_deref(),
    "revision" => input.order.revision,
    "currency" => input.order.total.currency.code(),
    "total" => input.order.total,
    "total_minor" => input.order.total.minor,
    "freight_minor" => input.order.terms.freight_minor,
    "discount_minor" => input.order.terms.discount_minor,
    "lines_total_minor" => lines_total(input.order),
    // Lines + freight − discount; absent where the currencies differ or the sum is beyond all bounds.
    "expected_total_minor" => expected_total(input.order).map(|total| total.minor),
    "expected_total" => expected_total(input.order),
    "total_matches" => expected_total(input.order) == Some(input.order.total),
    "line_count" => input.order.lines.len(),
    "payment_method" => input.order.terms.payment_method.as_str(),
    "payment_allowed" => input.policy.payment_methods.contains(&input.order.terms.payment_method),
    "on_account" => on_account(input.order),
    "credit_exceeded" => credit_exceeded(input),
    "above_auto_approve_max" => above_auto_approve_max(input),
    "shortage_policy" => input.order.terms.shortage_policy.as_str(),
    "has_email" => input.order.terms.contact.email.is_some(),
    "has_phone" => input.order.customer_phone().is_some(),
    "has_delivery_phone" => input.order.terms.delivery.phone.is_some(),
    // By any channel that the policy uses.
    "reachable" => input.policy.channel_plan.iter().any(|channel| input.order.reachable_by(*channel)),
    "country" => input.order.terms.delivery.address.region_code.as_str(),
    "address_deliverable" => input.order.terms.delivery.address.is_deliverable(),
    "address_problems" => address_problems(input.order),
    "consignee_given" => !input.order.terms.delivery.consignee.trim().is_empty(),
    "missing_field" => super::required::missing_in_order(input).next(),
    "missing_fields" => super::required::missing_in_order(input).map(Cow::Borrowed).collect::<Vec<_>>(),
    "requested_start" => input.order.terms.delivery.requested_window.map(|window| window.start),
    "requested_end" => input.order.terms.delivery.requested_window.map(|window| window.end),
    // True where no window is asked for.
    "window_feasible" => window_problem(input).is_none(),
    "window_problem" => window_problem(input),
    "promised_delivery_time" => input.order.promised_delivery_time,
    "place_time" => input.order.terms.place_time.unwrap_or(input.order.create_time),
    "create_time" => input.order.create_time,
    "is_duplicate" => input.duplicate_of.is_some(),
    "duplicate_of" => input.duplicate_of.map(Duplicate::shown),
    "has_handler" => input.order.handler.is_some(),
    "annotations" => &input.order.terms.annotations,
}

facts! { CUSTOMER_FACTS, fn customer_fact(input: &'a AuditInput<'a>):
    "known" => input.customer.is_some(),
    "blocked" => input.customer.is_some_and(|customer| customer.blocked),
    "block_reason" => block_reason(input),
    "code" => input.order.customer.as_str(),
    "tier" => input.customer.and_then(|customer| customer.profile.tier.as_deref()),
    "delivery_area" => input.customer.map(|customer| customer.profile.delivery_area.as_str()),
    "has_credit_limit" => input.customer.is_some_and(|customer| customer.credit_limit.is_some()),
    "credit_limit" => input.customer.and_then(|customer| customer.credit_limit),
    "credit_limit_minor" => input.customer.and_then(|customer| customer.credit_limit).map(|limit| limit.minor),
    // What is owed besides this order.
    "credit_exposure_minor" => other_debt(input),
}

facts! { STOCK_FACTS, fn stock_fact(input: &'a AuditInput<'a>):
    "all_stocked" => records(input).all(|line| line.facts.stocked),
    "all_available" => records(input).all(|line| line.missing() == 0),
    "lines_not_stocked" => records(input).filter(|line| !line.facts.stocked).count(),
    "lines_short" => records(input).filter(|line| line.missing() > 0).count(),
}

facts! { POLICY_FACTS, fn policy_fact(policy: &'a OrderPolicy):
    "order_type" => policy.order_type.as_str(),
    "version" => policy.version,
    "display_name" => policy.display_name.as_str(),
    "auto_approve" => policy.auto_approve,
    "auto_approve_total_max" => policy.auto_approve_total_max,
    "confirmation_mode" => policy.confirmation_mode.as_str(),
    "handler_required" => policy.handler_required,
    "unknown_customers" => policy.unknown_customers,
    "price_tolerance_percent" => policy.price_tolerance_percent,
    "payment_methods" => policy.payment_methods.iter().map(|method| Cow::Borrowed(method.as_str())).collect::<Vec<_>>(),
}

facts! { LINE_FACTS, fn line_fact(line: LineRecord<'a>):
    "line_number" => line.line.line_number,
    "sku" => line.line.sku.as_str(),
    "goods_name" => line.line.goods_name.as_str(),
    "specification" => line.line.specification.as_str(),
    "unit" => line.line.unit.as_str(),
    "customization" => line.line.extras.customization.as_str(),
    "quantity" => line.line.counters.wanted(),
    "currency" => line.line.unit_price.currency.code(),
    "unit_price" => line.line.unit_price,
    "unit_price_minor" => line.line.unit_price.minor,
    "list_price" => line.facts.list_price,
    "list_price_minor" => line.facts.list_price.map(|price| price.minor),
    // How far the unit price is from the list price either way; 0 where the goods are in no list.
    "price_deviation_percent" => line.price_deviation_percent(),
    // Further from the list price than the policy allows.
    "price_off" => line.price_off(),
    "stocked" => line.facts.stocked,
    "available" => line.facts.available,
    "reserved" => line.line.counters.reserved,
    // How many units are asked for beyond what is available.
    "missing" => line.missing(),
    // Kept by a warehouse, but not enough of it.
    "short" => line.facts.stocked && line.missing() > 0,
    "product_known" => line.facts.product.is_some(),
    "discontinued" => line.facts.product.as_ref().is_some_and(|product| product.profile.discontinued),
    // 0 is no limit.
    "usual_quantity_max" => line.usual_quantity_max(),
    "unusual_quantity" => line.usual_quantity_max() > 0 && line.line.counters.wanted() > line.usual_quantity_max(),
    "missing_field" => super::required::missing_in_line(line).next(),
    "missing_fields" => super::required::missing_in_line(line).map(Cow::Borrowed).collect::<Vec<_>>(),
}

/// A line, what is known about it and the policy that it is judged by.
#[derive(Clone, Copy)]
pub(super) struct LineRecord<'a> {
    pub(super) index: usize,
    pub(super) line: &'a OrderLine,
    pub(super) facts: &'a LineFacts,
    pub(super) order: &'a Order,
    pub(super) policy: &'a OrderPolicy,
}

/// What is known of a line about which the caller said nothing: nothing.
static NOTHING_KNOWN: LineFacts = LineFacts {
    product: None,
    list_price: None,
    stocked: false,
    available: 0,
};

/// The lines with what is known about them.
pub(super) fn records<'a>(input: &'a AuditInput<'a>) -> impl Iterator<Item = LineRecord<'a>> {
    let known = input.lines.iter().chain(std::iter::repeat(&NOTHING_KNOWN));
    input
        .order
        .lines
        .iter()
        .zip(known)
        .enumerate()
        .map(|(index, (line, facts))| LineRecord {
            index,
            line,
            facts,
            order: input.order,
            policy: input.policy,
        })
}

impl LineRecord<'_> {
    fn missing(&self) -> i64 {
        let counters = &self.line.counters;
        if self.order.terms.transaction_type == TransactionType::Indirect {
            return 0;
        }
        let promised = self.facts.available.max(counters.reserved).max(0);
        (counters.wanted() - counters.shipped - promised).max(0)
    }

    fn usual_quantity_max(&self) -> i64 {
        self.facts
            .product
            .as_ref()
            .map_or(0, |product| product.profile.usual_quantity_max)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a percentage for people and coarse rules; `price_off` is exact"
    )]
    fn price_deviation_percent(&self) -> f64 {
        let Some(list) = self.facts.list_price else {
            return 0.0;
        };
        let off = self.line.unit_price.minor.abs_diff(list.minor);
        match (off, list.minor) {
            (0, _) => 0.0,
            (_, 0) => f64::INFINITY,
            (off, list) => off as f64 * 100.0 / list.unsigned_abs() as f64,
        }
    }

    fn price_off(&self) -> bool {
        self.facts.list_price.is_some_and(|list| {
            let price = self.line.unit_price;
            let off = u128::from(price.minor.abs_diff(list.minor)) * 100;
            let allowed = u128::from(list.minor.unsigned_abs())
                * u128::from(self.policy.price_tolerance_percent);
            price.currency != list.currency || off > allowed
        })
    }
}

/// What an expression may name before the first dot.
#[derive(Clone, Copy)]
pub(super) enum Record<'a> {
    Order(&'a AuditInput<'a>),
    Customer(&'a AuditInput<'a>),
    Stock(&'a AuditInput<'a>),
    Policy(&'a OrderPolicy),
    Line(LineRecord<'a>),
}

impl<'a> Record<'a> {
    /// The record that a name stands for; `line` only where a rule is held against a line.
    pub(super) fn named(
        name: &str,
        input: &'a AuditInput<'a>,
        line: Option<LineRecord<'a>>,
    ) -> Option<Self> {
        match name {
            "order" => Some(Self::Order(input)),
            "customer" => Some(Self::Customer(input)),
            "stock" => Some(Self::Stock(input)),
            "policy" => Some(Self::Policy(input.policy)),
            "line" => line.map(Self::Line),
            _ => None,
        }
    }

    /// One of its facts.
    pub(super) fn fact(self, name: &str) -> Option<Fact<'a>> {
        match self {
            Self::Order(input) => order_fact(input, name),
            Self::Customer(input) => customer_fact(input, name),
            Self::Stock(input) => stock_fact(input, name),
            Self::Policy(policy) => policy_fact(policy, name),
            Self::Line(line) => line_fact(line, name),
        }
    }
}

/// The facts of a record, by its name; nothing for other names.
pub(super) fn fact_names(record: &str) -> Option<&'static [&'static str]> {
    match record {
        "order" => Some(ORDER_FACTS),
        "customer" => Some(CUSTOMER_FACTS),
        "stock" => Some(STOCK_FACTS),
        "policy" => Some(POLICY_FACTS),
        "line" => Some(LINE_FACTS),
        _ => None,
    }
}

fn block_reason<'a>(input: &AuditInput<'a>) -> Option<&'a str> {
    let reason = input.customer?.profile.block_reason.as_str();
    Some(if reason.trim().is_empty() {
        "no reason on record"
    } else {
        reason
    })
}

fn lines_total(order: &Order) -> i64 {
    order
        .lines
        .iter()
        .map(|line| line.unit_price.minor.saturating_mul(line.counters.wanted()))
        .fold(0, i64::saturating_add)
}

fn expected_total(order: &Order) -> Option<Money> {
    let currency = order.total.currency;
    let mut sum = order
        .terms
        .freight_minor
        .checked_sub(order.terms.discount_minor)?;
    for line in &order.lines {
        if line.unit_price.currency != currency {
            return None;
        }
        let price = line.unit_price.minor.checked_mul(line.counters.wanted())?;
        sum = sum.checked_add(price)?;
    }
    Some(Money::new(sum, currency))
}

fn on_account(order: &Order) -> bool {
    order.terms.payment_method == PaymentMethod::OnAccount
}

/// What the customer owes besides this order, minor units. Once an order is taken in, its customer's debt has it in it.
fn other_debt(input: &AuditInput<'_>) -> i64 {
    let own = if input.order.state == OrderState::Received || !on_account(input.order) {
        0
    } else {
        input.order.total.minor
    };
    input.customer.map_or(0, |customer| {
        customer.credit_exposure_minor.saturating_sub(own)
    })
}

/// Whether the order would take its customer beyond the credit limit on record (T3).
fn credit_exceeded(input: &AuditInput<'_>) -> bool {
    let limit = input.customer.and_then(|customer| customer.credit_limit);
    on_account(input.order)
        && limit.is_some_and(|limit| {
            limit.currency != input.order.total.currency
                || other_debt(input).saturating_add(input.order.total.minor) > limit.minor
        })
}

fn above_auto_approve_max(input: &AuditInput<'_>) -> bool {
    input.policy.auto_approve_total_max.is_some_and(|max| {
        max.currency == input.order.total.currency && input.order.total.minor > max.minor
    })
}

fn address_problems(order: &Order) -> String {
    order
        .terms
        .delivery
        .address
        .delivery_problems()
        .iter()
        .map(|problem| format!("{} {problem}", problem.field()))
        .collect::<Vec<_>>()
        .join("; ")
}

fn window_problem(input: &AuditInput<'_>) -> Option<&'static str> {
    let window = input.order.terms.delivery.requested_window?;
    if window.end <= input.now {
        Some("it is over")
    } else if window.start >= window.end {
        Some("it ends before it starts")
    } else {
        None
    }
}
