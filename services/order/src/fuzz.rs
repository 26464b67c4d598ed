//! Everything of this crate that reads what callers send, as functions of bytes; see [`countersign_domain::fuzz`].

use chrono::{DateTime, Utc};
use countersign_domain::{
    audit::RuleSet,
    audit::default_rules,
    decide::{Change, Context, Facts, NewOrder, judge},
    fuzz::Entry,
    ids::{HoldId, OrderId},
    order::{Order, OrderState},
    policy::{OrderPolicy, default_policies},
    secrets::LinkKey,
    stock_book::StockBook,
};
use countersign_proto::v1;
use prost::Message;
use std::sync::LazyLock;
use uuid::Uuid;

use crate::{
    app::{filter, idempotency::CallKey, order_by, page},
    convert::{
        self, confirmation, feedback,
        intake::{Sender, new_order},
        policy,
    },
    error::{ServiceError, Violations},
    grpc::{
        catalog::convert::{read_price, read_product},
        commands::amend::amendment,
    },
};

/// The readers of this crate.
pub const ENTRIES: [Entry; 4] = [
    ("create_order", create_order),
    ("request", request),
    ("audit_rule", audit_rule),
    ("list", list),
];

/// What clients take of headers, in which errors travel.
const HEADER_BYTES_MAX: usize = 8 * 1024;

const SENDER: Sender<'_> = Sender {
    caller: "shop",
    default_region: None,
};

static RULES: LazyLock<RuleSet> =
    LazyLock::new(|| RuleSet::compile(&default_rules()).unwrap_or_default());
/// An order to hold rules against and to amend.
static SAMPLE: LazyLock<Option<NewOrder>> = LazyLock::new(|| taken(&sample()));
static ORDER: LazyLock<Option<Order>> =
    LazyLock::new(|| Some(judged(SAMPLE.as_ref()?, &RULES)?.order));
static POLICIES: LazyLock<Vec<OrderPolicy>> = LazyLock::new(default_policies);

/// What became of an order of a stranger, if it could be taken.
fn taken(request: &v1::CreateOrderRequest) -> Option<NewOrder> {
    let mut violations = Violations::new();
    let order = violations.require("order", request.order.as_ref());
    let new = order.and_then(|order| new_order(order, "order", &SENDER, &mut violations));
    let is_refused = !violations.is_empty();
    assert!(is_refused || new.is_some(), "refused without saying why");
    if let Err(error) = violations.check() {
        is_told(error);
    }
    new.filter(|_| !is_refused)
}

/// See [`is_told`].
fn told<T>(read: Result<T, ServiceError>) {
    if let Err(error) = read {
        is_told(error);
    }
}

/// An error reaches its caller: whatever it repeats of the call, it fits into the headers that it travels in.
fn is_told(error: ServiceError) {
    let status = tonic::Status::from(error);
    // Percent-encoded, and in base64.
    let message: usize = status
        .message()
        .bytes()
        .map(|byte| if byte.is_ascii_graphic() { 1 } else { 3 })
        .sum();
    let details = status.details().len().div_ceil(3) * 4;
    assert!(
        message + details <= HEADER_BYTES_MAX,
        "{message} + {details}"
    );
}

/// The decision on it, with these rules.
fn judged(new: &NewOrder, rules: &RuleSet) -> Option<Change> {
    let now = DateTime::<Utc>::from_timestamp(1_795_000_000, 0)?;
    let policy = POLICIES
        .iter()
        .find(|policy| policy.order_type == new.order_type)
        .or_else(|| POLICIES.first())?;
    let mut facts = Facts {
        policy,
        rules,
        customer: None,
        product: &|_| None,
        prices: &|_| None,
        stock: &mut StockBook::new([]),
        duplicate_of: None,
        link_key: &LinkKey::new(&[7; 32]).ok()?,
        hold_id: &mut || HoldId::from_uuid(Uuid::from_u128(1)),
    };
    let context = Context {
        now,
        actor: "shop",
        request_id: "fuzz",
        traceparent: None,
    };
    let id = OrderId::from_uuid(Uuid::from_u128(2));
    judge(id, new, &mut facts, &context).ok()
}

/// From the bytes of a call to the decision on its order and the answer.
fn create_order(bytes: &[u8]) {
    let Ok(request) = v1::CreateOrderRequest::decode(bytes) else {
        return;
    };
    CallKey::of("shop", "CreateOrder", &request).ok();
    let Some(new) = taken(&request) else { return };
    new.content_hash();
    let Some(change) = judged(&new, &RULES) else {
        return;
    };
    assert_ne!(change.order.state, OrderState::Received, "nothing decided");
    let mut answer = convert::order::to_proto(&change.order);
    let kept = convert::order::to_memory(&mut answer);
    let again = v1::Order::decode(kept.as_slice()).map(convert::order::from_memory);
    assert_eq!(
        again.ok().map(|it| it.name),
        Some(answer.name),
        "remembered"
    );
    convert::order::event_to_proto(&change.event);
}

