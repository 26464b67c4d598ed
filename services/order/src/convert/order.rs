//! Orders on their way out.

use countersign_domain::{
    audit::Finding,
    decide::allowed_actions,
    event::OrderEvent,
    hold::{Hold, HoldReason},
    line::OrderLine,
    order::{Contact, Delivery, Order, OrderState, PriceAgreement},
    priority::Priority,
};
use countersign_proto::v1;
use countersign_runtime::callers::Caller;
use prost::Message as _;

use super::{money, place, time, word};

/// The tag that changes with every change of the order.
pub(crate) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// An order as somebody sees it who may see other callers' orders, too, unless `caller` may not.
pub(crate) fn to_proto_for(caller: &Caller, order: &Order) -> v1::Order {
    let mut shown = to_proto(order);
    if caller.sees_only().is_none() {
        for (shown, finding) in shown.findings.iter_mut().zip(&order.progress.findings) {
            let related = finding.foreign_order.map(|id| id.resource_name());
            shown.related_order = related.unwrap_or_default();
        }
    }
    shown
}

/// An order as its caller sees it.
pub(crate) fn to_proto(order: &Order) -> v1::Order {
    let terms = &order.terms;
    let holds: Vec<HoldReason> = order
        .progress
        .holds
        .iter()
        .map(|hold| hold.reason)
        .collect();
    let currency = order.total.currency;
    let minor = |minor: i64| {
        Some(money::to_proto(countersign_domain::money::Money::new(
            minor, currency,
        )))
    };
    v1::Order {
        name: order.id.resource_name(),
        client_reference: order.client_reference.clone(),
        order_number: order
            .order_number
            .map(|number| number.to_string())
            .unwrap_or_default(),
        revision: i32::try_from(order.revision).unwrap_or(i32::MAX),
        order_type: order.order_type.clone(),
        transaction_type: word::to_proto::<v1::TransactionType>(terms.transaction_type.as_str()),
        source_channel: order.source_channel.clone(),
        entered_by: terms.entered_by.clone(),
        customer: format!("customers/{}", order.customer),
        customer_tier: terms.customer_tier.clone().unwrap_or_default(),
        locale: terms.locale.as_str().to_owned(),
        time_zone: terms.time_zone.name().to_owned(),
        contact: Some(contact(&terms.contact)),
        lines: order.lines.iter().map(line).collect(),
        delivery: Some(delivery(&terms.delivery)),
        payment_method: word::to_proto::<v1::PaymentMethod>(terms.payment_method.as_str()),
        total: Some(money::to_proto(order.total)),
        freight: minor(terms.freight_minor),
        discount: minor(terms.discount_minor),
        price_agreement: order.progress.price_agreement.as_ref().map(price_agreement),
        promised_delivery_time: order.promised_delivery_time.map(time::to_proto),
        priority: Some(priority(&order.priority)),
        holds: order.progress.holds.iter().map(hold).collect(),
        shortage_policy: word::to_proto::<v1::ShortagePolicy>(terms.shortage_policy.as_str()),
        state: word::to_proto::<v1::OrderState>(order.state.as_str()),
        allowed_actions: actions(order.state, &holds),
        stage_times: order
            .progress
            .stage_times
            .iter()
            .map(|(state, reached)| v1::StageTime {
                state: word::to_proto::<v1::OrderState>(state.as_str()),
                reach_time: Some(time::to_proto(*reached)),
            })
            .collect(),
        findings: order.progress.findings.iter().map(finding).collect(),
        policy_version: order.policy_version.to_string(),
        handler: order.handler.clone().unwrap_or_default(),
        annotations: terms.annotations.clone(),
        etag: etag(order.version),
        create_time: Some(time::to_proto(order.create_time)),
        update_time: Some(time::to_proto(order.update_time)),
        confirm_time: order.confirm_time.map(time::to_proto),
        deliver_time: order.deliver_time.map(time::to_proto),
        end_reason: order.progress.end_reason.clone(),
        place_time: terms.place_time.map(time::to_proto),
        merged_into: order
            .progress
            .merged_into
            .map(|survivor| survivor.resource_name())
            .unwrap_or_default(),
        erase_time: order.progress.erase_time.map(time::to_proto),
    }
}

fn actions(state: OrderState, holds: &[HoldReason]) -> Vec<v1::AllowedAction> {
    allowed_actions(state, holds)
        .into_iter()
        .map(|allowed| v1::AllowedAction {
            action: allowed.action.to_string(),
            allowed: allowed.refusal.is_none(),
            reason: allowed.refusal.unwrap_or_default(),
        })
        .collect()
}

/// An answer as it is remembered: without the actions, which are half of it and follow from the rest.
pub(crate) fn to_memory(answer: &mut v1::Order) -> Vec<u8> {
    let actions = std::mem::take(&mut answer.allowed_actions);
    let bytes = answer.encode_to_vec();
    answer.allowed_actions = actions;
    bytes
}

/// A remembered answer, whole again.
pub(crate) fn from_memory(mut answer: v1::Order) -> v1::Order {
    let state = v1::OrderState::try_from(answer.state)
        .ok()
        .and_then(|state| {
            state
                .as_str_name()
                .strip_prefix("ORDER_STATE_")?
                .parse()
                .ok()
        });
    let holds: Vec<HoldReason> = answer
        .holds
        .iter()
        .filter_map(|hold| {
            let reason = v1::HoldReason::try_from(hold.reason).ok()?;
            reason
                .as_str_name()
                .strip_prefix("HOLD_REASON_")?
                .parse()
                .ok()
        })
        .collect();
    if let Some(state) = state {
        answer.allowed_actions = actions(state, &holds);
    }
    answer
}

