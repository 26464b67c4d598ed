//! Everything a call can be refused for, and the one place that turns it into a gRPC status.
//!
//! Details follow <https://google.aip.dev/193>: `BadRequest` names each wrong field, `ErrorInfo` gives a reason that a
//! program can tell apart, `PreconditionFailure` and `RetryInfo` say what would help.

use std::{collections::HashMap, error::Error, fmt, time::Duration};

use countersign_domain::decide::Refusal;
pub(crate) use countersign_runtime::load::refusal::DOMAIN;
use countersign_runtime::{
    load::{deadline, refusal::Refused},
    violations::{bounded, cut},
};
use countersign_store::StoreError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

/// What callers read instead of the cause of an internal failure.
const INTERNAL_TEXT: &str = "something went wrong on our side; it has been recorded";

/// Pause that is asked for after a conflict.
const RETRY_AFTER_CONFLICT: Duration = Duration::from_millis(100);
/// Pause that is asked for after overload or while the database is away.
const RETRY_AFTER_PRESSURE: Duration = Duration::from_secs(1);

/// Why a call was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// Fields are not as they must be; nothing was stored.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldViolation>),
    /// There is no such resource, or the caller may not know of it.
    #[error("{name} not found")]
    NotFound {
        /// Resource name, such as `orders/0197…`.
        name: String,
    },
    /// The name is taken.
    #[error("{name} exists already")]
    AlreadyExists {
        /// Resource name.
        name: String,
    },
    /// Something must change before the call can succeed.
    #[error("{message}")]
    FailedPrecondition {
        /// `UPPER_SNAKE_CASE`, for programs.
        reason: &'static str,
        /// For people: what stands in the way.
        message: String,
    },
    /// Somebody else was faster; the same call may succeed when it is made again.
    #[error("aborted ({reason}); please try again")]
    Aborted {
        /// `UPPER_SNAKE_CASE`, for programs.
        reason: &'static str,
    },
    /// Too much at once.
    #[error("too many calls at once; please slow down")]
    ResourceExhausted(Refused),
    /// Nobody waits for the answer any more.
    #[error("the call's time is over")]
    DeadlineExceeded,
    /// The database is away, or the process is shutting down.
    #[error("unavailable at the moment; please try again")]
    Unavailable,
    /// A failure that the caller can do nothing about. Its cause is logged, never sent.
    #[error("internal")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl ServiceError {
    /// One wrong field.
    pub(crate) fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation::new(field, description)])
    }

    /// No such resource.
    pub(crate) fn not_found(name: impl Into<String>) -> Self {
        Self::NotFound { name: name.into() }
    }

    /// A failure of ours.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The customer's data were erased, and nothing more happens to the order.
    pub(crate) fn order_erased() -> Self {
        Self::FailedPrecondition {
            reason: "ORDER_ERASED",
            message: "the customer's data were erased; nothing more happens to the order"
                .to_owned(),
        }
    }

    /// The `etag` does not match: the resource was changed since the caller read it.
    pub(crate) const fn etag_mismatch() -> Self {
        Self::Aborted {
            reason: "ETAG_MISMATCH",
        }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() {
            tracing::debug!(error = %error, "conflict in the database");
            Self::Aborted { reason: "CONFLICT" }
        } else if error.is_connection_lost() {
            tracing::warn!(error = %error, "the database is away");
            Self::Unavailable
        } else if error.is_full() {
            tracing::error!(error = %error, "the database has no room");
            Self::Unavailable
        } else {
            Self::internal(error)
        }
    }
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Held(_) => Self::FailedPrecondition {
                reason: "ORDER_HELD",
                message,
            },
            Refusal::WrongState { .. } => Self::FailedPrecondition {
                reason: "ORDER_STATE",
                message,
            },
            Refusal::Precondition(_) => Self::FailedPrecondition {
                reason: "PRECONDITION",
                message,
            },
            Refusal::Invalid { field, description } => Self::invalid(field, description),
            Refusal::NotFound(name) => Self::NotFound { name },
        }
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let message = cut(error.to_string());
        let mut details = ErrorDetails::new();
        let code = match error {
            ServiceError::Invalid(violations) => {
                details
                    .set_error_info("INVALID_FIELDS", DOMAIN, HashMap::new())
                    .set_bad_request(bounded(violations));
                Code::InvalidArgument
            }
            ServiceError::NotFound { name } => {
                let name = cut(name);
                details
                    .set_error_info("NOT_FOUND", DOMAIN, HashMap::new())
                    .set_resource_info(collection(&name), name.as_str(), "", "");
                Code::NotFound
            }
            ServiceError::AlreadyExists { name } => {
                let name = cut(name);
                details
                    .set_error_info("ALREADY_EXISTS", DOMAIN, HashMap::new())
                    .set_resource_info(collection(&name), name.as_str(), "", "");
                Code::AlreadyExists
            }
            ServiceError::FailedPrecondition { reason, message } => {
                details
                    .set_error_info(reason, DOMAIN, HashMap::new())
                    .set_precondition_failure(vec![PreconditionViolation::new(
                        reason,
                        "",
                        cut(message),
                    )]);
                Code::FailedPrecondition
            }
            ServiceError::Aborted { reason } => {
                details
                    .set_error_info(reason, DOMAIN, HashMap::new())
                    .set_retry_info(Some(RETRY_AFTER_CONFLICT));
                Code::Aborted
            }
            ServiceError::ResourceExhausted(refused) => return refused.status(),
            ServiceError::DeadlineExceeded => return deadline::exceeded(),
            ServiceError::Unavailable => {
                details
                    .set_error_info("UNAVAILABLE", DOMAIN, HashMap::new())
                    .set_retry_info(Some(RETRY_AFTER_PRESSURE));
                Code::Unavailable
            }
            ServiceError::Internal(cause) => return internal_status(&*cause),
        };
        Self::with_error_details(code, message, details)
    }
}

