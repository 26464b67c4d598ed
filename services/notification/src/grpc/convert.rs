//! From types of the store to messages.

use chrono::{DateTime, Utc};
use countersign_domain::message::Delivery;
use countersign_proto::v1;
use countersign_store::{ActRecord, Claimed, DeadLetter, GatewayRecord};

/// A message with its tries.
pub(super) fn listed(listed: &Claimed) -> v1::MessageDelivery {
    v1::MessageDelivery {
        attempts: listed
            .history
            .iter()
            .map(|attempt| v1::DeliveryAttempt {
                number: number(attempt.number),
                outcome: attempt.outcome.to_string(),
                start_time: Some(time(attempt.start_time)),
                finish_time: attempt.finish_time.map(time),
                error: attempt.error.clone(),
                gateway: attempt.gateway.clone(),
            })
            .collect(),
        ..told(&listed.delivery)
    }
}

/// The same with its kind as it stands in the row.
pub(super) fn dead_letter(letter: &DeadLetter) -> v1::MessageDelivery {
    v1::MessageDelivery {
        kind: letter.kind.clone(),
        ..listed(&letter.message)
    }
}

/// A message alone.
pub(super) fn told(delivery: &Delivery) -> v1::MessageDelivery {
    v1::MessageDelivery {
        name: delivery.id.resource_name(),
        order: delivery.order_id.resource_name(),
        kind: delivery.kind.to_string(),
        channel: delivery.channel.to_string(),
        recipient: delivery.recipient.masked(),
        state: delivery.state.to_string(),
        revision: number(delivery.revision),
        create_time: Some(time(delivery.create_time)),
        due_time: Some(time(delivery.due_time)),
        finish_time: delivery.finish_time.map(time),
        provider_id: delivery.provider_id.clone().unwrap_or_default(),
        last_error: delivery.last_error.clone(),
        attempts: Vec::new(),
        generation: number(delivery.generation),
        step: number(delivery.step),
        acts: Vec::new(),
        template_version: delivery.template_version.map(number),
    }
}

pub(super) fn act(record: &ActRecord) -> v1::OperatorAct {
    v1::OperatorAct {
        action: record.action.to_string(),
        outcome: record.outcome.to_string(),
        actor: record.actor.clone(),
        reason: record.reason.clone(),
        approver: record.approver.clone(),
        generation: number(record.generation),
        create_time: Some(time(record.create_time)),
    }
}

pub(super) fn gateway(record: &GatewayRecord) -> v1::Gateway {
    v1::Gateway {
        name: format!("gateways/{}", record.name),
        channel: record.channel.to_string(),
        state: record.state.to_string(),
        reason: record.reason.clone(),
        since_time: Some(time(record.since_time)),
        until_time: record.until_time.map(time),
        changed_by: record.changed_by.clone(),
    }
}

pub(super) fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

pub(super) fn time(moment: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: moment.timestamp(),
        nanos: moment.timestamp_subsec_nanos().cast_signed(),
    }
}
