//! What is left when a customer's data are erased: goods, amounts, times and states. Whose they were is gone.

use chrono::{DateTime, Utc};

use crate::{
    code::codes,
    confirmation::RoundDetails,
    document::DeliveryNote,
    event::{EventDetails, EventKind, OrderEvent},
    ids::ErasureId,
    line::LineExtras,
    order::{Contact, Delivery, Order},
    place::PostalAddress,
};

/// Stands where words were that cannot be left empty.
pub const ERASED: &str = "erased";

codes! {
    /// How far an erasure has come.
    pub enum ErasureState {
        /// Answers that belong to no order are looked through for the customer's addresses.
        Replies = "REPLIES",
        /// Order by order.
        Orders = "ORDERS",
        /// Remembered calls and the customer's record; then everything is checked.
        Rest = "REST",
        /// Nothing is left.
        Done = "DONE",
    }
}

const PSEUDONYM: &str = "erased-";

/// What stands in the place of the customer's code. Nothing leads back from it.
pub fn pseudonym(id: ErasureId) -> String {
    format!("{PSEUDONYM}{}", id.as_uuid().simple())
}

/// Whether a customer's code stands there in the place of another one.
pub fn is_pseudonym(customer: &str) -> bool {
    customer
        .strip_prefix(PSEUDONYM)
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An order without its customer, and the event that says so.
pub fn erase_order(
    order: &Order,
    erasure: ErasureId,
    actor: &str,
    now: DateTime<Utc>,
) -> (Order, OrderEvent) {
    let mut erased = order.clone();
    erased.customer = pseudonym(erasure);
    erased.version += 1;
    erased.update_time = now;
    let terms = &mut erased.terms;
    terms.contact = Contact {
        display_name: ERASED.to_owned(),
        email: None,
        phone: None,
        preferred_channel: None,
    };
    terms.delivery = erase_delivery(&terms.delivery);
    terms.annotations.clear();
    for line in &mut erased.lines {
        line.extras = LineExtras::default();
    }
    let progress = &mut erased.progress;
    for hold in &mut progress.holds {
        hold.note.clear();
    }
    for finding in &mut progress.findings {
        ERASED.clone_into(&mut finding.message);
        finding.value.clear();
        finding.options.clear();
        finding.customer_message.clear();
    }
    if !progress.end_reason.is_empty() {
        ERASED.clone_into(&mut progress.end_reason);
    }
    progress.feedback_until = None;
    progress.erase_time = Some(now);
    if let Some(overridden) = &mut erased.priority.overridden {
        ERASED.clone_into(&mut overridden.reason);
    }
    let event = OrderEvent {
        order_id: order.id,
        version: erased.version,
        kind: EventKind::Erased,
        revision: order.revision,
        from_state: order.state,
        to_state: order.state,
        actor: actor.to_owned(),
        create_time: now,
        details: EventDetails {
            decided_by: erasure.resource_name(),
            ..EventDetails::default()
        },
    };
    (erased, event)
}

/// Only the country is left of where it went.
fn erase_delivery(delivery: &Delivery) -> Delivery {
    Delivery {
        address: PostalAddress {
            region_code: delivery.address.region_code.clone(),
            ..PostalAddress::default()
        },
        consignee: ERASED.to_owned(),
        phone: None,
        requested_window: None,
        wishes: String::new(),
    }
}

/// Whether nothing of the customer is left in an order.
pub fn is_clean(order: &Order) -> bool {
    let terms = &order.terms;
    order.is_erased()
        && terms.contact.display_name == ERASED
        && terms.contact.email.is_none()
        && terms.contact.phone.is_none()
        && terms.delivery == erase_delivery(&terms.delivery)
        && terms.annotations.is_empty()
        && order.lines.iter().all(|line| line.extras.is_empty())
}

/// A round of confirmation without what was said in it.
pub fn erase_round(details: &RoundDetails) -> RoundDetails {
    let mut erased = details.clone();
    if !erased.answered_by.is_empty() {
        ERASED.clone_into(&mut erased.answered_by);
    }
    if let Some(objection) = &mut erased.objection {
        objection.text.clear();
    }
    for late in &mut erased.late_answers {
        late.text.clear();
    }
    erased
}

/// A delivery note without whom it was for.
pub fn erase_note(note: &DeliveryNote) -> DeliveryNote {
    let mut erased = note.clone();
    erased.delivery = erase_delivery(&note.delivery);
    for line in &mut erased.lines {
        line.accessories.clear();
        line.processing_instructions.clear();
    }
    erased
}
