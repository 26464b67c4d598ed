//! `FeedbackService`: what customers say, and what it comes to.

use chrono::DateTime;
use countersign_domain::{
    feedback::Feedback,
    ids::FeedbackId,
    locale::TimeZone,
    survey::Subject,
    text::{TextKind, checked_text},
};
use countersign_proto::v1::{self, feedback_service_server::FeedbackService};
use countersign_store::{FeedbackGrouping, FeedbackKey, FeedbackQuery};
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    call::{call_of, caller_of, key_of, replayed},
    export,
};
use crate::{
    app::{
        App,
        command::{Call, Command},
        feedback_summary::{PERIODS_MAX, Period, summarize},
        filter, page,
    },
    convert::{feedback, intake::short, time},
    error::{ServiceError, Violations},
};

type Answer<T> = Result<Response<T>, Status>;

/// Rows that an export reads at a time.
const EXPORT_PAGE: u64 = 500;

/// The service as tonic calls it.
#[derive(Clone, Debug)]
pub(crate) struct FeedbackCalls(pub(crate) App);

#[tonic::async_trait]
impl FeedbackService for FeedbackCalls {
    type ExportFeedbackStream = BoxStream<'static, Result<v1::ExportFeedbackResponse, Status>>;

    async fn record_feedback(
        &self,
        request: Request<v1::RecordFeedbackRequest>,
    ) -> Answer<v1::Feedback> {
        let mut violations = Violations::new();
        let parts = call_of(
            &self.0,
            request,
            "RecordFeedback",
            |inner| &inner.parent,
            &mut violations,
        )
        .await?;
        let given = violations.require("feedback", parts.inner.feedback.as_ref());
        let answer = given.and_then(|given| feedback::from_proto(given, &mut violations));
        let given_by = given
            .and_then(|given| short(&given.given_by, 0, 64, "feedback.given_by", &mut violations));
        let receive_time = parts
            .inner
            .receive_time
            .as_ref()
            .and_then(|received| time::from_proto(received, "receive_time", &mut violations));
        let command = answer
            .zip(given_by)
            .map(|(answer, given_by)| Command::RecordFeedback {
                answer,
                given_by,
                receive_time,
            });
        let command = violations.finish(command)?;
        let outcome = self.0.deciding.run(parts.id, &command, &parts.call).await?;
        // What was not written by this call stands as an earlier one left it.
        let said = match outcome.change.and_then(|change| change.feedback) {
            Some(said) => said,
            None => self
                .0
                .deciding
                .store
                .find_feedback_about(parts.id, Subject::DELIVERY)
                .await
                .map_err(ServiceError::from)?
                .ok_or_else(|| ServiceError::internal("recorded feedback is gone"))?,
        };
        Ok(replayed(feedback::to_proto(&said), outcome.replayed))
    }

    async fn get_feedback(&self, request: Request<v1::GetFeedbackRequest>) -> Answer<v1::Feedback> {
        let said = self.find(&request.get_ref().name).await?;
        Ok(Response::new(feedback::to_proto(&said)))
    }

    async fn list_feedback(
        &self,
        request: Request<v1::ListFeedbackRequest>,
    ) -> Answer<v1::ListFeedbackResponse> {
        let request = request.into_inner();
        let list = format!("feedback\n{}", request.filter);
        let after: Option<(i64, Uuid)> = page::read_key(&request.page_token, &list)?;
        let query = FeedbackQuery {
            filter: filter::parse_feedback(&request.filter)?,
            after: after.map(|(micros, id)| FeedbackKey {
                create_time: DateTime::from_timestamp_micros(micros).unwrap_or_default(),
                id: FeedbackId::from_uuid(id),
            }),
            limit: page::size(request.page_size)?,
        };
        let found = self
            .0
            .deciding
            .store
            .list_feedback(&query)
            .await
            .map_err(ServiceError::from)?;
        let next_page_token = match found.items.last() {
            Some(end) if found.more => {
                let key = (end.create_time.timestamp_micros(), end.id.as_uuid());
                page::key_token(&key, &list)?
            }
            _ => String::new(),
        };
        Ok(Response::new(v1::ListFeedbackResponse {
            feedback: found.items.iter().map(feedback::to_proto).collect(),
            next_page_token,
        }))
    }

    async fn resolve_feedback(
        &self,
        request: Request<v1::ResolveFeedbackRequest>,
    ) -> Answer<v1::Feedback> {
        let mut violations = Violations::new();
        let caller = caller_of(&request)?;
        let inner = request.into_inner();
        let key = key_of(&caller, "ResolveFeedback", &inner, "", &mut violations);
        let resolution = violations.take(
            "resolution",
            checked_text(&inner.resolution, 1, 1_000, TextKind::MultiLine),
        );
        let resolved_by = short(&inner.resolved_by, 0, 64, "resolved_by", &mut violations);
        let command = resolution
            .zip(resolved_by)
            .map(|(resolution, resolved_by)| Command::ResolveFeedback {
                resolution,
                resolved_by,
            });
        let command = violations.finish(command)?;
        let known = self.find(&inner.name).await?;
        let call = Call {
            caller,
            request_id: inner.request_id,
            key,
            etag: String::new(),
            traceparent: countersign_runtime::telemetry::current_traceparent(),
            life: None,
        };
        let outcome = self.0.deciding.run(known.order_id, &command, &call).await?;
        let said = match outcome.change.and_then(|change| change.feedback) {
            Some(said) => said,
            None => self.find(&inner.name).await?,
        };
        Ok(replayed(feedback::to_proto(&said), outcome.replayed))
    }

