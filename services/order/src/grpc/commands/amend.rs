//! Amendments: the fields that the mask names, on top of the order as it stands.

use countersign_domain::{
    decide::Amendment,
    order::{Order, Terms},
};
use countersign_proto::v1;
use tonic::{Request, Response};

use super::{Answer, order_answer, words};
use crate::{
    app::{App, command::Command},
    convert::{
        self,
        intake::{Sender, amount, lines, terms},
    },
    error::Violations,
    grpc::call::call_of,
};

impl App {
    pub(crate) async fn amend_order(
        &self,
        request: Request<v1::AmendOrderRequest>,
    ) -> Answer<v1::Order> {
        let mut violations = Violations::new();
        let parts = call_of(
            self,
            request,
            "AmendOrder",
            |inner| inner.order.as_ref().map_or("", |order| order.name.as_str()),
            &mut violations,
        )
        .await?;
        violations.check()?;
        let before = self.deciding.get(parts.id).await?;
        let mut violations = Violations::new();
        let sender = Sender {
            caller: parts.call.caller.name(),
            default_region: self.default_region,
        };
        let amendment = amendment(&parts.inner, &before, &sender, &mut violations);
        let amendment = violations.finish(amendment)?;
        if parts.inner.validate_only {
            let order = self
                .deciding
                .preview_amendment(parts.id, &amendment, &parts.call)
                .await?;
            return Ok(Response::new(order));
        }
        let outcome = self
            .deciding
            .run(parts.id, &Command::Amend(amendment), &parts.call)
            .await?;
        order_answer(outcome)
    }
}

/// The new values that the mask names, on top of the order as it stands.
pub(crate) fn amendment(
    request: &v1::AmendOrderRequest,
    before: &Order,
    sender: &Sender<'_>,
    violations: &mut Violations,
) -> Option<Amendment> {
    let wanted = request.order.clone().unwrap_or_default();
    let paths = request.update_mask.clone().unwrap_or_default().paths;
    if paths.is_empty() {
        violations.add("update_mask", "must name at least one field");
    }
    // The order as it stands, with the named fields in it, goes through the same checks as a new one.
    let mut merged = convert::order::to_proto(before);
    let (mut lines_change, mut terms_change, mut total_change) = (false, false, false);
    for path in &paths {
        match path.as_str() {
            "lines" => lines_change = true,
            "total" => total_change = true,
            "delivery" => merged.delivery.clone_from(&wanted.delivery),
            "contact" => merged.contact.clone_from(&wanted.contact),
            "payment_method" => merged.payment_method = wanted.payment_method,
            "freight" => merged.freight.clone_from(&wanted.freight),
            "discount" => merged.discount.clone_from(&wanted.discount),
            "shortage_policy" => merged.shortage_policy = wanted.shortage_policy,
            "annotations" => merged.annotations.clone_from(&wanted.annotations),
            other => violations.add(
                "update_mask",
                format!(
                    "{other:?} cannot be amended; lines, delivery, contact, payment_method, \
                         total, freight, discount, shortage_policy and annotations can"
                ),
            ),
        }
        terms_change |= !matches!(path.as_str(), "lines" | "total");
    }
    let currency = Some(before.total.currency);
    let reason = words(&request.reason, "reason", violations);
    let new_lines = lines_change.then(|| lines(&wanted.lines, "order.lines", currency, violations));
    let new_total = total_change.then(|| match &wanted.total {
        Some(total) => amount(total, "order.total", violations),
        None => violations.require("order.total", None),
    });
    let new_terms = terms_change.then(|| {
        let (checked, _) = terms(&merged, "order", currency, sender, violations);
        checked.map(|checked| Terms {
            customer_tier: before.terms.customer_tier.clone(),
            ..checked
        })
    });
    if let Some(Some(total)) = new_total
        && total.currency != before.total.currency
    {
        violations.add(
            "order.total",
            format!(
                "must stay in {}: cancel and order anew instead",
                before.total.currency.code()
            ),
        );
    }
    Some(Amendment {
        lines: new_lines.map_or(Some(None), |lines| lines.map(Some))?,
        terms: new_terms.map_or(Some(None), |terms| terms.map(Some))?,
        total: new_total.map_or(Some(None), |total| total.map(Some))?,
        reason: reason?,
    })
}
