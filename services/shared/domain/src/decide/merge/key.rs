//! What must be the same for orders to go together.

use std::collections::BTreeSet;

use super::{MergeRefusal, Stage, everybody};
use crate::{
    decide::{Action, Facts},
    money::Money,
    order::{Order, Terms, TimeWindow},
};

/// Lines of an order at most.
const LINES_MAX: usize = 1_000;

/// Terms and total of the orders together, or everything that keeps them apart.
pub(super) fn put_together(
    survivor: &Order,
    others: &[Order],
    facts: &Facts<'_>,
) -> Result<(Terms, Money), Vec<MergeRefusal>> {
    let mut refusals = Vec::new();
    let mut refuse = |order: &Order, field: &'static str, description: String| {
        refusals.push(MergeRefusal {
            order: order.id,
            field,
            description,
        });
    };
    if !facts.policy.mergeable {
        let text = format!(
            "the policy of {} does not let orders be merged",
            survivor.order_type
        );
        refuse(survivor, "order_type", text);
    }
    for order in everybody(survivor, others) {
        if Stage::of(order.state).is_none() {
            let states: Vec<&str> = Action::MergeOrders
                .states()
                .iter()
                .map(|state| state.as_str())
                .collect();
            let text = format!("must be one of {}, is {}", states.join(", "), order.state);
            refuse(order, "state", text);
        }
        if !order.progress.holds.is_empty() {
            refuse(order, "holds", "must be released first".to_owned());
        }
        if order.lines.iter().any(|line| line.counters.picked > 0) {
            refuse(order, "lines", "picking has begun".to_owned());
        }
    }
    let mut terms = survivor.terms.clone();
    let mut total = Some(survivor.total);
    let mut lines = survivor.lines.len();
    let mut seen = BTreeSet::from([survivor.id]);
    for other in others {
        if !seen.insert(other.id) {
            refuse(other, "name", "must be named once".to_owned());
            continue;
        }
        if Stage::of(other.state) != Stage::of(survivor.state) {
            let text = format!(
                "must have come as far as the surviving order, which is {}; is {}",
                survivor.state, other.state
            );
            refuse(other, "state", text);
        }
        for field in differing(survivor, other) {
            refuse(
                other,
                field,
                "must be the same as that of the surviving order".to_owned(),
            );
        }
        let window = &mut terms.delivery.requested_window;
        match common(*window, other.terms.delivery.requested_window) {
            Ok(both) => *window = both,
            Err(()) => refuse(
                other,
                "delivery.requested_window",
                "must overlap with that of the orders before it".to_owned(),
            ),
        }
        terms.freight_minor = terms
            .freight_minor
            .saturating_add(other.terms.freight_minor);
        terms.discount_minor = terms
            .discount_minor
            .saturating_add(other.terms.discount_minor);
        lines += other.lines.len();
        total = total.and_then(|total| total.checked_add(other.total).ok());
    }
    if lines > LINES_MAX {
        let text = format!("must be at most {LINES_MAX} together");
        refuse(survivor, "lines", text);
    }
    match total {
        Some(total) if refusals.is_empty() => Ok((terms, total)),
        Some(_) => Err(refusals),
        None => {
            // Another currency is told already.
            if refusals.is_empty() {
                refusals.push(MergeRefusal {
                    order: survivor.id,
                    field: "total",
                    description: "would be too large together".to_owned(),
                });
            }
            Err(refusals)
        }
    }
}

/// Fields of the key in which two orders differ: what goes to one door, to one person, paid in one way.
fn differing(survivor: &Order, other: &Order) -> Vec<&'static str> {
    let (a, b) = (&survivor.terms, &other.terms);
    [
        ("customer", survivor.customer != other.customer),
        ("order_type", survivor.order_type != other.order_type),
        ("transaction_type", a.transaction_type != b.transaction_type),
        ("contact", a.contact != b.contact),
        ("delivery.address", a.delivery.address != b.delivery.address),
        (
            "delivery.consignee",
            a.delivery.consignee != b.delivery.consignee,
        ),
        ("delivery.phone", a.delivery.phone != b.delivery.phone),
        ("delivery.wishes", a.delivery.wishes != b.delivery.wishes),
        ("payment_method", a.payment_method != b.payment_method),
        ("shortage_policy", a.shortage_policy != b.shortage_policy),
        ("total", survivor.total.currency != other.total.currency),
    ]
    .into_iter()
    .filter_map(|(field, differs)| differs.then_some(field))
    .collect()
}

/// The time that suits both; no window suits every other.
fn common(a: Option<TimeWindow>, b: Option<TimeWindow>) -> Result<Option<TimeWindow>, ()> {
    let (Some(first), Some(second)) = (a, b) else {
        return Ok(a.or(b));
    };
    let both = TimeWindow {
        start: first.start.max(second.start),
        end: first.end.min(second.end),
    };
    if both.start < both.end {
        Ok(Some(both))
    } else {
        Err(())
    }
}
