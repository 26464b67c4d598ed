//! What a refusal says.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Fields of an `INVALID_ARGUMENT` with what was said about each.
pub fn violations(status: &Status) -> Vec<(String, String)> {
    status
        .get_details_bad_request()
        .map(|request| {
            request
                .field_violations
                .into_iter()
                .map(|violation| (violation.field, violation.description))
                .collect()
        })
        .unwrap_or_default()
}

/// Names of the fields alone, sorted.
pub fn violated_fields(status: &Status) -> Vec<String> {
    let mut fields: Vec<String> = violations(status)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    fields.sort();
    fields
}

/// The reason for programs, such as `IDEMPOTENCY_KEY_REUSED`.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// The refusal of a call that must not succeed.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) -> Status {
    let status = answer.expect_err("the call must be refused");
    assert_eq!(status.code(), code, "{status:?}");
    status
}