/// Logs the whole cause under an id, and answers only the id.
fn internal_status(cause: &(dyn Error + 'static)) -> Status {
    #[expect(
        clippy::disallowed_methods,
        reason = "the id decides nothing, it only finds the line in the log"
    )]
    let id = format!("{:016x}", rand::random::<u64>());
    tracing::error!(error_id = id, error = %Chain(cause), "internal error");
    let mut details = ErrorDetails::new();
    details
        .set_error_info("INTERNAL", DOMAIN, HashMap::new())
        .set_request_info(id.as_str(), "");
    Status::with_error_details(
        Code::Internal,
        format!("{INTERNAL_TEXT} (error id {id})"),
        details,
    )
}

/// An error with its causes, outermost first.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

/// `orders` of `orders/1`.
fn collection(name: &str) -> &str {
    name.split_once('/')
        .map_or("", |(collection, _)| collection)
}

/// One line for people that names the first fields.
fn summary(violations: &[FieldViolation]) -> String {
    match violations {
        [] => "the request is not valid".to_owned(),
        [only] => format!("{}: {}", only.field, only.description),
        [first, rest @ ..] => format!(
            "{}: {} (and {} more; see the details)",
            first.field,
            first.description,
            rest.len()
        ),
    }
}

/// Collects everything that is wrong with a request, so that the caller can mend it all at once.
#[derive(Debug, Default)]
pub(crate) struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Nothing wrong yet.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Notes that a field, named by its path (`lines[2].quantity`), must be otherwise.
    pub(crate) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldViolation::new(field, description));
    }

    /// The value, or `None` with the error's text noted for the field.
    pub(crate) fn take<T, E: fmt::Display>(
        &mut self,
        field: impl Into<String>,
        parsed: Result<T, E>,
    ) -> Option<T> {
        parsed
            .map_err(|error| self.add(field, error.to_string()))
            .ok()
    }

    /// Notes the field as missing unless it is there.
    pub(crate) fn require<T>(&mut self, field: impl Into<String>, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(field, "must be given");
        }
        value
    }

    /// Whether nothing is wrong.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are noted.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// What was noted, first to last.
    pub(crate) fn into_vec(self) -> Vec<FieldViolation> {
        self.0
    }

    /// Refuses when anything is wrong.
    pub(crate) fn check(self) -> Result<(), ServiceError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ServiceError::Invalid(self.0))
        }
    }

    /// Refuses when anything is wrong, else gives the value. A value that is missing without a violation noted is a
    /// mistake in the conversion, and is refused too.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, ServiceError> {
        self.check()?;
        value.ok_or_else(|| ServiceError::internal("a conversion refused without saying why"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(error: ServiceError) -> Status {
        error.into()
    }

    fn reason(status: &Status) -> String {
        status
            .get_details_error_info()
            .map(|info| {
                assert_eq!(info.domain, DOMAIN);
                info.reason
            })
            .unwrap_or_default()
    }

    #[test]
    fn each_wrong_field_is_named() {
        let mut violations = Violations::new();
        violations.add("order.lines[0].quantity", "must be 1 or more");
        assert!(
            violations
                .require("order.currency_code", None::<i32>)
                .is_none()
        );
        let status = status(violations.finish(None::<()>).unwrap_err());
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "order.lines[0].quantity: must be 1 or more (and 1 more; see the details)"
        );
        let details = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(details.len(), 2);
        assert_eq!(details[1].field, "order.currency_code");
        assert_eq!(details[1].description, "must be given");
    }

    #[test]
    fn many_violations_still_fit_into_a_header() {
        let mut violations = Violations::new();
        for line in 0..5_000 {
            violations.add(format!("order.lines[{line}].sku"), "must not be empty");
        }
        let status = status(violations.check().unwrap_err());
        assert!(status.details().len() < 6_000, "{}", status.details().len());
        let details = status.get_details_bad_request().unwrap().field_violations;
        let last = details.last().unwrap();
        assert_eq!(
            last.description,
            format!("and {} more fields", 5_000 - (details.len() - 1))
        );
    }

    /// The message is percent-encoded in its header, so each byte of it may take three.
    #[test]
    fn i_11_what_a_caller_sent_comes_back_at_no_length_that_breaks_the_answer() {
        let long = "订".repeat(100_000);
        for error in [
            ServiceError::invalid(long.clone(), long.clone()),
            ServiceError::not_found(long.clone()),
            ServiceError::AlreadyExists { name: long.clone() },
            ServiceError::FailedPrecondition {
                reason: "PRECONDITION",
                message: long,
            },
        ] {
            let status = status(error);
            let header = status.message().len() * 3 + status.details().len() * 4 / 3;
            assert!(header < 6_000, "{header}");
        }
    }

    #[test]
    fn absent_and_taken_names_are_told() {
        let absent = status(ServiceError::not_found("customers/C-1"));
        assert_eq!(absent.code(), Code::NotFound);
        assert_eq!(absent.message(), "customers/C-1 not found");
        let resource = absent.get_details_resource_info().unwrap();
        assert_eq!(
            (
                resource.resource_type.as_str(),
                resource.resource_name.as_str()
            ),
            ("customers", "customers/C-1")
        );
        let taken = status(ServiceError::AlreadyExists {
            name: "customers/C-1".to_owned(),
        });
        assert_eq!(taken.code(), Code::AlreadyExists);
        assert_eq!(reason(&taken), "ALREADY_EXISTS");
    }

    #[test]
    fn a_failed_precondition_has_a_reason_for_programs_and_words_for_people() {
        let status = status(ServiceError::FailedPrecondition {
            reason: "IDEMPOTENCY_KEY_REUSED",
            message: "the request id was used for another call".to_owned(),
        });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(&status), "IDEMPOTENCY_KEY_REUSED");
        let violations = status
            .get_details_precondition_failure()
            .unwrap()
            .violations;
        assert_eq!(violations[0].r#type, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(status.message(), "the request id was used for another call");
    }

    #[test]
    fn what_may_be_tried_again_says_when() {
        for (error, code, told) in [
            (
                ServiceError::etag_mismatch(),
                Code::Aborted,
                "ETAG_MISMATCH",
            ),
            (
                ServiceError::ResourceExhausted(Refused::overloaded(Duration::from_secs(1))),
                Code::ResourceExhausted,
                "OVERLOADED",
            ),
            (ServiceError::Unavailable, Code::Unavailable, "UNAVAILABLE"),
        ] {
            let status = status(error);
            assert_eq!(status.code(), code);
            assert_eq!(reason(&status), told);
            assert!(
                status
                    .get_details_retry_info()
                    .unwrap()
                    .retry_delay
                    .is_some()
            );
        }
    }

    #[test]
    fn an_internal_cause_is_never_sent() {
        let status = status(ServiceError::internal(
            "Duplicate entry '+8613800138000' for key 'secret'",
        ));
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().starts_with(INTERNAL_TEXT));
        let id = status.get_details_request_info().unwrap().request_id;
        assert_eq!(id.len(), 16);
        assert!(status.message().contains(&id));
        let all = format!("{status:?}{}", String::from_utf8_lossy(status.details()));
        assert!(!all.contains("138") && !all.contains("secret"), "{all}");
    }

    #[test]
    fn a_refusal_of_the_domain_keeps_its_words() {
        let refused = status(Refusal::Precondition("no stock is left".to_owned()).into());
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(refused.message(), "no stock is left");
        let invalid = status(
            Refusal::Invalid {
                field: "reason".to_owned(),
                description: "must say why".to_owned(),
            }
            .into(),
        );
        assert_eq!(
            invalid.get_details_bad_request().unwrap().field_violations[0].field,
            "reason"
        );
    }
}
