//! Rounds, tracking events and contacts on their way out; tracking events on their way in.

use countersign_domain::{
    confirmation::Round,
    ids::{OrderId, TrackingEventId},
    text::{TextKind, checked_text},
    tracking::{REASON_PREFIXES, TrackingDetails, TrackingEvent, TrackingStatus},
};
use countersign_proto::v1;
use countersign_store::RecordedContact;
use uuid::Uuid;

use super::{
    intake::{key, short},
    time, word,
};
use crate::error::Violations;

/// A round as callers see it.
pub(crate) fn to_proto(round: &Round) -> v1::Confirmation {
    let details = &round.details;
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    v1::Confirmation {
        name: format!(
            "{}/confirmations/{}",
            round.order_id.resource_name(),
            round.round
        ),
        round: number(round.round),
        revision: number(round.revision),
        mode: word::to_proto::<v1::ConfirmationMode>(round.mode.as_str()),
        state: word::to_proto::<v1::ConfirmationState>(round.state.as_str()),
        channel_plan: details
            .channel_plan
            .iter()
            .map(|channel| channel.as_str().to_owned())
            .collect(),
        requested_by: details.requested_by.clone(),
        create_time: Some(time::to_proto(round.create_time)),
        expire_time: Some(time::to_proto(round.expire_time)),
        answer_time: details.answer_time.map(time::to_proto),
        answer_channel: details.answer_channel.map_or(0, |channel| {
            word::to_proto::<v1::AnswerChannel>(channel.as_str())
        }),
        answered_by: details.answered_by.clone(),
        objection: details.objection.as_ref().map(|objection| v1::Objection {
            category: word::to_proto::<v1::ObjectionCategory>(objection.category.as_str()),
            line_numbers: objection
                .line_numbers
                .iter()
                .map(|line| number(*line))
                .collect(),
            text: objection.text.clone(),
        }),
        late_answers: details
            .late_answers
            .iter()
            .map(|late| v1::LateAnswer {
                accepted: late.accepted,
                answer_channel: word::to_proto::<v1::AnswerChannel>(late.answer_channel.as_str()),
                answer_time: Some(time::to_proto(late.answer_time)),
                text: late.text.clone(),
            })
            .collect(),
        code_attempts: number(details.code_attempts),
    }
}

/// A tracking event as callers see it.
pub(crate) fn tracking_to_proto(order: OrderId, event: &TrackingEvent) -> v1::TrackingEvent {
    v1::TrackingEvent {
        name: format!("{}/{}", order.resource_name(), event.id.resource_name()),
        source: event.source.clone(),
        source_event_id: event.source_event_id.clone(),
        status: word::to_proto::<v1::TrackingStatus>(event.status.as_str()),
        reason: event.reason.clone(),
        place: event.details.place.clone(),
        report_time: Some(time::to_proto(event.report_time)),
        receive_time: Some(time::to_proto(event.receive_time)),
        tracking_number: event.details.tracking_number.clone(),
        note: event.details.note.clone(),
        anomalies: event
            .anomalies
            .iter()
            .map(|anomaly| anomaly.as_str().to_owned())
            .collect(),
    }
}

/// Checks a tracking event. Its id and time of receipt are filled in later.
pub(crate) fn tracking_from_proto(
    event: &v1::TrackingEvent,
    violations: &mut Violations,
) -> Option<TrackingEvent> {
    let source = key(&event.source, "event.source", violations);
    let source_event_id = short(
        &event.source_event_id,
        1,
        128,
        "event.source_event_id",
        violations,
    );
    let status = word::from_proto::<v1::TrackingStatus, TrackingStatus>(
        event.status,
        "event.status",
        violations,
    );
    let reason = reason(&event.reason, violations);
    let report_time = violations
        .require("event.report_time", event.report_time.as_ref())
        .and_then(|report| time::from_proto(report, "event.report_time", violations));
    let place = short(&event.place, 0, 200, "event.place", violations);
    let tracking_number = short(
        &event.tracking_number,
        0,
        64,
        "event.tracking_number",
        violations,
    );
    let note = violations.take(
        "event.note",
        checked_text(&event.note, 0, 1_000, TextKind::MultiLine),
    );
    let report_time = report_time?;
    Some(TrackingEvent {
        id: TrackingEventId::from_uuid(Uuid::nil()),
        source: source?,
        source_event_id: source_event_id?,
        status: status?,
        reason: reason?,
        report_time,
        receive_time: report_time,
        details: TrackingDetails {
            place: place?,
            tracking_number: tracking_number?,
            note: note?,
        },
        anomalies: Vec::new(),
    })
}

/// A reason names the side that caused it first: `carrier_damaged_parcel`.
fn reason(reason: &str, violations: &mut Violations) -> Option<String> {
    let fits = reason.is_empty()
        || (reason.len() <= 64
            && reason
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && REASON_PREFIXES.iter().any(|prefix| {
                reason
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('_'))
            }));
    if !fits {
        violations.add(
            "event.reason",
            format!(
                "must begin with who or what caused it ({}), like carrier_damaged_parcel",
                REASON_PREFIXES.join("_, ") + "_"
            ),
        );
        return None;
    }
    Some(reason.to_owned())
}

/// A contact as callers see it.
pub(crate) fn contact_to_proto(contact: &RecordedContact) -> v1::OrderContact {
    v1::OrderContact {
        name: format!(
            "{}/{}",
            contact.order_id.resource_name(),
            contact.id.resource_name()
        ),
        direction: match contact.direction.as_str() {
            "INBOUND" => v1::ContactDirection::Inbound,
            _ => v1::ContactDirection::Outbound,
        }
        .into(),
        channel: contact.channel.clone(),
        agent: contact.agent.clone(),
        summary: contact.summary.clone(),
        create_time: Some(time::to_proto(contact.create_time)),
    }
}
