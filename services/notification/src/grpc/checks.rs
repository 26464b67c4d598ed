//! Checks that many methods share, and the statuses that they are refused with.

use std::{collections::HashMap, fmt::Display, str::FromStr};

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::DeliveryId,
    text::{TextKind, checked_text},
};
use countersign_runtime::{
    callers::Caller,
    violations::{bounded, cut},
};
use countersign_store::{ActCall, StoreError};
use sha2::{Digest as _, Sha256};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

use super::Notifications;

/// `ErrorInfo.domain` of all reasons.
const DOMAIN: &str = "countersign";

/// Fields that are not as they must be.
#[derive(Default)]
pub(super) struct Violations(Vec<FieldViolation>);

impl Violations {
    pub(super) fn add(&mut self, field: &str, description: impl Display) {
        self.0
            .push(FieldViolation::new(field, description.to_string()));
    }

    pub(super) fn take<T, E: Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// One word of a closed vocabulary.
    pub(super) fn word<T>(&mut self, field: &str, word: &str, known: &[T]) -> Option<T>
    where
        T: FromStr + PartialEq + Copy + Display,
    {
        let found = word.parse().ok().filter(|it| known.contains(it));
        if found.is_none() {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            self.add(field, format!("must be one of {}", known.join(", ")));
        }
        found
    }

    /// Some words of a closed vocabulary; all that are known when none is given.
    pub(super) fn words<T>(&mut self, field: &str, words: &[String], known: &[T]) -> Vec<T>
    where
        T: FromStr + PartialEq + Copy + Display,
    {
        if words.is_empty() {
            return known.to_vec();
        }
        let mut found: Vec<T> = Vec::new();
        for word in words {
            if let Some(word) = self.word(field, word, known)
                && !found.contains(&word)
            {
                found.push(word);
            }
        }
        found
    }

    pub(super) fn time(
        &mut self,
        field: &str,
        given: Option<&prost_types::Timestamp>,
    ) -> Option<DateTime<Utc>> {
        let given = given?;
        let nanos = u32::try_from(given.nanos).ok();
        let time = nanos.and_then(|nanos| DateTime::from_timestamp(given.seconds, nanos));
        if time.is_none() {
            self.add(field, "must be a time of the years 1 to 9999");
        }
        time
    }

    /// Refuses when anything is wrong, or when there is no value.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Status> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                let text = self.0.first().map_or_else(
                    || "the request is not valid".to_owned(),
                    |first| cut(format!("{}: {}", first.field, first.description)),
                );
                let mut details = ErrorDetails::new();
                details
                    .set_error_info("INVALID_FIELDS", DOMAIN, HashMap::new())
                    .set_bad_request(bounded(self.0));
                Err(Status::with_error_details(
                    Code::InvalidArgument,
                    text,
                    details,
                ))
            }
        }
    }
}

/// One wrong field.
pub(super) fn invalid(field: &str, description: impl Display) -> Status {
    let mut violations = Violations::default();
    violations.add(field, description);
    match violations.finish::<()>(None) {
        Err(status) => status,
        Ok(()) => Status::invalid_argument(field),
    }
}

pub(super) fn not_found(name: &str) -> Status {
    Status::not_found(cut(format!("{name} not found")))
}

/// Something must change before the call can succeed.
pub(super) fn refused(reason: &str, words: &str) -> Status {
    let mut details = ErrorDetails::new();
    details
        .set_error_info(reason, DOMAIN, HashMap::new())
        .set_precondition_failure(vec![PreconditionViolation::new(reason, "", words)]);
    Status::with_error_details(
        Code::FailedPrecondition,
        format!("{reason}: {words}"),
        details,
    )
}

pub(super) fn other_request() -> Status {
    refused(
        "REQUEST_ID_REUSED",
        "the request id was used for something else; take a new one",
    )
}

/// What the caller reads of a failure of the database; the cause is logged.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn unavailable(error: StoreError) -> Status {
    if error.is_retryable() {
        return Status::aborted("somebody else was faster; please try again");
    }
    if error.is_connection_lost() {
        tracing::warn!(error = %error, "the database is away");
        return Status::unavailable("the database does not answer");
    }
    tracing::error!(error = %error, "a call failed");
    Status::internal("something went wrong on our side; it has been recorded")
}

/// Who wants something done and why, as requests carry it.
pub(super) struct Who<'a> {
    pub(super) request_id: &'a str,
    pub(super) actor: &'a str,
    pub(super) reason: &'a str,
    pub(super) approver: &'a str,
}

impl Notifications {
    /// Checks who wants what and why. `content` is everything else that the request asks for.
    pub(super) fn act_call(
        &self,
        who: &Who<'_>,
        method: &str,
        caller: &str,
        content: &[&str],
        now: DateTime<Utc>,
        violations: &mut Violations,
    ) -> Option<ActCall> {
        let id = who.request_id;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if !(1..=128).contains(&id.len()) || !id.bytes().all(known) {
            violations.add(
                "request_id",
                "must be 1 to 128 characters of A–Z a–z 0–9 . _ : -",
            );
        }
        let actor = violations.take(
            "actor",
            checked_text(who.actor.trim(), 1, 64, TextKind::SingleLine),
        );
        let reason = violations.take(
            "reason",
            checked_text(who.reason.trim(), 1, 500, TextKind::MultiLine),
        );
        let approver = violations.take(
            "approver",
            checked_text(who.approver.trim(), 0, 64, TextKind::SingleLine),
        );
        let (actor, reason, approver) = (actor?, reason?, approver?);
        let mut parts = content.to_vec();
        parts.extend([actor.as_str(), reason.as_str(), approver.as_str()]);
        Some(ActCall {
            id: self.ids.make(now, DeliveryId::new_v7).as_uuid(),
            request_hash: digest(&[caller, method, id]),
            fingerprint: digest(&parts),
            actor,
            approver,
            reason,
        })
    }
}

/// Each part with its length, so that no two lists run together to the same bytes.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// Who calls, and the request itself.
pub(super) fn open<M>(request: Request<M>) -> Result<(String, M), Status> {
    let caller = Caller::of(request.extensions())?.name().to_owned();
    Ok((caller, request.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_11_many_wrong_words_still_fit_into_a_header() {
        let mut violations = Violations::default();
        let wrong = vec!["no such kind".to_owned(); 10_000];
        violations.words("kinds", &wrong, countersign_domain::order::Channel::ALL);
        let status = violations.finish(Some(())).unwrap_err();
        let named = status.get_details_bad_request().unwrap().field_violations;
        assert!(
            named.last().unwrap().description.starts_with("and "),
            "{named:?}"
        );
        assert!(status.details().len() < 4_500, "{}", status.details().len());
        // Nor does one text that is too long.
        let status = invalid("source", "n".repeat(20_000));
        let header = status.message().len() * 3 + status.details().len() * 4 / 3;
        assert!(header < 6_000, "{header}");
    }
}
