//! Closed vocabularies: the wire's `ORDER_STATE_CONFIRMED` is the domain's `CONFIRMED`.

use std::str::FromStr;

use countersign_domain::UnknownCode;
use countersign_proto::v1;

use crate::error::Violations;

/// An enum of the wire whose names are a prefix and a word of the domain.
pub(crate) trait WireWord: TryFrom<i32> + Into<i32> {
    /// Such as `ORDER_STATE_`.
    const PREFIX: &'static str;
    /// Name with prefix.
    fn name(&self) -> &'static str;
    /// By its name with prefix.
    fn named(name: &str) -> Option<Self>;
}

macro_rules! wire_words {
    ($( $wire:ident $prefix:literal, )+) => { $(
        impl WireWord for v1::$wire {
            const PREFIX: &'static str = $prefix;

            fn name(&self) -> &'static str {
                self.as_str_name()
            }

            fn named(name: &str) -> Option<Self> {
                Self::from_str_name(name)
            }
        }
    )+ };
}

wire_words! {
    OrderState "ORDER_STATE_",
    TransactionType "TRANSACTION_TYPE_",
    PaymentMethod "PAYMENT_METHOD_",
    ShortagePolicy "SHORTAGE_POLICY_",
    HoldReason "HOLD_REASON_",
    Channel "CHANNEL_",
    AuditDimension "AUDIT_DIMENSION_",
    FindingSeverity "FINDING_SEVERITY_",
    ConfirmationMode "CONFIRMATION_MODE_",
    ConfirmationState "CONFIRMATION_STATE_",
    QuietDeadline "QUIET_DEADLINE_",
    AnswerChannel "ANSWER_CHANNEL_",
    ObjectionCategory "OBJECTION_CATEGORY_",
    CallOutcome "CALL_OUTCOME_",
    CancelInitiator "CANCEL_INITIATOR_",
    CancelReason "CANCEL_REASON_",
    TrackingStatus "TRACKING_STATUS_",
    ProgressStage "PROGRESS_STAGE_",
    FeedbackSource "FEEDBACK_SOURCE_",
    FeedbackTag "FEEDBACK_TAG_",
    FollowUp "FOLLOW_UP_",
    SurveyKind "SURVEY_KIND_",
}

/// The domain's value; unset and unknown numbers are noted with all words that would be right.
pub(crate) fn from_proto<W, D>(value: i32, field: &str, violations: &mut Violations) -> Option<D>
where
    W: WireWord,
    D: FromStr<Err = UnknownCode>,
{
    let word = W::try_from(value)
        .ok()
        .filter(|_| value != 0)
        .and_then(|wire| wire.name().strip_prefix(W::PREFIX));
    // The error of a word that cannot be lists those that can.
    let read = word.unwrap_or_default().parse::<D>();
    read.map_err(|unknown| {
        let known: Vec<String> = unknown
            .known
            .iter()
            .map(|word| format!("{}{word}", W::PREFIX))
            .collect();
        violations.add(field, format!("must be one of {}", known.join(", ")));
    })
    .ok()
}

/// Like [`from_proto`], but unset is nothing. A wrong one is nothing too, and noted.
pub(crate) fn optional_from_proto<W, D>(
    value: i32,
    field: &str,
    violations: &mut Violations,
) -> Option<D>
where
    W: WireWord,
    D: FromStr<Err = UnknownCode>,
{
    if value == 0 {
        return None;
    }
    from_proto::<W, D>(value, field, violations)
}

/// The wire's number for a word of the domain; 0 for a word that the wire does not have, which the tests rule out.
pub(crate) fn to_proto<W: WireWord>(word: &str) -> i32 {
    W::named(&format!("{}{word}", W::PREFIX)).map_or(0, Into::into)
}

#[cfg(test)]
mod tests {
    use countersign_domain as domain;

    use super::*;

    /// Every word there and back, and no number of the wire without a word.
    macro_rules! both_ways {
        ($wire:ident, $domain:ty) => {
            let mut reached = std::collections::BTreeSet::new();
            for value in <$domain>::ALL {
                let number = to_proto::<v1::$wire>(value.as_str());
                assert_ne!(number, 0, "{} has no {value}", stringify!($wire));
                let mut violations = Violations::new();
                let back = from_proto::<v1::$wire, $domain>(number, "f", &mut violations);
                assert_eq!(back, Some(*value));
                assert!(violations.is_empty());
                reached.insert(number);
            }
            for number in 1..100 {
                assert_eq!(
                    v1::$wire::try_from(number).is_ok(),
                    reached.contains(&number),
                    "{} {number}",
                    stringify!($wire)
                );
            }
        };
    }

    #[test]
    fn every_word_has_its_number_and_every_number_its_word() {
        both_ways!(OrderState, domain::order::OrderState);
        both_ways!(TransactionType, domain::order::TransactionType);
        both_ways!(PaymentMethod, domain::order::PaymentMethod);
        both_ways!(ShortagePolicy, domain::order::ShortagePolicy);
        both_ways!(Channel, domain::order::Channel);
        both_ways!(HoldReason, domain::hold::HoldReason);
        both_ways!(AuditDimension, domain::audit::AuditDimension);
        both_ways!(FindingSeverity, domain::audit::Severity);
        both_ways!(ConfirmationMode, domain::confirmation::ConfirmationMode);
        both_ways!(ConfirmationState, domain::confirmation::ConfirmationState);
        both_ways!(QuietDeadline, domain::contact_hours::QuietDeadline);
        both_ways!(AnswerChannel, domain::confirmation::AnswerChannel);
        both_ways!(ObjectionCategory, domain::confirmation::ObjectionCategory);
        both_ways!(CallOutcome, domain::decide::CallOutcome);
        both_ways!(CancelInitiator, domain::decide::Initiator);
        both_ways!(CancelReason, domain::decide::CancelReason);
        both_ways!(ProgressStage, domain::decide::Stage);
        both_ways!(FeedbackSource, domain::feedback::FeedbackSource);
        both_ways!(FeedbackTag, domain::feedback::FeedbackTag);
        both_ways!(FollowUp, domain::feedback::FollowUp);
        both_ways!(SurveyKind, domain::survey::SurveyKind);
        both_ways!(TrackingStatus, domain::tracking::TrackingStatus);
    }

    #[test]
    fn unset_and_unknown_numbers_are_refused_with_the_words_that_would_be_right() {
        for number in [0, 4, -1, i32::MAX] {
            let mut violations = Violations::new();
            let read = from_proto::<v1::Channel, domain::order::Channel>(
                number,
                "preferred_channel",
                &mut violations,
            );
            assert!(read.is_none());
            let noted = violations.into_vec();
            assert_eq!(
                noted[0].description,
                "must be one of CHANNEL_EMAIL, CHANNEL_SMS, CHANNEL_PHONE"
            );
        }
        let mut violations = Violations::new();
        let unset = optional_from_proto::<v1::Channel, domain::order::Channel>(
            0,
            "preferred_channel",
            &mut violations,
        );
        assert!(unset.is_none() && violations.is_empty());
    }
}