/// Calls besides the taking in of orders. The first byte tells which.
fn request(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else {
        return;
    };
    let mut violations = Violations::new();
    match which % 8 {
        0 => with(rest, |it: v1::RecordTrackingEventRequest| {
            let event = it.event.unwrap_or_default();
            confirmation::tracking_from_proto(&event, &mut violations);
        }),
        1 => with(rest, |it: v1::RecordFeedbackRequest| {
            feedback::from_proto(&it.feedback.unwrap_or_default(), &mut violations);
        }),
        2 => with(rest, |it: v1::OrderPolicy| {
            let order_type = it.name.strip_prefix("orderPolicies/").unwrap_or("OTHER");
            match policy::read_policy(&it, order_type, "policy.name", 1) {
                Ok(read) => drop(policy::policy_to_proto(&read, DateTime::UNIX_EPOCH)),
                Err(error) => is_told(error),
            }
        }),
        3 => with(rest, |it: v1::AuditRule| {
            match policy::read_rule(&it, "a-rule", "audit_rule.name", 1) {
                Ok(read) => drop(policy::rule_to_proto(&read)),
                Err(error) => is_told(error),
            }
        }),
        4 => with(rest, |it: v1::Product| {
            told(read_product("SKU-1", "product.name", &it));
        }),
        5 => with(rest, |it: v1::Price| {
            told(read_price(&it));
        }),
        6 => with(rest, |it: v1::BatchCreateOrdersRequest| {
            for request in it.requests.iter().take(4) {
                taken(request);
            }
        }),
        _ => with(rest, |it: v1::AmendOrderRequest| {
            if let Some(before) = ORDER.as_ref() {
                amendment(&it, before, &SENDER, &mut violations);
            }
            told(CallKey::of("shop", "AmendOrder", &it));
        }),
    }
    if let Err(error) = violations.check() {
        is_told(error);
    }
}

fn with<M: Message + Default>(bytes: &[u8], read: impl FnOnce(M)) {
    if let Ok(message) = M::decode(bytes) {
        read(message);
    }
}

/// A rule's expression, a line of zeros between, its message: compiled and held against an order.
fn audit_rule(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (expression, message) = text.split_once('\0').unwrap_or((&text, "broken"));
    let given = v1::AuditRule {
        dimension: v1::AuditDimension::Accuracy.into(),
        severity: v1::FindingSeverity::Review.into(),
        expression: expression.to_owned(),
        message: message.to_owned(),
        field: "lines[].quantity".to_owned(),
        enabled: true,
        ..v1::AuditRule::default()
    };
    let Ok(rule) = policy::read_rule(&given, "a-rule", "audit_rule.name", 1) else {
        return;
    };
    if let (Ok(rules), Some(new)) = (RuleSet::compile(&[rule]), SAMPLE.as_ref()) {
        judged(new, &rules);
    }
}

/// An order as a caller may send it.
fn sample() -> v1::CreateOrderRequest {
    let yuan = |units| countersign_proto::common::Money {
        currency_code: "CNY".to_owned(),
        units,
        nanos: 0,
    };
    let line = |sku: &str, quantity, price| v1::OrderLine {
        sku: sku.to_owned(),
        goods_name: "Kettle".to_owned(),
        quantity,
        unit: "piece".to_owned(),
        unit_price: Some(yuan(price)),
        ..v1::OrderLine::default()
    };
    let order = v1::Order {
        client_reference: "REF-1".to_owned(),
        order_type: "ECOMMERCE".to_owned(),
        customer: "customers/C-1".to_owned(),
        source_channel: "web".to_owned(),
        total: Some(yuan(298)),
        payment_method: v1::PaymentMethod::CashOnDelivery.into(),
        contact: Some(v1::Contact {
            display_name: "A. Customer".to_owned(),
            email: "a.customer@customer.example".to_owned(),
            phone: "+8613800138000".to_owned(),
            ..v1::Contact::default()
        }),
        delivery: Some(v1::Delivery {
            address: Some(countersign_proto::common::PostalAddress {
                region_code: "CN".to_owned(),
                postal_code: "200000".to_owned(),
                administrative_area: "Shanghai".to_owned(),
                locality: "Shanghai".to_owned(),
                address_lines: vec!["1 Example Road".to_owned()],
                ..countersign_proto::common::PostalAddress::default()
            }),
            consignee: "A. Customer".to_owned(),
            phone: "+8613800138000".to_owned(),
            ..v1::Delivery::default()
        }),
        lines: vec![line("KETTLE-1", 1, 99), line("KETTLE-2", 1, 199)],
        ..v1::Order::default()
    };
    v1::CreateOrderRequest {
        order: Some(order),
        request_id: "0198c0de-0000-4000-8000-000000000001".to_owned(),
        validate_only: false,
    }
}

/// Filters, sequences and tokens of lists.
fn list(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    told(filter::parse(&text));
    told(filter::parse_feedback(&text));
    told(order_by::parse(&text));
    is_told(ServiceError::not_found(text.as_ref()));
    if let Ok(Some(key)) = page::read(&text, "orders") {
        assert_eq!(
            page::read(&page::token(key, "orders"), "orders").ok(),
            Some(Some(key))
        );
    }
    page::read_key::<(String, i64)>(&text, "prices").ok();
    page::read_key::<(i64, Uuid)>(&text, "feedback").ok();
    page::read_key::<String>(&text, "products").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_taken_and_judged() {
        let new = taken(&sample()).unwrap();
        let change = judged(&new, &RULES).unwrap();
        assert_ne!(change.order.state, OrderState::Received);
    }
}
