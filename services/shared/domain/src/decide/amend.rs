//! Changing an order that has not left yet: a new revision, judged and confirmed anew.

use super::{
    Action, Change, Context, Decision, Facts, Refusal,
    confirmation::close,
    intake::{NewLine, number_lines, release_all, settle_judgement},
    require, require_text,
};
use crate::{
    confirmation::{ConfirmationState, Round},
    event::{EventKind, MessageDetails, MessageKind},
    money::Money,
    order::{Order, OrderState, PaymentMethod, Terms},
    stock_book::net,
};

/// The new values; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amendment {
    /// All lines, not only the changed ones.
    pub lines: Option<Vec<NewLine>>,
    /// Terms with the changes in them.
    pub terms: Option<Terms>,
    /// What the customer is to pay now.
    pub total: Option<Money>,
    /// Why; it stands in the message to the customer.
    pub reason: String,
}

/// What an order adds to its customer's debt, minor units: its total if it is on account and not refused.
pub(super) fn owed_minor(order: &Order) -> i64 {
    if order.terms.payment_method == PaymentMethod::OnAccount {
        order.total.minor
    } else {
        0
    }
}

/// Makes a new revision: the price agreement and the open round are void, goods are promised anew, the rules are
/// applied again, and the customer is asked again.
pub fn amend(
    order: &Order,
    open: Option<&Round>,
    amendment: &Amendment,
    facts: &mut Facts<'_>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    require(order, Action::AmendOrder)?;
    require_text("reason", &amendment.reason)?;
    if order.lines.iter().any(|line| line.counters.picked > 0) {
        return Err(Refusal::Precondition(
            "picking has begun: cancel lines or wait for the delivery".into(),
        ));
    }
    let unchanged = amendment.lines.as_ref().is_none_or(|lines| {
        let numbered = number_lines(lines);
        numbered.len() == order.lines.len()
            && numbered.iter().zip(&order.lines).all(|(new, old)| {
                new.counters.ordered == old.counters.wanted()
                    && (
                        &new.sku,
                        &new.goods_name,
                        &new.specification,
                        &new.unit,
                        new.unit_price,
                        &new.extras,
                    ) == (
                        &old.sku,
                        &old.goods_name,
                        &old.specification,
                        &old.unit,
                        old.unit_price,
                        &old.extras,
                    )
            })
    }) && amendment
        .terms
        .as_ref()
        .is_none_or(|terms| *terms == order.terms)
        && amendment.total.is_none_or(|total| total == order.total);
    if unchanged {
        return Ok(Decision::Already);
    }

    let mut change =
        Change::of(order, EventKind::Amended, context).reason(amendment.reason.clone());
    change.order.revision += 1;
    change.event.revision = change.order.revision;
    let revision = change.order.revision;
    change.note("revision", &order.revision, &revision);
    release_all(&mut change);
    for delta in &change.stock {
        facts.stock.apply(delta);
    }
    if let Some(round) = open {
        let closed = close(&mut change, round, ConfirmationState::Superseded);
        change.rounds.push(closed);
    }
    if let Some(lines) = &amendment.lines {
        note_lines(&mut change, order, lines);
        change.order.lines = number_lines(lines);
        change.lines_replaced = true;
    }
    if let Some(terms) = &amendment.terms {
        note_terms(&mut change, &order.terms, terms);
        change.order.terms = terms.clone();
        change.terms_changed = true;
        if terms.delivery.requested_window != order.terms.delivery.requested_window {
            change.order.promised_delivery_time = None;
        }
    }
    if let Some(total) = amendment.total {
        change.note("total", &order.total, &total);
        change.order.total = total;
    }
    if let Some(agreement) = change.order.progress.price_agreement.take() {
        change.note("price_agreement", &agreement.amount, "void");
    }
    change.order.policy_version = facts.policy.identity();
    change.credit_minor = -owed_minor(order);
    change.tell(
        MessageKind::OrderAmended,
        MessageDetails {
            reasons: vec![amendment.reason.clone()],
            ..MessageDetails::default()
        },
        context,
    );
    settle_judgement(&mut change, facts, context)?;
    if change.order.state == OrderState::Rejected {
        let message = change.order.progress.end_reason.clone();
        return Err(Refusal::Precondition(format!(
            "the order would be refused so changed: {message}"
        )));
    }
    change.stock = net(change.stock.drain(..));
    Ok(Decision::change(change))
}

fn note_lines(change: &mut Change, order: &Order, lines: &[NewLine]) {
    let before: Vec<String> = order
        .lines
        .iter()
        .map(|line| format!("{} × {}", line.counters.wanted(), line.sku))
        .collect();
    let after: Vec<String> = lines
        .iter()
        .map(|line| format!("{} × {}", line.quantity, line.sku))
        .collect();
    change.note("lines", &before.join(", "), &after.join(", "));
}

/// Names what changed. Names, addresses and numbers of people are named, never shown: the history is for everybody.
fn note_terms(change: &mut Change, before: &Terms, after: &Terms) {
    let personal = [
        ("contact", before.contact != after.contact),
        (
            "delivery.address",
            before.delivery.address != after.delivery.address,
        ),
        (
            "delivery.consignee",
            before.delivery.consignee != after.delivery.consignee,
        ),
        (
            "delivery.phone",
            before.delivery.phone != after.delivery.phone,
        ),
        (
            "delivery.wishes",
            before.delivery.wishes != after.delivery.wishes,
        ),
        ("annotations", before.annotations != after.annotations),
    ];
    for (field, changed) in personal {
        if changed {
            change.note(field, "(before)", "(changed)");
        }
    }
    if before.payment_method != after.payment_method {
        change.note(
            "payment_method",
            &before.payment_method,
            &after.payment_method,
        );
    }
    if before.shortage_policy != after.shortage_policy {
        change.note(
            "shortage_policy",
            &before.shortage_policy,
            &after.shortage_policy,
        );
    }
    if before.delivery.requested_window != after.delivery.requested_window {
        let show = |terms: &Terms| {
            terms
                .delivery
                .requested_window
                .map(|window| {
                    format!(
                        "{} to {}",
                        window.start.to_rfc3339(),
                        window.end.to_rfc3339()
                    )
                })
                .unwrap_or_default()
        };
        change.note("delivery.requested_window", &show(before), &show(after));
    }
}