fn contact(contact: &Contact) -> v1::Contact {
    v1::Contact {
        display_name: contact.display_name.clone(),
        email: contact
            .email
            .as_ref()
            .map(|email| email.as_str().to_owned())
            .unwrap_or_default(),
        phone: contact
            .phone
            .as_ref()
            .map(|phone| phone.as_e164().to_owned())
            .unwrap_or_default(),
        preferred_channel: contact
            .preferred_channel
            .map_or(0, |channel| word::to_proto::<v1::Channel>(channel.as_str())),
    }
}

fn delivery(delivery: &Delivery) -> v1::Delivery {
    v1::Delivery {
        address: Some(place::to_proto(&delivery.address)),
        consignee: delivery.consignee.clone(),
        phone: delivery
            .phone
            .as_ref()
            .map(|phone| phone.as_e164().to_owned())
            .unwrap_or_default(),
        requested_window: delivery.requested_window.map(time::window_to_proto),
        wishes: delivery.wishes.clone(),
    }
}

fn line(line: &OrderLine) -> v1::OrderLine {
    let counters = &line.counters;
    v1::OrderLine {
        line_number: i32::try_from(line.line_number).unwrap_or(i32::MAX),
        sku: line.sku.clone(),
        goods_name: line.goods_name.clone(),
        specification: line.specification.clone(),
        quantity: counters.ordered,
        unit: line.unit.clone(),
        unit_price: Some(money::to_proto(line.unit_price)),
        accessories: line.extras.accessories.clone(),
        processing_instructions: line.extras.processing_instructions.clone(),
        customization: line.extras.customization.clone(),
        counters: Some(v1::LineCounters {
            ordered: counters.ordered,
            cancelled: counters.cancelled,
            reserved: counters.reserved,
            picked: counters.picked,
            packed: counters.packed,
            shipped: counters.shipped,
            delivered: counters.delivered,
            returned: counters.returned,
        }),
        warehouse: line.warehouse.clone().unwrap_or_default(),
    }
}

fn price_agreement(agreement: &PriceAgreement) -> v1::PriceAgreement {
    v1::PriceAgreement {
        amount: Some(money::to_proto(agreement.amount)),
        agree_time: Some(time::to_proto(agreement.agree_time)),
        answer_channel: word::to_proto::<v1::AnswerChannel>(agreement.answer_channel.as_str()),
        revision: i32::try_from(agreement.revision).unwrap_or(i32::MAX),
        agreed_by: agreement.agreed_by.clone(),
    }
}

fn priority(priority: &Priority) -> v1::Priority {
    v1::Priority {
        score: priority.score,
        components: priority
            .components
            .iter()
            .map(|component| v1::PriorityComponent {
                name: component.name.clone(),
                points: component.points,
                explanation: component.explanation.clone(),
            })
            .collect(),
        r#override: priority
            .overridden
            .as_ref()
            .map(|set| v1::PriorityOverride {
                score: set.score,
                reason: set.reason.clone(),
                expire_time: Some(time::to_proto(set.expire_time)),
                actor: set.actor.clone(),
            }),
    }
}

fn hold(hold: &Hold) -> v1::Hold {
    v1::Hold {
        hold_id: hold.id.to_string(),
        reason: word::to_proto::<v1::HoldReason>(hold.reason.as_str()),
        note: hold.note.clone(),
        owner: hold.owner.clone(),
        review_time: hold.review_time.map(time::to_proto),
        create_time: Some(time::to_proto(hold.create_time)),
        created_by: hold.created_by.clone(),
    }
}

fn finding(finding: &Finding) -> v1::Finding {
    v1::Finding {
        rule: finding.rule.clone(),
        rule_version: i32::try_from(finding.rule_version).unwrap_or(i32::MAX),
        dimension: word::to_proto::<v1::AuditDimension>(finding.dimension.as_str()),
        severity: word::to_proto::<v1::FindingSeverity>(finding.severity.as_str()),
        message: finding.message.clone(),
        field: finding.field.clone(),
        value: finding.value.clone(),
        customer_told: !finding.customer_message.is_empty(),
        options: finding.options.clone(),
        waived: finding.waived,
        related_order: String::new(),
    }
}

/// An event as callers see it.
pub(crate) fn event_to_proto(event: &OrderEvent) -> v1::OrderEvent {
    let details = &event.details;

    v1::OrderEvent {
        name: format!(
            "{}/events/{}",
            event.order_id.resource_name(),
            event.version
        ),
        order: event.order_id.resource_name(),
        kind: event.kind.as_str().to_owned(),
        revision: i32::try_from(event.revision).unwrap_or(i32::MAX),
        from_state: word::to_proto::<v1::OrderState>(event.from_state.as_str()),
        to_state: word::to_proto::<v1::OrderState>(event.to_state.as_str()),
        actor: event.actor.clone(),
        reason: details.reason.clone(),
        create_time: Some(time::to_proto(event.create_time)),
        changes: details
            .changes
            .iter()
            .map(|change| v1::FieldChange {
                field: change.field.clone(),
                before: change.before.clone(),
                after: change.after.clone(),
            })
            .collect(),
        decided_by: details.decided_by.clone(),
        request_id: details.request_id.clone(),
        public: event.kind.is_public(),
    }
}
