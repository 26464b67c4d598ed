//! From a row to the tracking reports that it holds.

use countersign_proto::v1;

use super::{
    mapping::{Mapping, Tracking},
    orders::request_id,
    reader::Reader,
    reading::Problem,
    record::Record,
};

/// A report about goods on their way.
pub(crate) struct Report {
    /// Known by the order and the stage, so that it is taken once.
    pub(crate) request_id: String,
    /// As the API takes it.
    pub(crate) event: v1::TrackingEvent,
    /// What cannot be sent.
    pub(crate) problems: Vec<Problem>,
}

/// The reports of a row, in the mapping's sequence.
pub(crate) fn reports(
    mapping: &Mapping,
    tracking: &Tracking,
    reference: &str,
    record: &Record,
) -> Vec<Report> {
    let mut reports = Vec::new();
    for kind in &tracking.events {
        let mut reader = Reader::new(mapping);
        let report_time = reader.time(Some(&kind.time), record, "event.report_time");
        let expected = kind
            .expected_when
            .as_ref()
            .is_some_and(|test| test.holds(record));
        if report_time.is_none() && reader.problems.is_empty() && !expected {
            continue;
        }
        let status = v1::TrackingStatus::from_str_name(&format!("TRACKING_STATUS_{}", kind.status));
        if status.is_none() {
            reader.problems.push(Problem {
                field: "event.status".to_owned(),
                description: format!(
                    "{:?} is not one of the words that the API knows",
                    kind.status
                ),
            });
        }
        reports.push(Report {
            request_id: request_id(
                &mapping.source,
                &format!("{reference}:tracking:{}", kind.status),
            ),
            event: v1::TrackingEvent {
                source: mapping.source.clone(),
                source_event_id: format!("{reference}:{}", kind.status),
                status: status.unwrap_or_default().into(),
                report_time,
                note: kind.note.clone(),
                ..v1::TrackingEvent::default()
            },
            problems: reader.problems,
        });
    }
    reports
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stage_without_a_time_is_reported_only_where_one_was_to_be_expected() {
        let mapping = Mapping::load("olist").unwrap();
        let tracking = mapping.tracking.as_ref().unwrap();
        let statuses = |status: &str| {
            let row = json!({"status": status, "approved_at": "2016-10-07T13:18:03", "carrier_at": null,
                             "delivered_at": null});
            reports(&mapping, tracking, "o1", &Record::Tree(row))
                .into_iter()
                .map(|report| (report.event.status(), report.event.report_time.is_some()))
                .collect::<Vec<_>>()
        };

        assert_eq!(statuses("shipped"), [(v1::TrackingStatus::Pending, true)]);
        assert_eq!(
            statuses("delivered"),
            [
                (v1::TrackingStatus::Pending, true),
                (v1::TrackingStatus::Delivered, false)
            ]
        );
    }
}
