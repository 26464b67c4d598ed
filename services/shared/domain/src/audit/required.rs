//! Fields that a policy may ask for beyond those that every order has (R12).

use super::{AuditInput, facts::LineRecord};
use crate::{order::Order, policy::OrderPolicy};

type OrderField = (&'static str, fn(&Order) -> bool);
type LineField = (&'static str, fn(&crate::line::OrderLine) -> bool);

/// Paths in the order, each with whether it is filled.
const ORDER_FIELDS: &[OrderField] = &[
    ("contact.display_name", |order| {
        filled(&order.terms.contact.display_name)
    }),
    ("contact.email", |order| order.terms.contact.email.is_some()),
    ("contact.phone", |order| order.terms.contact.phone.is_some()),
    ("delivery.consignee", |order| {
        filled(&order.terms.delivery.consignee)
    }),
    ("delivery.phone", |order| {
        order.terms.delivery.phone.is_some()
    }),
    ("delivery.requested_window", |order| {
        order.terms.delivery.requested_window.is_some()
    }),
    ("delivery.wishes", |order| {
        filled(&order.terms.delivery.wishes)
    }),
    ("promised_delivery_time", |order| {
        order.promised_delivery_time.is_some()
    }),
    ("source_channel", |order| filled(&order.source_channel)),
    ("entered_by", |order| filled(&order.terms.entered_by)),
];

/// Paths in each line, each with whether it is filled.
const LINE_FIELDS: &[LineField] = &[
    ("lines.goods_name", |line| filled(&line.goods_name)),
    ("lines.specification", |line| filled(&line.specification)),
    ("lines.unit", |line| filled(&line.unit)),
    ("lines.customization", |line| {
        filled(&line.extras.customization)
    }),
    ("lines.processing_instructions", |line| {
        filled(&line.extras.processing_instructions)
    }),
    ("lines.accessories", |line| {
        !line.extras.accessories.is_empty()
    }),
];

/// Prefix of paths to what the sender notes on an order, under names of its own.
const ANNOTATION: &str = "annotations.";

fn filled(text: &str) -> bool {
    !text.trim().is_empty()
}

/// Every path that a policy may ask for; besides them `annotations.NAME` with any name.
pub(crate) fn known_paths() -> impl Iterator<Item = &'static str> {
    let order = ORDER_FIELDS.iter().map(|(path, _)| *path);
    order.chain(LINE_FIELDS.iter().map(|(path, _)| *path))
}

/// Whether a policy may ask for this path.
pub(crate) fn is_known_path(path: &str) -> bool {
    path.strip_prefix(ANNOTATION).is_some_and(filled) || known_paths().any(|known| known == path)
}

/// Paths of the order that its policy asks for and that are not filled.
pub(super) fn missing_in_order<'a>(input: &'a AuditInput<'a>) -> impl Iterator<Item = &'a str> {
    let order = input.order;
    asked(input.policy).filter(move |path| {
        if let Some(name) = path.strip_prefix(ANNOTATION) {
            return !order
                .terms
                .annotations
                .get(name)
                .is_some_and(|text| filled(text));
        }
        ORDER_FIELDS
            .iter()
            .any(|(known, is_filled)| known == path && !is_filled(order))
    })
}

/// Fields of the line, without `lines.`, that its policy asks for and that are not filled.
pub(super) fn missing_in_line(line: LineRecord<'_>) -> impl Iterator<Item = &str> {
    asked(line.policy)
        .filter(move |path| {
            LINE_FIELDS
                .iter()
                .any(|(known, is_filled)| known == path && !is_filled(line.line))
        })
        .filter_map(|path| path.strip_prefix("lines."))
}

fn asked(policy: &OrderPolicy) -> impl Iterator<Item = &str> {
    policy.required_fields.iter().map(String::as_str)
}
