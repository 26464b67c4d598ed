//! By which channels a message goes, and when each one's turn comes.

use chrono::Duration;
use countersign_domain::{
    email::EmailAddress,
    event::MessageKind,
    ids::DeliveryId,
    message::Recipient,
    order::{Channel, Order},
    phone::PhoneNumber,
    secrets::LookupKey,
    survey::survey_channel,
};
use countersign_store::{DispatchFacts, Planned};

/// The channels of a message. A confirmation request takes every step of its round's plan, each due when the steps before
/// it have had their time; everything else goes once, by the first way the customer can be reached.
pub(crate) fn plan(facts: &DispatchFacts<'_>, key: &LookupKey) -> Vec<Planned> {
    let mut due_time = facts.now;
    let mut planned = Vec::new();
    let steps: Vec<(Channel, u32)> = match facts.round {
        Some(round) if facts.row.message.kind == MessageKind::ConfirmationRequest => {
            let waits = round.details.step_seconds.iter().copied();
            let plan = round.details.channel_plan.iter().copied();
            plan.zip(waits.chain(std::iter::repeat(0))).collect()
        }
        _ if facts.row.message.kind == MessageKind::Survey => survey_channel(facts.order)
            .map(|channel| (channel, 0))
            .into_iter()
            .collect(),
        // A reminder goes where the question went first.
        Some(round) if facts.row.message.kind == MessageKind::ConfirmationReminder => {
            let mut plan = round.details.channel_plan.iter().copied();
            plan.find(|channel| facts.order.reachable_by(*channel))
                .map(|channel| (channel, 0))
                .into_iter()
                .collect()
        }
        _ => first_reachable(facts.order)
            .map(|channel| (channel, 0))
            .into_iter()
            .collect(),
    };
    for (step, (channel, wait)) in (1..).zip(steps) {
        if let Some(address) = address(facts.order, channel) {
            planned.push(Planned {
                id: DeliveryId::of_step(facts.row.id, step),
                channel,
                recipient_hash: key.recipient_hash(address),
                recipient: Recipient::new(address),
                due_time,
            });
            due_time += Duration::seconds(i64::from(wait));
        }
    }
    planned
}

fn first_reachable(order: &Order) -> Option<Channel> {
    order
        .terms
        .contact
        .preferred_channel
        .into_iter()
        .chain([Channel::Email, Channel::Sms])
        .find(|channel| order.reachable_by(*channel))
}

fn address(order: &Order, channel: Channel) -> Option<&str> {
    match channel {
        Channel::Email => order.terms.contact.email.as_ref().map(EmailAddress::as_str),
        Channel::Sms | Channel::Phone => order.customer_phone().map(PhoneNumber::as_e164),
    }
}