    async fn summarize_feedback(
        &self,
        request: Request<v1::SummarizeFeedbackRequest>,
    ) -> Answer<v1::SummarizeFeedbackResponse> {
        let request = request.into_inner();
        let store = &self.0.deciding.store;
        let now = store.now().await.map_err(ServiceError::from)?;
        let mut violations = Violations::new();
        let period = period(request.period, &mut violations);
        let grouping = grouping(request.group_by, &mut violations);
        let zone = if request.time_zone.is_empty() {
            Some(TimeZone::UTC)
        } else {
            violations.take("time_zone", TimeZone::parse(&request.time_zone))
        };
        let mut moment = |given: Option<&prost_types::Timestamp>, field: &str| {
            given.and_then(|given| time::from_proto(given, field, &mut violations))
        };
        let start = moment(request.start_time.as_ref(), "start_time");
        let end = moment(request.end_time.as_ref(), "end_time").unwrap_or(now);
        if start.is_some_and(|start| start >= end) {
            violations.add("end_time", "must be after start_time");
        }
        let asked = (|| Some((period?, grouping?, zone?)))();
        let (period, grouping, zone) = violations.finish(asked)?;
        let spans = period.spans(start, end, zone).ok_or_else(|| {
            ServiceError::invalid(
                "start_time",
                format!("must be at most {PERIODS_MAX} periods before end_time"),
            )
        })?;
        let summaries = summarize(store, grouping, &spans)
            .await
            .map_err(ServiceError::from)?;
        let with_rate = grouping != FeedbackGrouping::Source;
        Ok(Response::new(v1::SummarizeFeedbackResponse {
            summaries: summaries
                .into_iter()
                .flat_map(|(span, groups)| groups.into_iter().map(move |group| (span, group)))
                .map(|(span, summary)| v1::FeedbackSummary {
                    start_time: Some(time::to_proto(span.start)),
                    end_time: Some(time::to_proto(span.end)),
                    count: summary.count(),
                    mean: summary.mean(),
                    distribution: summary.distribution.to_vec(),
                    asked_count: summary.asked,
                    answered_count: summary.answered,
                    response_rate: summary.response_rate().filter(|_| with_rate),
                    mean_change: summary.mean_change,
                    count_change: summary.count_change,
                    group: summary.group,
                })
                .collect(),
        }))
    }

    async fn export_feedback(
        &self,
        request: Request<v1::ExportFeedbackRequest>,
    ) -> Answer<Self::ExportFeedbackStream> {
        let request = request.into_inner();
        let format = v1::ExportFormat::try_from(request.format).unwrap_or_default();
        if format == v1::ExportFormat::Unspecified {
            return Err(ServiceError::invalid(
                "format",
                "must be EXPORT_FORMAT_CSV or EXPORT_FORMAT_JSONL",
            )
            .into());
        }
        let first = FeedbackQuery {
            filter: filter::parse_feedback(&request.filter)?,
            after: None,
            limit: EXPORT_PAGE,
        };
        let store = self.0.deciding.store.clone();
        let pages = stream::try_unfold(Some(first), move |query| {
            let store = store.clone();
            async move {
                let Some(query) = query else { return Ok(None) };
                let found = store
                    .list_feedback(&query)
                    .await
                    .map_err(ServiceError::from)?;
                let next = found
                    .items
                    .last()
                    .filter(|_| found.more)
                    .map(|last| FeedbackQuery {
                        after: Some(FeedbackKey::of(last)),
                        ..query
                    });
                let rows: Vec<Result<String, Status>> = found
                    .items
                    .iter()
                    .map(|said| Ok(export::row(said, format)))
                    .collect();
                Ok::<_, Status>(Some((stream::iter(rows), next)))
            }
        });
        let header = stream::iter(export::header(format).map(Ok));
        let rows = header
            .chain(pages.try_flatten())
            .map_ok(|row| v1::ExportFeedbackResponse { row });
        Ok(Response::new(rows.boxed()))
    }
}

impl FeedbackCalls {
    async fn find(&self, name: &str) -> Result<Feedback, ServiceError> {
        let id = FeedbackId::from_resource_name(name)
            .map_err(|error| ServiceError::invalid("name", error.to_string()))?;
        self.0
            .deciding
            .store
            .find_feedback(id)
            .await?
            .ok_or_else(|| ServiceError::not_found(name))
    }
}

fn period(given: i32, violations: &mut Violations) -> Option<Period> {
    match v1::FeedbackPeriod::try_from(given) {
        Ok(v1::FeedbackPeriod::Day) => Some(Period::Day),
        Ok(v1::FeedbackPeriod::Week) => Some(Period::Week),
        Ok(v1::FeedbackPeriod::Month) => Some(Period::Month),
        _ => {
            violations.add(
                "period",
                "must be one of FEEDBACK_PERIOD_DAY, FEEDBACK_PERIOD_WEEK, FEEDBACK_PERIOD_MONTH",
            );
            None
        }
    }
}

fn grouping(given: i32, violations: &mut Violations) -> Option<FeedbackGrouping> {
    use v1::FeedbackGrouping as Wire;
    let Ok(given) = Wire::try_from(given) else {
        violations.add(
            "group_by",
            "must be unset or one of FEEDBACK_GROUPING_PRODUCT, _WAREHOUSE, _CHANNEL, _ORDER_TYPE, _SOURCE",
        );
        return None;
    };
    Some(match given {
        Wire::Unspecified => FeedbackGrouping::Nothing,
        Wire::Product => FeedbackGrouping::Product,
        Wire::Warehouse => FeedbackGrouping::Warehouse,
        Wire::Channel => FeedbackGrouping::Channel,
        Wire::OrderType => FeedbackGrouping::OrderType,
        Wire::Source => FeedbackGrouping::Source,
    })
}
