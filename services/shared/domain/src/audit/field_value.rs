//! What stood in the field that a finding names. Of personal fields only whether something was given.

use super::{
    AuditInput,
    facts::{LineRecord, Record},
};
use crate::order::Order;

/// A finding shows no more than this of a value.
pub(super) const VALUE_CHARS_MAX: usize = 200;

/// What stood in a field of the order or of one of its lines; empty where that cannot be told.
pub(super) fn value_of(path: &str, input: &AuditInput<'_>, line: Option<LineRecord<'_>>) -> String {
    let value = match (path.split_once("].").map(|(_, name)| name), line) {
        (Some(name), Some(line)) => line_value(name, line),
        (Some(_), None) => String::new(),
        (None, _) => order_value(path, input),
    };
    cut(&value)
}

/// At most [`VALUE_CHARS_MAX`] characters.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(VALUE_CHARS_MAX).collect()
}

fn given(is_given: bool) -> String {
    if is_given { "(given)" } else { "(missing)" }.to_owned()
}

/// Whether a personal field is filled; nothing for other fields.
fn personal(path: &str, order: &Order) -> Option<bool> {
    let (contact, delivery) = (&order.terms.contact, &order.terms.delivery);
    Some(match path {
        "contact.email" => contact.email.is_some(),
        "contact.phone" => contact.phone.is_some(),
        "contact.display_name" => !contact.display_name.trim().is_empty(),
        "contact" => contact.email.is_some() || contact.phone.is_some(),
        "delivery.phone" => delivery.phone.is_some(),
        "delivery.consignee" => !delivery.consignee.trim().is_empty(),
        "delivery.wishes" => !delivery.wishes.trim().is_empty(),
        "delivery.address" | "delivery" => !delivery.address.is_empty(),
        _ if path.starts_with("delivery.address.") => !delivery.address.is_empty(),
        _ => return None,
    })
}

fn order_value(path: &str, input: &AuditInput<'_>) -> String {
    let order = input.order;
    if let Some(is_given) = personal(path, order) {
        return given(is_given);
    }
    if let Some(name) = path.strip_prefix("annotations.") {
        // Whatever the sender keeps there may be personal.
        return given(order.terms.annotations.contains_key(name));
    }
    match path {
        "delivery.requested_window" => {
            order
                .terms
                .delivery
                .requested_window
                .map_or_else(String::new, |window| {
                    format!(
                        "{} to {}",
                        window.start.to_rfc3339(),
                        window.end.to_rfc3339()
                    )
                })
        }
        "handler" => order.handler.clone().unwrap_or_default(),
        _ => Record::Order(input)
            .fact(path)
            .map(|fact| fact.text())
            .unwrap_or_default(),
    }
}

fn line_value(name: &str, line: LineRecord<'_>) -> String {
    match name {
        "accessories" => line.line.extras.accessories.join(", "),
        "processing_instructions" => line.line.extras.processing_instructions.clone(),
        _ => Record::Line(line)
            .fact(name)
            .map(|fact| fact.text())
            .unwrap_or_default(),
    }
}
