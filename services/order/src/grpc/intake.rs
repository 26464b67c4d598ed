//! Orders come in: one, a batch, a stream.

use countersign_domain::place::CountryCode;
use countersign_proto::v1;
use countersign_runtime::{callers::Caller, telemetry::current_traceparent};
use futures::{StreamExt as _, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

use super::call::{caller_of, key_of, replayed};
use crate::{
    app::{App, intake::Submission},
    convert::intake::{Sender, new_order},
    error::{ServiceError, Violations},
};

/// Orders of one atomic batch at most.
const BATCH_MAX: usize = 100;
/// Rows of one import stream under way at the same time.
const IMPORT_AT_ONCE: usize = 256;
/// How long a row of an import waits at least and at most before it asks for a place again.
const IMPORT_PAUSE: (std::time::Duration, std::time::Duration) = (
    std::time::Duration::from_millis(20),
    std::time::Duration::from_secs(1),
);
/// The method that names the request ids of `CreateOrder`; a batch or an import repeats a single call and the other way round.
const METHOD: &str = "CreateOrder";

impl App {
    pub(crate) async fn create_order(
        &self,
        request: Request<v1::CreateOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let submission = self.submission(&request, &caller, "")?;
        if request.validate_only {
            return Ok(Response::new(self.preview(submission).await?));
        }
        let accepted = self.intake.submit(submission).await?;
        Ok(replayed(accepted.order, accepted.replayed))
    }

    pub(crate) async fn batch_create_orders(
        &self,
        request: Request<v1::BatchCreateOrdersRequest>,
    ) -> Result<Response<v1::BatchCreateOrdersResponse>, Status> {
        let caller = caller_of(&request)?;
        let requests = request.into_inner().requests;
        if requests.is_empty() || requests.len() > BATCH_MAX {
            return Err(
                ServiceError::invalid("requests", format!("must be 1 to {BATCH_MAX}")).into(),
            );
        }
        let mut violations = Violations::new();
        let mut submissions = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            if request.validate_only {
                violations.add(
                    format!("requests[{index}].validate_only"),
                    "must not be set within a batch",
                );
            }
            match self.submission(request, &caller, &format!("requests[{index}].")) {
                Ok(submission) => submissions.push(submission),
                Err(ServiceError::Invalid(found)) => {
                    for violation in found {
                        violations.add(violation.field, violation.description);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (index, submission) in submissions.iter().enumerate() {
            if submissions[..index].iter().any(|other| {
                other.key == submission.key
                    || other.new.client_reference == submission.new.client_reference
            }) {
                violations.add(
                    format!("requests[{index}]"),
                    "must have a request_id and a client_reference of its own within the batch",
                );
            }
        }
        violations.check()?;
        let accepted = self.submit_all(submissions).await?;
        let all_replayed = accepted.iter().all(|one| one.replayed);
        let orders = accepted.into_iter().map(|one| one.order).collect();
        Ok(replayed(
            v1::BatchCreateOrdersResponse { orders },
            all_replayed,
        ))
    }

    pub(crate) fn import_orders(
        &self,
        request: Request<Streaming<v1::ImportOrdersRequest>>,
    ) -> Result<Response<BoxStream<'static, Result<v1::ImportOrdersResponse, Status>>>, Status>
    {
        let caller = caller_of(&request)?;
        let app = self.clone();
        let answers = request
            .into_inner()
            .map(move |row| {
                let (app, caller) = (app.clone(), caller.clone());
                async move {
                    let row = row?;
                    Ok(app.import_row(row, &caller).await)
                }
            })
            .buffer_unordered(IMPORT_AT_ONCE);
        Ok(Response::new(answers.boxed()))
    }

    async fn import_row(
        &self,
        row: v1::ImportOrdersRequest,
        caller: &Caller,
    ) -> v1::ImportOrdersResponse {
        let number = row.row;
        let taken = async {
            let request = row.request.unwrap_or_default();
            let submission = self.submission(&request, caller, "")?;
            // A full queue, or a share that is used up, is no fault of the row: the stream waits, that is what it is for.
            loop {
                let again = submission.clone();
                match self.intake.submit(again).await {
                    Err(ServiceError::ResourceExhausted(refused)) => {
                        let pause = refused.after().clamp(IMPORT_PAUSE.0, IMPORT_PAUSE.1);
                        tokio::time::sleep(pause).await;
                    }
                    result => return result,
                }
            }
        }
        .await;
        match taken {
            Ok(accepted) => v1::ImportOrdersResponse {
                row: number,
                state: accepted.order.state,
                findings: accepted
                    .order
                    .findings
                    .iter()
                    .map(|finding| finding.rule.clone())
                    .collect(),
                order: accepted.order.name,
                replayed: accepted.replayed,
                error: None,
            },
            Err(error) => v1::ImportOrdersResponse {
                row: number,
                order: match &error {
                    ServiceError::AlreadyExists { name } => name.clone(),
                    _ => String::new(),
                },
                error: Some(import_error(error)),
                ..v1::ImportOrdersResponse::default()
            },
        }
    }

    /// Checks a call and makes it ready for the queue. Violations are named under `prefix`.
    fn submission(
        &self,
        request: &v1::CreateOrderRequest,
        caller: &Caller,
        prefix: &str,
    ) -> Result<Submission, ServiceError> {
        let mut violations = Violations::new();
        let key = key_of(caller, METHOD, request, prefix, &mut violations);
        let sender = Sender {
            caller: caller.name(),
            default_region: self.default_region,
        };
        let order = violations.require(format!("{prefix}order"), request.order.as_ref());
        let new = order.and_then(|order| {
            new_order(order, &format!("{prefix}order"), &sender, &mut violations)
        });
        violations.check()?;
        let (Some(new), Some(key)) = (new, key) else {
            return Err(ServiceError::internal(
                "a conversion refused without saying why",
            ));
        };
        Ok(Submission {
            new,
            key,
            request_id: request.request_id.clone(),
            traceparent: current_traceparent(),
        })
    }
}

/// An error as a row of an import tells it.
fn import_error(error: ServiceError) -> v1::ImportError {
    let field_violations = match &error {
        ServiceError::Invalid(violations) => violations
            .iter()
            .map(|violation| v1::FieldViolation {
                field: violation.field.clone(),
                description: violation.description.clone(),
            })
            .collect(),
        _ => Vec::new(),
    };
    let status = Status::from(error);
    v1::ImportError {
        code: code_name(status.code()).to_owned(),
        message: status.message().to_owned(),
        field_violations,
    }
}

/// Name of a code in `google.rpc.Code`.
fn code_name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

/// Country of phone numbers that name none.
pub(crate) fn default_region(code: &str) -> Option<CountryCode> {
    CountryCode::parse(code).ok()
}
